"""Methods: their names, and the techniques that they combine.

A name is a base with modifiers joined by ``+``, for example ``inv+lds+fds+ranksim`` or
``lightgbm+sqinv``, and optionally a transform of the target, ``trees(log)``.

- Bases of networks are ``vanilla`` (unweighted loss), ``sqinv``, ``inv`` and ``denseweight``
  (sample weights), ``focal-r`` and ``rrt`` (two stages). Their modifiers are ``lds``, ``fds`` and
  ``ranksim``; the sample weights also modify ``focal-r`` and ``rrt``.
- ``average`` with modifiers of a network, as in ``average+sqinv+ranksim``, is the mean of the plain
  network and the modified one of the same seed. It trains nothing itself.
- Other bases are estimators such as ``trees``. They are modified by the sample weights, ``lds`` and
  ``average``, the mean of the plain and the weighted estimator.
  An estimator of the user is a base under its name, too.
- ``over``, ``under``, ``wercs``, ``smoter`` and ``smogn`` resample the training rows of a table,
  for networks and estimators, instead of weights.
- Further losses, terms and heads of networks are in the table of :mod:`ranksim.training.parts`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ranksim._utils.formatting import format_value
from ranksim.data.target_transform import TRANSFORMS
from ranksim.datasets.published import published_table
from ranksim.exceptions import UsageError
from ranksim.imbalance import Scheme
from ranksim.training.custom_estimator import CustomEstimator
from ranksim.training.parts import (
    PARTS,
    check_parts,
    describe_parts,
    of_stage,
    replaces_loss,
    trains_encoder,
)

RANKSIM_SUFFIX = "+ranksim"
AVERAGE = "average"
AVERAGE_PAPER = (
    "Wibbeke, Rohjans, Rauh, Model-agnostic Mitigation Strategies of Data Imbalance for "
    "Regression, arXiv 2506.01486, 2025"
)
ESTIMATORS = ("trees", "lightgbm", "xgboost", "catboost", "linear", "knn", "median", "last-value")
CONSTANTS = ("median", "last-value")  # estimators without anything to modify
WEIGHTS: dict[str, Scheme] = {
    "sqinv": "sqrt_inverse",
    "inv": "inverse",
    "denseweight": "denseweight",
}
NETWORKS = ("vanilla", *WEIGHTS, "focal-r", "rrt")
BASES = (*NETWORKS, *ESTIMATORS)
RESAMPLERS = ("over", "under", "wercs", "smoter", "smogn")
MODIFIERS = ("lds", "fds", "ranksim", AVERAGE, *RESAMPLERS)
ALL_METHODS, FAMILY = "all", "family"
ENCODER = "encoder"  # start of the key of a first stage that trains the encoder alone
RESERVED = (ENCODER, *BASES, *MODIFIERS, *PARTS, ALL_METHODS, FAMILY, "default")
"""Names that estimators of the user cannot have."""
_SCHEME_NAMES = {scheme: name for name, scheme in WEIGHTS.items()}
_FAMILY = ("vanilla", *WEIGHTS, "vanilla+lds", "vanilla+fds", "focal-r", "rrt", "vanilla+ranksim")
_ORDER = (
    *(*ESTIMATORS, "rrt", "focal-r", AVERAGE, *reversed(WEIGHTS), "vanilla"),
    *(*PARTS, *MODIFIERS),
)
_TRANSFORMED = re.compile(r"(.+?)\(([^()]*)\)")


@dataclass(frozen=True)
class Technique:
    """A combination of techniques for one training run."""

    focal_r: bool = False  # instead of the base loss
    weighting: Scheme = "none"  # of the samples; of a two-stage method, in the second stage
    lds: bool = False  # smooth the counts from which the weights are computed
    fds: bool = False  # calibrate features
    ranksim: bool = False  # add RankSim to the loss
    two_stage: bool = False  # train the encoder, then a new head with weights (RRT, rnc)
    estimator: str = ""  # instead of a network
    average: bool = False  # predict the mean of the plain and the modified method
    resampling: str = ""  # of the training rows of a table
    transform: str = ""  # of the target
    custom: CustomEstimator | None = None  # of this name, of the user
    parts: tuple[str, ...] = ()  # of ranksim.training.parts.PARTS, in its order

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))  # a list in JSON

    @property
    def stage_one(self) -> Technique:
        """Return the techniques of the first stage, which uses no sample weights."""
        parts = of_stage(self.parts, "first")
        focal_r = self.focal_r and not trains_encoder(parts)
        plain = dataclasses.replace(self, two_stage=False, weighting="none", lds=False)
        return dataclasses.replace(plain, focal_r=focal_r, parts=parts)

    @property
    def stage_two(self) -> Technique:
        """Return the techniques of the second stage; RankSim has no effect on a frozen encoder."""
        parts = of_stage(self.parts, "second")
        return dataclasses.replace(self, two_stage=False, ranksim=False, parts=parts)

    def to_dict(self) -> dict[str, Any]:
        """Return the techniques as JSON values; those added later only if they are used."""
        content = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        del content["custom"]  # recorded as a part of its own
        content["parts"] = list(self.parts)
        later = ("estimator", "average", "resampling", "transform", "parts")
        return {name: value for name, value in content.items() if value or name not in later}


@dataclass(frozen=True)
class Method:
    """A method by name, with its techniques and a key shared by equal methods."""

    name: str  # the requested name with its parts in canonical order, such as vanilla+lds
    key: str  # canonical name, such as inv+lds; methods of the same key are identical
    technique: Technique


def parse_method(
    name: str,
    weighting: Scheme,
    transform: str = "",
    customs: Sequence[CustomEstimator] = (),
) -> Method:
    """Parse the name of a method.

    ``weighting`` of the recipe is the scheme of LDS and of RRT's second stage if the name contains
    none. LDS always re-weights: ``vanilla+lds`` is ``inv+lds`` for ``inverse``. ``transform`` is
    that of the target if the name contains none. ``customs`` are the estimators of the user.
    """
    label = f"Method {format_value(name)}"
    transformed = _TRANSFORMED.fullmatch(name)
    parts = (name if transformed is None else transformed[1]).split("+")
    named = {each.name: each for each in customs}
    estimators = (*named, *ESTIMATORS)
    _check_parts(label, parts, estimators)
    if transformed is not None:
        transform = transformed[2]
        if transform not in TRANSFORMS:
            raise UsageError(
                f"{label} has an unknown transform {format_value(transform)}: use one of "
                f"{', '.join(TRANSFORMS)}."
            )
    bases = [part for part in parts if part in (*NETWORKS, *estimators) and part not in WEIGHTS]
    schemes = [part for part in parts if part in WEIGHTS]
    estimator = next((part for part in parts if part in estimators), "")
    if estimator:
        _check_estimator_parts(label, estimator, parts)
    if estimator in CONSTANTS:
        transform = ""
    scheme: Scheme = WEIGHTS[schemes[0]] if schemes else "none"
    chosen = tuple(part for part in PARTS if part in parts)
    check_parts(label, parts, [part for part in parts if part in (*WEIGHTS, *RESAMPLERS)])
    rebalances = any(PARTS[part].rebalances for part in chosen)
    if scheme == "none" and ("lds" in parts or "rrt" in bases) and not rebalances:
        scheme = weighting
        if scheme == "none":
            raise UsageError(
                f"{label} weights samples, but the recipe's weighting is none: set it to inverse "
                "or sqrt_inverse."
            )
    if scheme == "denseweight" and "lds" in parts:
        raise UsageError(
            f"{label} contains lds, which smooths the counts of bins, but denseweight uses a "
            "kernel density: leave one out."
        )
    resampling = next((part for part in parts if part in RESAMPLERS), "")
    if resampling and scheme != "none":
        raise UsageError(
            f"{label} resamples and weights, which would count rare labels twice: leave one out."
        )
    technique = Technique(
        focal_r="focal-r" in bases,
        weighting=scheme,
        lds="lds" in parts,
        fds="fds" in parts,
        ranksim="ranksim" in parts,
        two_stage="rrt" in bases or trains_encoder(chosen),
        estimator=estimator,
        average=AVERAGE in parts,
        resampling=resampling,
        transform=transform,
        custom=named.get(estimator),
        parts=chosen,
    )
    _check_average(label, technique)
    key = _canonical_name(technique, weighting)
    order = (*named, *_ORDER) if estimator else (AVERAGE, *_ORDER)
    ordered = "+".join(sorted(parts, key=order.index)) + (f"({transform})" if transform else "")
    return Method(ordered if bases or schemes else key, key, technique)


def _check_parts(label: str, parts: list[str], estimators: tuple[str, ...]) -> None:
    """Raise a UsageError for unknown, repeated or contradictory parts of a name."""
    known = (*NETWORKS, *estimators)
    for part in parts:
        if part in (ALL_METHODS, FAMILY):
            raise UsageError(
                f"{label} cannot be trained, as {part} stands for several methods in --methods of "
                "compare and bench: name one method, see ranksim methods."
            )
        if part not in (*known, *MODIFIERS, *PARTS):
            raise UsageError(
                f"{label} has an unknown part {format_value(part)}: use one of "
                f"{', '.join(known)} and any of {', '.join((*PARTS, *MODIFIERS))}, joined by +."
            )
        if parts.count(part) > 1:
            raise UsageError(f"{label} contains {part!r} twice: leave one out.")
    bases = [part for part in parts if part in known and part not in WEIGHTS]
    schemes = [part for part in parts if part in WEIGHTS]
    resamplers = [part for part in parts if part in RESAMPLERS]
    for conflicts in (bases, schemes, [*({"vanilla"} & {*bases}), *schemes], resamplers):
        if len(conflicts) > 1:
            raise UsageError(f"{label} contains {conflicts[0]} and {conflicts[1]}: choose one.")


def _check_estimator_parts(label: str, estimator: str, parts: list[str]) -> None:
    """Raise a UsageError for modifiers that an estimator cannot have."""
    of_networks = [part for part in parts if part in ("fds", "ranksim", *PARTS)]
    if of_networks:
        name = of_networks[0]
        kind = PARTS[name].kind if name in PARTS else "feature term"
        need = {
            "loss": "is a loss for a network",
            "loss term": "is a loss for a network",
            "optimizer": "is an optimizer of networks",
            "heads": "is a head of networks",
        }.get(kind, "needs the features of a network")
        raise UsageError(f"{label} contains {name}, which {need}: leave out {name} or {estimator}.")
    if estimator in CONSTANTS and len(parts) > 1:
        others = ", ".join(part for part in parts if part != estimator)
        raise UsageError(
            f"{label} cannot be modified, as {estimator} is fixed: leave out {others}."
        )


def _check_average(label: str, technique: Technique) -> None:
    """Raise a UsageError if a mean has only one method to average."""
    if technique.average and technique.estimator and technique.weighting == "none":
        raise UsageError(
            f"{label} averages a plain and a weighted estimator: name both, as in "
            "trees+average+inv."
        )
    if technique == Technique(average=True, transform=technique.transform):
        raise UsageError(
            f"{label} averages the plain network and another one: name what that one has, as in "
            "average+sqinv."
        )


def without_ranksim(name: str) -> str | None:
    """Return the name of the same method without RankSim, or None if it does not use it.

    Example:
        >>> without_ranksim("inv+ranksim(log)")
        'inv(log)'
    """
    base, suffix, transform = name.rpartition(RANKSIM_SUFFIX)
    if not suffix or base == AVERAGE or (transform and transform[0] != "("):
        return None
    return base + transform


def first_stage(method: Method) -> Method | None:
    """Return the method of the first stage of a two-stage method, or ``None``."""
    if not method.technique.two_stage or method.technique.average:
        return None
    technique = method.technique.stage_one
    key = _canonical_name(technique, "none")
    return Method(key, key, technique)


def parse_key(key: str, weighting: Scheme, customs: Sequence[CustomEstimator] = ()) -> Method:
    """Parse the key of a run, which may be the first stage of a method.

    Example:
        >>> parse_key("encoder+rnc+ranksim", "inverse").key
        'encoder+rnc+ranksim'
    """
    if not key.startswith(f"{ENCODER}+"):
        return parse_method(key, weighting, customs=customs)
    whole = parse_method(key.replace(ENCODER, "vanilla", 1), weighting, customs=customs)
    stage = first_stage(whole)
    assert stage is not None
    return stage


def average_members(method: Method) -> tuple[Method, ...]:
    """Return the plain and the modified network that a method averages; empty for others."""
    technique = method.technique
    names = find_averaged(method.key)
    if names is None or technique.estimator:
        return ()
    plain = Technique(transform=technique.transform)
    techniques = (plain, dataclasses.replace(technique, average=False))
    return tuple(Method(name, name, each) for name, each in zip(names, techniques, strict=True))


def find_averaged(key: str) -> tuple[str, str] | None:
    """Return the keys of the plain and the modified method that a method averages, or None.

    Example:
        >>> find_averaged("trees+average+inv(log)"), find_averaged("average+ranksim(log)")
        (('trees(log)', 'trees+inv(log)'), ('vanilla(log)', 'vanilla+ranksim(log)'))
    """
    name, bracket, transform = key.partition("(")
    parts = name.split("+")
    if AVERAGE not in parts:
        return None
    others = [part for part in parts if part != AVERAGE]
    base = parts[0] if parts[0] != AVERAGE else "vanilla"
    if others[0] not in BASES and others[0] != base:
        others.insert(0, base)
    return f"{base}{bracket}{transform}", f"{'+'.join(others)}{bracket}{transform}"


def parse_methods(
    names: str,
    benchmark: str,
    weighting: Scheme,
    transform: str = "",
    customs: Sequence[CustomEstimator] = (),
) -> list[Method]:
    """Parse names separated by commas, without duplicates.

    ``all`` stands for the methods of the published tables, ``family`` for one row of each method.

    Estimators of the user that no name mentions are added, and also with the weights ``sqinv`` if
    they take weights.
    """
    requested: list[str] = []
    for name in names.lower().split(","):
        if name.strip() == ALL_METHODS:
            requested += published_method_names(benchmark)
        elif name.strip() == FAMILY:
            requested += family_method_names()
        elif name.strip():
            requested.append(name.strip())
    if not requested:
        raise UsageError(
            "--methods is empty: give names separated by commas, or all; see ranksim methods."
        )
    methods = [
        parse_method(name, weighting, transform, customs) for name in dict.fromkeys(requested)
    ]
    mentioned = {method.technique.estimator for method in methods}
    for custom in customs:
        if custom.name not in mentioned:
            rows = [custom.name] + [f"{custom.name}+sqinv"] * (custom.weight_parameter is not None)
            methods += [parse_method(name, weighting, transform, customs) for name in rows]
    return list({method.name: method for method in methods}.values())


def published_method_names(benchmark: str) -> list[str]:
    """Return the 32 rows of the benchmark's published table, or of STS-B-DIR's for other data."""
    return list(published_table(benchmark) or published_table("sts-b-dir"))


def family_method_names() -> list[str]:
    """Return one name for each method: the modifiers and parts, each with the plain base."""
    return [*_FAMILY, *(f"vanilla+{part}" for part in PARTS), f"{AVERAGE}+sqinv"]


def describe_method(method: Method, loss: str) -> str:
    """Describe a method in a few words, such as "MSE, weights 1/n + RankSim"."""
    technique = method.technique
    if members := average_members(method):
        return f"mean of {' and '.join(describe_method(each, loss) for each in members)}"
    if technique.estimator:
        base = describe_estimator(method)
    else:
        base = {"mse": "MSE", "l1": "L1", "huber": "Huber"}[loss]
    base = f"Focal-R ({base})" if technique.focal_r else base
    parts = technique.parts
    if technique.two_stage:
        parts = of_stage(parts, "first")
    first_base = _join_losses(base, parts)
    base = _join_losses(base, technique.parts)
    weights = [_FORMULAS[technique.weighting]] if technique.weighting != "none" else []
    if technique.lds:
        weights.append("n smoothed over labels (LDS)")
    if technique.average:
        weights.append("averaged with no weights")
    fds = ["features smoothed over labels (FDS)"] if technique.fds else []
    others = [f"rows resampled ({technique.resampling.upper()})"] if technique.resampling else []
    others += [f"{technique.transform} of the target"] if technique.transform else []
    others += describe_parts(technique.parts, ("optimizer",))
    terms = [*describe_parts(technique.parts, ("feature term",)), *["RankSim"] * technique.ranksim]
    end = "".join(f" + {term}" for term in terms)
    if technique.two_stage and trains_encoder(technique.parts):
        first = ", ".join(["the encoder trained by " + " + ".join(terms), *fds, *others])
        return f"{first}; then a linear head by {', '.join([base, *weights])}"
    if technique.two_stage:
        first = ", ".join([first_base, *fds, *others]) + end
        second = [base] if base != first_base else []
        return f"{first}; then the head retrained with {', '.join([*second, *weights])} (RRT)"
    return ", ".join([base, *weights, *fds, *others]) + end


def _join_losses(base: str, parts: Sequence[str]) -> str:
    """Return the description of the loss of some parts, of which ``base`` is the plain one."""
    if replaces_loss(parts):
        base = describe_parts(parts, ("loss", "heads"))[0]
    return " + ".join([base, *describe_parts(parts, ("loss term",))])


def describe_estimator(method: Method) -> str:
    """Describe the estimator of a method, such as "boosted trees of LightGBM"."""
    custom = method.technique.custom
    if custom is not None:
        return f"{type(custom.estimator).__name__}, an estimator of the user"
    return _DESCRIPTIONS[method.technique.estimator]


_FORMULAS = {
    "inverse": "weights 1/n",
    "sqrt_inverse": "weights 1/√n",
    "denseweight": "weights 1 − density (DenseWeight)",
}
_DESCRIPTIONS = {
    "trees": "boosted trees of scikit-learn",
    "lightgbm": "boosted trees of LightGBM",
    "xgboost": "boosted trees of XGBoost",
    "catboost": "boosted trees of CatBoost",
    "linear": "ridge regression",
    "knn": "nearest neighbors",
    "median": "the median training label",
    "last-value": "the last reading",
}


def _canonical_name(technique: Technique, weighting: Scheme) -> str:
    """Return the shortest name, which omits the default ``weighting`` if it is implied."""
    if technique.average and not technique.estimator:
        other = _canonical_name(dataclasses.replace(technique, average=False), weighting)
        return f"{AVERAGE}+{other.removeprefix('vanilla+')}"
    alone = trains_encoder(technique.parts)
    is_rrt = technique.two_stage and not alone
    base = "focal-r" if technique.focal_r else "rrt" if is_rrt else ""
    base = ENCODER if alone and not technique.two_stage else technique.estimator or base
    scheme = _SCHEME_NAMES.get(technique.weighting, "")
    implied = is_rrt or technique.lds
    if base and implied and technique.weighting == weighting and not technique.estimator:
        scheme = ""
    modifiers = [part for part in ("lds", "fds", "ranksim") if getattr(technique, part)]
    modifiers = [*technique.parts, *modifiers]
    start = base or ("" if scheme else "vanilla")
    average = AVERAGE * technique.average
    parts = (start, average, scheme, *modifiers, technique.resampling)
    name = "+".join(part for part in parts if part)
    return f"{name}({technique.transform})" if technique.transform else name
