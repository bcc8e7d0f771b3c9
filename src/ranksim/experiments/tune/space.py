"""The search space of a method's recipe."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ranksim.exceptions import UsageError
from ranksim.training.method import Method

_WEIGHT = "ranksim_weight"
_RANKSIM: dict[str, tuple[float, float]] = {
    _WEIGHT: (0.01, 3.0),
    "gamma": (0.1, 100.0),
    "lambda_": (0.5, 8.0),
}
_KERNELS: dict[str, tuple[Any, ...]] = {
    "kernel": ("gaussian", "gaussian-textbook", "triangular", "laplace"),
    "kernel_size": (3, 5, 9, 15),
    "sigma": (1.0, 2.0, 4.0),
}
_BINS = (5, 10, 20, 50)
_WEIGHT_FACTORS = (1.0, 1 / 3, 3.0)  # of the first trials


@dataclass(frozen=True)
class Space:
    """The recipe fields to search.

    Args:
        ranges: lowest and highest value of numbers, searched on a logarithmic scale.
        choices: values of all other fields.
    """

    ranges: Mapping[str, tuple[float, float]]
    choices: Mapping[str, tuple[Any, ...]]

    @classmethod
    def from_method(
        cls,
        method: Method,
        recipe: Mapping[str, Any],
        *,
        fields: Sequence[str] = (),
        fixed: Collection[str] = (),
    ) -> Space:
        """Return the space of the fields that a method uses.

        Args:
            method: the method to tune.
            recipe: the initial values; ranges and choices are extended to include them.
            fields: names of the fields to search; empty: all that the method uses.
            fixed: fields that the user has set, which are not searched.

        Raises:
            UsageError: the method uses no field, or not the given ones.
        """
        technique = method.technique
        ranges = _RANKSIM if technique.ranksim and not technique.two_stage else {}
        choices: dict[str, tuple[Any, ...]] = {}
        for part in ("lds", "fds"):
            # the first stage of a two-stage method, which FDS shapes, is not searched
            if getattr(technique, part) and not (part == "fds" and technique.two_stage):
                choices |= {f"{part}_{name}": values for name, values in _KERNELS.items()}
                choices |= {"fds_bins": _BINS} if part == "fds" else {}
        known = [name for name in (*ranges, *choices) if name not in fixed]
        if not known:
            raise UsageError(
                f"{method.name} has no field to tune that --set does not fix: choose a method with "
                "RankSim, LDS or FDS (a two-stage method takes RankSim and FDS from its first "
                "stage)."
            )
        for name in fields:
            if name not in known:
                raise UsageError(
                    f"{method.name} has no field {name!r} to tune: choose among {', '.join(known)}."
                )
        names = [name for name in known if name in (fields or known)]
        return cls(
            {
                name: (min(ranges[name][0], recipe[name]), max(ranges[name][1], recipe[name]))
                for name in names
                if name in ranges
            },
            {
                name: tuple(dict.fromkeys((*choices[name], recipe[name])))
                for name in names
                if name in choices
            },
        )

    def suggest(self, trial: Any) -> dict[str, Any]:
        """Return the values that Optuna suggests for a trial, numbers with four digits."""
        suggested: dict[str, Any] = {
            name: float(f"{trial.suggest_float(name, low, high, log=True):.4g}")
            for name, (low, high) in self.ranges.items()
        }
        return suggested | {
            name: trial.suggest_categorical(name, values) for name, values in self.choices.items()
        }

    def initial_values(self, recipe: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the values of the first trials: the recipe, then other weights of RankSim."""
        values = {name: recipe[name] for name in (*self.ranges, *self.choices)}
        if _WEIGHT not in self.ranges:
            yield values
            return
        low, high = self.ranges[_WEIGHT]
        for factor in _WEIGHT_FACTORS:
            yield values | {_WEIGHT: min(max(values[_WEIGHT] * factor, low), high)}
