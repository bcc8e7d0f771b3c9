"""Compare methods on data, and what the comparison shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ranksim._utils.formatting import METRIC_TITLES, choose_digits, format_count
from ranksim._utils.frames import make_frame
from ranksim._utils.progress import hide_counters
from ranksim.api.arguments import describe_call, name_arguments, read_arguments
from ranksim.api.folders import ResultFolder, copy_folder
from ranksim.api.html import render_box, render_table, render_text
from ranksim.api.options import COMPARE_OPTIONS, make_sweep_request
from ranksim.data.memory import join_target, name_data, write_data
from ranksim.evaluation.coverage import list_coverage
from ranksim.evaluation.record import RESULTS, read_results
from ranksim.evaluation.region_table import BALANCED_TITLE, find_balanced
from ranksim.evaluation.report.page.elements import SweepResults
from ranksim.evaluation.report.page.features import label_bins, paint_ranks, summarize_ranks
from ranksim.evaluation.report.page.label_axis import (
    draw_errors,
    find_unseen,
    group_errors,
    paint_errors,
    paint_labels,
)
from ranksim.evaluation.report.plotting import open_axis
from ranksim.evaluation.report.results_page import PAGE, write_page
from ranksim.evaluation.summary import method_key
from ranksim.exceptions import DataError, StoppedError, UsageError
from ranksim.experiments.sweep_request import run_benchmark
from ranksim.experiments.sweep_settings import DEFAULT_METHODS, SweepRequest
from ranksim.training.method_rules import EXTERNAL

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from rich.console import Console

_LABELS = "labels"  # a matrix of plot_ranks beside those of the methods


class Comparison:
    """The results of a comparison: scores of each method and seed, intervals and conclusion.

    Attributes:
        folder: the folder of the results, ``results.json``, the page and the runs. A temporary one
            is removed with this object; :meth:`save` copies it.
        results: the content of ``results.json``.
    """

    def __init__(self, folder: ResultFolder | Path, results: Mapping[str, Any]) -> None:
        self._owner = folder if isinstance(folder, ResultFolder) else ResultFolder(folder)
        self.folder: Path = self._owner.path
        self.results: dict[str, Any] = dict(results)

    @property
    def conclusion(self) -> str:
        """What the comparison shows, in a few sentences; the first one decides."""
        return str((self.results.get("conclusion") or {}).get("sentence", ""))

    @property
    def best(self) -> str:
        """Name of the method to use: the surely better one, else the baseline.

        It is surely worse for no rare labels. Predictions made elsewhere are never chosen.
        """
        name = (self.results.get("conclusion") or {}).get("recommended")
        techniques = {
            run["identity"]["method"]: run["identity"].get("technique") or {}
            for run in self.results["runs"]
        }
        row = next((row for row in self.results["summary"] if row["method"] == name), None)
        if row is None or techniques[method_key(row)].get("estimator") == EXTERNAL:
            return self.baseline
        return str(name)

    @property
    def baseline(self) -> str:
        """Name of the method that all others are compared with."""
        return str(self.results["baseline"])

    @property
    def methods(self) -> list[str]:
        """Names of the rows."""
        return [row["method"] for row in self.results["summary"]]

    @property
    def warnings(self) -> list[str]:
        """Sentences about likely mistakes in the data, each with the remedy."""
        return list((self.results.get("data_report") or {}).get("warnings", ()))

    def to_frame(self) -> pd.DataFrame:
        """Return the test scores, one row per method, seed and region.

        The columns are ``method``, ``seed``, ``region``, ``samples``, ``mae``, ``mse``, ``gm``,
        ``pearson`` and ``spearman``, and of all samples also ``balanced_mae``, ``balanced_mse``,
        ``ccc`` and ``sera``; a score without enough samples is NaN.
        """
        return make_frame(list(self._list_scores()))

    def coverage_frame(self) -> pd.DataFrame:
        """Return coverage and width of the prediction intervals, one row per method and region.

        The columns are ``method``, ``way`` (``region`` for a threshold by predicted region,
        ``split`` for one threshold, ``as_is`` for labels as in the data, ``ensemble`` for the mean
        of seeds), ``by`` (``predicted`` or ``true``), ``region``, ``samples``, ``coverage`` with
        the ends of its 95 % interval, ``width`` and ``score``, infinite if an interval is.

        Raises:
            DataError: the comparison was made without ``interval``.
        """
        rows = [
            {"method": row["method"], **scores}
            for row in self.results["summary"]
            if row.get("intervals")
            for scores in list_coverage(row["intervals"])
        ]
        if not rows:
            raise DataError(
                f"The comparison in {self.folder} has no prediction intervals: compare with "
                "interval=0.9."
            )
        return make_frame(rows)

    def _list_scores(self) -> Iterator[dict[str, Any]]:
        records = [run for run in self.results["runs"] if run["status"] == "done"]
        for row in self.results["summary"]:
            for record in records:
                identity = record["identity"]
                if identity["method"] != method_key(row):
                    continue
                for region, scores in record["result"]["metrics"]["test"].items():
                    values = {
                        name: np.nan if value is None else value
                        for name, value in scores.items()
                        if name != "n"
                    }
                    start = {"method": row["method"], "seed": identity["seed"], "region": region}
                    yield {**start, "samples": scores["n"], **values}

    def plot_labels(self, ax: Axes | None = None) -> Axes:
        """Draw training labels as bars in region colors, test labels as outline; return the axes.

        Args:
            ax: axes of matplotlib; by default those of a new figure.
        """
        labels = self._sweep.labels
        if labels is None:
            raise DataError(f"{self.folder / RESULTS} has no label distribution: run it again.")
        with open_axis(ax) as axis:
            paint_labels(axis, labels, find_unseen(labels))
            if ax is None:
                axis.set_title("Training samples per bin; outline: test samples")
        result: Axes = axis
        return result

    def plot_errors(self, ax: Axes | None = None) -> Axes:
        """Draw the test error of each method along the label axis; return the axes.

        Args:
            ax: axes of matplotlib; by default those of a new figure.
        """
        self._require("error_by_bin", "errors per label bin")
        with open_axis(ax) as axis:
            grouped = group_errors(self._sweep)
            paint_errors(axis, self._sweep, grouped.centers, grouped.errors)
        result: Axes = axis
        return result

    def plot_ranks(self, method: str | None = None, ax: Axes | None = None) -> Axes:
        """Draw whether the features of a method keep the order of labels; return the axes.

        Each row ranks all label bins by their similarity to one bin, from 1 for the most similar.
        The number in the corner is the agreement with the ranks by label, at most 1.

        Args:
            method: a row that trains a network, or ``labels`` for the ranks by label; by default
                :attr:`best` if it is one, else the baseline.
            ax: axes of matplotlib; by default those of a new figure.
        """
        self._require("ranks", "rank matrices: compare networks")
        centers, panels = summarize_ranks(self._sweep)
        names = [_LABELS, *(title for title, _, _ in panels[1:])]
        keys = {row["method"]: method_key(row) for row in self.results["summary"]}
        if method is None:
            usual = [keys.get(each, each) for each in (self.best, self.baseline)]
            method = next((each for each in usual if each in names), names[1])
        key = keys.get(method, method)
        if key not in names:
            raise UsageError(f"There are no ranks of {method!r}: choose one of {', '.join(names)}.")
        with open_axis(ax, (3.8, 3.6), (0.2, 0.13, 0.76, 0.8)) as axis:
            paint_ranks(axis, panels[names.index(key)])
            label_bins(axis, centers)
            axis.set(xlabel=self._sweep.quantity, ylabel=f"{self._sweep.quantity} of the anchor")
        result: Axes = axis
        return result

    def to_html(self, path: str | Path | None = None) -> str:
        """Return the page with all tables and pictures; also write it to ``path`` if given."""
        if path is not None:
            return write_page(self.results, Path(path)).read_text(encoding="utf-8")
        if not (self.folder / PAGE).is_file():
            write_page(self.results, self.folder / PAGE)
        return (self.folder / PAGE).read_text(encoding="utf-8")

    def save(self, folder: str | Path) -> Path:
        """Copy the folder of the results to a new or empty folder, and return that."""
        return copy_folder(self.folder, folder)

    @classmethod
    def load(cls, folder: str | Path) -> Comparison:
        """Read the results in a folder of :meth:`save`, ``out=`` or ``ranksim compare``."""
        path = Path(folder).expanduser()
        return cls(path if path.is_dir() else path.parent, read_results(path))

    @cached_property
    def _sweep(self) -> SweepResults:
        return SweepResults(self.results)

    def _require(self, field: str, description: str) -> None:
        if self._sweep.labels is None or not self._sweep.results_with(field):
            raise DataError(f"The comparison in {self.folder} has no {description}.")

    def _repr_html_(self) -> str:
        parts = [render_text(self._first_sentence, is_bold=True), self._render_scores()]
        if self._sweep.labels is not None and self._sweep.results_with("error_by_bin"):
            grouped = group_errors(self._sweep)
            parts.append(draw_errors(self._sweep, grouped.centers, grouped.errors).svg)
        points = (self.results.get("conclusion") or {}).get("points", ())
        parts += [render_text(f"{point['title']}: {point['sentence']}") for point in points]
        return render_box(*parts, *map(render_text, self.warnings))

    @property
    def _first_sentence(self) -> str:
        conclusion = self.results.get("conclusion") or {}
        return str(conclusion.get("headline", self.conclusion))

    def _render_scores(self) -> str:
        """Return a table of the mean error by region and method."""
        sweep = self._sweep
        metric, regions = sweep.error, sweep.regions
        summary = self.results["summary"]
        columns = [(name, name, metric) for name in regions]
        if any(find_balanced(row["test"], [metric]) for row in summary):
            columns.append((BALANCED_TITLE, "all", f"balanced_{metric}"))
        titles = [f"{METRIC_TITLES[metric][0]} {title}" for title, _, _ in columns]
        names, rows = ["method", "seeds", *titles], []
        for row in summary:
            means = [
                row["test"].get(region, {}).get(score, {}).get("mean")
                for _, region, score in columns
            ]
            digits = choose_digits(metric, [mean for mean in means if mean is not None])
            cells = ["–" if mean is None else f"{mean:.{digits}f}" for mean in means]
            rows.append((row["method"], f"{len(row['seeds'])}", *cells))
        return render_table(names, rows)

    def __repr__(self) -> str:
        seeds = max((len(row["seeds"]) for row in self.results["summary"]), default=0)
        return (
            f"Comparison({format_count(len(self.methods), 'method')}, "
            f"{format_count(seeds, 'seed')}: {self._first_sentence})"
        )


@name_arguments
def compare(
    data: Any,
    y: Any = None,
    *,
    target: str | None = None,
    estimators: Mapping[str, Any] | None = None,
    model: Any = None,
    out: str | Path | None = None,
    progress: bool = True,
    **options: Any,
) -> Comparison:
    """Train methods on the same splits and seeds, and conclude which one helps, and where.

    Args:
        data: a pandas or polars DataFrame, a pyarrow Table, a Hugging Face Dataset, a dictionary of
            columns, the path of a table, or arrays ``(X, y)``.
        y: labels of the rows of ``data``, instead of a column ``target``.
        target: name of the column of the labels.
        estimators: regressors and pipelines of scikit-learn as further rows, by name, such as
            ``{"lgbm": LGBMRegressor()}``. ``lgbm+sqinv``, ``lgbm(log)`` and so on are methods,
            too; without any of them among ``methods``, ``lgbm`` and ``lgbm+sqinv`` are added.
        model: function that builds the feature extractor of all networks: it gets an example batch
            and returns a new ``torch.nn.Module`` that maps a batch to features ``(N, D)``; also as
            ``"package.module:function"``. Head, FDS, RRT and RankSim attach to the features.
        out: folder for the results; finished runs in it are kept, so that an interrupted call goes
            on where it stopped. By default a temporary folder.
        progress: print what was read of the data, and the progress.
        **options: those of ``ranksim compare``, under the same names: ``methods`` (a list of
            names), ``seeds`` (a number or a list), ``budget`` (``"10m"``), ``jobs``, ``text``,
            ``image``, ``window``, ``split``, ``split_by``, ``set`` (recipe fields, as in
            ``{"lr": 5e-4}``), and so on.

    Returns:
        A comparison; ``print(result.conclusion)`` says what it shows.

    Raises:
        DataError: the data could not be read, or a method does not suit it.
        UsageError: arguments are unknown, of a wrong type, contradictory or without effect.
        StoppedError: Ctrl-C; runs that have finished are kept.
    """
    data, target = join_target(data, y, target)
    given = {"target": target, "methods": DEFAULT_METHODS, **options}
    values = read_arguments("compare", COMPARE_OPTIONS, given)
    values["network"] = model
    values["estimators"] = {} if estimators is None else estimators
    command = describe_call("compare", name_data(data), COMPARE_OPTIONS, given)
    folder = ResultFolder(out)
    shared = folder.path.absolute().parent if values["engine"] == "ray" else None
    with write_data(data, shared) as path, silence(progress):
        request = make_sweep_request(path, folder.path, values, command=command)
        return run_comparison(request, make_console(progress), folder)


def run_comparison(
    request: SweepRequest, console: Console, folder: ResultFolder | None = None
) -> Comparison:
    """Train the runs of a request, and return the comparison.

    Args:
        request: its folder receives the results.
        console: receives what was read of the data, and the progress.
        folder: that of the request, if it may be a temporary one.
    """
    try:
        if request.tune is None:
            results = run_benchmark(request, console)
        else:
            from ranksim.experiments.tuned_sweep import run_tuned_benchmark

            results = run_tuned_benchmark(request, console)
    except StoppedError as error:
        if folder is None or not folder.is_temporary:
            raise
        folder.keep_until_exit()
        raise StoppedError(
            f"Stopped; the same call with --out {str(folder.path)!r} goes on where it stopped, "
            "until Python exits."
        ) from error
    return Comparison(folder or ResultFolder(request.out), results)


def make_console(progress: Any) -> Console:
    """Return a console for the progress, or one that prints nothing."""
    from rich.console import Console

    if not isinstance(progress, bool):
        raise UsageError(f"progress takes True or False, got {progress!r}.")
    return Console(quiet=not progress)


def silence(progress: bool) -> Any:
    """Return a context in which counters of read files are hidden unless ``progress``."""
    import contextlib

    return contextlib.nullcontext() if progress else hide_counters()
