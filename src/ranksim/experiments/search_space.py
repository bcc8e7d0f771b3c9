"""The arguments of ``ranksim tune``, and the search space of a method (no PyTorch)."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ranksim.exceptions import UsageError
from ranksim.experiments.sweep_settings import SweepRequest, SweepSettings, parse_seeds
from ranksim.training.method import Method, average_members
from ranksim.training.method_rules import estimator_options
from ranksim.training.parts import ALPHA, PARTS, of_stage
from ranksim.training.recipe import Recipe

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
_ALPHA = (0.1, 3.0)
_BINS = (5, 10, 20, 50)
_TREES: dict[str, tuple[float, float]] = {
    "learning_rate": (0.01, 0.3),
    "max_leaves": (4, 256),
    "min_samples_leaf": (1, 200),
    "l2": (1e-3, 100.0),
}
_DEFAULTS = {"learning_rate": 0.1, "max_leaves": 31, "min_samples_leaf": 20, "l2": 1.0}
_WHOLE = ("max_leaves", "min_samples_leaf")
_LR_FACTOR = 10.0  # from the recipe's learning rate, each way
_DOUBLED = ("batch_size", "hidden", "patience")  # half of the recipe's value, that, and twice it
_SHAPE: dict[str, tuple[Any, ...]] = {"layers": (1, 2, 3), "dropout": (0.0, 0.1, 0.3)}
_WEIGHT_FACTORS = (1.0, 1 / 3, 3.0)  # of the first trials


@dataclass(frozen=True)
class Space:
    """A search space: logarithmic ``ranges`` of numbers and discrete ``choices``, by field."""

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
        network: bool = False,
    ) -> Space:
        """Return the search space of a method around the values of its recipe.

        Args:
            method: whose techniques determine the fields.
            recipe: values by field, to which ranges and choices are extended.
            fields: to search; empty: all but the ``fixed`` ones.
            fixed: fields that keep their values.
            network: search learning rate, batch size, width, depth, dropout and patience too; a
                method without other fields always does.

        Raises:
            UsageError: the method has no field, or not the given ones.
        """
        technique = method.technique
        ranges: Mapping[str, tuple[float, float]] = {}
        choices: dict[str, tuple[Any, ...]] = {}
        if technique.lds:
            choices |= {f"lds_{name}": values for name, values in _KERNELS.items()}
        if technique.estimator:
            options = estimator_options(technique.estimator)
            ranges = {name: limits for name, limits in _TREES.items() if name in options}
        elif not technique.two_stage:  # they shape the first stage, which is not searched
            if technique.ranksim:
                ranges = _RANKSIM
            if technique.fds:
                choices |= {f"fds_{name}": values for name, values in _KERNELS.items()}
                choices["fds_bins"] = _BINS
        if technique.weighting == "denseweight":
            ranges = {**ranges, ALPHA: _ALPHA}
        for name in of_stage(technique.parts, "second") if technique.two_stage else technique.parts:
            ranges, choices = {**ranges, **PARTS[name].ranges}, {**choices, **PARTS[name].choices}
        if not technique.estimator and (network or fields or not (ranges or choices)):
            shared = _network_space(recipe, shape=not technique.two_stage)
            ranges, choices = {**ranges, **shared.ranges}, {**choices, **shared.choices}
        known = [name for name in (*ranges, *choices) if name not in fixed]
        if not known:
            raise UsageError(
                f"{method.name} has no field to tune that --set does not fix: choose another one."
            )
        for name in fields:
            if name not in known:
                raise UsageError(
                    f"{method.name} has no field {name!r} to tune: choose among {', '.join(known)}."
                )
        names = set(known) & set(fields or known)
        return cls(
            {
                name: (min(low, recipe[name]), max(high, recipe[name]))
                for name, (low, high) in ranges.items()
                if name in names
            },
            {
                name: tuple(dict.fromkeys((*values, recipe[name])))
                for name, values in choices.items()
                if name in names
            },
        )

    def suggest(self, trial: Any) -> dict[str, Any]:
        """Return a value for each field as suggested by Optuna, with four significant digits."""
        numbers = {
            name: _round_value(name, trial.suggest_float(name, low, high, log=True))
            for name, (low, high) in self.ranges.items()
        }
        return numbers | {
            name: trial.suggest_categorical(name, values) for name, values in self.choices.items()
        }

    def initial_values(self, recipe: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield values for the first trials: those of the recipe, then other weights of RankSim."""
        values = {name: recipe[name] for name in (*self.ranges, *self.choices)}
        if _WEIGHT not in self.ranges:
            yield values
            return
        low, high = self.ranges[_WEIGHT]
        for factor in _WEIGHT_FACTORS:
            yield values | {_WEIGHT: min(max(values[_WEIGHT] * factor, low), high)}


def has_fields(method: Method, recipe: Recipe, fixed: Collection[str]) -> bool:
    """Return whether a method on user data has a field to tune."""
    try:
        Space.from_method(method, recipe_values(recipe), fixed=fixed, network=True)
    except UsageError:
        return False
    return True


def recipe_values(recipe: Recipe) -> dict[str, Any]:
    """Return the fields of a recipe, with the libraries' defaults of those that are None."""
    values = dataclasses.asdict(recipe)
    return values | {k: v for k, v in _DEFAULTS.items() if k in values and values[k] is None}


def _network_space(recipe: Mapping[str, Any], *, shape: bool) -> Space:
    """Return the search space of a network, with its ``shape`` unless a first stage fixes it."""
    doubled = [name for name in _DOUBLED if recipe.get(name) and (shape or name != "hidden")]
    choices = {
        name: (max(recipe[name] // 2, 1), recipe[name], 2 * recipe[name]) for name in doubled
    }
    if shape:
        choices |= {name: values for name, values in _SHAPE.items() if name in recipe}
    lr = recipe["lr"]
    return Space({"lr": (lr / _LR_FACTOR, lr * _LR_FACTOR)}, choices)


def _round_value(name: str, value: float) -> float:
    """Round a suggested value to four significant digits, or to a whole number of leaves."""
    return round(value) if name in _WHOLE else float(f"{value:.4g}")


@dataclass(frozen=True)
class TuneRequest:
    """The arguments of ``ranksim tune``.

    Args:
        bench: data, recipe changes, seeds, jobs and folder; ``methods`` is one name.
        n_trials: number of trials, including those of earlier commands in this folder.
        fields: recipe fields to search; empty: those of the method's techniques and, on user data
            or if it has none, of the network.
    """

    bench: SweepRequest
    n_trials: int
    fields: tuple[str, ...] = ()

    def parse_method(self, settings: SweepSettings) -> Method:
        """Return the method after :meth:`SweepSettings.check`."""
        return settings.parse_method(self.bench, self.bench.methods.strip().lower())

    def make_space(self, settings: SweepSettings, method: Method) -> Space:
        """Return the search space of the method; raise a UsageError for unknown fields."""
        if members := average_members(method):
            raise UsageError(
                f"{method.name} trains nothing itself, as it averages two networks: tune "
                f"{' and '.join(member.key for member in members)} instead."
            )
        return Space.from_method(
            method,
            recipe_values(settings.recipe(method)),
            fields=self.fields,
            fixed=settings.changes,
            network=self.bench.source.is_user_data,
        )

    def check(self) -> None:
        """Raise a UsageError for options that are wrong whatever the data contains."""
        parse_seeds(self.bench.seeds)
        if self.bench.trainer.num_nodes > 1:
            raise UsageError("ranksim tune runs on one machine only: remove --num-nodes.")
        settings = SweepSettings.from_request(self.bench)
        self.make_space(settings, self.parse_method(settings))
