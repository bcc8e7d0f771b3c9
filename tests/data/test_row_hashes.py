import hashlib

import numpy as np
import pytest

from ranksim.data.row_hashes import format_numbers, hash_rows, repeat_texts

pytest.importorskip("pyarrow")
_EDGES = [0.0, -0.0, np.nan, np.inf, -np.inf, 5e-324, 1.7e308, 1 / 3, -7.0, 2.0**63]
_EDGES += [
    x * y for x in (1e-5, 1e-4, 1e9, 1e10, 1e15, 1e16, 1e22) for y in (1, -1, 1 - 1e-15, 1.5)
]


def make_numbers(kind):
    rng = np.random.default_rng(0)
    if kind == "edges":
        return np.array(_EDGES)
    if kind == "bytes":
        numbers = np.frombuffer(rng.bytes(80_000))
        return np.where(np.isnan(numbers), np.nan, numbers)
    if kind == "integers":
        return np.trunc(10.0 ** rng.uniform(0, 17, 500))
    if kind == "single":
        return rng.normal(size=500).astype(np.float32).astype(np.float64)
    return rng.normal(size=2000) * 10.0 ** rng.integers(-7, 18, 2000)


@pytest.mark.parametrize("kind", ["edges", "bytes", "integers", "single", "scales", "none"])
def test_numbers_are_written_as_by_repr(kind):
    numbers = np.zeros(0) if kind == "none" else make_numbers(kind)
    expected = ["'missing'" if np.isnan(x) else repr(x) for x in numbers.tolist()]
    assert format_numbers(numbers, "'missing'").to_pylist() == expected


@pytest.mark.parametrize("forms", ["ll", "aa", "al", "l", "a", "ala"])
def test_hash_is_that_of_the_tuple(forms):
    """Columns are lists (l) or Arrow arrays (a)."""
    numbers = np.array([0.1, 3.0, np.nan, -2.5e-9])
    names = ["'ż, ó'", "'a'", "'missing'", "''"]
    columns, cells = [], []
    for place, form in enumerate(forms):
        if place % 2 == 0:
            texts = format_numbers(numbers, "'missing'")
            cells.append(["missing" if np.isnan(x) else x for x in numbers.tolist()])
        else:
            texts = repeat_texts(names, np.arange(4, dtype=np.int32))
            cells.append([name.strip("'") for name in names])
        columns.append(texts if form == "a" else texts.to_pylist())
    rows = [repr(row).encode() for row in zip(*cells, strict=True)]
    digests = [hashlib.blake2b(row, digest_size=8).digest() for row in rows]
    expected = [int.from_bytes(digest, "little") for digest in digests]
    assert hash_rows(columns).tolist() == expected
    sliced = [each[1:] for each in columns]
    assert hash_rows(sliced).tolist() == expected[1:]
