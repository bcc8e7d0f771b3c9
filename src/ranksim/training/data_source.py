"""The data of a run, as it is identified and as it lies on this machine."""

from __future__ import annotations

from dataclasses import dataclass

from ranksim.data.spec import DataLocation, DataSpec, UserDataSpec


@dataclass(frozen=True)
class DataSource:
    """The data of a run: what identifies it, and where it lies on this machine."""

    spec: DataSpec
    location: DataLocation = DataLocation()
    all_rows: bool = False  # of user data: also train on the rows of validation and test
    fold: tuple[int, int] | None = None  # of user data: test on this fold, from 0, of so many

    @property
    def is_user_data(self) -> bool:
        """Return True for user data, False for a benchmark."""
        return isinstance(self.spec, UserDataSpec)
