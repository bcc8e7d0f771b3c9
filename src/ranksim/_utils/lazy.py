"""Lazy package attributes (PEP 562): submodules are imported on first use."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

from ranksim.exceptions import require_optional


def lazy_attributes(
    package: str,
    modules: Mapping[str, str],
    *,
    requires: Mapping[str, tuple[str, str]] | None = None,
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Create ``__getattr__`` and ``__dir__`` for a package that imports names on first use.

    ``modules`` maps each lazy name to its module; a submodule is its own module. ``requires`` maps
    names to an optional module and the extra that installs it. The package defines ``__all__``;
    type checkers need the same imports under ``if TYPE_CHECKING:``.
    """

    def get_attribute(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if requires and name in requires:
            require_optional(*requires[name])
        module = importlib.import_module(modules[name])
        return module if modules[name] == f"{package}.{name}" else getattr(module, name)

    return get_attribute, lambda: sorted(sys.modules[package].__all__)
