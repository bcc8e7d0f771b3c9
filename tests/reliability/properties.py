"""Settings, strategies and the check of error messages shared by all property tests."""

import contextlib
import os
import warnings
from collections.abc import Iterator

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from ranksim.exceptions import RankSimError

# reproducible examples; `make reliability` draws more
settings.register_profile(
    "reliability",
    max_examples=int(os.environ.get("RANKSIM_EXAMPLES", "25")),
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("reliability")

# characters of UTF-8 files except NUL, which is rejected
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
EXTREME_FLOATS = st.sampled_from(
    [0.0, -0.0, 1.0, -1.0, 0.1, 1e-300, 5e-324, 1e38, -1e38, 3.5e38, 1e154, 1e308, -1.7e308]
)
FINITE = st.floats(allow_nan=False, allow_infinity=False) | EXTREME_FLOATS
MODERATE = st.floats(-1e6, 1e6, allow_subnormal=False).map(lambda x: round(x, 3))
NOT_FINITE = st.sampled_from([float("nan"), float("inf"), -float("inf")])


@contextlib.contextmanager
def expect_rejection(*kinds: type[Exception]) -> Iterator[None]:
    """Turn documented errors with a one-sentence message into RejectedError; warnings are errors.

    Only messages of RankSimError, which are shown to users, must end with a full stop.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
    except RankSimError as error:
        check_sentence(str(error), full_stop=True)
        raise RejectedError from error
    except kinds as error:
        check_sentence(str(error), full_stop=False)
        raise RejectedError from error


class RejectedError(Exception):
    """The input was rejected with a documented error."""


def check_sentence(text: str, *, full_stop: bool) -> None:
    assert text.isprintable(), ascii(text)
    assert len(text) < 2_000
    assert len(text.split()) >= 4, f"not a sentence: {text!r}"
    assert text.endswith(".") or not full_stop, text


def outcome(compute, *kinds: type[Exception]):
    """Return the result of ``compute``, or None if it raises a documented error."""
    try:
        with expect_rejection(*kinds):
            return compute()
    except RejectedError:
        return None


def float32_index(edges: np.ndarray, label: float) -> int:
    """Return the bin of a label by comparing it with each edge."""
    with np.errstate(over="ignore"):
        value = np.float32(label)
    for k in range(len(edges) - 1):
        if value < edges[k + 1]:
            return k
    return len(edges) - 2
