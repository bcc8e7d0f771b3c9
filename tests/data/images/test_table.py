import re
import time

import numpy as np
import pytest

from ranksim.data.images.table import ImageTable, read_table, write_table
from ranksim.exceptions import DataError

HEADER = "age,path,split\n"
ROWS = "31,a/1.jpg,train\n47.5,a/2.jpg,val\n8,b/3.jpg,test\n"


@pytest.fixture
def csv_file(tmp_path):
    def write(content, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def refused(path, sentence, **options):
    with pytest.raises(DataError, match=f"^{re.escape(f'{path}{sentence}')}$"):
        read_table(path, **{"target": "age", **options})


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
def test_reads_text(csv_file, name, content):
    table = read_table(csv_file(content, name), target="age")
    assert table.paths == ("a/1.jpg", "a/2.jpg", "b/3.jpg")
    assert table.labels.dtype == np.float64
    assert table.labels.tolist() == [31, 47.5, 8]
    assert table.parts.tolist() == ["train", "val", "test"]
    assert len(table) == 3
    assert table.counts == (1, 1, 1)
    assert table.part("val").paths == ("a/2.jpg",)


def test_reads_parquet(tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "t.parquet"
    columns = {"file": ["a.jpg", "b.jpg"], "age": [3, None], "more": [{"x": 1}, None]}
    parquet.write_table(arrow.table(columns), path)
    refused(path, ", row 2: column 'age' holds no finite number; correct these values or remove "
                  "these rows.")  # fmt: skip
    parquet.write_table(arrow.table(columns | {"age": [3, 4]}), path)
    table = read_table(path, target="age")
    assert table.paths == ("a.jpg", "b.jpg")
    assert table.labels.tolist() == [3, 4]
    assert table.parts is None
    path.write_bytes(path.read_bytes()[:-20])
    refused(path, " is not a readable Parquet file: save the table again.")


@pytest.mark.parametrize("name", ["path", "image", "file", "filename", "file_name"])
def test_finds_the_column_of_the_image(csv_file, name):
    path = csv_file(f"age,other,{name}\n3,x,a.jpg\n")
    assert read_table(path, target="age").paths == ("a.jpg",)


def test_the_first_of_two_columns_and_a_named_one(csv_file):
    path = csv_file("filename,path,age\nf.jpg,p.jpg,3\n")
    assert read_table(path, target="age").paths == ("p.jpg",)
    assert read_table(path, target="age", image="filename").paths == ("f.jpg",)


def test_other_names_of_validation(csv_file):
    rows = "1,a.jpg,train\n2,b.jpg,valid\n3,c.jpg,validation\n4,d.jpg,dev\n5,e.jpg,test\n"
    table = read_table(csv_file(HEADER + rows), target="age")
    assert table.parts.tolist() == ["train", "val", "val", "val", "test"]


def test_a_column_of_another_meaning_is_no_split(csv_file):
    path = csv_file("age,path,split\n1,a.jpg,left\n2,b.jpg,right\n")
    assert read_table(path, target="age").parts is None
    refused(
        path,
        ", lines 2, 3: column 'split' holds none of train, val and test; correct these values.",
        split="split",
    )


def test_one_wrong_part_does_not_make_the_split_vanish(csv_file):
    path = csv_file(HEADER + ROWS + "4,d.jpg,trian\n")
    refused(path, ", line 5: column 'split' holds none of train, val and test; correct these "
                  "values.")  # fmt: skip


def test_a_split_in_another_column(csv_file):
    path = csv_file((HEADER + ROWS).replace("split", "fold"))
    assert read_table(path, target="age").parts is None
    assert read_table(path, target="age", split="fold").counts == (1, 1, 1)


@pytest.mark.parametrize(
    ("part", "title"), [("train", "training"), ("val", "validation"), ("test", "test")]
)
def test_a_split_without_a_part(csv_file, part, title):
    rows = "".join(line for line in ROWS.splitlines(keepends=True) if part not in line)
    refused(
        csv_file(HEADER + rows),
        f" has no {title} row: give some rows {part!r} in column 'split'.",
    )


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", " is empty: write a header and one row per image."),
        (HEADER, " has no row below its header: put one row an image into it."),
        ("age,picture\n3,a.jpg\n", " has no column named path, image, file, filename or file_name: "
         "say which one holds the image's path, among age, picture."),
        ("years,path\n3,a.jpg\n", " has no column 'age': choose one of years, path."),
        ("age,path,age\n3,a.jpg,4\n", " has two columns 'age': rename one of them."),
        ("age,path\n3,a.jpg\n,b.jpg\nx,c.jpg\nnan,d.jpg\n-inf,e.jpg\n1e999,f.jpg\n ,g.jpg\n",
         ", lines 3, 4, 5, 6, 7 and 1 more: column 'age' holds no finite number; correct these "
         "values or remove these rows."),
        ("age,path\n3,\n4,b.jpg\n5,  \n", ", lines 2, 4: the path of the image is empty; fill it "
         "in or remove these rows."),
        ("age,path\n3,a.jpg\n4,b.jpg\n5,./a.jpg\n", ", line 4: an image stands a second time; "
         "keep one row an image."),
        ("age,path\n3,a.jpg\n4\n5,b.jpg,6\n", ", lines 3, 4: the number of values "
         "differs from the 2 columns of the header; quote values that contain a separator, or correct "
         "these rows."),
        ('age,path\n3,"a\n.jpg"\nx,b.jpg\n', ", line 4: column 'age' holds no finite number; "
         "correct these values or remove these rows."),
        ('age,path\n3,"a.jpg\n', ", line 2: unexpected end of data; correct the quoting."),
        (b"age,path\n3,a.jpg\n4,\xe9.jpg\n",
         ", line 3: the text is not UTF-8; save the table as UTF-8."),
    ],
)  # fmt: skip
def test_faults_are_named_by_their_lines(csv_file, content, sentence):
    refused(csv_file(content), sentence)


@pytest.mark.parametrize(
    "outside", ["/a.jpg", "../a.jpg", "x/../../a.jpg", "x/..", "C:\\a.jpg", "c:/a.jpg",
                "\\\\host\\a.jpg", "x\\..\\a.jpg"]
)  # fmt: skip
def test_an_image_lies_below_the_root(csv_file, outside):
    refused(
        csv_file(f"age,path\n3,a..b/..c/d...jpg\n4,{outside}\n"),
        ", line 3: the path of the image is absolute or holds '..' or a NUL; write it relative "
        "to the image folder, below which every image must lie.",
    )


def test_a_missing_table_and_an_unknown_column(csv_file, tmp_path):
    refused(tmp_path / "none.csv", " is not a file: name a CSV, TSV or Parquet table that exists.")
    refused(tmp_path, " is not a file: name a CSV, TSV or Parquet table that exists.")
    path = csv_file(HEADER + ROWS)
    for option in ("image", "split"):
        refused(path, " has no column 'x': choose one of age, path, split.", **{option: "x"})


def test_repeats_where_they_are_allowed(csv_file):
    path = csv_file(HEADER + ROWS + "31,a/1.jpg,train\n")
    refused(path, ", line 5: an image stands a second time; keep one row an image.")
    assert read_table(path, target="age", repeats=True).counts == (2, 1, 1)
    path = csv_file(HEADER + ROWS + "32,a/1.jpg,train\n")
    refused(path, ", line 5: an image stands a second time with another label; keep one label an "
                  "image.", repeats=True)  # fmt: skip
    path = csv_file(HEADER + ROWS + "31,a/1.jpg,test\n")
    refused(path, ", line 5: an image stands a second time in another part; keep every image in "
                  "one part, so that no test image is trained on.", repeats=True)  # fmt: skip


@pytest.mark.parametrize("parts", [None, np.array(["train", "val", "test", "train"])])
def test_what_is_written_reads_back(tmp_path, parts):
    paths = ("a b,c.jpg", 'q"é".jpg', "line\r\nbreak.jpg", "4.jpg")
    table = ImageTable(paths, np.array([31, 0.1 + 0.2, 1e300, -7]), parts)
    path = tmp_path / "new" / "t.csv"
    write_table(path, table)
    again = read_table(path, target="age")
    assert again.paths == table.paths
    np.testing.assert_array_equal(again.labels, table.labels)
    assert (again.parts is None) if parts is None else (again.parts.tolist() == parts.tolist())
    assert path.read_text(encoding="utf-8").splitlines()[1].startswith('31,"a b,c.jpg"')
    assert [file.name for file in path.parent.iterdir()] == ["t.csv"]


@pytest.mark.parametrize(
    "name", ["agedb", "agedb_extrapolation", "agedb_interpolation", "agedb_blindspot"]
)
def test_published_files_are_written_back_byte_for_byte(shared_data, tmp_path, name):
    path = shared_data / "agedb-dir" / f"{name}.csv"
    if not path.is_file():
        pytest.skip("the AgeDB-DIR splits are not here: put them into ../shared/data")
    write_table(tmp_path / "t.csv", read_table(path, target="age", repeats=name != "agedb"))
    assert (tmp_path / "t.csv").read_bytes() == path.read_bytes()


def test_lengths_and_parts_are_checked():
    with pytest.raises(
        ValueError, match=r"^paths, labels and parts must be equally long, got \[1, 2\]$"
    ):
        ImageTable(("a",), np.zeros(2))
    plain = ImageTable(("a",), np.zeros(1))
    with pytest.raises(
        ValueError, match=r"^part must be one of \('train', 'val', 'test'\) of a table with a "
    ):
        plain.part("train")
    with pytest.raises(ValueError, match=r"^counts are those of a split, and this table has none$"):
        _ = plain.counts


def test_many_rows_are_quick(csv_file):
    rows = "".join(f"{i % 90},folder/{i:07}.jpg,{('train', 'val', 'test')[i % 3]}\n"
                   for i in range(200_000))  # fmt: skip
    path = csv_file(HEADER + rows)
    start = time.process_time()
    assert len(read_table(path, target="age")) == 200_000
    assert time.process_time() - start < 10  # measured: 0.5 s
