"""Fit a model, predict and evaluate with it, save and share it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ranksim._utils.checks import describe_value
from ranksim._utils.formatting import METRIC_TITLES, format_percent
from ranksim._utils.frames import make_frame
from ranksim.api.arguments import describe_call, name_arguments, read_arguments
from ranksim.api.comparison import make_console, silence
from ranksim.api.drift import Drift
from ranksim.api.folders import ResultFolder, copy_folder
from ranksim.api.html import render_box, render_page, render_table, render_text
from ranksim.api.hub import download_model, upload_model
from ranksim.api.options import DEFAULT_METHOD, FIT_OPTIONS, load_network, make_sweep_request
from ranksim.data.memory import join_target, name_data, write_data
from ranksim.evaluation.coverage import list_coverage
from ranksim.evaluation.predictions import Predictions
from ranksim.evaluation.region_table import list_region_rows
from ranksim.evaluation.report import plotting
from ranksim.evaluation.report.page.label_axis import group_bins
from ranksim.evaluation.views import describe_mean
from ranksim.exceptions import DataError, StoppedError, UsageError
from ranksim.inference.custom_model import find_custom_method, fit_custom_model
from ranksim.inference.drift import measure_drift
from ranksim.inference.fit import fit_model
from ranksim.inference.fit_request import FitRequest
from ranksim.inference.prediction import evaluate_predictions
from ranksim.inference.released import find_released
from ranksim.inference.saved_model import CARD, load_model
from ranksim.inference.saved_model import Model as SavedModel
from ranksim.metrics import REGION_NAMES, ShotRegions
from ranksim.training.fit_custom import FittedCustom
from ranksim.training.recipe import headline

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_FOLDER = "model"  # in a temporary folder
Scores = Mapping[str, Mapping[str, Any]]  # by region and metric


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """Scores of predictions on labeled data, by the region of the label.

    Args:
        target: name of the predicted column.
        content: ``test`` and ``intervals`` by region and score, ``samples``, ``without_label``, and
            ``held_out``, the same of the samples that the model was not trained on, if there are
            others.
        predictions: on the same data.
        regions: shot regions of the training labels.
    """

    target: str
    content: Mapping[str, Any]
    predictions: Predictions
    regions: ShotRegions

    @property
    def scores(self) -> Scores:
        """Scores by region and name, on held-out samples where the model has seen others."""
        scores: Scores = (self.content["held_out"] or self.content)["test"]
        return scores

    @property
    def test_set(self) -> str | None:
        """What the mean over all of these samples is: ``balanced`` by label, ``file`` and so on."""
        name: str | None = (self.content["held_out"] or self.content)["test_set"]
        return name

    @property
    def conclusion(self) -> str:
        """The errors over all and over few-shot labels, in one sentence."""
        return _describe_errors(self.scores, "on these samples", self.test_set)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per region: ``region``, ``samples``, scores, and ends of 95 % intervals.

        The interval of the MAE is in ``mae_low`` and ``mae_high``.
        """
        source = self.content["held_out"] or self.content
        return make_frame(_list_rows(source["test"], source["intervals"]))

    def coverage_frame(self) -> pd.DataFrame:
        """Return coverage and width of the intervals on held-out samples, one row per region.

        It has the columns of :meth:`ranksim.Comparison.coverage_frame` but the method.

        Raises:
            DataError: the model was fitted without ``interval``, or no sample is held out.
        """
        if "coverage" not in self.content:
            raise DataError(
                "These predictions have no intervals on held-out samples: fit the model with "
                "interval=0.9, and evaluate samples that it was not trained on."
            )
        return make_frame(list_coverage(self.content["coverage"]))

    def plot_errors(self, ax: Axes | None = None) -> Axes:
        """Draw the mean absolute error along the label axis; return the axes.

        Args:
            ax: axes of matplotlib; by default those of a new figure.
        """
        assert self.predictions.labels is not None
        known = np.isfinite(self.predictions.labels)
        labels = self.predictions.labels[known]
        errors = np.abs(self.predictions.errors[known])
        bins = self.regions.bins
        index = bins.digitize(labels)
        counts = np.bincount(index, minlength=len(bins))
        starts = np.array(group_bins(counts))[:, 0]
        samples = np.add.reduceat(counts, starts)
        sums = [np.bincount(index, values, len(bins)) for values in (labels, errors)]
        x, y = (np.add.reduceat(each, starts) / samples for each in sums)
        with plotting.open_axis(ax) as axis:
            edges = bins.edges.astype(np.float64)
            plotting.draw_counts(axis, edges, self.regions.counts, self.regions.names)
            axis.set_xlim(edges[0], edges[-1])
            plotting.draw_curves(axis, [plotting.Curve("model", plotting.RANKSIM, x, y)])
            plotting.limit_height(axis, y)
            axis.set_title("MAE, with training samples per bin", pad=8)
            plotting.finish_axes(axis)
            axis.set_xlabel(plotting.shorten(self.target))
        result: Axes = axis
        return result

    def to_html(self) -> str:
        """Return a whole HTML page with the table of scores."""
        return render_page(f"Errors of {self.target}", self._repr_html_())

    def _repr_html_(self) -> str:
        scores = _render_scores(self.scores, ("mae", "gm"), self.test_set)
        return render_box(render_text(self.conclusion, is_bold=True), scores)

    def __repr__(self) -> str:
        return f"Evaluation({self.conclusion})"


@dataclass(frozen=True, eq=False, repr=False)
class Model(SavedModel):
    """A fitted model: predicts new data, and knows where its training labels were scarce.

    Attributes:
        path: the folder of its files; a temporary one is removed with this object.
        config: target, method, data, versions and more.
        metrics: scores by region on held-out samples, under ``test``.
        regions: shot regions of the training labels.
    """

    owner: ResultFolder | None = field(default=None)

    @property
    def method(self) -> str:
        """Name of the method."""
        return str(self.config["method"])

    @property
    def conclusion(self) -> str:
        """The errors on held-out samples, in one sentence."""
        return _describe_errors(self.metrics["test"], "on held-out samples", self.test_set)

    @property
    def card(self) -> str:
        """The model card, in Markdown."""
        self._require_files()
        return (self.path / CARD).read_text(encoding="utf-8")

    @name_arguments
    def predict(self, data: Any, **options: Any) -> Predictions:
        """Predict the labels of new data, with the shot region of each prediction.

        Args:
            data: rows with the input columns: a DataFrame, Table, Dataset, dictionary, path or
                array X.
            **options: ``image_root``, ``reading``, ``skip_missing`` and ``trainer_config``, see
                :meth:`ranksim.inference.Model.predict`.

        Returns:
            Predictions; ``preds`` is an array, ``to_frame()`` a table.
        """
        return super().predict(data, **options)

    @name_arguments
    def evaluate(self, data: Any, y: Any = None, **options: Any) -> Evaluation:
        """Score the predictions of labeled data by region, with intervals.

        Args:
            data: as for :meth:`predict`, with the column of the target.
            y: labels of the rows of ``data``, instead of that column.
            **options: as for :meth:`predict`.

        Raises:
            DataError: the data has no labels.
        """
        data, _ = join_target(data, y, self.target)
        predictions = super().predict(data, **options)
        content = evaluate_predictions(self, predictions)
        return Evaluation(self.target, content, predictions, self.regions)

    @name_arguments
    def drift(self, data: Any, y: Any = None, **options: Any) -> Drift:
        """Compare new data, labeled or not, with the data that the model was fitted with.

        Args:
            data: as for :meth:`predict`; with the column of the target, labels and errors are
                compared, too.
            y: labels of the rows of ``data``, instead of that column.
            **options: as for :meth:`predict`.

        Raises:
            DataError: the model has no summary of its data, as earlier versions wrote none.
        """
        if y is not None:
            data, _ = join_target(data, y, self.target)
        content, _ = measure_drift(self, data, **options)
        return Drift(content)

    def to_frame(self) -> pd.DataFrame:
        """Return the scores on held-out samples, one row per region."""
        return make_frame(_list_rows(self.metrics["test"]))

    def coverage_frame(self) -> pd.DataFrame:
        """Return coverage and width of the intervals on test samples, one row per region.

        It has the columns of :meth:`ranksim.Comparison.coverage_frame` but the method.

        Raises:
            DataError: the model was fitted without ``interval``.
        """
        if "coverage" not in self.metrics:
            raise DataError(
                f"The model {self.path} has no prediction intervals: fit it with interval=0.9."
            )
        return make_frame(list_coverage(self.metrics["coverage"]))

    def plot_labels(self, ax: Axes | None = None) -> Axes:
        """Draw the histogram of the training labels in region colors; return the axes.

        Args:
            ax: axes of matplotlib; by default those of a new figure.
        """
        edges = self.regions.bins.edges.astype(np.float64)
        with plotting.open_axis(ax) as axis:
            plotting.draw_bars(axis, edges, self.regions.counts, self.regions.names)
            axis.set_xlim(edges[0], edges[-1])
            axis.set_title("Training samples per bin")
            plotting.finish_axes(axis)
            axis.set_xlabel(plotting.shorten(self.target))
        result: Axes = axis
        return result

    def to_html(self) -> str:
        """Return a whole HTML page with the scores on held-out samples."""
        return render_page(f"Model of {self.target}", self._repr_html_())

    @name_arguments
    def save(self, folder: str | Path) -> Path:
        """Copy the files of the model to a new or empty folder, and return that.

        Raises:
            UsageError: the folder is not empty, or the model is an estimator of the user.
        """
        self._require_files()
        return copy_folder(self.path, folder)

    @classmethod
    @name_arguments
    def load(
        cls, folder: str | Path, *, encoder: str | Path | None = None, model: Any = None
    ) -> Model:
        """Load a model of :meth:`save`, ``out=`` or ``ranksim fit``; no code of it is executed.

        Args:
            folder: of the model, or the name of a released one, such as ``ranksim/glucose``.
            encoder: the folder of the pretrained encoder, if the model was trained with one.
            model: the function that builds the network, if it was trained with one of yours.
        """
        network = None if model is None else load_network(model)
        return cls._from_saved(load_model(folder, encoder=encoder, network=network))

    @name_arguments
    def push_to_hub(
        self, repo_id: str, *, private: bool | None = None, token: str | None = None
    ) -> str:
        """Upload the model and its card to the Hugging Face hub; return the address.

        Args:
            repo_id: ``owner/name`` of the repository, which is created if there is none.
            private: whether a new repository is private; None: the default of the owner.
            token: of the hub; by default that of ``hf auth login``.

        Raises:
            DataError: the hub cannot be reached, or refuses.
        """
        self._require_files()
        return upload_model(self.path, repo_id, self.config["kind"], private=private, token=token)

    @classmethod
    @name_arguments
    def from_pretrained(
        cls,
        repo_id: str | Path,
        *,
        revision: str | None = None,
        token: str | None = None,
        encoder: str | Path | None = None,
        model: Any = None,
    ) -> Model:
        """Load a model from the Hugging Face hub, or from a folder; no code of it is executed.

        Args:
            repo_id: ``owner/name``, or the path of a folder. Names such as ``ranksim/glucose`` are
                models that come with ranksim.
            revision: branch, tag or commit of the repository.
            token: of the hub; by default that of ``hf auth login``.
            encoder: the folder of the pretrained encoder, if the model was trained with one.
            model: the function that builds the network, if it was trained with one of yours.
        """
        folder = Path(repo_id)
        if not folder.is_dir() and (released := find_released(str(repo_id))) is not None:
            folder = released
        elif not folder.is_dir():
            folder = download_model(str(repo_id), revision=revision, token=token)
        return cls.load(folder, encoder=encoder, model=model)

    def _require_files(self) -> None:
        """Raise a UsageError if the model has no files, as an estimator of the user."""
        if isinstance(self.estimator, FittedCustom):
            raise UsageError(
                f"{self.method} is your own estimator, which only pickle could store, and pickle "
                "runs code when it is loaded: keep it in memory, or store estimator.models "
                "yourself."
            )

    @classmethod
    def _from_saved(cls, saved: SavedModel, owner: ResultFolder | None = None) -> Model:
        values = {item.name: getattr(saved, item.name) for item in fields(SavedModel)}
        return cls(**values, owner=owner)

    def _repr_html_(self) -> str:
        title = f"{self.method} on {self.config['data']['name']}: {self.conclusion}"
        names = headline(self.config["kind"])
        scores = _render_scores(self.metrics["test"], names, self.test_set)
        return render_box(render_text(title, is_bold=True), scores)

    def __repr__(self) -> str:
        return f"Model({self.method}, target {self.target}: {self.conclusion})"


@name_arguments
def fit(
    data: Any,
    y: Any = None,
    *,
    target: str | None = None,
    method: str = DEFAULT_METHOD,
    estimators: Mapping[str, Any] | None = None,
    model: Any = None,
    out: str | Path | None = None,
    progress: bool = True,
    **options: Any,
) -> Model:
    """Train one model on data, and return it with everything that predictions need.

    Args:
        data: a pandas or polars DataFrame, a pyarrow Table, a Hugging Face Dataset, a dictionary of
            columns, the path of a table, or arrays ``(X, y)``.
        y: labels of the rows of ``data``, instead of a column ``target``.
        target: name of the column of the labels.
        method: its name, such as ``inv+ranksim`` or ``result.best``.
        estimators: of scikit-learn, by name, which ``method`` may name. A model of them stays in
            memory: it predicts, but cannot be saved.
        model: function that builds the feature extractor, as for :func:`ranksim.compare`.
        out: folder for the model; by default a temporary one.
        progress: print what was read of the data, and the progress.
        **options: those of ``ranksim fit``, under the same names: ``seed``, ``refit``,
            ``ensemble``, ``cross_validate``, ``text``, ``image``, ``window``, ``split`` and so on.

    Raises:
        DataError: the data could not be read, or the method does not suit it.
        UsageError: arguments are unknown, of a wrong type, contradictory or without effect.
        StoppedError: Ctrl-C; the same call with the same ``out`` goes on.
    """
    data, target = join_target(data, y, target)
    if not isinstance(method, str):
        raise UsageError(f"--method takes one name, such as result.best, got {method!r}.")
    given = {"target": target, "method": method, **options}
    values = read_arguments("fit", FIT_OPTIONS, given)
    values["network"] = model
    values["estimators"] = {} if estimators is None else estimators
    command = describe_call("fit", name_data(data), FIT_OPTIONS, given)
    folder = ResultFolder(out)
    path = folder.path / _FOLDER if folder.is_temporary else folder.path
    console = make_console(progress)
    with write_data(data) as source, silence(progress):
        bench = make_sweep_request(source, path, values, command=command)
        choices = {name: values[name] for name in ("refit", "ensemble", "cross_validate")}
        request = FitRequest(bench, values["method"], values["seed"], **choices)
        if (custom := find_custom_method(request)) is not None:
            return Model._from_saved(fit_custom_model(request, custom, console), folder)
        try:
            fit_model(request, console, progress_bar=progress and console.is_terminal)
        except StoppedError as error:
            if not folder.is_temporary:
                raise
            folder.keep_until_exit()
            raise StoppedError(
                f"Stopped; the same call with --out {str(path)!r} goes on where it stopped, until "
                "Python exits."
            ) from error
    encoder = _find_encoder(bench.changes)
    return Model._from_saved(load_model(path, encoder=encoder, network=bench.network), folder)


@name_arguments
def push_to_hub(
    model: Model, repo_id: str, *, private: bool | None = None, token: str | None = None
) -> str:
    """Upload a model and its card to the Hugging Face hub, see :meth:`Model.push_to_hub`."""
    if not isinstance(model, Model):
        raise UsageError(f"push_to_hub takes a model of ranksim.fit, got {describe_value(model)}.")
    return model.push_to_hub(repo_id, private=private, token=token)


def _find_encoder(changes: Sequence[str]) -> str | None:
    """Return the folder of a pretrained encoder that a request names, or None."""
    names = [text.partition("=")[2] for text in changes if text.startswith("encoder=")]
    return next((name for name in names if Path(name).expanduser().is_dir()), None)


def _list_rows(scores: Scores, intervals: Scores | None = None) -> list[dict[str, Any]]:
    """Return the rows of a table of scores by region."""
    rows = []
    for region, values in scores.items():
        numbers = {k: np.nan if v is None else v for k, v in values.items() if k != "n"}
        row = {"region": region, "samples": values["n"], **numbers}
        if intervals is not None:
            low, high = intervals[region]["mae"] or (np.nan, np.nan)
            row |= {"mae_low": low, "mae_high": high}
        rows.append(row)
    return rows


def _describe_errors(scores: Scores, place: str, test_set: str | None) -> str:
    total = scores["all"]
    notes = [f"{total['n']:,}", describe_mean(test_set)]
    text = f"MAE {total['mae']:.4g} {place} ({', '.join(filter(None, notes))})"
    others = [name for name in scores if name not in REGION_NAMES and scores[name]["n"]]
    names = ["few"] * bool(scores["few"]["n"]) + others
    parts = [
        f"{scores[name]['mae']:.4g} on {scores[name]['n']:,} in {name} "
        f"({format_percent(scores[name]['n'] / total['n'], '', 1)})"
        for name in names
    ]
    return f"{text}, {', '.join(parts)}." if parts else f"{text}."


def _render_scores(scores: Scores, metrics: Sequence[str], test_set: str | None) -> str:
    titles = [METRIC_TITLES[metric][0] for metric in metrics]
    rows = list_region_rows(scores, metrics, test_set)
    return render_table(("region", "samples", *titles), rows)
