"""Lazy attributes of packages (PEP 562), so that an import costs only what is used."""

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
    """Return ``__getattr__`` and ``__dir__`` of a package that imports names on first use.

    Type checkers need the same imports under ``if TYPE_CHECKING:``.

    Args:
        package: ``__name__`` of the package, which defines ``__all__``.
        modules: module of each lazy name; a submodule is its own module.
        requires: optional module and the extra that installs it, for names that need one.

    Example:
        >>> get, _ = lazy_attributes("ranksim", {"LDS": "ranksim.imbalance.lds"})
        >>> get("LDS").__name__
        'LDS'
    """

    def get_attribute(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if requires and name in requires:
            require_optional(*requires[name])
        module = importlib.import_module(modules[name])
        return module if modules[name] == f"{package}.{name}" else getattr(module, name)

    def list_names() -> list[str]:
        return sorted(sys.modules[package].__all__)

    return get_attribute, list_names
