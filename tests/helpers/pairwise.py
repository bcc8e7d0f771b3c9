"""Pairwise combinations of parameters."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest


def pairwise(**values: Iterable[Any]) -> list[dict[str, Any]]:
    """Cases (dicts) so that every pair of values of two parameters occurs in one of them."""
    names = list(values)
    options = [list(values[name]) for name in names]

    pairs: dict[tuple[int, ...], set[Any]] = {
        case: set(itertools.combinations(enumerate(case), 2))
        for case in itertools.product(*(range(len(option)) for option in options))
    }
    missing: set[Any] = set().union(*pairs.values())
    chosen = []
    while missing:
        best = max(pairs, key=lambda case: len(pairs[case] & missing))
        missing -= pairs[best]
        chosen.append(best)
    return [
        {name: option[k] for name, option, k in zip(names, options, case, strict=True)}
        for case in chosen
    ]


def parametrize_pairwise(**values: Iterable[Any]) -> pytest.MarkDecorator:
    """Parametrize a test over the cases of :func:`pairwise`."""
    import pytest  # the checks of a GPU use the cases without it

    cases = [tuple(case.values()) for case in pairwise(**values)]
    return pytest.mark.parametrize(tuple(values), cases)
