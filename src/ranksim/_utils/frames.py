"""Data frames of pandas, which is imported only here and not a dependency."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ranksim.exceptions import MissingDependencyError

if TYPE_CHECKING:
    import pandas as pd


def make_frame(content: Any) -> pd.DataFrame:
    """Return a DataFrame of columns by name, or of rows as dictionaries."""
    try:
        import pandas as pd
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "pandas is not installed, which to_frame() needs: run pip install pandas."
        ) from error
    return pd.DataFrame(content)
