"""What is searched for a method, and where the search begins."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ranksim.exceptions import UsageError
from ranksim.training.method import Method

_RANKSIM: dict[str, tuple[float, float]] = {
    "ranksim_weight": (0.01, 3.0),
    "gamma": (0.1, 100.0),
    "lambda_": (0.5, 8.0),
}
_KERNELS: dict[str, tuple[Any, ...]] = {
    "kernel": ("gaussian", "gaussian-textbook", "triangular", "laplace"),
    "kernel_size": (3, 5, 9, 15),
    "sigma": (1.0, 2.0, 4.0),
}
_BINS = (5, 10, 20, 50)
_FIRST = (1.0, 1 / 3, 3.0)  # the recipe as it is, and its strength by a factor each way


@dataclass(frozen=True)
class Space:
    """What is searched: real fields, where equal factors are equally likely, and choices."""

    ranges: Mapping[str, tuple[float, float]]
    choices: Mapping[str, tuple[Any, ...]]

    @classmethod
    def of(
        cls,
        method: Method,
        recipe: Mapping[str, Any],
        *,
        fields: Sequence[str] = (),
        given: Collection[str] = (),
    ) -> Space:
        """The fields that a method uses, or those of them that are named.

        Args:
            method: what is trained.
            recipe: values where the search begins; ranges and choices are widened to hold them.
            fields: names, or none for all.
            given: fields that the user has set, which are not searched.

        Raises:
            UsageError: the method uses none, or not the named ones.
        """
        technique = method.technique
        ranges = _RANKSIM if technique.ranksim and not technique.two_stage else {}
        choices: dict[str, tuple[Any, ...]] = {}
        for part in ("lds", "fds"):
            # the features of a second stage are those of the first, which FDS shapes
            if getattr(technique, part) and not (part == "fds" and technique.two_stage):
                choices |= {f"{part}_{name}": values for name, values in _KERNELS.items()}
                choices |= {"fds_bins": _BINS} if part == "fds" else {}
        known = [name for name in (*ranges, *choices) if name not in given]
        if not known:
            raise UsageError(
                f"{method.name} has nothing to tune of its own that --set does not fix: RankSim, "
                "LDS and FDS have, and a two-stage method takes RankSim and FDS from its first "
                "stage."
            )
        for name in fields:
            if name not in known:
                raise UsageError(
                    f"{method.name} has no {name!r} to tune: it has {', '.join(known)}."
                )
        wanted = [name for name in known if name in (fields or known)]
        return cls(
            {
                name: (min(ranges[name][0], recipe[name]), max(ranges[name][1], recipe[name]))
                for name in wanted
                if name in ranges
            },
            {
                name: tuple(dict.fromkeys((*choices[name], recipe[name])))
                for name in wanted
                if name in choices
            },
        )

    def draw(self, trial: Any) -> dict[str, Any]:
        """Values that Optuna suggests for a trial."""
        drawn: dict[str, Any] = {
            # four digits: a recipe that is read and typed, not a number that pretends
            name: float(f"{trial.suggest_float(name, low, high, log=True):.4g}")
            for name, (low, high) in self.ranges.items()
        }
        return drawn | {
            name: trial.suggest_categorical(name, values) for name, values in self.choices.items()
        }

    def first(self, recipe: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Where a search begins: the recipe as it is, then other strengths."""
        now = {name: recipe[name] for name in (*self.ranges, *self.choices)}
        if "ranksim_weight" not in self.ranges:
            yield now
            return
        low, high = self.ranges["ranksim_weight"]
        for factor in _FIRST:
            yield now | {"ranksim_weight": min(max(now["ranksim_weight"] * factor, low), high)}
