"""What is said of anyone's data, and what of it contradicts or would do nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ranksim.exceptions import UsageError

By = Literal["random", "group", "time", "day"]
SEED = 666


@dataclass(frozen=True)
class UserDataSpec:
    """What is said of anyone's data, by the names of the command line's options.

    Args:
        target: column of the label.
        features: columns of a table's inputs, or of a series beside the target; none: of a table
            all that have no other part.
        categories: columns whose values are names, even where they look like numbers.
        text: one or two columns of texts.
        image: column of an image's path.
        window: readings of a series that a forecast sees.
        horizon: readings between the last of them and the target (1).
        time: column of the time.
        group: column whose equal values stay in one part.
        split: column of train, val and test.
        split_by: what the split is drawn by (``group`` with a group column, ``time`` for a series,
            else ``random``).
        balanced: whether validation and test are balanced over label bins.
        cap: most samples of a bin in validation, and in test.
        protocol: a zero-shot protocol that draws the split (:mod:`ranksim.data.zero_shot`).
        test_per_bin: test samples of a label bin under a protocol (50).
        split_seed: fixes the draw.
        bin_width, many, few: of the regions; without them what :func:`suggest` says.
        region: own regions, ``name=range``.
        skip_missing: leave out rows without a target.
        skip_broken: leave out images that cannot be read.
    """

    target: str
    features: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    image: str | None = None
    window: int | None = None
    horizon: int | None = None
    time: str | None = None
    group: str | None = None
    split: str | None = None
    split_by: By | None = None
    balanced: bool = True
    cap: int | None = None
    protocol: str | None = None
    test_per_bin: int | None = None
    split_seed: int | None = None
    bin_width: float | None = None
    many: int | None = None
    few: int | None = None
    region: tuple[str, ...] = ()
    skip_missing: bool = False
    skip_broken: bool = False

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns that a network reads, where they are named."""
        if self.window is not None:
            return tuple(dict.fromkeys((self.target, *self.features)))
        if self.image is not None:
            return (self.image,)
        return self.text or self.features

    @property
    def by(self) -> Any:
        """What deals the samples to parts."""
        if self.split is not None:
            return "column"
        if self.protocol is not None:
            return "protocol"
        usual = "group" if self.group else "time" if self.window else "random"
        return self.split_by or usual

    @property
    def seed(self) -> int:
        """Of a split that is drawn."""
        return SEED if self.split_seed is None else self.split_seed


def reject_idle_options(options: UserDataSpec) -> None:
    """Refuse what contradicts, and what would silently do nothing."""
    kinds = {"--text": options.text, "--image": options.image, "--window": options.window}
    given = [name for name, value in kinds.items() if value]
    if len(given) > 1:
        raise UsageError(f"{given[0]} and {given[1]} say two things of the inputs: give one.")
    if options.features and given and given != ["--window"]:
        raise UsageError(f"--features does nothing beside {given[0]}: leave one of the two out.")
    if options.categories and given:
        raise UsageError(f"--categories does nothing beside {given[0]}: leave one of the two out.")
    if len(options.text) > 2:
        raise UsageError(f"--text takes one or two columns, got {len(options.text)}.")
    if options.target in options.inputs and options.window is None:
        raise UsageError(
            f"Column {options.target!r} is the target and an input: leave it out of the inputs."
        )
    if options.window is None and options.horizon is not None:
        raise UsageError("--horizon is that of a forecast: give --window too.")
    if options.window is not None and options.split_by == "random":
        raise UsageError(
            "Windows of a series overlap, so that a random split would test what was trained on: "
            "give --split-by time or day, or --group."
        )
    for name, number in (("window", options.window), ("horizon", options.horizon)):
        if number is not None and number < 1:
            raise UsageError(f"--{name} is a number of readings of at least 1, got {number}.")
    by = options.split_by
    drawn: dict[str, Any] = {
        "--split-by": by,
        "--group": options.group if options.window is None else None,
    }
    drawn |= {"--cap": options.cap, "--split-seed": options.split_seed}
    for name, value in drawn.items():
        if options.split is not None and value is not None:
            raise UsageError(f"{name} does nothing beside --split: leave one of the two out.")
    if by == "group" and options.group is None:
        raise UsageError("--split-by group needs the column that names the groups: give --group.")
    if by in ("time", "day") and options.time is None and not (by == "time" and options.window):
        raise UsageError(f"--split-by {by} needs the column of the time: give --time.")
    if options.test_per_bin is not None and options.protocol is None:
        raise UsageError("--test-per-bin needs a zero-shot protocol: give --protocol.")
    if options.protocol is not None:
        drawn |= {"--split": options.split, "--window": options.window}
        drawn |= {"--no-balanced": None if options.balanced else True, "--split-seed": None}
        for name, value in drawn.items():
            if value is not None:
                raise UsageError(
                    f"{name} does nothing beside --protocol: leave one of the two out."
                )
    if options.cap is not None and not options.balanced:
        raise UsageError("--cap balances, which --no-balanced forbids: leave one of the two out.")
