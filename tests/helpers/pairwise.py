"""Pairwise combinations of parameters."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pytest


def pairwise(**values: Iterable[Any]) -> list[dict[str, Any]]:
    """Cases (dicts) so that every pair of values of two parameters occurs in one of them."""
    names = list(values)
    options = [list(values[name]) for name in names]
    cases = np.array(list(itertools.product(*(range(len(option)) for option in options))))
    numbers, count = [], 0  # of the pairs of each case
    for first, second in itertools.combinations(range(len(names)), 2):
        numbers.append(count + cases[:, first] * len(options[second]) + cases[:, second])
        count += len(options[first]) * len(options[second])
    pairs, missing = np.array(numbers).T, np.ones(count, dtype=bool)
    chosen = []
    while missing.any():
        best = int(missing[pairs].sum(axis=1).argmax())
        missing[pairs[best]] = False
        chosen.append(cases[best])
    return [
        {name: option[k] for name, option, k in zip(names, options, case, strict=True)}
        for case in chosen
    ]


def parametrize_pairwise(**values: Iterable[Any]) -> pytest.MarkDecorator:
    """Parametrize a test over the cases of :func:`pairwise`."""
    import pytest  # the checks of a GPU use the cases without it

    cases = [tuple(case.values()) for case in pairwise(**values)]
    return pytest.mark.parametrize(tuple(values), cases)
