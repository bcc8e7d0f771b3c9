import csv
import re

import numpy as np
import pytest
from PIL import Image, ImageOps

from ranksim._utils.storage import sha256
from ranksim.data.images.table import PARTS, read_table, write_table
from ranksim.datasets import agedb_dir, imdb_wiki_dir
from ranksim.datasets.image_benchmarks import find_split_file, load_images, plan_ages, plan_own
from ranksim.datasets.prepare import prepare
from ranksim.exceptions import DataError, UsageError
from tests.helpers import faces

COUNTS = dict.fromkeys(range(20, 32), 4) | {25: 60, 26: 30}
TOTAL = sum(COUNTS.values())
MANY = dict.fromkeys(range(20, 36), 70)


def sentence(error, text, run, *given, **options):
    with pytest.raises(error, match=f"^{re.escape(text)}$"):
        run(*given, **options)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Faces in all three layouts."""
    root = tmp_path_factory.mktemp("faces")
    for layout in (faces.agedb, faces.imdb_wiki, faces.own):
        layout(root, COUNTS, size=8)
    return root


@pytest.fixture
def agedb(tmp_path):
    root = tmp_path / "agedb"
    faces.agedb(root, COUNTS, size=8)
    prepare("agedb-dir", root)
    return root


@pytest.fixture
def own(tmp_path):
    """Writes a table of the user's own, without images."""
    (tmp_path / "photos").mkdir()

    def write(labels, parts=None, order=None, name="labels.csv", images=None):
        rows = [
            [(images or "photos/{}.png").format(k), label, *([] if parts is None else [parts[k]])]
            for k, label in enumerate(labels)
        ]
        rows = rows if order is None else [rows[k] for k in order]
        with (tmp_path / name).open("w", newline="") as file:
            header = ["file", "years", "part"][: 2 + (parts is not None)]
            csv.writer(file).writerows([header, *rows])
        return {"table": tmp_path / name, "image_root": tmp_path, "target": "years"}

    return write


def parts_of(plan):
    return dict(zip(plan.table.paths, plan.table.parts.tolist(), strict=True))


def test_ages_by_the_table_that_prepare_made(agedb):
    plan = plan_ages("agedb-dir", data_dir=agedb)
    made = read_table(agedb / "agedb.csv", target="age")
    assert (plan.name, plan.root, plan.bins) == ("agedb-dir", agedb, agedb_dir.BINS)
    assert plan.table.paths == made.paths
    assert plan.table.parts.tolist() == made.parts.tolist()
    np.testing.assert_array_equal(plan.table.labels, made.labels)
    assert plan.facts == {"sha256": sha256(agedb / "agedb.csv")}
    assert not plan.comparable  # drawn here


def test_where_tables_and_images_lie(agedb, tmp_path, monkeypatch):
    def root(**given):
        return plan_ages("agedb-dir", **given).root

    other = agedb / "agedb-dir"
    other.mkdir()
    (agedb / "agedb.csv").rename(other / "agedb.csv")
    assert root(data_dir=agedb) == agedb  # images in the folder that was named
    inner = tmp_path / "data" / "agedb-dir"
    inner.parent.mkdir()
    agedb.rename(inner)
    (inner / "agedb-dir" / "agedb.csv").rename(inner / "agedb.csv")
    assert root(data_dir=tmp_path / "data") == inner  # beside the table
    assert root(data_dir=inner) == inner
    file = tmp_path / "elsewhere.csv"
    (inner / "agedb.csv").rename(file)
    assert root(data_dir=inner, split_file=file) == inner
    monkeypatch.setenv("RANKSIM_DATA", str(inner))
    assert root(split_file=file) == inner
    file.rename(inner / "agedb.csv")
    assert root() == inner
    monkeypatch.delenv("RANKSIM_DATA")
    assert root(split_file=inner / "agedb.csv") == inner
    monkeypatch.setenv("RANKSIM_DATA", str(tmp_path))  # the folder that is named comes first
    assert root(data_dir=inner) == inner


def test_a_table_that_is_missing(tmp_path, monkeypatch):
    made = "ranksim data prepare {} --root DIR{} makes it, and --data-dir DIR names it."
    place = {"split_file": None, "protocol": None}
    sentence(DataError, f"{tmp_path} holds no agedb.csv: {made.format('agedb-dir', '')}",
             plan_ages, "agedb-dir", data_dir=tmp_path)  # fmt: skip
    sentence(DataError, "No folder with imdb_wiki_blindspot.csv was named: "
             + made.format("imdb-wiki-dir", " --protocol blindspot"),
             plan_ages, "imdb-wiki-dir", protocol="blindspot")  # fmt: skip
    monkeypatch.setenv("RANKSIM_DATA", str(tmp_path / "gone"))
    sentence(DataError, f"{tmp_path / 'gone'} holds no imdb_wiki.csv: "
             + made.format("imdb-wiki-dir", ""),
             find_split_file, "imdb-wiki-dir", data_dir=None, **place)  # fmt: skip
    sentence(DataError, f"{tmp_path} is not a file: name one with --split-file.",
             plan_ages, "agedb-dir", split_file=tmp_path)  # fmt: skip


def test_agedb_without_its_images(agedb):
    (agedb / "AgeDB").rename(agedb / "Old")
    sentence(
        DataError,
        f"{agedb} has no readable folder AgeDB: AgeDB is given out by its authors with a "
        "password; ask them, and then put the images there as "
        "AgeDB/<index>_<Name>_<age>_<gender>.jpg, or let --archive AgeDB.zip unpack them.",
        plan_ages, "agedb-dir", data_dir=agedb,
    )  # fmt: skip


def published(monkeypatch, root, name="agedb.csv"):
    """Make the rows of a table the published ones."""
    table = read_table(root / name, target="age", repeats=True)
    monkeypatch.setitem(agedb_dir.FINGERPRINTS, name, agedb_dir.fingerprint(table))
    return table


@pytest.mark.parametrize("how", ["prepared", "split file", "copied"])
def test_the_published_split_is_comparable(agedb, tmp_path, monkeypatch, how):
    table = published(monkeypatch, agedb)
    given = {"data_dir": agedb}
    if how != "prepared":  # names as in the file that was published, before images were renamed
        file = (tmp_path if how == "split file" else agedb) / "agedb.csv"
        (agedb / "agedb.csv").rename(file)
        old = agedb / table.paths[3]
        old.rename(old.with_name(old.name.replace("Drawn", "Réal")))
        given |= {"split_file": file} if how == "split file" else {}
    plan = plan_ages("agedb-dir", **given)
    assert plan.comparable
    benchmark, _ = load_images(plan, 4)  # every image is found
    assert benchmark.comparable
    assert [len(part) for part in benchmark.parts] == list(table.counts)


@pytest.mark.parametrize("how", ["part", "label", "row", "broken"])
def test_what_differs_is_not_comparable(agedb, monkeypatch, how):
    table = published(monkeypatch, agedb)
    if how == "part":
        val, train = (np.flatnonzero(table.parts == name)[0] for name in ("val", "train"))
        table.parts[[val, train]] = table.parts[[train, val]]
    elif how == "label":
        table.labels[0] += 1
    elif how == "row":
        table = table.take(np.arange(1, len(table)))
    else:
        (agedb / table.paths[-1]).write_bytes(b"")
    write_table(agedb / "agedb.csv", table)
    plan = plan_ages("agedb-dir", data_dir=agedb)
    assert plan.comparable == (how == "broken")
    benchmark, _ = load_images(plan, 4, skip_broken=True)
    assert not benchmark.comparable


def test_a_published_split_stands_for_no_other(agedb, monkeypatch):
    table = published(monkeypatch, agedb)
    write_table(agedb / "agedb_blindspot.csv", table)
    sentence(
        DataError,
        f"{agedb / 'agedb_blindspot.csv'} is the published agedb.csv, where the split of "
        "agedb_blindspot.csv was expected: name that one, or ask for the protocol of this one.",
        plan_ages, "agedb-dir", data_dir=agedb, protocol="blindspot",
    )  # fmt: skip


def test_the_real_split_is_comparable_and_its_draws_are_not(shared_data, tmp_path):
    path = shared_data / "agedb-dir" / "agedb.csv"
    if not path.is_file():
        pytest.skip("the AgeDB-DIR splits are not here: put them into ../shared/data")
    (tmp_path / "AgeDB").mkdir()
    for name in read_table(path, target="age").paths:
        (tmp_path / name).touch()
    plan = plan_ages("agedb-dir", data_dir=tmp_path, split_file=path)
    assert plan.comparable
    assert plan.table.counts == agedb_dir.COUNTS
    prepare("agedb-dir", tmp_path, check=lambda root, paths: {})
    plan = plan_ages("agedb-dir", data_dir=tmp_path)
    assert plan.table.counts == agedb_dir.COUNTS
    assert not plan.comparable


def test_imdb_wiki(drawn, monkeypatch):
    prepared = prepare("imdb-wiki-dir", drawn)
    plan = plan_ages("imdb-wiki-dir", data_dir=drawn)
    assert (plan.root, plan.bins, plan.comparable) == (drawn, imdb_wiki_dir.BINS, False)
    assert sum(plan.table.counts) == TOTAL
    monkeypatch.setattr(imdb_wiki_dir, "COUNTS", prepared.counts)
    assert plan_ages("imdb-wiki-dir", data_dir=drawn).comparable
    (drawn / "imdb_wiki.csv").rename(drawn / "imdb_wiki_blindspot.csv")
    assert not plan_ages("imdb-wiki-dir", data_dir=drawn, protocol="blindspot").comparable


@pytest.mark.parametrize("protocol", ["extrapolation", "interpolation", "blindspot"])
def test_a_published_protocol_repeats_images(tmp_path, protocol):
    faces.agedb(tmp_path, dict.fromkeys(range(20, 26), 3), size=8)
    table = agedb_dir.find(tmp_path).table
    parts = np.array([PARTS[k % 3] for k in range(len(table))])
    rows = np.array([*range(len(table)), 0, 0, 2])
    name = f"agedb_{protocol}.csv"
    write_table(tmp_path / name, type(table)(table.paths, table.labels, parts).take(rows))
    plan = plan_ages("agedb-dir", data_dir=tmp_path, protocol=protocol)
    benchmark, datasets = load_images(plan, 4)
    train, _, test = datasets
    assert benchmark.facts["counts"] == [8, 6, 7]
    assert train.rows[[0, -2, -1]].unique().numel() == 1
    assert test.rows[0] == test.rows[-1]
    assert len({row for data in datasets for row in data.rows.tolist()}) == 18
    (tmp_path / table.paths[0]).write_bytes(b"")
    text = f"1 of 18 images cannot be used: {table.paths[0]} is empty; mend them, or leave them " \
           "out with --skip-broken."  # fmt: skip
    sentence(DataError, text, load_images, plan, 4)
    benchmark, _ = load_images(plan, 4, skip_broken=True)
    assert benchmark.facts["counts"] == [5, 6, 7]  # each of its rows
    assert benchmark.facts["left_out"] == 1


def test_a_split_column(own):
    parts = ["train", "valid", "test", "train", "dev", "test", "validation", "val"]
    given = own([3, 1, 2, 9, 4, 4, 5, 6], parts)
    plan = plan_own(**given, split="part")
    assert plan.table.parts.tolist() == [
        "train", "val", "test", "train", "val", "test", "val", "val",
    ]  # fmt: skip
    assert plan.table.paths == tuple(f"photos/{k}.png" for k in range(8))
    assert (plan.name, plan.root, plan.comparable) == ("images", given["image_root"], False)
    assert plan.facts == {"sha256": sha256(given["table"]), "bins": 9}
    assert plan.bins.edges.tolist() == list(range(1, 11))
    text = f"{given['table']} has no column 'fold': choose among file, years, part."
    sentence(DataError, text, plan_own, **given, split="fold")


def test_a_drawn_split_is_that_of_the_rule(own):
    labels = [age for age, count in COUNTS.items() for _ in range(count)]
    given = own(labels)
    plan = plan_own(**given, cap=7)
    drawn = parts_of(plan)
    assert len(drawn) == TOTAL
    for age, count in COUNTS.items():
        held = [drawn[f"photos/{k}.png"] for k, label in enumerate(labels) if label == age]
        assert held.count("val") == held.count("test") == min(count // 3, 7)
    assert plan.facts == {
        "sha256": sha256(given["table"]), "bins": 12, "split_seed": 666, "cap": 7,
    }  # fmt: skip
    assert parts_of(plan_own(**given, cap=7)) == drawn
    assert parts_of(plan_own(**given, cap=7, split_seed=1)) != drawn
    assert plan_own(**given, split_seed=1).facts["split_seed"] == 1
    assert plan_own(**given).table.counts == (TOTAL - 80, 40, 40)


@pytest.mark.parametrize("protocol", [None, "extrapolation", "interpolation", "blindspot"])
def test_a_drawn_split_does_not_depend_on_the_order_of_rows(own, protocol):
    labels = [age for age, count in MANY.items() for _ in range(count * 3)]
    shuffled = np.random.default_rng(0).permutation(len(labels))
    first = plan_own(**own(labels), protocol=protocol)
    second = plan_own(**own(labels, order=shuffled, name="other.csv"), protocol=protocol)
    assert parts_of(first) == parts_of(second)
    assert first.facts.pop("sha256") != second.facts.pop("sha256")
    assert first.facts == second.facts
    np.testing.assert_array_equal(first.table.labels, second.table.labels)


@pytest.mark.parametrize("protocol", ["extrapolation", "interpolation", "blindspot"])
@pytest.mark.parametrize("width", [None, 0.5])
def test_a_protocol_on_data_of_ones_own(own, protocol, width):
    """Labels of a quantity other than age, and a column named otherwise than split."""
    draw = np.random.default_rng(0)
    labels = np.repeat(np.arange(100, 116), 300) * (1 if width is None else 0.5)
    given = own(labels.tolist(), draw.choice(PARTS, len(labels)).tolist())
    plan = plan_own(**given, protocol=protocol, bin_width=width)
    train, val, test = (plan.table.part(name).labels for name in PARTS)
    assert np.unique(plan.bins.counts(test)).tolist() == [50]  # uniform over the labels
    assert len(plan.bins) == 16
    assert len(val) == round(0.109 * (len(train) + len(val)))
    assert len(set(plan.table.paths)) == len(plan.table) < len(labels) + 1
    counts = plan.bins.counts(np.concatenate([train, val]))
    if protocol == "extrapolation":
        assert counts[[0, -1]].max() <= 1 < counts[8]
    elif protocol == "interpolation":
        assert counts[8] < counts[0]
    else:
        assert 0 < np.count_nonzero(counts == 0) < 4
    assert plan.facts["split_seed"] == 666
    assert "cap" not in plan.facts
    regions = open_regions(plan)
    assert (regions.counts == plan.bins.counts(train)).all()


@pytest.mark.parametrize(
    ("given", "option", "what"),
    [
        ({"protocol": "blindspot", "split": "part"}, "--split", "the protocol blindspot"),
        ({"protocol": "blindspot", "cap": 3}, "--cap", "the protocol blindspot"),
        ({"split": "part", "split_seed": 0}, "--split-seed", "a column"),
        ({"per_bin": 3}, "--per-bin", "the published rule"),
    ],
)
def test_what_would_do_nothing_is_refused(own, given, option, what):
    where = own(list(range(9)), ["train", "val", "test"] * 3)
    text = f"{option} does nothing where the split is that of {what}: leave one of the two out."
    sentence(UsageError, text, plan_own, **where, **given)


def open_regions(plan):
    """Regions of the benchmark, whose images are all one."""
    for path in plan.table.paths:
        (plan.root / path).write_bytes(b"P5 1 1 255\n\x80")
    return load_images(plan, 2)[0].regions("rule")


def test_too_few_for_a_protocol_or_a_split(own):
    given = own([1, 2, 3, 4, 5])
    text = f"{given['table']} has too few images for a split by the published rule, which needs " \
           "three of one label: give more, or a column with train, val and test."  # fmt: skip
    sentence(DataError, text, plan_own, **given)
    text = "Protocol blindspot needs 10 neighbouring label bins of at least 140 samples each, " \
           "and 0 are there: use more data, or the split without a protocol."  # fmt: skip
    sentence(UsageError, text, plan_own, **given, protocol="blindspot")
    text = "Protocol 'none' does not exist: choose extrapolation, interpolation, blindspot."
    sentence(UsageError, text, plan_own, **given, protocol="none")


@pytest.mark.parametrize(
    ("labels", "width", "edges"),
    [([3, 5, 4], None, [3, 4, 5, 6]),
     ([-1, 1, 0], None, [-1, 0, 1, 2]),
     ([7, 7, 7], None, [7, 8]),
     ([0, 999, 5], None, list(range(1_001))),
     ([0, 1_000, 5], None, np.linspace(0, 1_000, 51).tolist()),
     ([0.5, 5.5, 2], None, np.linspace(0.5, 5.5, 51).tolist()),
     ([3, 5, 4], 2, [2, 4, 6]),
     ([0.0, 0.7, 0.2], 0.25, [0.0, 0.25, 0.5, 0.75]),
     ([3, 5, 4], 1e9, [0, 1e9])],
)  # fmt: skip
def test_bins(own, labels, width, edges):
    plan = plan_own(**own(labels, ["train", "val", "test"]), split="part", bin_width=width)
    np.testing.assert_allclose(plan.bins.edges, edges, rtol=1e-6, atol=1e-7)
    assert plan.facts["bins"] == len(edges) - 1
    assert plan.bins.counts(labels).sum() == 3


@pytest.mark.parametrize(
    ("labels", "width", "what", "why"),
    [([3, 5, 4], 0.0, "--bin-width 0 does not suit",
      "width must be a finite number above 0, got 0.0"),
     ([3, 5, 4], -1.0, "--bin-width -1 does not suit",
      "width must be a finite number above 0, got -1.0"),
     ([3, 5, 4], float("nan"), "--bin-width nan does not suit",
      "width must be a finite number above 0, got nan"),
     ([3, 5, 4], float("inf"), "--bin-width inf does not suit",
      "width must be a finite number above 0, got inf"),
     ([3, 5, 4], 1e-9, "--bin-width 1e-09 does not suit",
      "need at most 10,000,000 bins, got 2,000,000,000"),
     ([3e6, 3e6 + 1, 3e6], 0.1, "--bin-width 0.1 does not suit",
      "width must be wide enough for float32 to tell labels of 3000000.0 to 3000001.0 apart, "
      "got 0.1"),
     ([0.5, 0.5, 0.5], None, "No bins suit", "labels must differ to span 50 bins, all are 0.5"),
     ([1e300, 5, 4], None, "No bins suit", "labels must be finite in float32, got 4.0 to 1e+300"),
     ([1e300, 5, 4], 1.0, "--bin-width 1 does not suit",
      "labels must be finite in float32, got 4.0 to 1e+300"),
     ([3e7, 3e7 + 1, 3e7 + 2], None, "No bins suit",
      "bins must be wide enough for float32, got 3 bins from 30000000.0 to 30000003.0, some of "
      "whose edges are equal")],
)  # fmt: skip
def test_bins_that_make_no_sense(own, labels, width, what, why):
    given = own(labels, ["train", "val", "test"])
    text = f"{what} column 'years' of {given['table']}: {why}."
    sentence(DataError, text, plan_own, **given, split="part", bin_width=width)


def test_what_is_not_there(own, tmp_path):
    given = own([1, 2, 3], ["train", "val", "test"])
    gone = tmp_path / "gone"
    text = f"{gone} is not a file: name one with --table."
    sentence(DataError, text, plan_own, **given | {"table": gone})
    text = f"{gone} is not a folder: name that of the images with --image-root."
    sentence(DataError, text, plan_own, **given | {"image_root": gone})
    text = f"{given['table']} has no column 'age': choose among file, years, part."
    sentence(DataError, text, plan_own, **given | {"target": "age"})


def shown(path, size):
    """An image by Pillow alone: these are whole, and some are grey, turned, or have alpha."""
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def test_images_of_ones_own_to_batches(drawn):
    given = {"table": drawn / "labels.csv", "image_root": drawn, "target": "years"}
    plan, told = plan_own(**given), []
    benchmark, datasets = load_images(plan, 5, told=told.append)
    assert told[-1] == TOTAL
    assert benchmark.name == "images"
    assert not benchmark.comparable
    assert benchmark.facts == plan.facts | {"counts": list(plan.table.counts)}
    for name, samples, data in zip(PARTS, benchmark.parts, datasets, strict=True):
        table = plan.table.part(name)
        assert (samples.root, samples.paths, len(samples)) == (drawn, table.paths, len(table))
        np.testing.assert_array_equal(samples.labels, table.labels)
        batch = data.__getitems__(list(range(len(data))))
        np.testing.assert_array_equal(batch["label"], table.labels)
        expected = np.stack([shown(drawn / path, 5) for path in table.paths])
        np.testing.assert_array_equal(batch["inputs"][0], expected)


def test_regions_count_the_training_labels(drawn):
    given = {"table": drawn / "labels.csv", "image_root": drawn, "target": "years"}
    benchmark, _ = load_images(plan_own(**given, cap=2), 5)
    training = plan_own(**given, cap=2).table.part("train").labels
    for shots in ("rule", "published"):  # there is no list of such data
        regions = benchmark.regions(shots)
        assert regions.bins == benchmark.bins
        assert regions.counts.tolist() == [np.count_nonzero(training == age) for age in COUNTS]
        assert regions.names == tuple("medium" if age in (25, 26) else "few" for age in COUNTS)


def test_broken_images(agedb):
    plan = plan_ages("agedb-dir", data_dir=agedb)
    broken = {}
    for name, count in (("train", 3), ("val", 2), ("test", 1)):
        for path in plan.table.part(name).paths[:count]:
            (agedb / path).write_bytes(b"not an image")
            broken[path] = "is not an image"
    order = [path for path in plan.table.paths if path in broken]
    first = ", ".join(f"{path} is not an image" for path in order[:5])
    text = f"6 of {TOTAL} images cannot be used: {first}, …; mend them, or leave them out with " \
           "--skip-broken."  # fmt: skip
    sentence(DataError, text, load_images, plan, 4)
    benchmark, datasets = load_images(plan, 4, skip_broken=True)
    for name, count, samples, data in zip(PARTS, (3, 2, 1), benchmark.parts, datasets, strict=True):
        table = plan.table.part(name)
        assert samples.paths == table.paths[count:]
        np.testing.assert_array_equal(samples.labels, table.labels[count:])
        np.testing.assert_array_equal(data.labels, table.labels[count:])
        expected = np.stack([shown(agedb / path, 4) for path in samples.paths])
        images = data.__getitems__(list(range(len(data))))["inputs"][0]
        np.testing.assert_array_equal(images, expected)
    counts = [count - left for count, left in zip(plan.table.counts, (3, 2, 1), strict=True)]
    note = text.partition(";")[0]
    left = {"left_out": 6, "left_out_note": note}
    assert benchmark.facts == plan.facts | {"counts": counts} | left
    assert benchmark.regions("rule").counts.sum() == counts[0]


@pytest.mark.parametrize("part", PARTS)
def test_nothing_left_of_a_part(agedb, part):
    plan = plan_ages("agedb-dir", data_dir=agedb)
    for path in plan.table.part(part).paths:
        (agedb / path).unlink()
    text = f"No usable image is left for {part}: mend the broken ones."
    sentence(DataError, text, load_images, plan, 4, skip_broken=True)
