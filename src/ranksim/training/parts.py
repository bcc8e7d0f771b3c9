"""Parts of a method's name published since RankSim: one table of losses, terms and the rest.

A part joins a base and the other modifiers, as in ``inv+ccc+ranksim`` or ``rrt+bmse``. Adding one
takes its fields in :class:`PartSettings`, its row in :data:`PARTS` and the function that the row
names; names, checks, recipes, tuning, records and lists of methods follow from the table.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ranksim._utils.formatting import format_value
from ranksim.exceptions import UsageError
from ranksim.training.recipe_rules import (
    COUNT,
    FRACTION,
    NONNEGATIVE,
    POSITIVE,
    at_least,
    at_most,
    one_of,
    setting,
)

Kind = Literal["loss", "loss term", "feature term", "optimizer", "heads"]
"""What a part changes.

- ``loss`` replaces the base loss, ``loss term`` is added to it; both are called with predictions,
  targets and sample weights.
- ``feature term`` is added to the loss, and called with the :class:`BatchOutputs` of a batch.
- ``heads`` replaces the head of the network and, with it, the base loss, which is called with all
  outputs of the head.
- ``optimizer`` builds no term: the training loop asks for it.
"""
Stages = Literal["both", "first", "second"]


@dataclass(frozen=True, kw_only=True)
class PartSettings:
    """Recipe fields of the parts, named PART_SETTING; a record holds only those of its method.

    Args:
        bmse_variant: ``variant`` of :class:`ranksim.BalancedMSELoss`, ``bmc``, ``gai`` or ``bni``.
        bmse_sigma: first noise of labels, in their standard deviations.
        bmse_lr: learning rate of the noise.
        bmse_learn_sigma: whether the noise is learned.
        bmse_components: components of the mixture of ``gai``.
        dist_weight: factor on the term of ``dist``.
        dila_weight: factor on the term of ``dila``.
        sera_points: control points LABEL:RELEVANCE of ``sera``, separated by commas; empty: the
            fences of the box plot adjusted for skewness, and without outliers the density.
        ccc_weight: factor on the term of ``ccc``.
        gar_base, gar_join, gar_alpha: ``base``, ``join`` and ``alpha`` of
            :class:`ranksim.GARLoss`.
        oe_weight: ``weight`` of :class:`ranksim.OrdinalEntropyLoss`.
        srl_homogeneity, srl_enveloping, srl_contrast, srl_temperature, srl_momentum, srl_points:
            settings of :class:`ranksim.SRLLoss`, on the label bins of the data.
        rnc_temperature: ``temperature`` of :class:`ranksim.RnCLoss`.
        bsam_rho: ``rho`` of :class:`ranksim.BSAM`.
        conr_width, conr_weight, conr_temperature: ``width``, ``weight`` and ``temperature`` of
            :class:`ranksim.ConRLoss`; a width of 0 is that of a label bin.
        uvote_heads: ``heads`` of :class:`ranksim.UVoteLoss`.
        gaussian_beta: ``beta`` of :class:`ranksim.GaussianLoss`.
        laplace_beta: ``beta`` of :class:`ranksim.LaplaceLoss`.
        quantile_levels: ``levels`` of :class:`ranksim.QuantileLoss`, separated by commas.
    """

    bmse_variant: str = setting(one_of(("bmc", "gai", "bni")), default="bmc")
    bmse_sigma: float = setting(POSITIVE, default=1.0)
    bmse_lr: float = setting(POSITIVE, default=1e-2)
    bmse_learn_sigma: bool = setting(default=True)
    bmse_components: int = setting(COUNT, at_most(100), default=8)
    dist_weight: float = setting(POSITIVE, default=1.0)
    gar_base: str = setting(one_of(("l1", "mse")), default="l1")
    gar_join: str = setting(one_of(("softmax", "sum")), default="softmax")
    gar_alpha: float = setting(POSITIVE, default=0.1)
    ccc_weight: float = setting(POSITIVE, default=1.0)
    dila_weight: float = setting(POSITIVE, default=0.1)
    sera_points: str = setting(default="")
    oe_weight: float = setting(POSITIVE, default=1e-3)
    srl_homogeneity: float = setting(NONNEGATIVE, default=0.1)
    srl_enveloping: float = setting(NONNEGATIVE, default=0.1)
    srl_contrast: float = setting(NONNEGATIVE, default=0.1)
    srl_temperature: float = setting(POSITIVE, default=0.1)
    srl_momentum: float = setting(FRACTION, default=0.9)
    srl_points: int = setting(COUNT, at_most(65_536), default=1_024)
    rnc_temperature: float = setting(POSITIVE, default=2.0)
    bsam_rho: float = setting(POSITIVE, default=0.05)
    conr_width: float = setting(NONNEGATIVE, default=0.0)
    conr_weight: float = setting(POSITIVE, default=4.0)
    conr_temperature: float = setting(POSITIVE, default=0.2)
    uvote_heads: int = setting(at_least(2), at_most(10), default=2)
    gaussian_beta: float = setting(NONNEGATIVE, at_most(1), default=0.5)
    laplace_beta: float = setting(NONNEGATIVE, at_most(1), default=0.5)
    quantile_levels: str = setting(default="0.05,0.5,0.95")


@dataclass(frozen=True)
class Part:
    """A part of a method's name.

    Args:
        kind: what it changes.
        title: what it trains, in the list of methods, with its equation's idea in a few words.
        paper: the publication that defines it.
        builder: ``module:function`` that builds it from a :class:`PartContext`; empty for parts
            of the kind optimizer that the training loop handles itself.
        head: ``module:function`` that builds the head from a recipe, the number of features and the
            standard deviation of the labels, of parts of the kind heads.
        stages: the stages of a two-stage method (RRT) that use it.
        rebalances: it corrects for the distribution of the labels itself, so it refuses sample
            weights and resampling, and stands in for the weights of RRT's second stage.
        conflicts: sentences, by the name of another part of a method, why they do not combine.
        ranges: fields that ``ranksim tune`` searches, with logarithmic limits.
        choices: fields that ``ranksim tune`` searches among values.
        min_batch: fewest samples of a batch; smaller last batches of an epoch are dropped.
        compares_samples: batches of one sample train nothing, or a part of it; a last batch of an
            epoch may still have one.
        two_views: it needs a second view of each sample.
        trains_encoder: it makes a method two stages: terms on features alone train the encoder, and
            then the loss a new head on the frozen encoder.
    """

    kind: Kind
    title: str
    paper: str
    builder: str = ""
    head: str = ""
    stages: Stages = "both"
    rebalances: bool = False
    conflicts: Mapping[str, str] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    choices: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    min_batch: int = 1
    compares_samples: bool = False
    two_views: bool = False
    trains_encoder: bool = False


ALPHA = "denseweight_alpha"  # field of a recipe
_LOSSES, _FEATURES = "ranksim.training.loss_parts", "ranksim.training.feature_parts"
_HEADS = "ranksim.training.head_parts"
_VOTES = "the loss of a prediction would train only the head that is chosen for a sample"
PARTS: dict[str, Part] = {
    "bmse": Part(
        kind="loss",
        title="squared error as if labels were equally frequent (Balanced MSE)",
        paper="Ren et al., Balanced MSE for Imbalanced Visual Regression, CVPR 2022",
        builder=f"{_LOSSES}:make_bmse",
        stages="second",
        rebalances=True,
        ranges={"bmse_sigma": (0.1, 3.0)},
        choices={"bmse_variant": ("bmc", "gai", "bni")},
        min_batch=2,
    ),
    "dist": Part(
        kind="loss term",
        title="distance of the sorted predictions from quantiles of the labels (Dist loss)",
        paper="Nie et al., Dist Loss, ICLR 2025",
        builder=f"{_LOSSES}:make_dist",
        ranges={"dist_weight": (0.03, 10.0)},
    ),
    "gar": Part(
        kind="loss",
        title="absolute errors, errors of pairwise differences and 1 − correlation (GAR)",
        paper="Zhu et al., Gradient Aligned Regression via Pairwise Losses, ICML 2025",
        builder=f"{_LOSSES}:make_gar",
        ranges={"gar_alpha": (0.03, 1.0)},
        choices={"gar_join": ("softmax", "sum")},
        compares_samples=True,
    ),
    "ccc": Part(
        kind="loss term",
        title="1 − concordance correlation (CCC)",
        paper="Lin, A Concordance Correlation Coefficient to Evaluate Reproducibility, 1989",
        builder=f"{_LOSSES}:make_ccc",
        ranges={"ccc_weight": (0.03, 10.0)},
        compares_samples=True,
    ),
    "dila": Part(
        kind="loss term",
        title="distance correlation of errors and label density (DILA)",
        paper="DILA, 2026; distance correlation: Székely, Rizzo, Bakirov, 2007",
        builder=f"{_LOSSES}:make_dila",
        ranges={"dila_weight": (0.003, 3.0)},
        compares_samples=True,
    ),
    "sera": Part(
        kind="loss",
        title="squared error times relevance (SERA)",
        paper="Ribeiro, Moniz, Imbalanced regression and extreme value prediction, 2020",
        builder=f"{_LOSSES}:make_sera",
        stages="second",
        rebalances=True,
        conflicts={"lds": "relevance has no counts of bins that LDS could smooth"},
    ),
    "oe": Part(
        kind="feature term",
        title="ordinal entropy of features",
        paper="Zhang et al., Improving Deep Regression with Ordinal Entropy, ICLR 2023",
        builder=f"{_FEATURES}:make_oe",
        stages="first",
        ranges={"oe_weight": (1e-4, 1.0)},
        compares_samples=True,
    ),
    "srl": Part(
        kind="feature term",
        title="centroids along a smooth, wide curve (SRL)",
        paper="Improve Representation for Imbalanced Regression through Geometric Constraints, "
        "CVPR 2025",
        builder=f"{_FEATURES}:make_srl",
        stages="first",
        ranges={
            "srl_homogeneity": (1e-3, 1.0),
            "srl_enveloping": (1e-3, 1.0),
            "srl_contrast": (1e-3, 1.0),
        },
    ),
    "rnc": Part(
        kind="feature term",
        title="contrast by label distance (Rank-N-Contrast)",
        paper="Zha et al., Rank-N-Contrast: Learning Continuous Representations for Regression, "
        "NeurIPS 2023",
        builder=f"{_FEATURES}:make_rnc",
        stages="first",
        conflicts={"rrt": "rnc has a second stage of its own, which weights such as inv join"},
        compares_samples=True,
        two_views=True,
        trains_encoder=True,
    ),
    "conr": Part(
        kind="feature term",
        title="contrast of samples predicted alike but labeled apart (ConR)",
        paper="Keramati et al., ConR: Contrastive Regularizer for Deep Imbalanced Regression, "
        "ICLR 2024",
        builder=f"{_FEATURES}:make_conr",
        stages="first",
        ranges={"conr_weight": (0.01, 10.0), "conr_temperature": (0.03, 1.0)},
        compares_samples=True,
        two_views=True,
    ),
    "bsam": Part(
        kind="optimizer",
        title="sharpness-aware steps from where the loss with weights 1/√n rises (BSAM)",
        paper="Liu et al., BSAM, ICCV 2025",
        conflicts={
            "rnc": "rnc trains the encoder without a loss on predictions, along which bsam ascends",
            **dict.fromkeys(
                ("bmse", "sera", "uvote"),
                "the ascent weights the samples, and this loss corrects for their labels itself",
            ),
        },
        ranges={"bsam_rho": (0.005, 0.5)},
    ),
    "uvote": Part(
        kind="heads",
        title="heads trained with different powers of 1/n, of which the surest predicts (UVOTE)",
        paper="Jiang et al., Uncertainty Voting Ensemble for Imbalanced Deep Regression, GCPR 2024",
        builder=f"{_HEADS}:make_uvote",
        head=f"{_HEADS}:make_uvote_head",
        rebalances=True,
        conflicts={
            "rrt": "rrt retrains one head with weights, and uvote has heads with weights of 1/n",
            **dict.fromkeys(("dist", "ccc", "dila"), _VOTES),
        },
        choices={"uvote_heads": (2, 3)},
    ),
    "gaussian": Part(
        kind="heads",
        title="likelihood of a Gaussian with a scale of its own for each sample (β-NLL)",
        paper="Seitzer et al., On the Pitfalls of Heteroscedastic Uncertainty Estimation with "
        "Probabilistic Neural Networks, ICLR 2022",
        builder=f"{_HEADS}:make_gaussian",
        head=f"{_HEADS}:make_gaussian_head",
        choices={"gaussian_beta": (0.0, 0.5, 1.0)},
    ),
    "laplace": Part(
        kind="heads",
        title="likelihood of a Laplace distribution with a scale of its own for each sample "
        "(β-NLL)",
        paper="Seitzer et al., On the Pitfalls of Heteroscedastic Uncertainty Estimation with "
        "Probabilistic Neural Networks, ICLR 2022",
        builder=f"{_HEADS}:make_laplace",
        head=f"{_HEADS}:make_laplace_head",
        choices={"laplace_beta": (0.0, 0.5, 1.0)},
    ),
    "quantile": Part(
        kind="heads",
        title="pinball losses of several quantiles, of which the median predicts",
        paper="Koenker, Bassett, Regression Quantiles, Econometrica 1978",
        builder=f"{_HEADS}:make_quantile",
        head=f"{_HEADS}:make_quantile_head",
    ),
}
"""All parts, in the order in which a name lists them."""


def part_fields(name: str) -> tuple[str, ...]:
    """Return the recipe fields of a part."""
    prefix = f"{name}_"
    return tuple(
        item.name for item in dataclasses.fields(PartSettings) if item.name.startswith(prefix)
    )


def find_part(name: str) -> str | None:
    """Return the part that a recipe field belongs to, or None."""
    return next((part for part in PARTS if name in part_fields(part)), None)


def check_settings(parts: Sequence[str], recipe: Any, *, lds: bool) -> str:
    """Return why the fields of a network's recipe do not suit the parts, or an empty string."""
    compares = any(PARTS[name].compares_samples for name in parts)
    least = max(min_batch(parts), 2 if compares else 1)
    if recipe.batch_size < least:
        return f"compares the samples of a batch: set batch_size to {least} or more"
    if lds and "bmse" in parts and recipe.bmse_variant != "bni":
        return (
            f"contains lds, which smooths frequencies of bins, but the variant "
            f"{recipe.bmse_variant} of bmse has none: set bmse_variant to bni, or leave out lds"
        )
    if "sera" in parts:
        return _check_points(recipe.sera_points)
    if "quantile" in parts:
        return _check_levels(recipe.quantile_levels)
    return ""


def parse_levels(text: str) -> tuple[float, ...]:
    """Parse levels of quantiles that are separated by commas, in any order."""
    return tuple(sorted(float(each) for each in text.split(",") if each.strip()))


def _check_levels(text: str) -> str:
    """Return why levels of quantiles are wrong, or an empty string."""
    try:
        levels = parse_levels(text)
    except ValueError:
        levels = ()
    fits = len(levels) > 1 and len({*levels}) == len(levels) and 0.5 in levels
    if fits and levels[0] > 0 and levels[-1] < 1:
        return ""
    return (
        "needs levels above 0 and below 1, two at least and all different, with 0.5 for the "
        f"prediction, and quantile_levels is {format_value(text)}: write for example "
        "quantile_levels=0.05,0.5,0.95"
    )


def parse_points(text: str) -> list[tuple[float, float]]:
    """Parse control points ``LABEL:RELEVANCE`` that are separated by commas."""
    pairs = [each.split(":") for each in text.split(",") if each.strip()]
    return sorted((float(label), float(relevance)) for label, relevance in pairs)


def _check_points(text: str) -> str:
    """Return why control points are wrong, or an empty string."""
    try:
        points = parse_points(text)
    except ValueError:
        points = [(0.0, -1.0)]
    labels = [label for label, _ in points]
    fits = all(math.isfinite(y) and 0 <= phi <= 1 for y, phi in points)
    if text.strip() and not (fits and len(set(labels)) == len(labels) > 1):
        return (
            f"needs control points LABEL:RELEVANCE, at least two of different labels and with a "
            f"relevance from 0 to 1, and sera_points is {format_value(text)}: write for example "
            "sera_points=20:1,50:0,80:1"
        )
    if points and not any(phi for _, phi in points):
        return (
            f"needs a control point of a relevance above 0, and sera_points is "
            f"{format_value(text)}: write for example sera_points=20:1,50:0,80:1"
        )
    return ""


def unused_fields(parts: Sequence[str], weighting: str) -> set[str]:
    """Return the recipe fields of other parts and weights, which a record leaves out."""
    unused = {each for name in PARTS if name not in parts for each in part_fields(name)}
    return unused if weighting == "denseweight" else unused | {ALPHA}


def min_batch(parts: Sequence[str]) -> int:
    """Return the fewest samples of a batch on which all of the parts can be trained."""
    return max((PARTS[name].min_batch for name in parts), default=1)


def has_two_views(parts: Sequence[str]) -> bool:
    """Return whether one of the parts needs a second view of each sample."""
    return any(PARTS[name].two_views for name in parts)


def trains_encoder(parts: Sequence[str]) -> bool:
    """Return whether the terms on features alone train the encoder, in a stage of their own."""
    return any(PARTS[name].trains_encoder for name in parts)


def of_stage(parts: Sequence[str], stage: Literal["first", "second"]) -> tuple[str, ...]:
    """Return the parts that a stage of a two-stage method uses.

    A first stage that trains the encoder alone has no loss on predictions.
    """
    chosen = tuple(name for name in parts if PARTS[name].stages in ("both", stage))
    if stage == "first" and trains_encoder(parts):
        kinds = ("feature term", "optimizer")
        chosen = tuple(name for name in chosen if PARTS[name].kind in kinds)
    return chosen


def check_parts(label: str, names: Sequence[str], weights: Sequence[str]) -> None:
    """Raise a UsageError with the reason if parts do not combine with the rest of a name.

    Args:
        label: the method, at the start of the message.
        names: all parts of the name.
        weights: those that are schemes of sample weights or resample the rows.
    """
    parts = [name for name in names if name in PARTS]
    replacing = (*_names_of("loss"), *_names_of("heads"))
    losses = [name for name in names if name == "focal-r" or name in replacing]
    if len(losses) > 1:
        raise UsageError(
            f"{label} contains {losses[0]} and {losses[1]}, which both replace the base loss: "
            "leave one out."
        )
    for name in parts:
        part = PARTS[name]
        if part.rebalances and weights:
            raise UsageError(
                f"{label} contains {weights[0]}, but {name} corrects for the distribution of the "
                f"labels itself, so rare labels would count twice: leave one out."
            )
        for other, reason in part.conflicts.items():
            if other in names:
                raise UsageError(f"{label} contains {name} and {other}: {reason}; leave one out.")


def describe_parts(parts: Sequence[str], kinds: Sequence[Kind]) -> list[str]:
    """Return the titles of the parts of some kinds."""
    return [PARTS[name].title for name in parts if PARTS[name].kind in kinds]


def replaces_loss(parts: Sequence[str]) -> bool:
    """Return whether one of the parts replaces the base loss."""
    return any(PARTS[name].kind in ("loss", "heads") for name in parts)


def _names_of(kind: Kind) -> list[str]:
    return [name for name, part in PARTS.items() if part.kind == kind]
