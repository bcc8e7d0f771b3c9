import gzip
import hashlib
import sys

import pytest

from ranksim._utils.storage import sha256
from ranksim.data import reading
from ranksim.data.reading import load_table, read_delimited, read_parquet, require_text_file
from ranksim.data.spec import ReadOptions
from ranksim.data.table import read_numbers
from ranksim.exceptions import DataError, MissingDependencyError, UsageError
from tests.helpers.errors import raises_with

TEXT = "age,path\n31,a.png\n,b.png\n"


@pytest.fixture(autouse=True)
def separate_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("RANKSIM_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", TEXT),
        ("bom.CSV", "\ufeff" + TEXT),
        ("crlf.csv", TEXT.replace("\n", "\r\n")),
        ("t.tsv", TEXT.replace(",", "\t")),
        ("semicolon.csv", TEXT.replace(",", ";")),
        ("tab.csv", TEXT.replace(",", "\t")),
        ("t.csv.gz", gzip.compress(TEXT.encode(), mtime=0)),
        ("t.TSV.GZ", gzip.compress(TEXT.replace(",", "\t").encode(), mtime=0)),
    ],
)
def test_reads_delimited_text(write, name, content):
    path = write(name, content)
    table = load_table(str(path))
    assert table.names == ["age", "path"]
    assert (table.n_rows, table.sha256, table.root) == (2, sha256(path), path.parent)
    assert [list(table.column(name)) for name in ("age", "path")] == [
        ["31", ""],
        ["a.png", "b.png"],
    ]
    assert (table.name, table.line_unit, table.lines[1]) == (str(path), "line", 3)


def test_detects_the_delimiter_outside_quotes(write):
    table = read_delimited(write("t.csv", '"a,b,c";d\n1,5;2\n'))
    assert table.names == ["a,b,c", "d"]
    assert list(table.column("a,b,c")) == ["1,5"]


def test_lines_of_rows_with_line_breaks(write):
    table = read_delimited(write("t.csv", 'y\n1\n"a\nb"\n\ninf\nx\n'))
    assert list(table.lines) == [2, 3, 6, 7]
    with raises_with(DataError, "lines 3, 6, 7", r"'a\nb'"):
        read_numbers(table, "y")


@pytest.mark.parametrize(
    ("name", "content", "facts"),
    [
        ("t.csv", "", ("empty",)),
        ("t.csv", "a,b\n1\n", ("line 2", "2 columns")),
        ("t.csv", 'a,b\n1,"2\n', ("line 2", "unexpected end of data", "quotation marks")),
        ("t.csv", b"a\n1\n\xe9\n", ("line 3", "UTF-8")),
        ("t.csv", "a\n1\n".encode("utf-16"), ("line 1", "UTF-8")),
        ("t.csv", "a\n1\n".encode("utf-16-le"), ("line 1", "UTF-8")),
        ("t.csv.gz", "a\n1\n", ("damaged .gz",)),
        ("t.csv.gz", gzip.compress(b"a\n1\n" * 99, mtime=0)[:-9], ("damaged .gz",)),
        ("t.xlsx", "PK", ("spreadsheet", "CSV")),
        ("t.ODS", "PK", ("spreadsheet", "CSV")),
        ("t.json", "[]", ("not a supported table", ".parquet")),
        ("t.csv", "age,path\n", ("no rows",)),
        ("t.parquet", "PAR1", ("not a readable Parquet file", "save")),
    ],
)
def test_reports_unreadable_files(write, name, content, facts):
    path = write(name, content)
    with raises_with(DataError, str(path), *facts):
        load_table(str(path))


EXPORTS = {  # text, options, expected lines of the rows and cells of column y
    "trailing empty columns": ("a;y;;\n1;2;;\n3;4;;\n", {}, [2, 3], ["2", "4"]),
    "empty cells behind the header's": ("a;y\n1;2;;\n3;4\n", {}, [2, 3], ["2", "4"]),
    "shorter rows than the header": ("a;y;;\n1;2\n3;4\n", {}, [2, 3], ["2", "4"]),
    "blank rows": ("a;y\n1;2\n;\n3;4\n ; \n", {}, [2, 4], ["2", "4"]),
    "separator line": ("sep=;\na;y\n1,5;2\n", {}, [3], ["2"]),
    "separator line of Excel": ('"sep=|"\r\na|y\r\n1|2\r\n', {}, [3], ["2"]),
    "tabs named": ("sep=\t\na\ty\n1\t2\n", {}, [3], ["2"]),
    "bars": ("a|y\n1,2|3\n", {}, [2], ["3"]),
    "comments": ("# v1\na,y\n#x\n1,2\n\n  # z\n3,4\n", {"comment": "#"}, [4, 7], ["2", "4"]),
    "comment signs in quotes": ('a,y\n"x\n# b",2\n#c\n3,4\n', {"comment": "#"}, [2, 5], ["2", "4"]),
    "long comment signs": ("// v1\na,y\n/1,2\n", {"comment": "//"}, [3], ["2"]),
    "preamble": ("by X\nin m, cm\n\na,y\n1,2\n", {"skip_rows": 3}, [5], ["2"]),
    "preamble and separator": ("by X\nsep=;\na;y\n1;2\n", {"skip_rows": 1}, [4], ["2"]),
    "all skipped but a header": ("1,2\na,y\n5,6\n", {"skip_rows": 1}, [3], ["6"]),
    "Latin": ("é,y\n1,ü\n".encode("cp1252"), {"encoding": "cp1252"}, [2], ["ü"]),
    "UTF-16": ("é,y\n1,ü\n".encode("utf-16"), {"encoding": "utf-16"}, [2], ["ü"]),
    "header with a sign": ("#a,y\n1,2\n", {}, [2], ["2"]),
    "numbered columns": ("0,1,y\n5,7,9\n", {}, [2], ["9"]),
    "years": ("country,2019,2020,y\nA,1,2,3\n", {}, [2], ["3"]),
    "a year": ("y,2020\n5,7\n", {}, [2], ["5"]),
    "wavelengths": ("900.5,910,920,930,940,951.5,y\n1,2,3,4,5,6,7\n", {}, [2], ["7"]),
}  # fmt: skip


@pytest.mark.parametrize("name", EXPORTS)
@pytest.mark.parametrize("compress", [False, True])
def test_reads_usual_exports(write, name, compress):
    text, options, lines, cells = EXPORTS[name]
    content = text if isinstance(text, bytes) else text.encode()
    if compress:
        content = gzip.compress(content, mtime=0)
    path = write("t.csv.gz" if compress else "t.csv", content)
    table = load_table(str(path), ReadOptions(**options))
    assert (list(table.lines), list(table.column("y"))) == (lines, cells)


def test_reports_what_reading_left_out(write):
    table = load_table(str(write("t.csv", "a;y;;\n1;2;;\n;;;\n;;;\n")))
    assert table.report.notes == {"File": "2 empty columns left out; 2 blank rows left out"}
    assert load_table(str(write("u.csv", TEXT))).report.to_dict() == {}


@pytest.mark.parametrize(
    ("text", "options", "facts"),
    [
        ("# v1\n# in m\na,y\n1,2\n", {}, ("lines 3, 4", "line 1", "--comment '#'")),
        ("by X\nin m\na,y\n1,2\n3,4\n", {}, ("line 3 is the header", "--skip-rows 2")),
        ("0.5,red,1.2\n0.7,blue,1.9\n", {}, ("line 1", "'0.5'", "no header")),
        ("31,4\n5,6\n7,8\n", {}, ("line 1", "'31'", "no header")),
        ("M,31\nF,4\nM,7\n", {}, ("line 1", "'31'", "no header")),
        ("4,red,7\n5,red,8\n", {}, ("line 1", "'4'", "no header")),
        ("# v1\n0.5,1.2\n0.7,1.9\n", {"comment": "#"}, ("line 2", "'0.5'", "no header")),
        ("a,y\n1,2,3\n", {}, ("line 2", "2 columns", "the first has 3")),
        ("é,y\n1,2\n".encode("cp1252"), {}, ("line 1", "--encoding cp1252")),
        ("a,y\n1,2\n".encode("utf-16"), {}, ("line 1", "--encoding utf-16")),
        ("a,y\n1,ü\n", {"encoding": "ascii"}, ("line 2", "not ascii", "--encoding")),
        ("1,2\n", {"skip_rows": 5}, ("empty",)),
    ],
)
def test_names_the_option_that_reads_an_export(write, text, options, facts):
    path = write("t.csv", text)
    with raises_with(DataError, str(path), *facts):
        load_table(str(path), ReadOptions(**options))


def test_files_of_benchmarks_name_no_options(write):
    for content in ("# a\nb,c\n", b"\xe9,y\n"):
        with pytest.raises(DataError) as caught:
            read_delimited(write("t.csv", content))
        assert "--" not in str(caught.value)
    assert read_delimited(write("u.csv", "1.5,2\n3,4\n")).names == ["1.5", "2"]


def test_options_of_text_files_need_one(tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table({"y": ["1,5", "2"]}), tmp_path / "t.parquet")
    for options in ({"encoding": "cp1252"}, {"comment": "#"}, {"skip_rows": 1}):
        reading = ReadOptions(**options)
        table = load_table(str(tmp_path / "t.parquet"), reading)
        with raises_with(UsageError, "no effect", "t.parquet", "--" + next(iter(options))[:4]):
            require_text_file(table, reading)
    table = load_table(str(tmp_path / "t.parquet"), ReadOptions(decimal=","))
    require_text_file(table, table.reading)
    assert read_numbers(table, "y").tolist() == [1.5, 2]


def test_limits_the_size_of_decompressed_tables(write, monkeypatch):
    monkeypatch.setattr(reading, "MAX_UNPACKED", 1000)
    path = write("t.csv.gz", gzip.compress(b"a\n" + b"1\n" * 10_000))
    with raises_with(DataError, "more than 1,000 bytes"):
        load_table(str(path))


@pytest.mark.parametrize(
    ("source", "facts"),
    [
        ("none.csv", ("does not exist", "path")),
        ("none.xls", ("does not exist", "path")),
        ("a b", ("does not exist", "owner/name")),
        ("nowhere", ("does not exist", "owner/name")),
        ("a/b/c", ("does not exist", "owner/name")),
        ("owner/name:", ("does not exist", "owner/name")),
        ("hf://a b", ("does not exist", "owner/name")),
    ],
)
def test_reports_sources_that_do_not_exist(source, facts):
    with raises_with(DataError, source, *facts):
        load_table(source)


def test_reads_parquet(tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "t.parquet"
    parquet.write_table(arrow.table({"y": [1, None, 3], "s": ["1", "x", None]}), path)
    table = read_parquet(path)
    assert (list(table.column("y")), list(table.column("s"))) == ([1, None, 3], ["1", "x", None])
    assert (table.name, table.line_unit, table.lines[1]) == (str(path), "row", 2)
    assert load_table(str(path)).n_rows == 3


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["ages.csv"], "ages.csv"),
        (["other.csv", "labels.csv", "z.parquet"], "labels.csv"),
        (["metadata.csv", "other.tsv"], "metadata.csv"),
        (["ages.tsv", ".ages.csv", "readme.txt"], "ages.tsv"),
    ],
)
def test_reads_the_table_of_a_folder(tmp_path, names, expected):
    for name in names:
        (tmp_path / name).write_text(TEXT.replace(",", "\t") if name.endswith("tsv") else TEXT)
    (tmp_path / "more.csv").mkdir()
    assert load_table(str(tmp_path)).name == str(tmp_path / expected)


def test_reports_folders_without_a_single_table(tmp_path):
    with raises_with(DataError, str(tmp_path), "no table", "labels.csv"):
        load_table(str(tmp_path))
    for name in "fedcba":
        (tmp_path / f"{name}.csv").write_text(TEXT)
    with raises_with(DataError, "several tables (a.csv, b.csv, c.csv, d.csv, e.csv, …)"):
        load_table(str(tmp_path))
    for name in ("labels.csv", "metadata.csv"):
        (tmp_path / name).write_text(TEXT)
    with raises_with(DataError, "several tables (labels.csv, metadata.csv)"):
        load_table(str(tmp_path))


def test_loads_names_of_the_hub(monkeypatch):
    datasets = pytest.importorskip("datasets")
    requests = []

    def load(name, *, split):
        requests.append((name, split))
        if name == "no/where":
            raise ConnectionError("Couldn't reach 'no/where' on the Hub.\nmore")
        dataset = datasets.Dataset.from_dict({"y": [1, 2]})
        return dataset if split else datasets.DatasetDict(train=dataset, test=dataset)

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert load_table("own-er/na.me").column("split") == ["train", "train", "test", "test"]
    assert load_table("owner/name:train[:50%]").names == ["y"]
    assert load_table("hf://squad").n_rows == 4
    assert load_table("hf://datasets/owner/name:test").name == "hf://datasets/owner/name:test"
    with raises_with(
        DataError, "(Couldn't reach 'no/where' on the Hub)", "check the name and the connection"
    ):
        load_table("no/where")
    assert requests == [
        ("own-er/na.me", None), ("owner/name", "train[:50%]"), ("squad", None),
        ("owner/name", "test"), ("no/where", None),
    ]  # fmt: skip


def test_names_the_extra_for_hub_data_sets(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "datasets", None)
    (tmp_path / "state.json").write_text("{}")
    for source in ("no/where", str(tmp_path)):
        with raises_with(MissingDependencyError, "run pip install ", "[hub]'"):
            load_table(source)


@pytest.fixture
def datasets():
    module = pytest.importorskip("datasets")
    module.disable_progress_bars()
    return module


def test_reads_a_saved_data_set_with_images(tmp_path, datasets):
    pictures = [bytes([137, 80, k]) for k in range(2)]  # never decoded here
    (tmp_path / "local.png").write_bytes(pictures[1])
    images = [
        {"bytes": pictures[0], "path": "a.png"},
        None,
        {"bytes": None, "path": str(tmp_path / "local.png")},
    ]
    kinds = {
        "y": datasets.Value("float32"),
        "image": datasets.Image(),
        "kind": datasets.ClassLabel(names=["cat", "dog"]),
        "list": datasets.Sequence(datasets.Value("int32")),
    }
    values = {"y": [1.5, None, 2], "image": images, "kind": [1, 0, None], "list": [[1], [], [2]]}
    dataset = datasets.Dataset.from_dict(values, features=datasets.Features(kinds))
    dataset.save_to_disk(str(tmp_path / "one"))
    table = load_table(str(tmp_path / "one"))
    assert table.names == ["y", "image", "kind", "list"]
    for name, expected in (("y", [1.5, None, 2]), ("kind", ["dog", "cat", None])):
        assert table.column(name) == expected
    assert table.column("list") == [[1], [], [2]]
    first, missing, last = table.column("image")
    digest = hashlib.sha256(pictures[0]).hexdigest()
    assert (first, missing) == (f"{digest[:2]}/{digest}.png", None)
    assert [(table.root / name).read_bytes() for name in (first, last)] == pictures
    assert table.column("image") == [first, None, last]  # from the cache
    assert (table.name, table.line_unit) == (str(tmp_path / "one"), "row")


def test_saved_splits_become_a_column(tmp_path, datasets):
    first = datasets.Dataset.from_dict({"y": [1, 2, 3]})
    second = datasets.Dataset.from_dict({"y": [3]})
    datasets.DatasetDict(train=first, validation=second).save_to_disk(str(tmp_path / "two"))
    table = load_table(str(tmp_path / "two"))
    assert table.column("split") == ["train"] * 3 + ["validation"]
    assert table.column("y") == [1, 2, 3, 3]
    datasets.DatasetDict(train=first).save_to_disk(str(tmp_path / "one"))
    assert load_table(str(tmp_path / "one")).names == ["y"]
    first.save_to_disk(str(tmp_path / "plain"))
    first.select([2, 0, 1]).save_to_disk(str(tmp_path / "shuffled"))
    digests = {load_table(str(tmp_path / name)).sha256 for name in ("one", "plain", "shuffled")}
    assert len(digests) == 2  # equal values are the same data


def test_reports_unreadable_saved_data_sets(tmp_path, datasets):
    dataset = datasets.Dataset.from_dict({"y": [1, 2], "split": ["a", "b"]})
    text = datasets.Dataset.from_dict({"y": ["a"]})
    named, differing, broken = (tmp_path / name for name in ("named", "differing", "broken"))
    datasets.DatasetDict(train=dataset, test=dataset).save_to_disk(str(named))
    parts = {"train": dataset.remove_columns("split"), "test": text}
    datasets.DatasetDict(parts).save_to_disk(str(differing))
    broken.mkdir()
    (broken / "state.json").write_text("{")
    for folder, fact in (
        (named, "a column 'split'"),
        (differing, "different columns"),
        (broken, "not a readable Hugging Face data set"),
    ):
        with raises_with(DataError, str(folder), fact):
            load_table(str(folder))
