import re

import numpy as np
import pytest
from scipy.io import savemat

from ranksim.datasets import imdb_wiki_dir
from ranksim.exceptions import DataError
from tests.oracles.ages import expected_age

REMEDY = "unpack imdb_crop.tar again."


def cells(texts):
    """A 1×N MATLAB cell array of strings."""
    array = np.empty((1, len(texts)), dtype=object)
    array[0, :] = texts
    return array


def entries(count, seed):
    """Fields as in the published lists, with every case of the rules."""
    draw = np.random.default_rng(seed)
    days = draw.integers(365_000 + 366, 735_000, count)  # years 1000 to 2012
    days[: count // 2] = draw.integers(690_000, 735_000, count // 2)  # from 1889 on
    odd_days = [1, 366, 367, -5, 0, 700_000, 713_220]
    days[: len(odd_days)] = odd_days[:count]
    scores = [-np.inf, 0.99, 1.0, 4.2, np.nan]
    seconds = [np.nan, -np.inf, 0.0, 0.01, 3.0]
    return {
        "dob": days.astype(np.int32).reshape(1, -1),
        "photo_taken": draw.integers(1900, 2020, (1, count)).astype(np.uint16),
        "full_path": cells([f"{i % 100:02}/nm{i:07}_rm{seed}.jpg" for i in range(count)]),
        "gender": draw.integers(0, 2, (1, count)).astype(float),
        "name": cells(["Someone"] * count),
        "face_location": cells([np.array([[1.0, 2.0, 3.0, 4.0]])] * count),
        "face_score": draw.choice(scores, (1, count), p=[0.1, 0.1, 0.35, 0.35, 0.1]),
        "second_face_score": draw.choice(seconds, (1, count), p=[0.5, 0.1, 0.2, 0.1, 0.1]),
    }


def good(count, seed=0):
    """Usable entries."""
    return entries(count, seed) | {
        "dob": np.full((1, count), 720_000, dtype=np.int32),
        "photo_taken": np.full((1, count), 2000, dtype=np.uint16),
        "face_score": np.full((1, count), 3.0),
        "second_face_score": np.full((1, count), np.nan),
    }


def write(root, *, flat=False, **lists):
    for name, fields in lists.items():
        path = root / f"{name}.mat" if flat else root / f"{name}_crop" / f"{name}.mat"
        path.parent.mkdir(exist_ok=True)
        savemat(path, {name: fields})
    return root


def assert_rejected(root, sentence):
    with pytest.raises(DataError, match=f"^{re.escape(sentence)}$"):
        imdb_wiki_dir.find_images(root)


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_usable_images_and_ages_match_the_oracle(tmp_path, flat, seed):
    lists = {"imdb": entries(600, seed), "wiki": entries(400, seed + 10)}
    listing = imdb_wiki_dir.find_images(write(tmp_path, flat=flat, **lists))
    expected = {}
    for name, fields in lists.items():
        columns = [
            fields[key][0].tolist()
            for key in ("dob", "photo_taken", "face_score", "second_face_score")
        ]
        for path, *values in zip(fields["full_path"][0], *columns, strict=True):
            if (age := expected_age(*values)) is not None:
                expected[f"{name}_crop/{path}"] = age
    assert listing.table.paths == tuple(sorted(expected))
    assert listing.table.labels.tolist() == [expected[path] for path in listing.table.paths]
    assert len(expected) + sum(listing.excluded.values()) == 1000
    assert listing.skipped == ()
    assert len(expected) > 100


def test_ages_of_every_birthday_in_leap_centuries(tmp_path):
    """The month decides, on every day from 1899 to 1901 and from 1999 to 2001."""
    days = np.concatenate([np.arange(693_500, 694_700), np.arange(730_100, 731_300)])
    fields = good(len(days)) | {"dob": days.astype(np.float64) + 0.75,
                                "photo_taken": np.full(len(days), 2010)}  # fmt: skip
    listing = imdb_wiki_dir.find_images(write(tmp_path, imdb=fields, wiki=good(1))).table
    ages = dict(zip(listing.paths, listing.labels.tolist(), strict=True))
    expected = [expected_age(day, 2010, 1, np.nan) for day in days.tolist()]
    assert [ages[f"imdb_crop/{path}"] for path in fields["full_path"][0]] == expected
    assert len(set(expected)) >= 8


def test_age_changes_between_june_and_july(tmp_path):
    """Serial days of 30 June and 1 July 1970."""
    fields = good(2) | {"dob": np.array([[719_709, 719_710]])}
    listing = imdb_wiki_dir.find_images(write(tmp_path, imdb=fields, wiki=good(1, seed=9))).table
    assert listing.labels[:2].tolist() == [30, 29]


def test_accepts_ages_0_to_200(tmp_path):
    """Born on 1 January 1900: −1, 0, 200 and 201 years."""
    fields = good(4) | {
        "dob": np.full((1, 4), 693_962),
        "photo_taken": np.array([[1899, 1900, 2100, 2101]]),
    }
    listing = imdb_wiki_dir.find_images(write(tmp_path, imdb=fields, wiki=good(1, seed=9)))
    assert listing.table.labels[:-1].tolist() == [0, 200]
    assert listing.excluded == {"an age outside 0..200": 2}


def test_counts_excluded_entries_by_first_reason(tmp_path):
    days = [720_000.0, np.nan, np.inf, 720_000, 720_000, 720_000, 720_000, 1e300, -1e300, 720_000]
    fields = good(10) | {
        "dob": np.array([days]),
        "photo_taken": np.array([[2000, 2000, 2000, 2000, 2000, 1970, 2200, 2000, 2000, np.nan]]),
        "face_score": np.array([[1, 1, -np.inf, 0.5, 1, 1, 1, 1, 1, 1.0]]),
        "second_face_score": np.array([[0, 0, 9, 9, 9, -1, np.nan, 0, 0, 0.0]]),
    }
    listing = imdb_wiki_dir.find_images(write(tmp_path, imdb=fields, wiki=good(1, seed=3)))
    assert listing.table.paths == (
        "imdb_crop/00/nm0000000_rm0.jpg",
        "wiki_crop/00/nm0000000_rm3.jpg",
    )
    assert listing.excluded == {
        "no date of birth or year of the photograph": 3,
        "no face": 1,
        "a second face": 1,
        "an age outside 0..200": 4,
    }


def test_first_of_repeated_entries_counts(tmp_path):
    fields = good(3) | {
        "full_path": cells(["a.jpg", "b.jpg", "a.jpg"]),
        "photo_taken": np.array([[2000, 2001, 2002]]),
    }
    listing = imdb_wiki_dir.find_images(write(tmp_path, imdb=fields, wiki=good(1)))
    assert listing.table.paths[:2] == ("imdb_crop/a.jpg", "imdb_crop/b.jpg")
    assert listing.table.labels[:2].tolist() == [29, 30]
    assert listing.excluded == {"listed before": 1}


@pytest.mark.parametrize("missing", ["imdb", "wiki"])
def test_rejects_a_missing_list(tmp_path, missing):
    other = {"imdb": "wiki", "wiki": "imdb"}[missing]
    write(tmp_path, **{other: good(2)})
    with pytest.raises(DataError, match=rf"{missing}_crop/{missing}\.mat: .* --download"):
        imdb_wiki_dir.find_images(tmp_path)


def test_rejects_truncated_and_foreign_files(tmp_path):
    write(tmp_path, imdb=entries(50, 0), wiki=good(2))
    path = tmp_path / "imdb_crop" / "imdb.mat"
    content = path.read_bytes()
    draw = np.random.default_rng(0)
    for length in [0, 1, 100, 127, 128, 129, 200, *draw.integers(201, len(content) - 1, 30)]:
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=re.escape(str(path))):
            imdb_wiki_dir.find_images(tmp_path)
    for other in (b"<html>404</html>" * 40, b"\x89HDF\r\n\x1a\n" + bytes(600)):
        path.write_bytes(other)
        assert_rejected(tmp_path, f"{path} is damaged or not a MATLAB file: {REMEDY}")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"wiki": {"dob": 1}}, "has no MATLAB struct 'imdb'"),
        ({"imdb": np.zeros((1, 3))}, "has no MATLAB struct 'imdb'"),
        ({"imdb": np.zeros((1, 2), dtype=[("dob", "O")])}, "has no MATLAB struct 'imdb'"),
    ],
)
def test_rejects_another_variable(tmp_path, content, sentence):
    write(tmp_path, imdb=good(1), wiki=good(1))
    path = tmp_path / "imdb_crop" / "imdb.mat"
    savemat(path, content)
    assert_rejected(tmp_path, f"{path} {sentence}: {REMEDY}")


@pytest.mark.parametrize(
    "field", ["dob", "photo_taken", "face_score", "second_face_score", "full_path"]
)
def test_rejects_missing_and_short_fields(tmp_path, field):
    path = tmp_path / "imdb_crop" / "imdb.mat"
    fields = good(4)
    write(tmp_path, imdb={name: fields[name] for name in fields if name != field}, wiki=good(1))
    assert_rejected(tmp_path, f"{path} has no field {field!r} in 'imdb': {REMEDY}")
    write(tmp_path, imdb=fields | {field: fields[field][:, :3]})
    with pytest.raises(
        DataError, match=rf"contains fields of unequal length \(.*{field} 3\b.*\): {REMEDY}$"
    ):
        imdb_wiki_dir.find_images(tmp_path)


@pytest.mark.parametrize(
    "changed",
    [{"dob": cells(["x"] * 4)}, {"face_score": np.array(["abcd"])}, {"full_path": np.zeros((1, 4))},
     {"full_path": cells(["a.jpg", "b.jpg", "", "d.jpg"])},
     {"full_path": cells(["a.jpg", "b.jpg", np.array([[1.0]]), "d.jpg"])},
     {"full_path": cells(["a.jpg", "b.jpg", cells(["c.jpg"]), "d.jpg"])}],
)  # fmt: skip
def test_rejects_other_types_of_values(tmp_path, changed):
    write(tmp_path, imdb=good(4) | changed, wiki=good(1))
    path = tmp_path / "imdb_crop" / "imdb.mat"
    assert_rejected(tmp_path, f"{path} contains values of unexpected types: {REMEDY}")


@pytest.mark.parametrize("name", ["../a.jpg", "/etc/a.jpg", "x/../../a.jpg", "C:\\a.jpg"])
def test_rejects_paths_outside_the_folder(tmp_path, name):
    write(tmp_path, imdb=good(2) | {"full_path": cells(["a.jpg", name])}, wiki=good(1))
    path = tmp_path / "imdb_crop" / "imdb.mat"
    assert_rejected(tmp_path, f"{path} lists the image {name!r} outside its folder: {REMEDY}")


def test_rejects_lists_without_usable_images(tmp_path):
    none = good(2) | {"face_score": np.full((1, 2), -np.inf)}
    write(tmp_path, imdb=none, wiki=none)
    assert_rejected(
        tmp_path,
        f"The MATLAB lists in {tmp_path} contain no usable image: download both archives again.",
    )
