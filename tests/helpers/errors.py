"""Check errors by the facts in their message instead of whole sentences."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def raises_with(error: type[Exception], *facts: str) -> Iterator[pytest.ExceptionInfo[Exception]]:
    """Expect an error whose message is one line that contains all facts."""
    with pytest.raises(error) as caught:
        yield caught
    message = str(caught.value)
    missing = [fact for fact in facts if fact not in message]
    assert not missing, f"{missing} not in {message!r}"
    assert "\n" not in message
