import hashlib
import re
import sys

import pytest

from ranksim.data.reading import load_table
from ranksim.exceptions import DataError, MissingDependencyError

TEXT = "age,path\n31,a.png\n47,b.png\n"
READ = "give a .csv, .tsv, .csv.gz or .parquet file"
HUB = "is no file or folder here and cannot be read from the Hugging Face hub"


@pytest.fixture(autouse=True)
def cache_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setenv("RANKSIM_CACHE", str(tmp_path / "cache"))


def refused(data, sentence):
    with pytest.raises(DataError, match=f"^{re.escape(sentence)}$"):
        load_table(str(data))


@pytest.mark.parametrize("name", ["t.csv", "T.CSV", "t.tsv"])
def test_a_file(tmp_path, name):
    path = tmp_path / name
    path.write_text(TEXT.replace(",", "\t") if name.endswith("tsv") else TEXT)
    table = load_table(str(path))
    assert (table.name, table.rows, table.root) == (str(path), 2, tmp_path)
    assert table.column("age") == ["31", "47"]


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["ages.csv"], "ages.csv"),
        (["other.csv", "labels.csv", "z.parquet"], "labels.csv"),
        (["metadata.csv", "other.tsv"], "metadata.csv"),
        (["ages.tsv", ".ages.csv", "readme.txt"], "ages.tsv"),
    ],
)
def test_a_folder_with_one_table(tmp_path, names, chosen):
    for name in names:
        (tmp_path / name).write_text("age\tpath\n1\tx\n" if name.endswith("tsv") else TEXT)
    (tmp_path / "more.csv").mkdir()
    table = load_table(str(tmp_path))
    assert (table.name, table.root) == (str(tmp_path / chosen), tmp_path)


def test_folders_that_say_too_little(tmp_path):
    refused(tmp_path, f"{tmp_path} holds no table: put labels.csv beside its files.")
    for name in "fedcba":
        (tmp_path / f"{name}.csv").write_text(TEXT)
    refused(
        tmp_path,
        f"{tmp_path} holds several tables (a.csv, b.csv, c.csv, d.csv, e.csv, …): name one of "
        "them.",
    )
    for name in ("labels.csv", "metadata.csv"):
        (tmp_path / name).write_text(TEXT)
    refused(
        tmp_path, f"{tmp_path} holds several tables (labels.csv, metadata.csv): name one of them."
    )


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("t.xlsx", b"PK", "{} is a spreadsheet: save its sheet as CSV in UTF-8."),
        ("t.ODS", b"PK", "{} is a spreadsheet: save its sheet as CSV in UTF-8."),
        ("t.json", b"[]", "{} is no table that can be read: " + READ + "."),
        ("t", b"a", "{} is no table that can be read: " + READ + "."),
        ("t.csv", b"age,path\n", "{} has no row of values: put one row a sample into it."),
        ("t.csv", None, "{} does not exist: " + READ + " that does."),
        ("t.xls", None, "{} does not exist: " + READ + " that does."),
        ("a b", None, "{} is no file or folder: name a table, a folder with one, or a data set of "
         "the Hugging Face hub (owner/name)."),
    ],
)  # fmt: skip
def test_what_cannot_be_read(tmp_path, name, content, sentence):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    refused(path, sentence.format(path))


@pytest.mark.parametrize("data", ["nowhere", "../nowhere/x", "a/b/c", "owner/name:", "hf://a b"])
def test_what_is_no_name_of_a_data_set(data):
    refused(data, f"{data} is no file or folder: name a table, a folder with one, or a data set of "
                  "the Hugging Face hub (owner/name).")  # fmt: skip


def test_names_of_the_hub(monkeypatch):
    datasets = pytest.importorskip("datasets")
    asked = []

    def load(name, *, split):
        asked.append((name, split))
        if name == "no/where":
            raise ConnectionError("Couldn't reach 'no/where' on the Hub.\nmore")
        whole = datasets.Dataset.from_dict({"y": [1, 2]})
        return whole if split else datasets.DatasetDict(train=whole, test=whole)

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert load_table("own-er/na.me").column("split") == ["train", "train", "test", "test"]
    assert load_table("owner/name:train[:50%]").names == ["y"]
    assert load_table("hf://squad").rows == 4
    assert load_table("hf://datasets/owner/name:test").name == "hf://datasets/owner/name:test"
    refused(
        "no/where",
        f"no/where {HUB} (Couldn't reach 'no/where' on the Hub): check the name and the "
        "connection.",
    )
    assert asked == [
        ("own-er/na.me", None), ("owner/name", "train[:50%]"), ("squad", None),
        ("owner/name", "test"), ("no/where", None),
    ]  # fmt: skip


def test_without_the_library(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        MissingDependencyError, match=r"^no/where is no file or folder here, and to look"
    ):
        load_table("no/where")
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(MissingDependencyError, match=r"run pip install 'ranksim\[hub\]'\.$"):
        load_table(str(tmp_path))


@pytest.fixture
def pictures():
    return [bytes([137, 80, k]) for k in range(3)]  # never decoded here


def test_a_saved_data_set(tmp_path, pictures):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    (tmp_path / "local.png").write_bytes(pictures[2])
    images = [
        {"bytes": pictures[0], "path": "a.png"},
        None,
        {"bytes": None, "path": str(tmp_path / "local.png")},
    ]
    kinds = datasets.Features(
        {
            "y": datasets.Value("float32"),
            "image": datasets.Image(),
            "kind": datasets.ClassLabel(names=["cat", "dog"]),
            "list": datasets.Sequence(datasets.Value("int32")),
        }
    )
    values = {"y": [1.5, None, 2], "image": images, "kind": [1, 0, None], "list": [[1], [], [2]]}
    whole = datasets.Dataset.from_dict(values, features=kinds)
    whole.save_to_disk(str(tmp_path / "one"))
    table = load_table(str(tmp_path / "one"))
    assert table.names == ["y", "image", "kind", "list"]
    assert table.column("y") == [1.5, None, 2]
    assert table.column("kind") == ["dog", "cat", None]
    assert table.column("list") == [[1], [], [2]]
    names = table.column("image")
    assert names[1] is None
    assert (table.root / names[0]).read_bytes() == pictures[0]
    assert (table.root / names[2]).read_bytes() == pictures[2]
    digest = hashlib.sha256(pictures[0]).hexdigest()
    assert names[0] == f"{digest[:2]}/{digest}.png"
    assert table.column("image") == names
    assert table.describe_rows([2]) == f"{tmp_path / 'one'}, row 3"

    order = whole.select([2, 0, 1])
    order.save_to_disk(str(tmp_path / "other"))
    other = load_table(str(tmp_path / "other"))
    assert other.column("y") == [2, 1.5, None]
    assert other.sha256 != table.sha256
    whole.save_to_disk(str(tmp_path / "again"))
    assert load_table(str(tmp_path / "again")).sha256 == table.sha256

    datasets.DatasetDict(train=whole, validation=order.select([0])).save_to_disk(
        str(tmp_path / "parts")
    )
    parts = load_table(str(tmp_path / "parts"))
    assert parts.column("split") == ["train"] * 3 + ["validation"]
    assert parts.column("y") == [1.5, None, 2, 2]
    datasets.DatasetDict(train=whole).save_to_disk(str(tmp_path / "part"))
    assert "split" not in load_table(str(tmp_path / "part")).names


def test_saved_data_sets_that_cannot_be_read(tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    whole = datasets.Dataset.from_dict({"y": [1, 2], "split": ["a", "b"]})
    folder = tmp_path / "named"
    datasets.DatasetDict(train=whole, test=whole).save_to_disk(str(folder))
    refused(folder, f"{folder} has splits and a column 'split': rename the column.")
    folder = tmp_path / "differ"
    text = datasets.Dataset.from_dict({"y": ["a"]})
    datasets.DatasetDict(train=whole.remove_columns("split"), test=text).save_to_disk(str(folder))
    refused(folder, f"The splits of {folder} differ in their columns: use one of them alone.")
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "state.json").write_text("{")
    with pytest.raises(
        DataError, match=f"^{re.escape(str(folder))} is no readable Hugging Face data set .*again.$"
    ):
        load_table(str(folder))
