"""How a public name goes: two minor versions with a warning that says what to use instead."""

from __future__ import annotations

import warnings


def deprecated(name: str, instead: str, gone: str) -> None:
    """Warn who still uses a name; called first thing by what bears it.

    Args:
        name: as ``docs/api.txt`` lists it, there under *Deprecated* too.
        instead: what to use.
        gone: the version without it, two minor versions on.

    Example:
        >>> with warnings.catch_warnings(record=True) as told:
        ...     warnings.simplefilter("always")
        ...     deprecated("ranksim.old", "ranksim.new", "0.3")
        >>> print(told[0].message, told[0].category.__name__)
        ranksim.old goes with ranksim 0.3: use ranksim.new. DeprecationWarning
    """
    told = f"{name} goes with ranksim {gone}: use {instead}."
    warnings.warn(told, DeprecationWarning, stacklevel=3)
