import numpy as np
import pytest

from ranksim.data.images.table import ImageTable, image_paths, read_split_file, write_split_file
from ranksim.data.table import Table
from ranksim.exceptions import DataError

HEADER = "age,path,split\n"
ROWS = "31,a/1.jpg,train\n47.5,a/2.jpg,val\n8,b/3.jpg,test\n"


@pytest.fixture
def split_file(tmp_path):
    def write(content, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def assert_rejected(path, *words, **options):
    with pytest.raises(DataError) as caught:
        read_split_file(path, **options)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", (HEADER + ROWS).encode()),
        ("bom.csv", b"\xef\xbb\xbf" + (HEADER + ROWS).encode()),
        ("crlf.csv", (HEADER + ROWS).replace("\n", "\r\n").encode()),
        ("t.TSV", (HEADER + ROWS).replace(",", "\t").encode()),
        ("blank.csv", (HEADER + "\n" + ROWS + "\n\n").encode()),
    ],
)
def test_reads_split_file(split_file, name, content):
    table = read_split_file(split_file(content, name))
    assert table.paths == ("a/1.jpg", "a/2.jpg", "b/3.jpg")
    assert table.labels.dtype == np.float64
    assert table.labels.tolist() == [31, 47.5, 8]
    assert table.parts.tolist() == ["train", "val", "test"]
    assert (len(table), table.counts) == (3, (1, 1, 1))
    assert table.part("val").paths == ("a/2.jpg",)


def test_accepts_other_names_of_validation(split_file):
    rows = "1,a.jpg,train\n2,b.jpg,valid\n3,c.jpg,validation\n4,d.jpg,dev\n5,e.jpg,test\n"
    table = read_split_file(split_file(HEADER + rows))
    assert table.parts.tolist() == ["train", "val", "val", "val", "test"]


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_rejects_a_split_without_a_part(split_file, part):
    rows = "".join(line for line in ROWS.splitlines(keepends=True) if part not in line)
    path = split_file(HEADER + rows)
    with pytest.raises(DataError, match=f"has no samples .column 'split' of {path}"):
        read_split_file(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["is empty"]),
        (HEADER, ["no rows"]),
        ("years,path,split\n3,a.jpg,test\n", ["'age'"]),
        ("age,picture,split\n3,a.jpg,test\n", ["'path'"]),
        ("age,path\n3,a.jpg\n", ["'split'"]),
        ("age,path,age\n3,a.jpg,4\n", ["two columns 'age'"]),
        (HEADER + ROWS + "x,c.jpg,test\n", ["line 5", "'age'", "not a finite number"]),
        (HEADER + ROWS + "-inf,c.jpg,test\n", ["line 5", "not a finite number"]),
        (HEADER + ROWS + ",c.jpg,test\n", ["line 5", "'age' has no value"]),
        (
            HEADER + "3,,test\n4,b.jpg,test\n5,  ,test\n",
            ["lines 2, 4", "''", "column 'path' is empty"],
        ),
        (HEADER + ROWS + "31,./a/1.jpg,train\n", ["line 5", "a second time"]),
        (HEADER + ROWS + "4,d.jpg,trian\n", ["line 5", "not train, val or test"]),
        (HEADER + ROWS + "4\n", ["line 5"]),
        (HEADER + '3,"a.jpg,test\n', ["line 2", "quotation marks"]),
        (HEADER.encode() + b"3,a.jpg,test\n4,\xe9.jpg,test\n", ["line 3", "UTF-8"]),
    ],
)
def test_errors_name_lines_and_columns(split_file, content, words):
    assert_rejected(split_file(content), *words)


def test_rejects_a_missing_file(tmp_path):
    assert_rejected(tmp_path / "none.csv", "is not a file")


@pytest.mark.parametrize(
    "outside", ["/a.jpg", "../a.jpg", "x/../../a.jpg", "x/..", "C:\\a.jpg", "c:/a.jpg",
                "\\\\host\\a.jpg", "x\\..\\a.jpg", "a\0b", "x" * 256]
)  # fmt: skip
def test_image_paths_are_below_the_root(outside):
    table = Table.from_columns("t", {"file": ["a..b/./c//d...jpg", outside]})
    with pytest.raises(DataError, match="row 2"):
        image_paths(table, "file")
    table = Table.from_columns("t", {"file": ["a..b/./c//d...jpg"]})
    assert image_paths(table, "file") == ("a..b/c/d...jpg",)


def test_allows_repeats_with_one_label_and_part(split_file):
    path = split_file(HEADER + ROWS + "31,a/1.jpg,train\n")
    assert read_split_file(path, allow_repeats=True).counts == (2, 1, 1)
    path = split_file(HEADER + ROWS + "32,a/1.jpg,train\n")
    assert_rejected(path, "line 5", "another label", allow_repeats=True)
    path = split_file(HEADER + ROWS + "31,a/1.jpg,test\n")
    assert_rejected(path, "line 5", "another part", allow_repeats=True)


def test_written_split_file_reads_back(tmp_path):
    paths = ("a b,c.jpg", 'q"é".jpg', "line\r\nbreak.jpg", "4.jpg")
    parts = np.array(["train", "val", "test", "train"])
    table = ImageTable(paths, np.array([31, 0.1 + 0.2, 1e300, -7]), parts)
    path = tmp_path / "new" / "t.csv"
    write_split_file(path, table)
    again = read_split_file(path)
    assert again.paths == table.paths
    np.testing.assert_array_equal(again.labels, table.labels)
    assert again.parts.tolist() == parts.tolist()
    assert path.read_text(encoding="utf-8").splitlines()[1].startswith('31,"a b,c.jpg"')
    assert [file.name for file in path.parent.iterdir()] == ["t.csv"]


@pytest.mark.parametrize(
    "name", ["agedb", "agedb_extrapolation", "agedb_interpolation", "agedb_blindspot"]
)
def test_published_files_are_written_back_byte_for_byte(shared_data, tmp_path, name):
    path = shared_data / "agedb-dir" / f"{name}.csv"
    if not path.is_file():
        pytest.skip("the AgeDB-DIR splits are not here: put them into ../shared/data")
    write_split_file(tmp_path / "t.csv", read_split_file(path, allow_repeats=name != "agedb"))
    assert (tmp_path / "t.csv").read_bytes() == path.read_bytes()


def test_image_table_checks_lengths_and_parts():
    with pytest.raises(ValueError, match=r"equally long, got \[1, 2\]"):
        ImageTable(("a",), np.zeros(2))
    plain = ImageTable(("a",), np.zeros(1))
    with pytest.raises(ValueError, match="no split"):
        plain.part("train")
    with pytest.raises(ValueError, match="no split"):
        _ = plain.counts
