"""Method names, as in the published tables, and what they mean.

A name is a base and what is added to it, joined by ``+``: ``inv+lds+fds+ranksim``. Bases are
``vanilla`` (the plain loss), ``sqinv`` and ``inv`` (weights), ``focal-r`` and ``rrt`` (two stages);
``lds``, ``fds`` and ``ranksim`` are added to any, ``sqinv`` and ``inv`` to the last two as well.
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
_CALLED = {scheme: name for name, scheme in _SCHEMES.items()}


@dataclass(frozen=True)
class Technique:
    """The techniques that one training combines.

    Args:
        focal_r: Focal-R in place of the plain loss.
        weighting: how samples are weighted; in two stages, how the second stage's are.
        lds: whether the counts behind the weights are smoothed.
        fds: whether features are calibrated.
        ranksim: whether RankSim is added to the loss.
        two_stage: RRT: train all, then retrain the head alone with weights.
    """

    focal_r: bool = False
    weighting: Scheme = "none"
    lds: bool = False
    fds: bool = False
    ranksim: bool = False
    two_stage: bool = False

    @property
    def stage_one(self) -> Technique:
        """What the first of two stages trains: all but the weights, which are the second's."""
        return dataclasses.replace(self, two_stage=False, weighting="none", lds=False)

    @property
    def stage_two(self) -> Technique:
        """What the second trains: a head on a frozen encoder, where RankSim changes nothing."""
        return dataclasses.replace(self, two_stage=False, ranksim=False)


@dataclass(frozen=True)
class Method:
    """A row of a table.

    Args:
        name: as it was asked for, its parts in the usual order, for example ``vanilla+lds``.
        key: the one name of what is trained, for example ``inv+lds``: two rows of the same key
            are the same method.
        technique: what it consists of.
    """

    name: str
    key: str
    technique: Technique


def parse_method(name: str, weighting: Scheme) -> Method:
    """A method from its name.

    Args:
        name: see above.
        weighting: what LDS and the second stage of RRT weigh by where the name does not say
            (a recipe's ``weighting``: published as ``inverse`` for STS-B-DIR, ``sqrt_inverse`` for
            ages). LDS always re-weights, so ``vanilla+lds`` is ``inv+lds`` where it is ``inverse``.

    Raises:
        UsageError: a part that is unknown, there twice, or does not go with the others.

    Example:
        >>> parse_method("vanilla+lds", "inverse").key
        'inv+lds'
        >>> parse_method("rrt+lds+ranksim", "inverse").technique.weighting
        'inverse'
    """
    parts = name.split("+")
    for part in parts:
        if part not in BASES + MODIFIERS:
            raise UsageError(
                f"Method {format_value(name)} has an unknown part {format_value(part)}: a name is one of "
                f"{', '.join(BASES)} and any of {', '.join(MODIFIERS)}, joined by +."
            )
        if parts.count(part) > 1:
            raise UsageError(f"Method {format_value(name)} names {part!r} twice: name it once.")
    bases = [part for part in parts if part in BASES and part not in _SCHEMES]
    schemes = [part for part in parts if part in _SCHEMES]
    for several in (bases, schemes):
        if len(several) > 1:
            raise UsageError(
                f"Method {format_value(name)} asks for both {several[0]} and {several[1]}: choose one."
            )
    if "vanilla" in bases and schemes:
        raise UsageError(
            f"Method {format_value(name)} asks for the plain loss and for weights: leave out vanilla."
        )
    lds, two_stage = "lds" in parts, "rrt" in bases
    scheme: Scheme = _SCHEMES[schemes[0]] if schemes else "none"
    if scheme == "none" and (lds or two_stage):
        scheme = weighting
        if scheme == "none":
            raise UsageError(
                f"Method {format_value(name)} weighs samples, but the recipe's weighting is none: set it "
                "to inverse or sqrt_inverse."
            )
    technique = Technique(
        focal_r="focal-r" in bases,
        weighting=scheme,
        lds=lds,
        fds="fds" in parts,
        ranksim="ranksim" in parts,
        two_stage=two_stage,
    )
    ordered = "+".join(sorted(parts, key=(*BASES[::-1], *MODIFIERS).index))
    key = _key(technique, weighting)
    return Method(ordered if bases or schemes else key, key, technique)


def first_stage(method: Method) -> Method | None:
    """The method that the first stage of a two-stage one trains, or ``None``."""
    if not method.technique.two_stage:
        return None
    technique = method.technique.stage_one
    key = _key(technique, "none")
    return Method(key, key, technique)


def parse_methods(names: str, benchmark: str, weighting: Scheme) -> list[Method]:
    """Methods from their names, parted by commas, each one once and in that order.

    ``all`` stands for the 32 rows of the benchmark's published table, or of STS-B-DIR's for a
    benchmark without one.

    Raises:
        UsageError: no name, or one that makes no sense (see :func:`parse_method`).

    Example:
        >>> [m.name for m in parse_methods("vanilla,vanilla+ranksim", "sts-b-dir", "inverse")]
        ['vanilla', 'vanilla+ranksim']
        >>> len(parse_methods("all", "sts-b-dir", "inverse"))
        32
    """
    wanted: list[str] = []
    for name in names.lower().split(","):
        if name.strip() == ALL_METHODS:
            wanted += published_method_names(benchmark)
        elif name.strip():
            wanted.append(name.strip())
    if not wanted:
        raise UsageError(
            "--methods names no method: give names parted by commas, or all; ranksim methods lists "
            "them."
        )
    return [parse_method(name, weighting) for name in dict.fromkeys(wanted)]


def published_method_names(benchmark: str) -> list[str]:
    """The 32 rows of the published table, in its order."""
    return list(published_table(benchmark) or published_table("sts-b-dir"))


def describe_method(method: Method, loss: str) -> str:
    """A method in a few words; ``loss`` is the plain one, ``"mse"`` or ``"l1"``.

    Example:
        >>> describe_method(parse_method("inv+lds+ranksim", "inverse"), "mse")
        'MSE, weights 1/n, n smoothed over labels (LDS) + RankSim'
    """
    technique = method.technique
    named = {"mse": "MSE", "l1": "L1", "huber": "Huber"}[loss]
    plain = f"Focal-R ({named})" if technique.focal_r else named
    weights = {"none": "", "inverse": "weights 1/n", "sqrt_inverse": "weights 1/√n"}
    weighed = [weights[technique.weighting]] if technique.weighting != "none" else []
    if technique.lds:
        weighed.append("n smoothed over labels (LDS)")
    fds = ["features smoothed over labels (FDS)"] if technique.fds else []
    ranksim = " + RankSim" if technique.ranksim else ""
    if technique.two_stage:
        first = ", ".join([plain, *fds]) + ranksim
        return f"{first}; then the head again, {', '.join(weighed)} (RRT)"
    return ", ".join([plain, *weighed, *fds]) + ranksim


def _key(technique: Technique, weighting: Scheme) -> str:
    """The shortest name; ``weighting`` is what it need not say."""
    base = "focal-r" if technique.focal_r else "rrt" if technique.two_stage else ""
    scheme = _CALLED.get(technique.weighting, "")
    implied = technique.two_stage or technique.lds
    if base and implied and technique.weighting == weighting:
        scheme = ""
    added = [part for part in MODIFIERS if getattr(technique, part)]
    return "+".join(
        part for part in (base or ("" if scheme else "vanilla"), scheme, *added) if part
    )
