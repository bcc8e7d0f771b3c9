"""Pictures and measured tables of the pages in ``docs/methods``.

    python scripts/method_pages.py [--write]

Pictures are computed by the library itself on generated labels; tables are read from ``results``.
``--write`` draws the pictures into ``docs/img`` and replaces the tables between the markers
``<!-- measured METHOD … -->`` and ``<!-- end -->``; without it, the tables are printed.
"""

import functools
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ranksim import FDS, LDS, DensityWeights, LabelBins, RankSimLoss
from ranksim._utils.formatting import format_percent
from ranksim.data.target_transform import TargetTransform
from ranksim.evaluation.intervals import is_significant
from ranksim.evaluation.record import read_results
from ranksim.evaluation.report.plotting import (
    BASELINE,
    METHOD_COLORS,
    RANKSIM,
    REGION_COLORS,
    Picture,
    draw_counts,
    finish_axes,
    render_picture,
)
from ranksim.functional import (
    ccc_loss,
    dila_loss,
    focal_r_loss,
    gar_loss,
    l1_loss,
    label_similarity,
    mse_loss,
    rank,
)
from ranksim.imbalance import KernelDensity, PchipRelevance, make_resampler
from ranksim.losses import (
    ConRLoss,
    GaussianLoss,
    OrdinalEntropyLoss,
    QuantileLoss,
    RnCLoss,
    SRLLoss,
    UVoteLoss,
)
from ranksim.models import Head, QuantileHead, ScaleHead, UVoteHead

ROOT = Path(__file__).resolve().parents[1]
DOCS, RESULTS = ROOT / "docs/methods", ROOT / "results"
SECTION = re.compile(r"(<!-- measured (.+) -->\n).*?(<!-- end -->)", re.DOTALL)
SWEEPS = {  # folder: title, page
    "sts-b-dir/report": ("STS-B-DIR", "../sts-b-dir-methods.md"),
    "glucose": ("glucose", "../your-data.md"),
    "tables/abalone": ("abalone", "../which-model.md#abalone-age-in-rings"),
    "tables/ames": ("Ames", "../which-model.md#ames-price-of-houses"),
    "tables/bike-hour": ("bike sharing", "../which-model.md"),
    "tables/diamonds": ("diamonds", "../which-model.md"),
    "tables/wine-white": ("white wine", "../which-model.md#white-wine-quality"),
}
COLORS = dict(zip(("inverse", "sqrt_inverse", "lds"), METHOD_COLORS, strict=False))
Floats = NDArray[np.float64]


def list_measurements(methods: tuple[str, ...]) -> Iterator[str]:
    """Yield a table with the change of MAE from ``vanilla`` in all sweeps with these methods."""
    yield "| data | row | seeds | MAE, all labels | MAE, few-shot | as in the data |"
    yield "| --- | --- | ---: | ---: | ---: | ---: |"
    for folder, (title, page) in SWEEPS.items():
        rows = read_summary(folder)
        for name in (name for name in methods if name in rows):
            effects = rows[name]["vs_baseline"]
            parts = [effects["test"]["all"], effects["test"]["few"]]
            parts.append(effects.get("views", {}).get("as_is", {}))
            cells = [describe_effect(part.get("mae")) for part in parts]
            seeds = len(rows[name]["seeds"])
            yield f"| [{title}]({page}) | `{name}` | {seeds} | {' | '.join(cells)} |"


@functools.cache
def read_summary(folder: str) -> dict[str, Any]:
    """Map the methods of a sweep to their rows of its summary."""
    return {row["method"]: row for row in read_results(RESULTS / folder)["summary"]}


def describe_effect(effect: dict[str, Any] | None) -> str:
    """Format a relative change with its 95 % interval; bold: sure, corrected for the rows."""
    if not effect or effect["relative"] is None:
        return "–"
    base = effect["mean"] / effect["relative"]
    ends = effect["ci_total"] or effect["ci_samples"] or effect["ci_seeds"]
    text = format_percent(effect["relative"])
    text = f"**{text}**" if is_significant(effect) else text
    if ends:
        text += f" ({' to '.join(format_percent(end / base) for end in ends)})"
    return text.replace("\u202f", " ")


def write_tables(text: str) -> str:
    """Return a page with all measured tables replaced."""

    def fill(match: re.Match[str]) -> str:
        return match[1] + "\n".join(list_measurements(tuple(match[2].split()))) + "\n" + match[3]

    return SECTION.sub(fill, text)


def draw_ages(count: int = 6_000) -> Floats:
    """Return generated ages, most of them between 20 and 40."""
    ages = np.random.default_rng(0).gamma(7.0, 4.6, count)
    return ages[ages < 95].round()


def draw_weights(figure: Any) -> None:
    """Draw the counts of ages, and the weights of INV and SQINV."""
    ages, bins = draw_ages(), LabelBins.integers(0, 100)
    axis = figure.subplots()
    draw_counts(axis, bins.edges, bins.histogram(ages))
    x = np.arange(0, 95)
    for scheme, name in (("inverse", "inv"), ("sqrt_inverse", "sqinv")):
        weights = DensityWeights.fit(ages, bins=bins, scheme=scheme, clip=(5, 1000))
        axis.plot(x, weights(x), color=COLORS[scheme], label=name)
    axis.set(xlabel="age", ylabel="weight", yscale="log", xlim=(0, 95))
    finish_panel(figure, axis)


def draw_lds(figure: Any) -> None:
    """Draw weights from raw and from smoothed counts."""
    ages, bins = draw_ages(1_500), LabelBins.integers(0, 100)
    axis = figure.subplots()
    draw_counts(axis, bins.edges, bins.histogram(ages))
    x = np.arange(0, 95)
    for name, lds, color in (
        ("inv", None, COLORS["inverse"]),
        ("inv+lds", LDS("gaussian", 5, 2.0), COLORS["lds"]),
    ):
        weights = DensityWeights.fit(ages, bins=bins, scheme="inverse", lds=lds)
        axis.plot(x, weights(x), color=color, label=name)
    axis.set(xlabel="age", ylabel="weight", yscale="log", xlim=(0, 95))
    finish_panel(figure, axis)


def draw_fds(figure: Any) -> None:
    """Draw the mean of a feature in each label bin, before and after calibration."""
    generator = torch.Generator().manual_seed(0)
    ages = torch.from_numpy(draw_ages(800)).float()
    bins = LabelBins.integers(0, 100)
    noise = torch.randn(len(ages), 1, generator=generator)
    features = torch.sin(ages[:, None] / 18) + 0.6 * noise
    fds = FDS(1, bins, kernel_size=9, sigma=2.0)
    fds.accumulate(features, ages)
    fds.update()
    calibrated = fds(features, ages)
    axis = figure.subplots()
    draw_counts(axis, bins.edges, bins.histogram(ages.numpy()))
    for values, name, color in (
        (features, "mean of the features", BASELINE),
        (calibrated, "after FDS", RANKSIM),
    ):
        index = bins.digitize(ages.numpy())
        x = np.unique(index)
        means = [values[torch.from_numpy(index == k), 0].mean().item() for k in x]
        axis.plot(x, means, "o-", markersize=2, linewidth=1, color=color, label=name)
    axis.set(xlabel="age", ylabel="feature", xlim=(0, 95))
    finish_panel(figure, axis, "lower left", (0.0, 0.3))


def draw_focal(figure: Any) -> None:
    """Draw the loss of an error under L1 and Focal-R."""
    errors = torch.linspace(0, 20, 200)
    axis = figure.subplots()
    zeros = torch.zeros_like(errors)
    axis.plot(errors, l1_loss(errors, zeros, reduction="none"), color=BASELINE, label="L1")
    for beta, color in zip((0.05, 0.2), METHOD_COLORS, strict=False):
        loss = focal_r_loss(errors, zeros, base="l1", beta=beta, reduction="none")
        axis.plot(errors, loss, color=color, label=f"Focal-R, β = {beta}")
    axis.set(xlabel="absolute error in years", ylabel="loss", xlim=(0, 20))
    finish_panel(figure, axis)


def draw_rrt(figure: Any) -> None:
    """Draw predictions of a head before and after it is trained again with weights."""
    generator = torch.Generator().manual_seed(0)
    ages = torch.from_numpy(draw_ages(1_500)).float()
    angles = torch.stack([torch.sin(ages / k) for k in (25, 60)], dim=1)
    features = angles + 0.5 * torch.randn(angles.shape, generator=generator)
    bins = LabelBins.integers(0, 100)
    weights = DensityWeights.fit(ages.numpy(), bins=bins, scheme="inverse")(ages.numpy())
    design = torch.cat([features, torch.ones(len(ages), 1)], dim=1)
    axis = figure.subplots()
    axis.plot((0, 95), (0, 95), color=BASELINE, linewidth=0.6, linestyle=":")
    for factor, name, color in (
        (np.ones(len(ages)), "one stage", BASELINE),
        (weights, "head trained again with weights", RANKSIM),
    ):
        root = torch.from_numpy(np.sqrt(factor)).float()[:, None]
        solution = torch.linalg.lstsq(design * root, ages[:, None] * root).solution
        preds = (design @ solution)[:, 0]
        groups = [(ages >= low) & (ages < low + 5) for low in range(5, 80, 5)]
        means = [preds[group].mean().item() for group in groups]
        axis.plot(range(7, 80, 5), means, "o-", markersize=2.5, color=color, label=name)
    axis.set(xlabel="age", ylabel="mean prediction", xlim=(0, 85))
    finish_panel(figure, axis)


def draw_ranksim(figure: Any) -> None:
    """Draw ranks by label, and by features that RankSim's gradient alone moves."""
    ages = torch.arange(5.0, 85.0, 2.0)
    torch.manual_seed(0)
    features = torch.randn(len(ages), 8, requires_grad=True)
    criterion = RankSimLoss(1.0, 2.0, unique_labels=False)
    optimizer = torch.optim.Adam([features], lr=0.05)
    contents = [("ranks by label", label_similarity(ages[:, None]))]
    for step in range(101):
        if step in (0, 20, 100):
            directions = nn.functional.normalize(features.detach(), dim=1)
            title = f"by feature, {step} steps" if step else "by random features"
            contents.append((title, directions @ directions.T))
        optimizer.zero_grad()
        criterion(features, ages).backward()
        optimizer.step()
    panels = figure.subplots(1, len(contents), sharey=True)
    figure.subplots_adjust(left=0.06, right=0.99, bottom=0.17, top=0.9, wspace=0.08)
    for axis, (title, similarity) in zip(panels, contents, strict=True):
        ranks = rank(similarity).numpy()
        axis.imshow(ranks, cmap="YlGnBu_r", extent=(5, 85, 85, 5), rasterized=True)
        axis.set(title=title, xlabel="age")
    panels[0].set_ylabel("age of the anchor")


def draw_moved(figure: Any, term: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Draw free features of two dimensions by age, and after 30 and 300 steps along a term."""
    ages = torch.arange(5.0, 85.0, 2.0)
    torch.manual_seed(0)
    features = torch.randn(len(ages), 2, requires_grad=True)
    optimizer = torch.optim.Adam([features], lr=0.02)
    panels = figure.subplots(1, 3, subplot_kw={"aspect": "equal"})
    figure.subplots_adjust(left=0.05, right=0.9, bottom=0.12, top=0.9, wspace=0.15)
    contents = {0: "random features", 30: "30 steps", 300: "300 steps"}
    for step in range(301):
        if step in contents:
            axis = panels[list(contents).index(step)]
            x, y = nn.functional.normalize(features.detach(), dim=1).T
            points = axis.scatter(x, y, c=ages, cmap="viridis", s=14)
            axis.set(title=contents[step], xlim=(-1.2, 1.2), ylim=(-1.2, 1.2))
            finish_axes(axis)
        optimizer.zero_grad()
        term(features, ages).backward()
        optimizer.step()
    figure.colorbar(points, ax=list(panels), label="age", fraction=0.03)


def draw_ordinal_entropy(figure: Any) -> None:
    """Draw features that ordinal entropy moves."""
    draw_moved(figure, OrdinalEntropyLoss(label_range=80))


def draw_srl(figure: Any) -> None:
    """Draw features that SRL moves."""
    draw_moved(figure, SRLLoss(2, range(0, 91, 10), label_std=23.0))


def draw_rnc(figure: Any) -> None:
    """Draw features that Rank-N-Contrast moves."""
    draw_moved(figure, RnCLoss(temperature=0.5))


def draw_conr(figure: Any) -> None:
    """Draw features that ConR moves, of samples that are predicted alike."""
    criterion = ConRLoss(10.0, label_std=23.0)
    draw_moved(figure, lambda features, ages: criterion(features, ages, 0 * ages))


def draw_bsam(figure: Any) -> None:
    """Draw a loss over two weights, the ascent of BSAM and the gradient at its end."""
    inputs = torch.tensor([[1.0, 0.2], [0.9, -0.1], [-0.4, 1.0]])
    labels, weight = torch.tensor([0.6, 0.4, 1.5]), torch.tensor([0.5, 0.5, 2.0])

    def compute(theta: Tensor, factors: Tensor) -> Tensor:
        return (factors * (inputs @ theta - labels).square()).mean()

    x = torch.linspace(-0.4, 1.6, 80)
    values = [[float(compute(torch.stack([a, b]), torch.ones(3))) for a in x] for b in x]
    axis = figure.subplots()
    axis.contour(x, x, values, levels=12, colors="#ccd1d7", linewidths=0.8)
    theta = torch.tensor([0.1, 0.4], requires_grad=True)
    ascent = torch.autograd.grad(compute(theta, weight), theta)[0]
    moved = (theta + 0.4 * ascent / ascent.norm()).detach().requires_grad_()
    slope = torch.autograd.grad(compute(moved, torch.ones(3)), moved)[0]
    start, end = theta.detach(), moved.detach()
    for place, step, color in ((start, end - start, BASELINE), (start, -0.4 * slope, RANKSIM)):
        axis.annotate("", (place + step).tolist(), place.tolist(), arrowprops={"color": color})
    axis.plot(*start, "o", color=RANKSIM, label="θ, and the step of the optimizer")
    axis.plot(*end, "o", color=BASELINE, label="θ + ε, where the gradient is taken")
    axis.set(xlabel="first weight", ylabel="second weight")
    finish_panel(figure, axis, "upper left", (0.5, 1.0))


def train_head(head: Head, criterion: nn.Module, inputs: Tensor, ages: Tensor) -> Tensor:
    """Train a head on waves of one input, and return its outputs on a grid of 95 inputs."""
    waves = torch.arange(1.0, 1 + head.in_features // 2) * torch.pi / 100

    def expand(values: Tensor) -> Tensor:
        angles = values[:, None] * waves
        return torch.cat([torch.sin(angles), torch.cos(angles)], dim=1)

    head.start_at(float(ages.mean()))
    optimizer = torch.optim.Adam(head.parameters(), lr=0.3)
    for _ in range(800):
        optimizer.zero_grad()
        criterion(head(expand(inputs)), ages).backward()
        optimizer.step()
    return head(expand(torch.arange(95.0))).detach()


def draw_noisy_ages(growth: float = 0.0) -> tuple[Tensor, Tensor]:
    """Return ages and an observation with noise, which may grow with the observation."""
    ages = torch.from_numpy(draw_ages(1_500)).float()
    draw = torch.Generator().manual_seed(0)
    noise = torch.randn(len(ages), generator=draw)
    if growth:  # the observation is exact, the age uncertain
        return ages, ages + growth * ages * noise
    return ages + 12 * noise, ages


def draw_uvote(figure: Any) -> None:
    """Draw the heads of UVOTE on a noisy observation of the age, and their vote."""
    torch.manual_seed(0)
    inputs, ages = draw_noisy_ages()
    density = torch.from_numpy(KernelDensity.from_labels(ages).evaluate(ages))
    head, std = UVoteHead(6), float(ages.std())
    outputs = train_head(head, UVoteLoss(ages, density, label_std=std), inputs, ages)
    axis, x = figure.subplots(), np.arange(95)
    axis.plot(inputs[:600], ages[:600], ".", markersize=1.5, color="#ccd1d7")
    for place, (name, color) in enumerate((("no weights", COLORS["lds"]), ("1/n", BASELINE))):
        axis.plot(x, outputs[:, place], color=color, label=f"head with {name}")
    axis.plot(x, head.locate(outputs), "--", color=RANKSIM, label="prediction: the smaller scale")
    axis.set(xlabel="age, observed with noise", ylabel="age", xlim=(0, 94), ylim=(0, 95))
    finish_panel(figure, axis, place=(0.05, 1.0))


def draw_spread(figure: Any, head: Head, criterion: nn.Module) -> None:
    """Draw the prediction of a head, and its scale or quantiles, where noise grows."""
    inputs, ages = draw_noisy_ages(0.25)
    outputs = train_head(head, criterion, inputs, ages)
    preds, spread = head.locate(outputs), head.spread(outputs)
    scaled = head.family != "quantiles"
    ends = (preds - spread[:, 0], preds + spread[:, 0]) if scaled else spread[:, [0, -1]].unbind(1)
    axis, x = figure.subplots(), np.arange(95)
    axis.plot(inputs[:400], ages[:400], ".", markersize=2, color=BASELINE, alpha=0.5)
    name = "prediction ± scale" if scaled else "quantiles at 0.05 and 0.95"
    axis.fill_between(x, *ends, color=RANKSIM, alpha=0.2, linewidth=0, label=name)
    axis.plot(x, preds, color=RANKSIM, label="prediction" if scaled else "median")
    axis.set(xlabel="input", ylabel="label", xlim=(5, 85), ylim=(0, 130))
    finish_panel(figure, axis, place=(0.05, 1.0))


def draw_likelihood(figure: Any) -> None:
    """Draw the location and the scale of a Gaussian head."""
    torch.manual_seed(0)
    head = ScaleHead(6, "gaussian", unit=12.0)
    draw_spread(figure, head, GaussianLoss(label_std=12.0))


def draw_quantiles(figure: Any) -> None:
    """Draw the quantiles of a head."""
    torch.manual_seed(0)
    draw_spread(figure, QuantileHead(6), QuantileLoss())


def draw_average(figure: Any) -> None:
    """Draw best predictions of noisy ages without and with weights, and their mean."""
    ages, noise = draw_ages(), 12.0
    bins, centers = LabelBins.integers(0, 100), np.arange(95) + 0.0
    counts = bins.histogram(ages).astype(float)[:95]
    weights = DensityWeights.fit(ages, bins=bins, scheme="inverse", clip=(5, 1000))(centers)
    axis = figure.subplots()
    draw_counts(axis, bins.edges[:96], counts)
    distance = centers[:, None] - centers
    curves = []
    for factor in (np.ones(95), weights):
        density = np.exp(-(distance**2) / (2 * noise**2)) * counts * factor
        curves.append((density * centers).sum(axis=1) / density.sum(axis=1))
    curves.append((curves[0] + curves[1]) / 2)
    names = ("vanilla", "inv", "average+inv")
    for curve, name, color in zip(
        curves, names, (BASELINE, COLORS["inverse"], RANKSIM), strict=True
    ):
        axis.plot(centers, curve, color=color, label=name)
    axis.set(xlabel="age, observed with noise", ylabel="best prediction", xlim=(0, 95))
    finish_panel(figure, axis, place=(0.02, 1.0))


def draw_denseweight(figure: Any) -> None:
    """Draw a kernel density of labels, and DenseWeight for two values of α."""
    ages = draw_ages()
    x = np.linspace(0, 95, 300)
    axis = figure.subplots()
    density = KernelDensity.from_labels(ages)
    background = axis.twinx()
    background.fill_between(x, density.evaluate(x), color="#ccd1d7", alpha=0.5, linewidth=0)
    background.set_yticks([])
    background.spines[:].set_visible(False)
    for alpha, color in zip((0.5, 1.0), METHOD_COLORS, strict=False):
        weights = DensityWeights.fit(ages, scheme="denseweight", alpha=alpha)
        axis.plot(x, weights(x), color=color, label=f"denseweight, α = {alpha}")
    axis.set(xlabel="age", ylabel="weight", xlim=(0, 95), ylim=(0, 4))
    finish_panel(figure, axis)


def draw_resampling(figure: Any) -> None:
    """Draw the counts of labels before and after each way of resampling."""
    rng = np.random.default_rng(0)
    ages = draw_ages(1_200)
    rows = np.stack([ages + rng.normal(size=len(ages)), rng.normal(size=len(ages))], axis=1)
    edges = np.arange(0, 100, 5)
    panels = figure.subplots(1, 5, sharey=True)
    figure.subplots_adjust(left=0.06, right=0.99, bottom=0.2, top=0.88, wspace=0.1)
    for axis, name in zip(panels, ("over", "under", "wercs", "smoter", "smogn"), strict=True):
        _, labels = make_resampler(name, random_state=0).fit_resample(rows, ages)
        axis.hist(labels, edges, color=RANKSIM, alpha=0.7, label="after")
        axis.hist(ages, edges, color=BASELINE, histtype="step", label="before")
        axis.set(title=name, xlabel="age")
        finish_axes(axis)
    panels[-1].legend(loc="upper right", fontsize=6.5)


def draw_transforms(figure: Any) -> None:
    """Draw the distribution of a skewed target, and of its transforms."""
    prices = np.exp(np.random.default_rng(0).normal(11, 0.7, 4_000)).round()
    panels = figure.subplots(1, 4)
    figure.subplots_adjust(left=0.03, right=0.99, bottom=0.17, top=0.88, wspace=0.12)
    contents = {"none": prices}
    for name in ("log", "yeo-johnson", "quantile"):
        contents[name] = TargetTransform.fit(prices, name)(prices)
    for axis, (name, values) in zip(panels, contents.items(), strict=True):
        color = BASELINE if name == "none" else REGION_COLORS["many"]
        axis.hist(values, 40, color=color)
        axis.set(title="price" if name == "none" else f"{name} of the price", yticks=[])
        finish_axes(axis)


def draw_balanced_mse(figure: Any) -> None:
    """Draw the best predictions of noisy ages under the squared error and Balanced MSE."""
    ages, noise = draw_ages(), 12.0
    bins = LabelBins.integers(0, 100)
    counts = bins.histogram(ages).astype(float)
    centers = np.arange(101) + 0.5
    axis = figure.subplots()
    draw_counts(axis, bins.edges, counts)
    observed = np.linspace(0, 95, 96)
    density = np.exp(-((observed[:, None] - centers) ** 2) / (2 * noise**2)) * counts
    means = (density * centers).sum(axis=1) / density.sum(axis=1)
    axis.plot(observed, means, color=BASELINE, label="squared error")
    axis.plot(observed, observed, color=RANKSIM, label="Balanced MSE")
    axis.set(xlabel="age, observed with noise", ylabel="best prediction", xlim=(0, 95))
    finish_panel(figure, axis)


def draw_dist_loss(figure: Any) -> None:
    """Draw sorted predictions of a model that shrinks, and quantiles of the labels."""
    ages = np.sort(draw_ages(256))
    levels = (np.arange(len(ages)) + 0.5) / len(ages)
    preds = np.sort(ages.mean() + 0.5 * (ages - ages.mean()))
    axis = figure.subplots()
    axis.fill_between(levels, preds, ages, color="#ccd1d7", alpha=0.6, linewidth=0)
    axis.plot(levels, ages, color=RANKSIM, label="quantiles of the labels")
    axis.plot(levels, preds, color=BASELINE, label="sorted predictions")
    axis.set(xlabel="share of the samples", ylabel="age", xlim=(0, 1))
    finish_panel(figure, axis)


def draw_shrunken(figure: Any, functions: dict[str, Callable[..., Tensor]]) -> None:
    """Draw losses of predictions that shrink to the mean age, or spread beyond the ages."""
    ages = torch.from_numpy((draw_ages(400) - 32) / 12)
    factors = torch.linspace(0, 1.6, 81)
    noise = 0.3 * torch.randn(400, generator=torch.Generator().manual_seed(0))
    axis = figure.subplots()
    colors = (BASELINE, RANKSIM, *METHOD_COLORS)
    for (name, function), color in zip(functions.items(), colors, strict=False):
        losses = [float(function(factor * ages + noise, ages)) for factor in factors]
        axis.plot(factors, losses, color=color, label=name)
    axis.set(xlabel="spread of the predictions over that of the labels", ylabel="loss")
    axis.set(xlim=(0, 1.6), ylim=(0, None))
    finish_panel(figure, axis, "upper right", (1.0, 1.0))


def draw_gar(figure: Any) -> None:
    """Draw the three parts of GAR and their soft maximum."""
    draw_shrunken(figure, {
        "L₁, absolute errors": l1_loss,
        "GAR": gar_loss,
        "L₂, pairwise differences": lambda p, y: 2 * (p - y).var(correction=0),
        "L₃, correlation": lambda p, y: 1 - torch.corrcoef(torch.stack([p, y]))[0, 1],
    })  # fmt: skip


def draw_ccc(figure: Any) -> None:
    """Draw the concordance beside the squared error and the correlation."""
    draw_shrunken(figure, {
        "squared error": mse_loss,
        "1 − concordance": ccc_loss,
        "1 − correlation": lambda p, y: 1 - torch.corrcoef(torch.stack([p, y]))[0, 1],
    })  # fmt: skip


def draw_dila(figure: Any) -> None:
    """Draw errors over the density of labels for two models, with their distance correlation."""
    ages = torch.from_numpy(draw_ages(250))
    density = torch.from_numpy(KernelDensity.from_labels(ages).evaluate(ages))
    noise = torch.randn(len(ages), generator=torch.Generator().manual_seed(0))
    panels = figure.subplots(1, 2, sharey=True)
    figure.subplots_adjust(left=0.08, right=0.98, bottom=0.18, top=0.88, wspace=0.1)
    contents = {"shrunken": 32 + 0.4 * (ages - 32) + 2 * noise, "even": ages + 6 * noise}
    for axis, (name, preds), color in zip(
        panels, contents.items(), (BASELINE, RANKSIM), strict=True
    ):
        value = dila_loss(preds, ages, density).item()
        axis.plot(density, (preds - ages).abs(), ".", markersize=3, color=color)
        axis.set(title=f"{name} predictions: {value:.2f}", xlabel="density of the label")
        finish_axes(axis)
    panels[0].set_ylabel("absolute error")


def draw_sera(figure: Any) -> None:
    """Draw the relevance of ages between the fences of the adjusted box plot."""
    ages, bins = draw_ages(), LabelBins.integers(0, 100)
    axis = figure.subplots()
    draw_counts(axis, bins.edges, bins.histogram(ages))
    relevance, x = PchipRelevance.from_fences(ages), np.linspace(0, 95, 300)
    axis.plot(x, relevance(x), color=RANKSIM, label="relevance φ")
    axis.plot(relevance.labels, relevance.relevance, "o", markersize=4, color=RANKSIM)
    axis.set(xlabel="age", ylabel="relevance", xlim=(0, 95), ylim=(0, 1.05))
    finish_panel(figure, axis)


def finish_panel(
    figure: Any, axis: Any, corner: str = "upper left", place: tuple[float, float] = (0.35, 1.0)
) -> None:
    """Set margins, grid and legend of a figure with one panel."""
    figure.subplots_adjust(left=0.09, right=0.98, bottom=0.16, top=0.95)
    finish_axes(axis)
    axis.legend(loc=corner, bbox_to_anchor=place)


DRAWINGS: dict[str, tuple[Callable[[Any], None], str]] = {
    "weights": (draw_weights, "Weights of INV and SQINV over ages, which are rare above 60."),
    "lds": (draw_lds, "Weights from raw counts jump from age to age; with LDS they are smooth."),
    "fds": (draw_fds, "The mean of a feature for each age, before and after FDS."),
    "focal-r": (draw_focal, "The loss of an error under L1 and under Focal-R with two β."),
    "rrt": (draw_rrt, "Mean predictions for each age of a head trained once, and with weights."),
    "ranksim": (draw_ranksim, "Ranks of samples by label, and by features that RankSim moves."),
    "balanced-mse": (
        draw_balanced_mse,
        "Best predictions of noisy ages under the squared error and Balanced MSE.",
    ),
    "dist-loss": (draw_dist_loss, "Sorted predictions of a batch and quantiles of the labels."),
    "gar": (draw_gar, "The three parts of GAR as predictions shrink towards the mean."),
    "ccc": (draw_ccc, "Squared error and concordance as predictions shrink towards the mean."),
    "dila": (draw_dila, "Errors that do and do not depend on the density of labels."),
    "sera": (draw_sera, "Relevance over the density of ages."),
    "ordinal-entropy": (
        draw_ordinal_entropy,
        "Directions of free features by age, as ordinal entropy moves them.",
    ),
    "srl": (draw_srl, "Directions of free features by age, as SRL moves them."),
    "rnc": (draw_rnc, "Directions of free features by age, as Rank-N-Contrast moves them."),
    "conr": (draw_conr, "Directions of free features by age, as ConR moves them."),
    "bsam": (draw_bsam, "The ascent of BSAM, and the step along the gradient at its end."),
    "uvote": (draw_uvote, "Two heads with different weights, and the vote of the surer one."),
    "average": (draw_average, "Best predictions without and with weights, and their mean."),
    "likelihood": (draw_likelihood, "A prediction with a scale that grows with the input."),
    "quantiles": (draw_quantiles, "The median and two quantiles that follow the noise."),
    "denseweight": (draw_denseweight, "DenseWeight with two values of α over the density of ages."),
    "resampling": (draw_resampling, "Counts of ages before and after five ways of resampling."),
    "transforms": (draw_transforms, "A skewed price, and three transforms of it."),
}


def draw_picture(name: str) -> Picture:
    """Draw the picture of a method's page."""
    paint, description = DRAWINGS[name]
    return render_picture(f"method-{name}", description, (7.6, 2.5), paint)


if __name__ == "__main__":
    for path in sorted(DOCS.glob("*.md")):
        page = write_tables(path.read_text(encoding="utf-8"))
        if "--write" in sys.argv:
            path.write_text(page, encoding="utf-8")
        else:
            print(page)
    if "--write" in sys.argv:
        for drawing in DRAWINGS:
            picture = draw_picture(drawing)
            (ROOT / f"docs/img/method-{drawing}.svg").write_text(picture.svg, encoding="utf-8")
