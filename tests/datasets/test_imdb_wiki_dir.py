import re

import numpy as np
import pytest
from scipy.io import savemat

from ranksim.datasets import imdb_wiki_dir
from ranksim.exceptions import DataError
from tests.oracles.ages import kept

AGAIN = "get imdb_crop.tar again."


def cells(texts):
    """A 1×N MATLAB cell array of strings."""
    array = np.empty((1, len(texts)), dtype=object)
    array[0, :] = texts
    return array


def entries(count, seed):
    """Fields as in the published lists, with every case that the rules tell apart."""
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
    """Entries that are all kept."""
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


def refused(root, sentence):
    with pytest.raises(DataError, match=f"^{re.escape(sentence)}$"):
        imdb_wiki_dir.find(root)


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_kept_and_every_age_are_those_of_the_calendar(tmp_path, flat, seed):
    lists = {"imdb": entries(3000, seed), "wiki": entries(2000, seed + 10)}
    found = imdb_wiki_dir.find(write(tmp_path, flat=flat, **lists))
    expected = {}
    for name, fields in lists.items():
        columns = [
            fields[key][0].tolist()
            for key in ("dob", "photo_taken", "face_score", "second_face_score")
        ]
        for path, *values in zip(fields["full_path"][0], *columns, strict=True):
            if (age := kept(*values)) is not None:
                expected[f"{name}_crop/{path}"] = age
    assert found.table.paths == tuple(sorted(expected))
    assert found.table.labels.tolist() == [expected[path] for path in found.table.paths]
    assert len(expected) + sum(found.left_out.values()) == 5000
    assert found.odd == ()
    assert len(expected) > 500


def test_every_birthday_of_a_leap_century(tmp_path):
    """The month decides, on every day from 1899 to 1901 and from 1999 to 2001."""
    days = np.concatenate([np.arange(693_500, 694_700), np.arange(730_100, 731_300)])
    fields = good(len(days)) | {"dob": days.astype(np.float64) + 0.75,
                                "photo_taken": np.full(len(days), 2010)}  # fmt: skip
    found = imdb_wiki_dir.find(write(tmp_path, imdb=fields, wiki=good(1))).table
    ages = dict(zip(found.paths, found.labels.tolist(), strict=True))
    expected = [kept(day, 2010, 1, np.nan) for day in days.tolist()]
    assert [ages[f"imdb_crop/{path}"] for path in fields["full_path"][0]] == expected
    assert len(set(expected)) >= 8


def test_born_in_june_and_in_july(tmp_path):
    """Serial days of 30 June and 1 July 1970."""
    fields = good(2) | {"dob": np.array([[719_709, 719_710]])}
    found = imdb_wiki_dir.find(write(tmp_path, imdb=fields, wiki=good(1, seed=9))).table
    assert found.labels[:2].tolist() == [30, 29]


def test_the_youngest_and_the_oldest(tmp_path):
    """Born on 1 January 1900: −1, 0, 200 and 201 years."""
    fields = good(4) | {
        "dob": np.full((1, 4), 693_962),
        "photo_taken": np.array([[1899, 1900, 2100, 2101]]),
    }
    found = imdb_wiki_dir.find(write(tmp_path, imdb=fields, wiki=good(1, seed=9)))
    assert found.table.labels[:-1].tolist() == [0, 200]
    assert found.left_out == {"an age outside 0..200": 2}


def test_what_is_left_out_is_counted_once_by_its_first_reason(tmp_path):
    days = [720_000.0, np.nan, np.inf, 720_000, 720_000, 720_000, 720_000, 1e300, -1e300, 720_000]
    fields = good(10) | {
        "dob": np.array([days]),
        "photo_taken": np.array([[2000, 2000, 2000, 2000, 2000, 1970, 2200, 2000, 2000, np.nan]]),
        "face_score": np.array([[1, 1, -np.inf, 0.5, 1, 1, 1, 1, 1, 1.0]]),
        "second_face_score": np.array([[0, 0, 9, 9, 9, -1, np.nan, 0, 0, 0.0]]),
    }
    found = imdb_wiki_dir.find(write(tmp_path, imdb=fields, wiki=good(1, seed=3)))
    assert found.table.paths == ("imdb_crop/00/nm0000000_rm0.jpg", "wiki_crop/00/nm0000000_rm3.jpg")
    assert found.left_out == {
        "no date of birth or year of the photograph": 3,
        "no face": 1,
        "a second face": 1,
        "an age outside 0..200": 4,
    }


def test_an_image_listed_twice_counts_once_and_first(tmp_path):
    fields = good(3) | {
        "full_path": cells(["a.jpg", "b.jpg", "a.jpg"]),
        "photo_taken": np.array([[2000, 2001, 2002]]),
    }
    found = imdb_wiki_dir.find(write(tmp_path, imdb=fields, wiki=good(1)))
    assert found.table.paths[:2] == ("imdb_crop/a.jpg", "imdb_crop/b.jpg")
    assert found.table.labels[:2].tolist() == [29, 30]
    assert found.left_out == {"listed before": 1}


@pytest.mark.parametrize("missing", ["imdb", "wiki"])
def test_both_lists_are_needed(tmp_path, missing):
    other = {"imdb": "wiki", "wiki": "imdb"}[missing]
    refused(
        write(tmp_path, **{other: good(2)}),
        f"{tmp_path} holds no {missing}_crop/{missing}.mat: unpack {missing}_crop.tar there, or "
        "let ranksim data prepare imdb-wiki-dir --download fetch both archives.",
    )


def test_a_truncated_or_changed_file_is_named(tmp_path):
    write(tmp_path, imdb=entries(50, 0), wiki=good(2))
    path = tmp_path / "imdb_crop" / "imdb.mat"
    content = path.read_bytes()
    draw = np.random.default_rng(0)
    for length in [0, 1, 100, 127, 128, 129, 200, *draw.integers(201, len(content) - 1, 30)]:
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=re.escape(str(path))):
            imdb_wiki_dir.find(tmp_path)
    for other in (b"<html>404</html>" * 40, b"\x89HDF\r\n\x1a\n" + bytes(600)):
        path.write_bytes(other)
        refused(tmp_path, f"{path} is damaged or no MATLAB file: {AGAIN}")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"wiki": {"dob": 1}}, "holds no MATLAB struct 'imdb'"),
        ({"imdb": np.zeros((1, 3))}, "holds no MATLAB struct 'imdb'"),
        ({"imdb": np.zeros((1, 2), dtype=[("dob", "O")])}, "holds no MATLAB struct 'imdb'"),
    ],
)
def test_another_variable_is_named(tmp_path, content, sentence):
    write(tmp_path, imdb=good(1), wiki=good(1))
    path = tmp_path / "imdb_crop" / "imdb.mat"
    savemat(path, content)
    refused(tmp_path, f"{path} {sentence}: {AGAIN}")


@pytest.mark.parametrize(
    "field", ["dob", "photo_taken", "face_score", "second_face_score", "full_path"]
)
def test_a_missing_field_and_a_shorter_one_are_named(tmp_path, field):
    path = tmp_path / "imdb_crop" / "imdb.mat"
    fields = good(4)
    write(tmp_path, imdb={name: fields[name] for name in fields if name != field}, wiki=good(1))
    refused(tmp_path, f"{path} has no field {field!r} in 'imdb': {AGAIN}")
    write(tmp_path, imdb=fields | {field: fields[field][:, :3]})
    with pytest.raises(
        DataError, match=rf"has fields of unequal length \(.*{field} 3\b.*\): {AGAIN}$"
    ):
        imdb_wiki_dir.find(tmp_path)


@pytest.mark.parametrize(
    "changed",
    [{"dob": cells(["x"] * 4)}, {"face_score": np.array(["abcd"])}, {"full_path": np.zeros((1, 4))},
     {"full_path": cells(["a.jpg", "b.jpg", "", "d.jpg"])},
     {"full_path": cells(["a.jpg", "b.jpg", np.array([[1.0]]), "d.jpg"])},
     {"full_path": cells(["a.jpg", "b.jpg", cells(["c.jpg"]), "d.jpg"])}],
)  # fmt: skip
def test_other_kinds_of_values_are_refused(tmp_path, changed):
    write(tmp_path, imdb=good(4) | changed, wiki=good(1))
    path = tmp_path / "imdb_crop" / "imdb.mat"
    refused(tmp_path, f"{path} holds other kinds of values than the published list: {AGAIN}")


@pytest.mark.parametrize("name", ["../a.jpg", "/etc/a.jpg", "x/../../a.jpg", "C:\\a.jpg"])
def test_paths_outside_the_folder_are_refused(tmp_path, name):
    write(tmp_path, imdb=good(2) | {"full_path": cells(["a.jpg", name])}, wiki=good(1))
    path = tmp_path / "imdb_crop" / "imdb.mat"
    refused(tmp_path, f"{path} names {name!r}, which lies outside its folder: {AGAIN}")


def test_lists_without_a_usable_image_are_refused(tmp_path):
    none = good(2) | {"face_score": np.full((1, 2), -np.inf)}
    write(tmp_path, imdb=none, wiki=none)
    refused(tmp_path, f"The lists in {tmp_path} hold no usable image: get both archives again.")
