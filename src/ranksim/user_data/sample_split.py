"""Split the samples of a table, and keep equal samples in one part."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ranksim._utils.formatting import format_count
from ranksim.data.days import read_days
from ranksim.data.spec import TableSpec, UserDataSpec
from ranksim.data.splitting import (
    TEST_PER_BIN,
    Split,
    draw_validation,
    drop_samples,
    find_shared_samples,
    reject_shared_samples,
    split_by_column,
    split_rows,
    zero_shot_split,
)
from ranksim.data.table import Ints, Table, read_groups, read_times
from ranksim.exceptions import UsageError
from ranksim.user_data.columns import fit_column
from ranksim.user_data.sample_keys import number_samples


@dataclass(frozen=True)
class SplitOutcome:
    """What was done to split samples, beside the split itself.

    Args:
        is_val_drawn: whether validation was drawn from the training samples of a given split.
        dropped: numbers of training and validation samples that ``drop_shared`` left out.
        notes: sentences for the report, by topic.
        n_weightless: number of training samples of weight 0, which are left out.
    """

    is_val_drawn: bool = False
    dropped: tuple[int, int] = (0, 0)
    notes: dict[str, str] = field(default_factory=dict)
    n_weightless: int = 0

    @property
    def left_out(self) -> dict[str, int]:
        """Numbers of samples that were left out, by reason."""
        counts = {
            "equal to validation or test samples (--drop-shared)": sum(self.dropped),
            "training samples of weight 0": self.n_weightless,
        }
        return {reason: count for reason, count in counts.items() if count}

    def to_facts(self) -> dict[str, Any]:
        """Return what identifies the samples of a run, for its results."""
        facts: dict[str, Any] = {"drawn": "val"} if self.is_val_drawn else {}
        return facts | ({"dropped_shared": list(self.dropped)} if sum(self.dropped) else {})


def split_samples(
    table: Table, options: UserDataSpec, inputs: Sequence[str], label_index: Ints
) -> tuple[Split, SplitOutcome]:
    """Split the rows of a table; rows with equal inputs stay in the same part.

    In a split by group or time, they may be in two parts, which is reported. With
    ``drop_shared``, those of the earlier part are left out.
    """
    ids = number_read_samples(table, options, inputs)
    is_given, is_val_drawn = options.split is not None or options.protocol is not None, False
    if options.protocol is not None:
        per_bin = options.test_per_bin or TEST_PER_BIN
        split = zero_shot_split(label_index, options.protocol, seed=options.seed, per_bin=per_bin)
    elif options.split is not None:
        split = split_by_column(table, options.split, needs_val=False)
        is_val_drawn = not len(split.val)
        if is_val_drawn:
            split = draw_validation(
                split,
                label_index,
                balanced=options.balanced,
                max_per_bin=options.max_per_bin,
                seed=options.seed,
                groups=ids,
            )
    else:
        split = _draw_split(table, options, ids, label_index)
    if options.drop_shared and options.split_method == "random":
        raise UsageError(
            "--drop-shared has no effect on a random split, which keeps equal samples in one part: "
            "remove it."
        )
    train, val = find_shared_samples(ids, split)
    if options.drop_shared:
        dropped = len(train), len(val)
        return drop_samples(split, train, val), SplitOutcome(is_val_drawn, dropped)
    if is_given:
        reject_shared_samples(table, ids, split)
    notes = {}
    if len(train) or len(val):
        count = format_count(len(np.union1d(train, val)), "training or validation sample")
        notes["Equal samples"] = (
            f"{count} equal to samples of a later part in all inputs; --drop-shared leaves them out"
        )
    return split, SplitOutcome(is_val_drawn, notes=notes)


def number_read_samples(table: Table, options: UserDataSpec, inputs: Sequence[str]) -> Ints:
    """Number the rows ``(N,)``; rows that are equal in all that a model reads have one number."""
    return number_samples(table, options, _select_read_columns(table, options, inputs))


def _select_read_columns(
    table: Table, options: UserDataSpec, inputs: Sequence[str]
) -> Sequence[str]:
    """Return the inputs without columns that no model reads, such as names that never repeat."""
    if not isinstance(options, TableSpec):
        return inputs
    rows = np.arange(table.n_rows)
    named = {*options.categories, *options.embedding, *options.keep}
    unread = {
        name
        for name in inputs
        if name not in named
        and table.number_format(name) is None
        and isinstance(fit_column(table, name, rows), str)
    }
    return [name for name in inputs if name not in unread] or inputs


def _draw_split(table: Table, options: UserDataSpec, samples: Ints, label_index: Ints) -> Split:
    """Draw a split by the rule of the options; ``samples`` number the distinct inputs ``(N,)``."""
    by = options.split_method
    groups: Sequence[Hashable] | Ints | None = None
    times = None
    if by == "random":
        groups = samples
    elif by == "group":
        assert options.group is not None
        groups = read_groups(table, options.group)
    else:
        assert options.time is not None
        times = read_times(table, options.time)
        groups = read_days(table, options.time).tolist() if by == "day" else None
    return split_rows(
        label_index,
        by="group" if by in ("group", "day") else "time" if by == "time" else "random",
        balanced=options.balanced,
        max_per_bin=options.max_per_bin,
        seed=options.seed,
        groups=groups,
        times=times,
    )
