"""What all property tests share: how many examples they draw, and what a refusal looks like."""

import contextlib
import os
import warnings
from collections.abc import Iterator

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from ranksim.exceptions import RankSimError

# the same examples each time; `make reliability` draws more
settings.register_profile(
    "trust",
    max_examples=int(os.environ.get("RANKSIM_EXAMPLES", "25")),
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("trust")

# what a file in UTF-8 can hold, without the NUL that is refused
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
ODD_FLOATS = st.sampled_from(
    [0.0, -0.0, 1.0, -1.0, 0.1, 1e-300, 5e-324, 1e38, -1e38, 3.5e38, 1e154, 1e308, -1.7e308]
)
FINITE = st.floats(allow_nan=False, allow_infinity=False) | ODD_FLOATS
MODERATE = st.floats(-1e6, 1e6, allow_subnormal=False).map(lambda x: round(x, 3))
NOT_FINITE = st.sampled_from([float("nan"), float("inf"), -float("inf")])


@contextlib.contextmanager
def refusing(*kinds: type[Exception]) -> Iterator[None]:
    """Nothing but one sentence of a documented error may come out; warnings are errors.

    ``ValueError`` and ``TypeError`` of the library need no full stop, as all of its do not.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
    except RankSimError as error:
        check_sentence(str(error), full_stop=True)
        raise RefusedError from error
    except kinds as error:
        check_sentence(str(error), full_stop=False)
        raise RefusedError from error


class RefusedError(Exception):
    """What was given is refused as documented."""


def check_sentence(text: str, *, full_stop: bool) -> None:
    assert text.isprintable(), ascii(text)
    assert len(text) < 2_000
    assert len(text.split()) >= 4, f"no sentence: {text!r}"
    assert text.endswith(".") or not full_stop, text


def outcome(act, *kinds: type[Exception]):
    """What ``act`` gives, or None where it is refused as documented."""
    try:
        with refusing(*kinds):
            return act()
    except RefusedError:
        return None


def float32_index(edges: np.ndarray, label: float) -> int:
    """The bin of a label, by looking at one edge after another."""
    with np.errstate(over="ignore"):
        value = np.float32(label)
    for k in range(len(edges) - 1):
        if value < edges[k + 1]:
            return k
    return len(edges) - 2
