"""Rows of CSV files are read by Arrow as by the csv module, and encoded cells as lists of them."""

import csv
import io
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranksim.data.arrow_cells import EncodedCells, count_cells, find_missing, map_cells, mask_cells
from ranksim.data.cells import is_missing, to_canonical_text
from ranksim.data.csv_rows import RowEncoder, parse_plain_rows
from ranksim.data.number_format import PLAIN, NumberFormat
from ranksim.data.reading import load_table
from ranksim.data.row_numbers import encode_cells, number_rows
from ranksim.data.spec import ReadOptions, TableSpec
from ranksim.data.table import Table, parse_numbers, read_groups
from ranksim.exceptions import DataError
from ranksim.user_data.columns import find_column_warning, fit_column, spell_booleans
from ranksim.user_data.identifiers import is_row_number
from ranksim.user_data.leaks import read_values
from ranksim.user_data.proposals import find_column_kinds
from ranksim.user_data.sample_keys import hash_cells, make_sample_keys, number_samples

arrow = pytest.importorskip("pyarrow")

ODD = (
    *("", " ", "-", "n/a", "NaN", "nan", "None", "NULL", "inf", "-Infinity", "1e999", "-0", "0.0"),
    *("1", "1.0", " 1 ", "01", "007", "+3", "1_000", "1,5", "-2,75", "1.234", "12.345", "1,234.5"),
    *("1.234,5", "1 234", "1'000", "5 %", "7%", "€ 3", "3,50 €", "$12", "4 kg", "4 k", "(3)"),
    *(
        "12.50-",
        "1e5",
        "1E-3",
        ".5",
        "5.",
        "-.5",
        "1.e2",
        "0x10",
        "1e",
        "--1",
        "１２",
        "1\u00a0234",
    ),
    *("true", "No", "YES", "on", "2020-01-31", "31.01.2020", "2020-01-31T10:00Z", "20200131"),
    *("red", "Red ", "żółty", "fl\u00adat", "[0.5, 2]", "[1, 3]", "a.jpg", "a b c d", "9" * 30),
)
NUMBERS = st.one_of(
    st.integers(-2000, 2000).map(str),
    st.floats(allow_nan=False, width=32).map(repr),
    st.decimals(-1000, 1000, places=3).map(str),
    st.from_regex(r"[-+]?[0-9]{0,3}\.?[0-9]{0,3}(e[-+]?[0-9]{1,3})?", fullmatch=True),
)
CELLS = st.one_of(st.sampled_from(ODD), NUMBERS, st.text(max_size=4))
COLUMNS = st.one_of(
    st.lists(CELLS, min_size=1, max_size=40),
    st.lists(NUMBERS, min_size=1, max_size=40),
    # few distinct cells, as of most columns
    st.lists(CELLS, min_size=1, max_size=3).flatmap(
        lambda cells: st.lists(st.sampled_from(cells), min_size=20, max_size=60)
    ),
).map(lambda cells: [cell.replace("\0", "") for cell in cells])
FORMATS = (PLAIN, NumberFormat(","), NumberFormat(".", ","), NumberFormat(unit="%"))


def encode(cells):
    """Return cells as encoded by Arrow, and as encoded row by row."""
    column = arrow.chunked_array([cells[:7], cells[7:]], arrow.large_string())
    encoder = RowEncoder(1)
    encoder.add_rows((k, [cell]) for k, cell in enumerate(cells))
    return [EncodedCells.from_column(column), *encoder.encode()]


def make_tables(cells):
    """Return tables of encoded cells and of a list of them, beside a target."""
    labels = [str(k % 7 + k / 16) for k in range(len(cells))]
    columns = [{"x": each, "y": labels} for each in (*encode(cells), cells)]
    lines = range(2, len(cells) + 2)
    return [Table("t.csv", ["x", "y"], each.__getitem__, lines) for each in columns]


def outcome(function, *args):
    try:
        return function(*args)
    except DataError as error:
        return str(error)


def assert_same(function, cells):
    *tables, reference = make_tables(cells)
    expected = outcome(function, reference)
    for table in tables:
        np.testing.assert_equal(outcome(function, table), expected)


@settings(max_examples=25, deadline=None)
@given(COLUMNS, st.randoms())
def test_encoded_cells_are_those_of_a_list(cells, draw):
    rows = np.array(draw.choices(range(len(cells)), k=len(cells) // 2), dtype=np.int64)
    mask = np.array([draw.random() < 0.3 for _ in cells])
    for values in encode(cells):
        parts = {
            "all": (values, cells),
            "taken": (values.take(rows), [cells[row] for row in rows]),
            "sliced": (values[1:20:3], cells[1:20:3]),
            "taken twice": (
                values[3:].take(rows[rows > 3] - 4),
                [cells[r - 1] for r in rows[rows > 3]],
            ),
            "replaced": (values.replace(str.strip), list(map(str.strip, cells))),
            "masked": (
                mask_cells(values, mask),
                [None if m else v for m, v in zip(mask, cells, strict=True)],
            ),
        }
        for part, expected in parts.values():
            assert list(part) == expected
            assert [part[k] for k in range(len(part))] == expected
            assert part.distinct == list(part.iterate_distinct()) == list(dict.fromkeys(expected))
            distinct, counts = count_cells(part)
            assert [expected.count(value) for value in distinct] == counts.tolist()
            assert find_missing(part).tolist() == list(map(is_missing, expected))
            texts = map_cells(part, to_canonical_text, object).tolist()
            assert texts == list(map(to_canonical_text, expected))
            for form in FORMATS:
                parsed, listed = parse_numbers(part, form), parse_numbers(expected, form)
                for name, numbers in vars(parsed).items():
                    assert numbers.tobytes() == getattr(listed, name).tobytes()


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(COLUMNS)
def test_encoded_columns_are_read_as_lists(cells):
    rows = np.arange(len(cells))
    spec = TableSpec(target="y")

    def fit(table):
        column = fit_column(table, "x", rows[::2])
        return column if isinstance(column, str) else (vars(column), column.read(table))

    def read(table):
        form = table.number_format("x")
        values = read_values(table.column("x"), form)
        part = replace(table, formats={}).take(rows[1:])
        return form, None if values is None else vars(values), vars(part.parse_numbers("x"))

    def describe(table):
        kinds = find_column_kinds(table, "y", rows)
        return vars(kinds.describe(table)), table.report

    def number(table):
        keys = make_sample_keys(table, spec, ["x"])
        return number_samples(table, spec, ["x"]), keys, hash_cells([table.column("x")])

    for function in (
        *(fit, read, describe, number),
        lambda table: find_column_warning(table, "x", "read"),
        lambda table: read_groups(table, "x"),
        lambda table: is_row_number(table, "x", table.column("x")),
        lambda table: number_rows([(lambda: table.column("x"), encode_cells)]),
        lambda table: list(spell_booleans(table.column("x"), {True: "yes", False: "no"})),
        lambda table: list(table.mask_numbers("x", [1.0, -2.75]).column("x")),
    ):
        assert_same(function, cells)


@settings(max_examples=20, deadline=None)
@given(COLUMNS, st.lists(st.sampled_from(("1", "-", "red", "1.5", "-99,9")), max_size=2))
def test_missing_words_are_those_of_a_list(cells, words):
    reading = ReadOptions(missing=tuple(words))
    assert_same(lambda table: list(table.apply_options(reading).column("x")), cells)


TEXTS = st.one_of(
    st.lists(
        st.lists(
            st.sampled_from(("1", "a", "", '"a"', '""', '"b;"', '" c"', "é", "a b")), min_size=1
        ).map(";".join),
        min_size=1,
    ).map("\n".join),
    st.text(alphabet='a1 ;"\n\r\té\0', max_size=24),
)


def read_by_csv(text):
    """Return the line and the values of each row as the csv module reads them; None if damaged."""
    lines, numbers, rows = io.StringIO(text, newline=""), [], []
    reader = csv.reader(lines, delimiter=";", strict=True, skipinitialspace=True)
    first = 1
    try:
        for values in reader:
            if values:
                rows.append(values)
                numbers.append(first)
            first = reader.line_num + 1
    except csv.Error:
        return None
    return numbers, rows


@settings(max_examples=120, deadline=None)
@given(TEXTS, st.integers(1, 3), st.sampled_from(("", "\n", "\r\n")))
def test_arrow_reads_plain_rows_as_the_csv_module(text, count, end):
    columns = parse_plain_rows(text + end, ";", count)
    if columns is None:
        return
    expected = read_by_csv(text + end)
    assert expected is not None
    numbers, rows = expected
    assert [list(values) for values in zip(*columns, strict=True)] == rows
    assert numbers == list(range(1, len(rows) + 1))


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("1,a\n2,b\n", [["1", "a"], ["2", "b"]]),
        ('"1","a b"\r\n"","b"', [["1", "a b"], ["", "b"]]),
        ('"x,y",\n,"z"\n', [["x,y", ""], ["", "z"]]),
        ("NA,1 \n#N/A,null", [["NA", "1 "], ["#N/A", "null"]]),
    ],
)
def test_arrow_reads_usual_rows(text, rows):
    columns = parse_plain_rows(text, ",", 2)
    assert columns is not None
    assert [list(values) for values in zip(*columns, strict=True)] == rows


@pytest.mark.parametrize(
    "text",
    [
        *("", "\n", "1,a\n\n2,b", "1, a", " 1,a", "1,a\n 2,b", "1\n2,b", "1,a,", "1,a\r2,b"),
        *('1,"a\nb"', '1,"a""b"', '1,a"b"', '1,"a"b', '1,"a', '1,"a,"b",', "1,\0", '1, "a"'),
        f"1,{'a' * 140_000}",
    ],
)
def test_the_csv_module_reads_unusual_rows(text):
    assert parse_plain_rows(text, ",", 2) is None


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(("1", "2.5", "", " ", '"a"', "b", '"c\n"')), max_size=4)),
    st.sampled_from(("x,y", "x,y,", "x,,", "x,y,z")),
)
def test_files_are_read_alike_by_both(tmp_path_factory, rows, header):
    path = tmp_path_factory.mktemp("rows") / "t.csv"
    path.write_text("\n".join([header, *map(",".join, rows)]) + "\n")

    def read(limit):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ranksim.data.reading._MIN_ARROW", limit)
            table = load_table(str(path))
        cells = [list(table.read(name)) for name in dict.fromkeys(table.names)]
        return table.names, cells, list(table.lines), table.notes

    assert outcome(read, 0) == outcome(read, math.inf)
