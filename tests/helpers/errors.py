"""Check errors by the facts in their message instead of whole sentences."""

from collections.abc import Callable

import pytest


def assert_raises(error: type[BaseException], act: Callable[[], object], *facts: str) -> str:
    """Call ``act``, check that its error message has all facts, and return the message."""
    with pytest.raises(error) as caught:
        act()
    message = str(caught.value)
    missing = [fact for fact in facts if fact not in message]
    assert not missing, f"{missing} not in {message!r}"
    assert "\n" not in message
    return message
