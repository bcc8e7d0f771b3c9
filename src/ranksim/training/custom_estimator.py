"""Estimators of the user: any regressor or pipeline of scikit-learn as a row of a comparison."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.formatting import format_value, single_line
from ranksim.exceptions import DataError, UsageError, require_optional

_NAME = re.compile(r"[a-z][\w.-]*")
_WEIGHT = "sample_weight"
_INNER = ("regressor", "estimator")  # of estimators that pass arguments of fit on
_FEW_PARAMS = 300  # characters of a recorded parameter

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CustomEstimator:
    """A named estimator that is not fitted.

    Args:
        name: of its row; weighted rows are called ``name+sqinv`` and so on.
        estimator: has ``fit``, ``predict`` and ``get_params``, as in scikit-learn.
    """

    name: str
    estimator: Any

    def __post_init__(self) -> None:
        base = require_optional("sklearn.base", "train")
        label, estimator = f"Estimator {self.name!r}", self.estimator
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise UsageError(
                f"{label} cannot name a row: use lowercase letters, digits, dots and dashes, and a "
                "letter first."
            )
        if isinstance(estimator, type):
            raise UsageError(
                f"{label} is the class {estimator.__name__}: pass an object, as in "
                f"{estimator.__name__}()."
            )
        missing = [
            name for name in ("fit", "predict", "get_params") if not hasattr(estimator, name)
        ]
        if missing:
            raise UsageError(
                f"{label} is {_describe_class(estimator)}, which has no {missing[0]}: pass a "
                "regressor or a pipeline of scikit-learn."
            )
        if base.is_classifier(estimator):
            raise UsageError(
                f"{label} is {_describe_class(estimator)}, which predicts classes: pass a "
                "regressor."
            )
        try:
            copy = base.clone(estimator)
        except (TypeError, RuntimeError) as error:
            raise UsageError(
                f"{label} cannot be copied ({single_line(error)}): let its __init__ keep its "
                "arguments unchanged, as scikit-learn requires."
            ) from error
        object.__setattr__(self, "estimator", copy)

    @property
    def weight_parameter(self) -> str | None:
        """The name under which fit takes sample weights; None if it takes none."""
        return _find_weight_parameter(self.estimator)

    @property
    def depends_on_seed(self) -> bool:
        """Whether it, or a part of it, has a ``random_state``."""
        return bool(_find_parameters(self.estimator, "random_state"))

    @property
    def reads_names(self) -> bool:
        """Whether it selects columns by name, as a ColumnTransformer does."""
        kind = require_optional("sklearn.compose", "train").ColumnTransformer
        parts = (self.estimator, *self.estimator.get_params(deep=True).values())
        return any(isinstance(part, kind) for part in parts)

    def check_weights(self) -> None:
        """Raise a UsageError if fit takes no sample weights."""
        if self.weight_parameter is None:
            raise UsageError(
                f"it weights samples, and the fit of {_describe_class(self.estimator)} takes no "
                "sample_weight; leave out the weights, or use another estimator."
            )

    def describe(self) -> dict[str, Any]:
        """Return class, parameters and version, which are recorded with the results."""
        params = {
            name: _describe_parameter(value)
            for name, value in self.estimator.get_params(deep=True).items()
            if not name.endswith(("random_state", "n_jobs"))
        }
        kind = type(self.estimator)
        package = kind.__module__.partition(".")[0]
        version = None
        with contextlib.suppress(metadata.PackageNotFoundError):
            names = {"sklearn": "scikit-learn"}
            version = metadata.version(names.get(package, package))
        name = f"{kind.__module__}.{kind.__qualname__}"
        return {"class": name, "version": version, "params": params}

    def fit(self, inputs: Any, labels: Floats, weights: Floats | None, seed: int) -> Any:
        """Return a fitted copy; its random states are the seed, and it uses one thread.

        Args:
            inputs: features ``(N, F)``, or a data frame.
            labels: float64 ``(N,)``.
            weights: float64 ``(N,)``, or None.
            seed: of all random states.

        Raises:
            DataError: it cannot be fitted to the data.
        """
        model = require_optional("sklearn.base", "train").clone(self.estimator)
        model.set_params(**dict.fromkeys(_find_parameters(model, "random_state"), seed))
        model.set_params(**dict.fromkeys(_find_parameters(model, "n_jobs"), 1))
        arguments = {}
        if weights is not None:
            assert self.weight_parameter is not None
            arguments[self.weight_parameter] = weights
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # LightGBM prints
                model.fit(inputs, labels, **arguments)
        except Exception as error:  # of any library
            raise DataError(
                f"Estimator {self.name} could not be fitted ({_describe_error(error)}): correct "
                "it, or leave it out."
            ) from error
        return model

    def predict(self, model: Any, inputs: Any) -> Floats:
        """Return the predictions ``(N,)`` of a model of :meth:`fit`.

        Raises:
            DataError: they are not N finite numbers.
        """
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                preds = np.asarray(model.predict(inputs), dtype=np.float64)
        except Exception as error:  # of any library
            raise DataError(
                f"Estimator {self.name} could not predict ({_describe_error(error)}): correct it, "
                "or leave it out."
            ) from error
        if preds.shape == (len(inputs), 1):
            preds = preds[:, 0]
        if preds.shape != (len(inputs),) or not np.isfinite(preds).all():
            content = "values that are not finite" if preds.shape == (len(inputs),) else preds.shape
            raise DataError(
                f"Estimator {self.name} must predict {len(inputs):,} finite numbers, one per row, "
                f"but predicted {content}: correct it, or leave it out."
            )
        return preds


def name_estimators(
    estimators: Mapping[str, Any], reserved: Sequence[str]
) -> tuple[CustomEstimator, ...]:
    """Return estimators by the name of their row; raise a UsageError for invalid ones.

    ``reserved`` are the names of the rows and modifiers that ranksim has.
    """
    if not isinstance(estimators, Mapping):
        raise UsageError(
            "estimators takes a dictionary of names and estimators, such as {'ridge': Ridge()}, "
            f"got {format_value(estimators)}."
        )
    named = tuple(CustomEstimator(name, each) for name, each in estimators.items())
    for each in named:
        if each.name in reserved:
            raise UsageError(
                f"Estimator {each.name!r} has the name of a method of ranksim: give it another one."
            )
    return named


def _find_weight_parameter(estimator: Any) -> str | None:
    """Return the parameter of fit for sample weights; that of the last step of a pipeline."""
    steps = getattr(estimator, "steps", None)
    if steps:
        name, last = steps[-1]
        inner = _find_weight_parameter(last)
        return None if inner is None else f"{name}__{inner}"
    validation = require_optional("sklearn.utils.validation", "train")
    if validation.has_fit_parameter(estimator, _WEIGHT):
        return _WEIGHT
    inner = next((getattr(estimator, name) for name in _INNER if hasattr(estimator, name)), None)
    return None if inner is None else _find_weight_parameter(inner)


def _find_parameters(estimator: Any, name: str) -> list[str]:
    """Return all parameters of this name, also those of parts such as ``model__random_state``."""
    names = estimator.get_params(deep=True)
    return [each for each in names if each == name or each.endswith(f"__{name}")]


def _describe_parameter(value: Any) -> Any:
    """Return a parameter as a JSON value: numbers and texts as they are, parts by their class."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if hasattr(value, "get_params"):
        return f"{type(value).__module__}.{type(value).__qualname__}"
    text = re.sub(r" at 0x[0-9a-f]+", "", repr(value))
    return " ".join(text.split())[:_FEW_PARAMS]


def _describe_class(estimator: Any) -> str:
    name = type(estimator).__name__
    return f"an {name}" if name[0] in "AEIOUaeiou" else f"a {name}"


def _describe_error(error: Exception) -> str:
    return f"{type(error).__name__}: {single_line(error)}".rstrip(". ")
