"""Parts 5 and 6: how features are ordered beside how labels are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ranksim.evaluation.report.figures.maps import maps_figure
from ranksim.evaluation.report.figures.ranks import ranks_figure
from ranksim.evaluation.report.page.parts import DataTable, Section, count, listed
from ranksim.evaluation.report.page.sweep import Record, Sweep

_PANELS, _MAPS, _NEAR = 9, 6, 10
_CLOSE = 0.01  # agreements nearer than this are told as equal
_RANKS, _FEATURES = "Are features ordered as labels are?", "Features as a map"


def ranks_part(sweep: Sweep) -> Section:
    """Label-space ranks beside feature-space ranks of each method."""
    runs = sweep.having("ranks")
    if not runs:
        return Section(
            "ranks",
            _RANKS,
            (),
            missing="This results.json holds no rank matrices: part 1 says how to have them.",
        )
    order = [method for method in sweep.focus if method in runs]
    first = runs[order[0]][0]["result"]["ranks"]
    centres, label = np.asarray(first["centres"]), np.asarray(first["label"])
    matrices = {
        m: np.mean([run["result"]["ranks"]["feature"] for run in runs[m]], axis=0) for m in order
    }
    spreads = {m: [run["result"]["ranks"]["agreement"] for run in runs[m]] for m in order}
    agreement = {m: _mean(spreads[m]) for m in order}
    panels = [(method, matrices[method], agreement[method]) for method in order]
    shown = [("labels themselves", label, None), *panels[:_PANELS]]
    pictures = [ranks_figure("05-ranks", shown, centres, sweep.quantity, 5)]
    folded = []
    if rest := panels[_PANELS:]:
        folded.append(ranks_figure("05-ranks-rest", rest, centres, sweep.quantity, 6))
    sheets = [
        DataTable(
            "agreement",
            "Agreement with label space",
            ("method", "agreement", "each seed"),
            [(method, agreement[method], spreads[method]) for method in order],
        ),
        DataTable(
            "ranks",
            "The matrices, a row an anchor",
            ("space", "anchor bin at", "ranks of all bins"),
            [
                (space, float(centres[a]), [float(v) for v in matrix[a]])
                for space, matrix in (("labels", label), *matrices.items())
                for a in range(len(centres))
            ],
        ),
    ]
    return Section(
        "ranks",
        _RANKS,
        _ranks_told(sweep, agreement, spreads),
        pictures,
        folded,
        sheets,
        note=f"For one test sample a bin as anchor, the {len(centres)} bins ranked by cosine "
        "similarity of features, 1 the most similar, averaged over draws and seeds. Agreement: "
        "mean Spearman correlation with the ranks by label, 1 at most, "
        f"{chance_agreement(len(centres)):.2f} by chance, since an anchor is most similar to "
        "itself in both.",
    )


def chance_agreement(bins: int) -> float:
    """The agreement of features that know nothing of labels: both rank the anchor first.

    With the first of B ranks shared and the others in any order, Spearman's correlation is
    3 / (B + 1) on average.

    Example:
        >>> chance_agreement(17)
        0.16666666666666666
    """
    return 3 / (bins + 1)


def maps_part(sweep: Sweep) -> Section:
    """PCA and t-SNE of the same test samples."""
    found = sweep.having("projection")
    runs = {m: found[m][0] for m in sweep.focus if m in found}
    if not runs:
        return Section(
            "features",
            _FEATURES,
            (),
            missing="This results.json holds no feature map: part 1 says how to have it.",
        )
    shown = list(runs)[:_MAPS]
    labels = np.asarray(runs[shown[0]]["result"]["projection"]["labels"], dtype=np.float64)
    pca = {m: np.asarray(runs[m]["result"]["projection"]["pca"], dtype=np.float64) for m in shown}
    tsne = {m: _points(runs[m]) for m in shown}
    sheet = DataTable(
        "features",
        "Places of the samples",
        (sweep.quantity, *(f"{m}, {kind}" for m in shown for kind in ("PCA", "t-SNE"))),
        [
            (
                float(labels[p]),
                *(
                    None if points is None else [float(v) for v in points[p]]
                    for m in shown
                    for points in (pca[m], tsne[m])
                ),
            )
            for p in range(len(labels))
        ],
    )
    seeds = sorted({int(run["identity"]["seed"]) for run in runs.values()})
    return Section(
        "features",
        _FEATURES,
        _maps_told(labels, pca, tsne),
        (maps_figure([(m, pca[m], tsne[m]) for m in shown], labels, sweep.quantity),),
        sheets=(sheet,),
        note=f"{count(len(labels), 'test sample')}, the same for all methods, of seed "
        f"{' or '.join(map(str, seeds))} alone. A map shows the way, not a measure: t‑SNE keeps "
        "neighbourhoods, not distances.",
    )


def _ranks_told(
    sweep: Sweep, means: dict[str, float | None], spreads: dict[str, list[float | None]]
) -> list[str]:
    base = sweep.baseline
    agreement = {method: value for method, value in means.items() if value is not None}
    if base not in agreement or len(agreement) < 2:
        return [f"{m} agrees with label space at {v:.2f}." for m, v in agreement.items()]
    best = max(agreement, key=lambda method: agreement[method])
    known = [value for value in spreads[base] if value is not None]
    low, high = min(known), max(known)
    told = f"The features of {base} agree with the order of labels at {agreement[base]:.2f}" + (
        f" ({low:.2f} to {high:.2f} over seeds)" if len(known) > 1 else ""
    )
    if agreement[best] - agreement[base] < _CLOSE:
        return [f"{told}, and no other method's mean is higher by {_CLOSE} or more."]
    above = sum(value > agreement[base] for value in agreement.values())
    return [
        f"{told}; highest is {best} at {agreement[best]:.2f}, and {above} of "
        f"{count(len(agreement) - 1, 'other method')} lie above {base}.",
        "A better order of features need not mean a lower error: part 2 says that.",
    ]


def _maps_told(
    labels: NDArray[np.float64],
    pca: dict[str, NDArray[np.float64]],
    tsne: dict[str, NDArray[np.float64] | None],
) -> list[str]:
    along = listed((f"{_along(points, labels):.2f} for {m}" for m, points in pca.items()), _MAPS)
    told = [
        f"How far the first principal axis follows the label, as |Pearson| of the two: {along}."
    ]
    near = {m: _near(points, labels) for m, points in tsne.items() if points is not None}
    if near:
        chance = float(np.abs(labels[:, None] - labels).mean())
        each = listed((f"{value:.3g} for {method}" for method, value in near.items()), _MAPS)
        told.append(
            f"In the t‑SNE maps, a sample and its {min(_NEAR, len(labels) - 1)} nearest neighbours "
            f"differ in label by {each} on average, against {chance:.3g} by chance."
        )
    return told


def _along(points: NDArray[np.float64], labels: NDArray[np.float64]) -> float:
    """|Pearson| of the first coordinate and the label; 0 where one of them is constant."""
    a, b = points[:, 0] - points[:, 0].mean(), labels - labels.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return abs(float(a @ b)) / norm if norm else 0.0


def _near(points: NDArray[np.float64], labels: NDArray[np.float64]) -> float:
    """Mean |difference of labels| between a point and its nearest ones."""
    apart = ((points[:, None] - points) ** 2).sum(-1)
    np.fill_diagonal(apart, np.inf)
    nearest = np.argsort(apart, axis=1, kind="stable")[:, : min(_NEAR, len(points) - 1)]
    return float(np.abs(labels[nearest] - labels[:, None]).mean()) if len(points) > 1 else 0.0


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _points(run: Record) -> NDArray[np.float64] | None:
    places = run["result"]["projection"]["tsne"]
    return None if places is None else np.asarray(places, dtype=np.float64)
