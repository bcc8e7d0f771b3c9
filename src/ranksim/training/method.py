"""Methods of the published tables: their names and the techniques that they combine.

A name is a base with modifiers joined by ``+``, for example ``inv+lds+fds+ranksim``. Bases are
``vanilla`` (unweighted loss), ``sqinv`` and ``inv`` (sample weights), ``focal-r`` and ``rrt`` (two
stages). Modifiers are ``lds``, ``fds`` and ``ranksim``; ``sqinv`` and ``inv`` also modify
``focal-r`` and ``rrt``.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from ranksim._utils.formatting import format_value
from ranksim.datasets.published import published_table
from ranksim.exceptions import UsageError
from ranksim.imbalance import Scheme

RANKSIM_SUFFIX = "+ranksim"
BASES = ("vanilla", "sqinv", "inv", "focal-r", "rrt")
MODIFIERS = ("lds", "fds", "ranksim")
ALL_METHODS = "all"
_SCHEMES: dict[str, Scheme] = {"sqinv": "sqrt_inverse", "inv": "inverse"}
_SCHEME_NAMES = {scheme: name for name, scheme in _SCHEMES.items()}


@dataclass(frozen=True)
class Technique:
    """A combination of techniques for one training run."""

    focal_r: bool = False  # instead of the base loss
    weighting: Scheme = "none"  # of the samples; of a two-stage method, in the second stage
    lds: bool = False  # smooth the counts from which the weights are computed
    fds: bool = False  # calibrate features
    ranksim: bool = False  # add RankSim to the loss
    two_stage: bool = False  # RRT: train everything, then retrain the head with weights

    @property
    def stage_one(self) -> Technique:
        """Return the techniques of the first stage, which uses no sample weights."""
        return dataclasses.replace(self, two_stage=False, weighting="none", lds=False)

    @property
    def stage_two(self) -> Technique:
        """Return the techniques of the second stage; RankSim has no effect on a frozen encoder."""
        return dataclasses.replace(self, two_stage=False, ranksim=False)


@dataclass(frozen=True)
class Method:
    """A method by name, with its techniques and a key shared by equal methods."""

    name: str  # the requested name with its parts in canonical order, such as vanilla+lds
    key: str  # canonical name, such as inv+lds; methods of the same key are identical
    technique: Technique


def parse_method(name: str, weighting: Scheme) -> Method:
    """Parse the name of a method.

    ``weighting`` of the recipe is the scheme of LDS and of RRT's second stage if the name contains
    none. LDS always re-weights: ``vanilla+lds`` is ``inv+lds`` for ``inverse``.
    """
    parts = name.split("+")
    label = f"Method {format_value(name)}"
    for part in parts:
        if part not in BASES + MODIFIERS:
            raise UsageError(
                f"{label} has an unknown part {format_value(part)}: use one of "
                f"{', '.join(BASES)} and any of {', '.join(MODIFIERS)}, joined by +."
            )
        if parts.count(part) > 1:
            raise UsageError(f"{label} contains {part!r} twice: leave one out.")
    bases = [part for part in parts if part in BASES and part not in _SCHEMES]
    schemes = [part for part in parts if part in _SCHEMES]
    for conflicts in (bases, schemes, [*({"vanilla"} & {*bases}), *schemes]):
        if len(conflicts) > 1:
            raise UsageError(f"{label} contains {conflicts[0]} and {conflicts[1]}: choose one.")
    two_stage = "rrt" in bases
    scheme: Scheme = _SCHEMES[schemes[0]] if schemes else "none"
    if scheme == "none" and ("lds" in parts or two_stage):
        scheme = weighting
        if scheme == "none":
            raise UsageError(
                f"{label} weights samples, but the recipe's weighting is none: set it to inverse "
                "or sqrt_inverse."
            )
    technique = Technique(
        focal_r="focal-r" in bases,
        weighting=scheme,
        lds="lds" in parts,
        fds="fds" in parts,
        ranksim="ranksim" in parts,
        two_stage=two_stage,
    )
    ordered = "+".join(sorted(parts, key=(*BASES[::-1], *MODIFIERS).index))
    key = _canonical_name(technique, weighting)
    return Method(ordered if bases or schemes else key, key, technique)


def first_stage(method: Method) -> Method | None:
    """Return the method of the first stage of a two-stage method, or ``None``."""
    if not method.technique.two_stage:
        return None
    technique = method.technique.stage_one
    key = _canonical_name(technique, "none")
    return Method(key, key, technique)


def parse_methods(names: str, benchmark: str, weighting: Scheme) -> list[Method]:
    """Parse names separated by commas, without duplicates; ``all``: the published methods."""
    requested: list[str] = []
    for name in names.lower().split(","):
        if name.strip() == ALL_METHODS:
            requested += published_method_names(benchmark)
        elif name.strip():
            requested.append(name.strip())
    if not requested:
        raise UsageError(
            "--methods is empty: give names separated by commas, or all; see ranksim methods."
        )
    return [parse_method(name, weighting) for name in dict.fromkeys(requested)]


def published_method_names(benchmark: str) -> list[str]:
    """Return the 32 rows of the benchmark's published table, or of STS-B-DIR's for other data."""
    return list(published_table(benchmark) or published_table("sts-b-dir"))


def describe_method(method: Method, loss: str) -> str:
    """Describe a method in a few words, such as "MSE, weights 1/n + RankSim"."""
    technique = method.technique
    base = {"mse": "MSE", "l1": "L1", "huber": "Huber"}[loss]
    base = f"Focal-R ({base})" if technique.focal_r else base
    formulas = {"inverse": "weights 1/n", "sqrt_inverse": "weights 1/√n"}
    weights = [formulas[technique.weighting]] if technique.weighting != "none" else []
    if technique.lds:
        weights.append("n smoothed over labels (LDS)")
    fds = ["features smoothed over labels (FDS)"] if technique.fds else []
    ranksim = " + RankSim" if technique.ranksim else ""
    if technique.two_stage:
        first = ", ".join([base, *fds]) + ranksim
        return f"{first}; then the head retrained with {', '.join(weights)} (RRT)"
    return ", ".join([base, *weights, *fds]) + ranksim


def _canonical_name(technique: Technique, weighting: Scheme) -> str:
    """Return the shortest name, which omits the default ``weighting`` if it is implied."""
    base = "focal-r" if technique.focal_r else "rrt" if technique.two_stage else ""
    scheme = _SCHEME_NAMES.get(technique.weighting, "")
    implied = technique.two_stage or technique.lds
    if base and implied and technique.weighting == weighting:
        scheme = ""
    modifiers = [part for part in MODIFIERS if getattr(technique, part)]
    start = base or ("" if scheme else "vanilla")
    return "+".join(part for part in (start, scheme, *modifiers) if part)
