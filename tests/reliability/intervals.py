"""Simulated coverage of prediction intervals by predicted and by true region."""

import math
from dataclasses import dataclass

import numpy as np

from ranksim.metrics import SHOT_NAMES
from ranksim.uncertainty import Band, LabelShift, RegionConformal

TITLE = "Prediction intervals"
DRAWS, SHORT = 2_000, 40
LEVEL = 0.9
SIZES = (200, 1_000)  # calibration samples
SCORES = ("residual", "scale", "quantiles")
# k of the threshold of a region, by rule
MIXTURES = {
    "split": math.inf,
    "region, k = 50": 50.0,
    "region, k = 20": 20.0,
    f"region, k = {1 / (1 - LEVEL):g}": None,
    "region, k = 0": 0.0,
}
OTHERS = ("interpolated", "pooled below 50")  # rules that the library does not use
SHRINKAGE = 1 / (1 - LEVEL)  # the default
RECOMMENDED = f"region, k = {SHRINKAGE:g}"
_POOL, _TEST, _BINS = 100_000, 500, 12
_SIGNAL, _SPREAD = 0.85, 0.7  # share of the label that inputs tell, deviation of its logarithm
_Z90 = 1.6449  # of the 5 % and 95 % quantiles of a Gaussian


@dataclass(frozen=True)
class Samples:
    """Labels, predictions with a scale and quantiles, and regions of both."""

    labels: np.ndarray
    preds: np.ndarray
    scale: np.ndarray
    predicted: np.ndarray  # names of regions
    true: np.ndarray

    @classmethod
    def draw(cls, rng, count):
        r"""Draw lognormal labels whose noise grows with them, of which few are large.

        .. math::  y = 10 e^{0.7 (\rho z + \sqrt{1 - \rho^2} e)}, \qquad \hat y = 10 e^{0.7 \rho z}

        The scale is proportional to the prediction up to a random factor. Regions end at the 80 %
        and the 95 % quantile of the labels.
        """
        z, noise = rng.normal(size=(2, count))
        spread = _SPREAD * math.sqrt(1 - _SIGNAL**2)
        preds = 10 * np.exp(_SPREAD * _SIGNAL * z)
        labels = preds * np.exp(spread * noise)
        scale = spread * preds * np.exp(0.3 * rng.normal(size=count))
        ends = 10 * np.exp(_SPREAD * np.array([0.8416, _Z90]))
        regions = [np.array(SHOT_NAMES)[np.searchsorted(ends, each)] for each in (preds, labels)]
        return cls(labels, preds, scale, *regions)

    def take(self, rows):
        return Samples(*(values[rows] for values in vars(self).values()))

    def band(self, score):
        """Return the band of a score; the predicted quantiles are too near by a fifth."""
        if score == "quantiles":
            half = 0.8 * _Z90 * _SPREAD * math.sqrt(1 - _SIGNAL**2)
            return Band.from_quantiles(self.preds * np.exp(-half), self.preds * np.exp(half))
        return Band.from_predictions(self.preds, self.scale if score == "scale" else None)


def find_thresholds(band, samples):
    """Return the threshold of each region by rule, ``{rule: {region: t}}``."""
    thresholds = {}
    for rule, shrinkage in MIXTURES.items():
        fitted = RegionConformal.fit(band, samples.labels, samples.predicted, shrinkage=shrinkage)
        thresholds[rule] = {name: fitted.find_threshold(LEVEL, name) for name in SHOT_NAMES}
    counts = {name: int((samples.predicted == name).sum()) for name in SHOT_NAMES}
    for name in SHOT_NAMES:
        alone, pooled = thresholds["region, k = 0"][name], thresholds["split"][name]
        share = counts[name] / (counts[name] + SHRINKAGE)
        between = share * alone + (1 - share) * pooled if math.isfinite(alone) else pooled
        thresholds.setdefault("interpolated", {})[name] = between
        thresholds.setdefault("pooled below 50", {})[name] = alone if counts[name] >= 50 else pooled
    return thresholds


class Pool:
    """Many samples, of which the coverage of each threshold is read."""

    def __init__(self, samples):
        self.samples = samples
        self.bands = {score: samples.band(score) for score in SCORES}
        self.ordered, self.base, self.unit = {}, {}, {}
        for score, band in self.bands.items():
            values = band.scores(samples.labels)
            for predicted in SHOT_NAMES:
                inside = samples.predicted == predicted
                for true in ("all", *SHOT_NAMES):
                    mask = inside & ((samples.true == true) | (true == "all"))
                    self.ordered[score, predicted, true] = np.sort(values[mask])
                self.base[score, predicted] = float((band.upper - band.lower)[inside].mean())
                self.unit[score, predicted] = float(band.unit[inside].mean())

    def measure(self, score, thresholds):
        """Return coverage by predicted and true region, and mean width by predicted region."""
        below = {
            key[1:]: np.searchsorted(values, thresholds[key[1]], side="right")
            for key, values in self.ordered.items()
            if key[0] == score
        }
        sizes = {key[1:]: len(v) for key, v in self.ordered.items() if key[0] == score}
        predicted = {name: below[name, "all"] / sizes[name, "all"] for name in SHOT_NAMES}
        true = {
            name: sum(below[each, name] for each in SHOT_NAMES)
            / sum(sizes[each, name] for each in SHOT_NAMES)
            for name in SHOT_NAMES
        }
        share = {name: sizes[name, "all"] / len(self.samples.labels) for name in SHOT_NAMES}
        predicted["all"] = true["all"] = sum(share[n] * predicted[n] for n in SHOT_NAMES)
        width = {
            name: self.base[score, name] + 2 * thresholds[name] * self.unit[score, name]
            for name in SHOT_NAMES
        }
        return predicted, true, width


def simulate(draws, count, pool):
    """Return the figures of all ways with a number of calibration samples."""
    rng = np.random.default_rng(count)
    names = ("all", *SHOT_NAMES)
    measured = {}
    for _ in range(draws):
        samples = Samples.draw(rng, count)
        for score in SCORES:
            for rule, thresholds in find_thresholds(samples.band(score), samples).items():
                predicted, true, width = pool.measure(score, thresholds)
                row = [predicted[n] for n in names] + [true[n] for n in names]
                row += [width[n] for n in SHOT_NAMES]
                measured.setdefault((score, rule), []).append(row)
    figures = []
    for (score, rule), rows in measured.items():
        values = np.array(rows)
        finite = np.isfinite(values)
        means = values[:, :8].mean(axis=0)
        figures.append(
            {
                "score": score,
                "rule": rule,
                "predicted": round_figures(names, means[:4]),
                "true": round_figures(names, means[4:8]),
                # nine of ten calibrations cover more
                "lowest": round_figures(names, np.quantile(values[:, :4], 0.1, axis=0)),
                "width": round_figures(SHOT_NAMES, np.median(values[:, 8:], axis=0)),
                "infinite": round_figures(SHOT_NAMES, 1 - finite[:, 8:].mean(axis=0)),
            }
        )
    return figures


def round_figures(names, values):
    return {
        name: round(float(v), 4) if math.isfinite(v) else None
        for name, v in zip(names, values, strict=True)
    }


def simulate_shift(draws, count, pool):
    """Return the coverage where new samples have other labels than calibration samples.

    Calibration samples are balanced over label bins, as those of a balanced split, and new ones
    as in the data; ``reversed``, it is the other way round.
    """
    rng = np.random.default_rng(1)
    samples = pool.samples
    edges = np.quantile(np.log(samples.labels), [0.0005, 0.9995])
    edges = np.exp(np.linspace(*edges, _BINS + 1))
    bins = LabelShift(edges, np.ones(_BINS)).find_bins(samples.labels)
    counts = np.bincount(bins, minlength=_BINS)
    balanced = (1 / counts)[bins]
    chances = {"data": np.full(_POOL, 1 / _POOL), "balanced": balanced / balanced.sum()}
    figures = []
    for source, target in (("balanced", "data"), ("data", "balanced")):
        measured = {}
        for _ in range(draws):
            old = samples.take(rng.choice(_POOL, count, p=chances[source]))
            new = samples.take(rng.choice(_POOL, _TEST, p=chances[target]))
            before = np.bincount(np.searchsorted(edges[1:-1], old.labels, "right"), minlength=_BINS)
            wanted = counts if target == "data" else np.ones(_BINS)
            shift = LabelShift.from_counts(edges, wanted, before)
            for weights, ratio in (("none", None), ("label density", shift)):
                for rule in ("split", RECOMMENDED):
                    fitted = RegionConformal.fit(
                        *(old.band("residual"), old.labels, old.predicted),
                        shrinkage=MIXTURES[rule],
                        shift=ratio,
                    )
                    low, high = fitted.predict(new.band("residual"), LEVEL, new.predicted)
                    covered = (low <= new.labels) & (new.labels <= high)
                    masks = [
                        each == name for each in (new.predicted, new.true) for name in SHOT_NAMES
                    ]
                    row = [covered.mean()]
                    row += [covered[mask].mean() if mask.any() else np.nan for mask in masks]
                    width = (high - low)[new.predicted == "few"]
                    row.append(np.median(width) if len(width) else np.nan)
                    measured.setdefault((weights, rule), []).append(row)
        for (weights, rule), rows in measured.items():
            values = np.array(rows)
            means, width = np.nanmean(values[:, :-1], axis=0), np.nanmedian(values[:, -1])
            figures.append(
                {
                    "calibration": source,
                    "new": target,
                    "weights": weights,
                    "rule": rule,
                    "predicted": round_figures(("all", *SHOT_NAMES), means[:4]),
                    "true": round_figures(("all", *SHOT_NAMES), means[[0, 4, 5, 6]]),
                    "width": round_figures(("few",), [width]),
                }
            )
    return figures


def measure(short, folder):
    """Simulate all ways with few and many calibration samples, and under a shift of labels."""
    draws = SHORT if short else DRAWS
    pool = Pool(Samples.draw(np.random.default_rng(0), _POOL))
    ways = {str(count): simulate(draws, count, pool) for count in SIZES}
    shift = simulate_shift(draws, SIZES[1], pool)
    slack = 0.02 if short else 0.0  # sampling error of few draws
    return {
        "checks": list(list_checks(ways, shift, draws, slack)),
        "draws": draws,
        "level": LEVEL,
        "shrinkage": SHRINKAGE,
        "shares": {
            name: round(float((pool.samples.predicted == name).mean()), 4) for name in SHOT_NAMES
        },
        "ways": ways,
        "shift": shift,
    }


def list_checks(ways, shift, draws, slack):
    """Yield what the simulation must show."""

    def select(rule, count):
        return [row for row in ways[str(count)] if row["rule"] == rule]

    near = {"all": 0.005, "many": 0.02, "medium": 0.02, "few": 0.04}
    for text, rule, wrong in (
        (
            "split conformal intervals cover 90 % of all new samples, within 0.5 points",
            "split",
            lambda row: abs(row["predicted"]["all"] - LEVEL) > 0.005 + slack,
        ),
        (
            "Mondrian intervals (k = 0) cover at least 89.5 % in each predicted region",
            "region, k = 0",
            lambda row: min(row["predicted"].values()) < LEVEL - 0.005 - slack,
        ),
    ):
        rows = [row for count in SIZES for row in select(rule, count)]
        yield {"check": text, "cases": len(rows) * draws, "failures": sum(map(wrong, rows))}
    rows = select(RECOMMENDED, SIZES[1])
    yield {
        "check": f"with 1,000 calibration samples and k = {SHRINKAGE:g}, coverage is within 2 points "
        "of 90 % where predictions are many- or medium-shot, and within 4 where few-shot",
        "cases": len(rows) * draws,
        "failures": sum(
            abs(row["predicted"][name] - LEVEL) > near[name] + slack
            for row in rows
            for name in near
        ),
    }
    rows = [row for row in shift if row["weights"] != "none"]
    yield {
        "check": "weights by label density: coverage over all new samples is within 1 point of 90 %, "
        "or above",
        "cases": len(rows) * draws,
        "failures": sum(row["predicted"]["all"] < LEVEL - 0.01 - slack for row in rows),
    }


def percent(value):
    return "–" if value is None else f"{100 * value:.1f}"


def list_ways(figures, count, rules=None):
    """Return the rows of the table of all ways, as texts."""
    columns = "score | threshold | all | many | medium | few | true many | true medium | true few"
    lines = [f"| {columns} | width, few | infinite, few |", "| --- | --- |" + " ---: |" * 9]
    for row in figures["ways"][str(count)]:
        if rules is not None and row["rule"] not in rules:
            continue
        cells = [percent(row["predicted"][name]) for name in ("all", *SHOT_NAMES)]
        cells += [percent(row["true"][name]) for name in SHOT_NAMES]
        width = row["width"]["few"]
        cells += ["infinite" if width is None else f"{width:.1f}", percent(row["infinite"]["few"])]
        lines.append(f"| {row['score']} | {row['rule']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def list_shifts(figures):
    """Return the rows of the table of shifted labels, as texts."""
    lines = [
        "| calibration | new samples | weights | threshold | all | many | medium | few | true few | width, few |",
        "| --- | --- | --- | --- |" + " ---: |" * 6,
    ]
    titles = {"data": "as in the data", "balanced": "balanced"}
    for row in figures["shift"]:
        cells = [percent(row["predicted"][name]) for name in ("all", *SHOT_NAMES)]
        width = row["width"]["few"]
        cells += [percent(row["true"]["few"]), "infinite" if width is None else f"{width:.1f}"]
        start = (titles[row["calibration"]], titles[row["new"]], row["weights"], row["rule"])
        lines.append("| " + " | ".join((*start, *cells)) + " |")
    return "\n".join(lines)


def describe(figures):
    """Describe the simulation, and which rule shrinks the threshold of a region."""
    return f"""\
Each row is {figures["draws"]:,} draws of 200 calibration samples, whose thresholds are tested on {_POOL:,} samples.
Labels are lognormal with noise that grows with them; 80 % are many-, 15 % medium- and 5 % few-shot, and so are
{100 * figures["shares"]["many"]:.0f}, {100 * figures["shares"]["medium"]:.0f} and \
{100 * figures["shares"]["few"]:.1f} % of the predictions. Coverage of 90 % intervals in percent, by predicted and by
true region, median width of few-shot predictions, and share of draws in which these are infinite. *k*: a region with n
calibration samples has the weight n / (n + k) beside all; *interpolated*: the threshold of the region is averaged with
the threshold of all, with the weight for k = {SHRINKAGE:g}; *pooled below 50*: regions with fewer samples have the threshold of all.
The [guide](intervals.md) has the table with 1,000 calibration samples and reads both.

{list_ways(figures, SIZES[0])}
"""
