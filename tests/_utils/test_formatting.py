import pytest

from ranksim._utils import formatting


@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        ("format_percent", (-0.0612,), "−6.1\u202f%"),
        ("format_percent", (0.5, ""), "50.0\u202f%"),
        ("format_percent", (0.25, "", 0), "25\u202f%"),
        ("format_signed", (-0.25, 2), "−0.25"),
        ("format_signed", (1234.5, 1), "+1,234.5"),
        ("format_signed", (-0.001, 2), "−0.00"),
        ("choose_digits", ("mae", [7.1]), 2),
        ("choose_digits", ("mae", [0.0312]), 4),
        ("choose_digits", ("gm", [4e4]), 0),
        ("format_compact", (12000.0,), "12,000"),
        ("format_compact", (0.05,), "0.05"),
        ("format_compact", (-2.0,), "−2"),
        ("format_compact", (1e8,), "1.0e+08"),
        ("join_names", (["a", "b", "c"],), "a, b and c"),
        ("join_names", ("abcdef", 3), "a, b, c and 3 more"),
        ("single_line", ("two\nlines\x1b",), "two lines\\x1b"),
        ("format_name", ("size",), "size"),
        ("format_name", ("two\nlines",), r"'two\nlines'"),
    ],
)
def test_formats(name, arguments, text):
    assert getattr(formatting, name)(*arguments) == text
