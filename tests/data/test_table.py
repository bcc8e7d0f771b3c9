import gzip
import re
from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from ranksim._utils.formatting import format_value
from ranksim._utils.storage import sha256
from ranksim.data.cells import parse_numbers
from ranksim.data.reading import read_delimited, read_parquet
from ranksim.data.table import Table, read_numbers
from ranksim.exceptions import DataError

TEXT = "age,name\n31,a\n,b\n47.5,c\n"


@pytest.fixture
def file(tmp_path):
    def write(content, name="t.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def refused(act, sentence):
    with pytest.raises(DataError, match=f"^{re.escape(sentence)}$"):
        act()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", TEXT.encode()),
        ("bom.csv", b"\xef\xbb\xbf" + TEXT.encode()),
        ("crlf.csv", TEXT.replace("\n", "\r\n").encode()),
        ("t.tsv", TEXT.replace(",", "\t").encode()),
        ("semicolon.csv", TEXT.replace(",", ";").encode()),
        ("tab.csv", TEXT.replace(",", "\t").encode()),
        ("t.csv.gz", gzip.compress(TEXT.encode(), mtime=0)),
        ("t.TSV.GZ", gzip.compress(TEXT.replace(",", "\t").encode(), mtime=0)),
    ],
)
def test_text_files(file, name, content):
    path = file(content, name)
    table = read_delimited(path)
    assert table.names == ["age", "name"]
    assert table.rows == 3
    assert table.column("age") == ["31", "", "47.5"]
    assert table.column("name") == ["a", "b", "c"]
    assert table.sha256 == sha256(path)
    assert table.root == path.parent
    assert table.describe_rows([1]) == f"{path}, line 3"


def test_the_header_says_what_parts_values(file):
    table = read_delimited(file('"a,b,c";d\n1,5;2\n'))
    assert table.names == ["a,b,c", "d"]
    assert table.column("a,b,c") == ["1,5"]
    refused(
        lambda: read_numbers(table, "a,b,c"),
        f"{table.name}, line 2: column 'a,b,c' holds what is no number, as '1,5'; write decimals "
        "with a point.",
    )


def test_parquet(tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "t.parquet"
    values = {
        "y": [1, None, 3], "d": [date(2020, 1, 1)] * 3, "b": [True, False, True],
        "m": [Decimal("1.5"), None, Decimal(2)], "s": ["1", "x", None],
        "f": [0.5, float("nan"), float("-inf")],
    }  # fmt: skip
    parquet.write_table(arrow.table(values), path)
    table = read_parquet(path)
    assert table.column("y") == [1, None, 3]
    np.testing.assert_array_equal(read_numbers(table, "y", missing="nan"), [1, np.nan, 3])
    np.testing.assert_array_equal(read_numbers(table, "m", missing="nan"), [1.5, np.nan, 2])
    place = f"{path}, row"
    refused(lambda: read_numbers(table, "y"),
            f"{place} 2: column 'y' holds no value; fill it in or remove these rows.")  # fmt: skip
    remedy = "correct these values or remove these rows."
    refused(lambda: read_numbers(table, "d"), f"{place}s 1, 2, 3: column 'd' holds what is no number, "
            f"as datetime.date(2020, 1, 1); {remedy}")  # fmt: skip
    refused(lambda: read_numbers(table, "b"),
            f"{place}s 1, 2, 3: column 'b' holds what is no number, as True; {remedy}")  # fmt: skip
    refused(lambda: read_numbers(table, "s"),
            f"{place} 2: column 's' holds what is no number, as 'x'; {remedy}")  # fmt: skip
    refused(lambda: read_numbers(table, "f"),
            f"{place} 3: column 'f' holds an infinite number, as -inf; {remedy}")  # fmt: skip
    path.write_bytes(b"PAR1")
    refused(lambda: read_parquet(path),
            f"{path} is no readable Parquet file: save the table again.")  # fmt: skip


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", 1), ("1e3", 1000), (" 3.5 ", 3.5), ("-0.25", -0.25), ("+7", 7), (".5", 0.5), (5, 5),
     (np.float32(0.5), 0.5), (np.int64(3), 3), (Decimal("0.1"), 0.1)],
)  # fmt: skip
def test_numbers_as_people_write_them(text, number):
    read = parse_numbers([text])
    assert read.values.tolist() == [number]
    assert not (read.missing | read.text | read.infinite).any()


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("missing", ["", "  ", "NA", "n/a", "NaN", "NULL", "None", "-", " ? ", None, float("nan")]),
        ("text", ["three", "1_000", "1,5", "12 mg", "0x10", "--", True, np.True_, date(2020, 1, 1),
                  [1], {"a": 1}, 1j, b"1"]),
        ("infinite", ["inf", "-Infinity", "1e999", float("inf"), Decimal("1e999"), 10**400,
                      -10**400]),
    ],
)  # fmt: skip
def test_what_is_none(kind, values):
    read = parse_numbers(["1", *values])
    for name in ("missing", "text", "infinite"):
        assert getattr(read, name).tolist() == [False] + [name == kind] * len(values), name
    assert np.isnan(read.values[1:]).all()
    assert len(parse_numbers([]).values) == 0


def test_faults_are_named_by_their_lines(file):
    table = read_delimited(file('y\n1\n"a\nb"\ninf\n?\nx\nx\nx\nx\nx\n'))
    place, remedy = table.name, "correct these values or remove these rows."
    refused(lambda: read_numbers(table, "y"), f"{place}, lines 3, 7, 8, 9, 10 and 1 more: column 'y' "
            f"holds what is no number, as 'a\\nb'; {remedy}")  # fmt: skip
    table = read_delimited(file("y\n1\ninf\n?\n"))
    sentence = f"{place}, line 3: column 'y' holds an infinite number, as 'inf'; {remedy}"
    refused(lambda: read_numbers(table, "y", missing="nan"), sentence)
    table = read_delimited(file("y\n1\n?\n"))
    assert np.isnan(read_numbers(table, "y", missing="nan")).tolist() == [False, True]
    refused(lambda: table.column("x"), f"{place} has no column 'x': choose among y.")
    names = [f"c{k}" for k in range(30)]
    wide = Table.from_columns("wide", {name: [] for name in names})
    sentence = f"wide has no column 'x': choose among {', '.join(names[:20])} and 10 more."
    refused(lambda: wide.column("x"), sentence)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("t.csv", b"", " is empty: put a header and one row a sample into it."),
        ("t.csv", b"a,b\n1\n", ", line 2: another number of values than the header's 2; quote "
         "values that hold a separator, or correct these rows."),
        ("t.csv", b'a,b\n1,"2\n', ", line 2: unexpected end of data; correct its quoting."),
        ("t.csv", b"a\n1\n\xe9\n", ", line 3: not UTF-8; save the table as UTF-8."),
        ("t.csv", "a\n1\n".encode("utf-16"), ", line 1: not UTF-8; save the table as UTF-8."),
        ("t.csv", "a\n1\n".encode("utf-16-le"), ", line 1: not UTF-8; save the table as UTF-8."),
        ("t.csv.gz", b"a\n1\n", " is a damaged .gz file: get or pack it again."),
        ("t.csv.gz", gzip.compress(b"a\n1\n" * 99, mtime=0)[:-9],
         " is a damaged .gz file: get or pack it again."),
    ],
)  # fmt: skip
def test_damaged_files(file, name, content, sentence):
    path = file(content, name)
    refused(lambda: read_delimited(path), f"{path}{sentence}")


def test_columns_at_hand():
    table = Table.from_columns("mine", {"a": [1, 2, 3], "b": ["x", "y", "z"]})
    assert table.describe_rows(range(3)) == "mine, rows 1, 2, 3"
    assert table.root is None
    again = Table.from_columns("other", {"a": [1, 2, 3], "b": ["x", "y", "z"]})
    assert table.sha256 == again.sha256
    assert table.sha256 != Table.from_columns("mine", {"a": [1, 2, 4], "b": ["x", "y", "z"]}).sha256
    assert table.sha256 != Table.from_columns("mine", {"a": [1, 2, 3], "c": ["x", "y", "z"]}).sha256
    with pytest.raises(ValueError, match=r"^columns must be equally long, got \[1, 2\]$"):
        Table.from_columns("mine", {"a": [1], "b": [1, 2]})
    table.raise_for_rows([], "nothing", "nothing")
    refused(
        lambda: table.raise_for_rows(iter([0]), "wrong", "mend it"), "mine, row 1: wrong; mend it."
    )


def test_two_columns_of_one_name(tmp_path):
    path = Path(tmp_path / "t.csv")
    path.write_text("a,b,a\n1,2,3\n")
    table = read_delimited(path)
    assert table.column("b") == ["2"]
    refused(lambda: table.column("a"), f"{path} has two columns 'a': rename one of them.")


def test_long_values_are_shortened():
    assert format_value("x" * 38) == repr("x" * 38)
    assert format_value("x" * 100) == "'" + "x" * 35 + " …'"
    assert len(format_value(list(range(1000)))) == 39
