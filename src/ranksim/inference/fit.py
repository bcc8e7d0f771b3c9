"""Train one model on user data and save it to a folder."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import Tensor

from ranksim._utils.storage import sha256, with_digest, write_json
from ranksim.data.data_report import PART_TITLES, DataReport, print_data_report
from ranksim.data.spec import UserDataSpec
from ranksim.evaluation.coverage import describe_intervals
from ranksim.evaluation.predictions import write_columns
from ranksim.evaluation.record import RunRecord
from ranksim.evaluation.views import WHOLE_DATA, ViewCounts
from ranksim.exceptions import RankSimError, StoppedError, require_optional
from ranksim.experiments.executor import one_thread
from ranksim.experiments.run import Run, check_data, execute_run
from ranksim.experiments.sweep_request import make_runs
from ranksim.experiments.sweep_settings import SweepRequest, SweepSettings
from ranksim.inference.card import model_card
from ranksim.inference.final_training import describe_length, make_final_run
from ranksim.inference.fit_request import FitRequest
from ranksim.inference.held_out import (
    describe_scores,
    read_fold_predictions,
    read_test_predictions,
    score_ensemble,
)
from ranksim.inference.saved_intervals import SavedIntervals, read_calibrated_run
from ranksim.inference.saved_model import (
    CARD,
    CONFIG,
    ENSEMBLE_FORMAT,
    FOLDS,
    FORMAT,
    MEMBERS,
    METRICS,
    WEIGHTS,
    density_to_dict,
    replace_folder,
    require_model_folder,
)
from ranksim.inference.saved_reference import HeldOutSample, Reference, weight_held_out
from ranksim.inference.seen_samples import SAMPLES, SampleParts
from ranksim.training.fit import select_prefix
from ranksim.training.fit_estimator import ESTIMATOR
from ranksim.training.hardware import check_trainer_config
from ranksim.training.method import describe_estimator
from ranksim.training.recipe import EstimatorRecipe, headline
from ranksim.training.resume import BEST, read_training_checkpoint
from ranksim.training.task_loading import load_adapter, load_benchmark, load_folds, load_plan
from ranksim.user_data.split_column import SPLIT_FILE

_ENCODER = "encoder."
_UNITS = {"group": "groups", "day": "days"}  # that stay in one fold, by the method of the split


@dataclass(frozen=True, eq=False)
class _Trainings:
    """The finished trainings of a model.

    Args:
        folds: the runs on the split, or on each fold, one run per member.
        records: of these runs.
        final: the runs on all rows, one per member; empty if the others are the model.
        final_records: of these runs.
    """

    folds: list[list[Run]]
    records: list[list[RunRecord]]
    final: list[Run]
    final_records: list[RunRecord]

    @property
    def runs(self) -> list[Run]:
        """The runs that are the model, one per seed."""
        return self.final or self.folds[0]

    @property
    def members(self) -> list[Run]:
        """The runs whose weights are saved."""
        return [network for run in self.runs for network in run.networks]


def fit_model(
    request: FitRequest, console: Console | None = None, *, progress_bar: bool = False
) -> dict[str, Any]:
    """Train and save one model; return its folder and its metrics by part and shot region.

    The metrics are always those on held-out samples, of models that were not trained on them. The
    console prints what was read of the data.

    The training is stored in ``OUT.training`` beside the model and removed afterwards. If the
    process is killed, the same command resumes from the last validation.
    """
    bench = request.bench
    require_model_folder(bench.out)
    settings = SweepSettings.from_request(bench)
    method = request.parse_method(settings)  # before the data is read
    folder = _training_folder(make_runs(bench, settings)(method, request.seed))
    make_run = make_runs(dataclasses.replace(bench, out=folder), settings)
    folds = [[make_run(method, seed) for seed in request.seeds]]
    if count := request.cross_validate:
        folds = [[_select_fold(run, k, count) for run in folds[0]] for k in range(count)]
    run = folds[0][0]
    check_trainer_config(run.trainer_config)
    report = _check_report(folds, request)
    if console is not None:
        print_data_report(report, console)
    try:
        with one_thread():
            trainings = _train(folds, request, folder, progress_bar=progress_bar)
    except KeyboardInterrupt as error:
        raise StoppedError(
            "Training was stopped; run the same command again to resume it."
        ) from error
    metrics, costs = _collect_scores(trainings), _collect_costs(trainings)
    intervals = None
    if (level := request.bench.interval) is not None:
        benchmark = load_benchmark(run.source, run.recipe)
        calibrated, regions = (
            read_calibrated_run(folds[0]),
            benchmark.regions(run.source.spec.regions_from),
        )
        intervals = SavedIntervals.fit(calibrated, benchmark, regions, level)
        counts = ViewCounts.from_benchmark(benchmark)
        metrics["coverage"] = describe_intervals([calibrated], regions, level, counts)
    config = _describe_model(request, trainings, metrics, report)
    if not run.trainer_config.is_follower_node:
        _write_model(bench, trainings, config, metrics | costs, intervals)
        if run.trainer_config.num_nodes == 1:  # other nodes still read the folder
            _remove_training(folder)
    return {
        "model": str(bench.out),
        "method": run.method.key,
        "seed": run.seed,
        "members": request.ensemble,
        "metrics": metrics,
        "training": costs,
        "test_set": config["test_set"],
        "scores_of": describe_scores(config),
        "data_report": report.to_dict(),
    }


def _training_folder(run: Run) -> Path:
    """Return the temporary training folder, named by a hash of the training settings."""
    identity = json.dumps(run.identity(), sort_keys=True).encode()
    out = run.out.absolute()
    return out.with_name(f"{out.name}.training") / hashlib.sha256(identity).hexdigest()[:12]


def _remove_training(folder: Path) -> None:
    """Remove a temporary training folder, and its parent folder if that is then empty."""
    shutil.rmtree(folder)
    if not any(folder.parent.iterdir()):
        folder.parent.rmdir()


def _select_fold(run: Run, number: int, count: int) -> Run:
    """Return a run, and the runs that it requires, that is tested on one of several folds."""
    source = dataclasses.replace(run.source, fold=(number, count))
    out = run.out / f"fold-{number + 1}-of-{count}"
    run = run.with_required(lambda each: _select_fold(each, number, count))
    return dataclasses.replace(run, source=source, out=out)


def _check_report(folds: list[list[Run]], request: FitRequest) -> DataReport:
    """Check the data of each fold, and return the report of the first with all warnings.

    A warning that does not hold in all folds names its fold.
    """
    reports = [check_data(runs[0]).report for runs in folds]
    report, number = reports[0], len(reports)
    counts = Counter(text for each in reports for text in dict.fromkeys(each.warnings))
    warnings = [text for text in report.warnings if counts[text] == number]
    for k, each in enumerate(reports):
        texts = [text for text in each.warnings if counts[text] < number]
        warnings += [f"Fold {k + 1}: {text}" for text in texts]
    report = dataclasses.replace(report, warnings=warnings)
    if request.bench.strict:
        report.raise_warnings()
    if request.cross_validate is None:
        return report
    sizes = ", ".join(f"{report.split[part]:,} {title}" for part, title in PART_TITLES.items())
    text = (
        f"{request.cross_validate}, drawn with seed {report.split.get('seed')}; the first has "
        f"{sizes} samples"
    )
    return dataclasses.replace(report, split={}, notes=report.notes | {"Folds": text})


def _train(
    folds: list[list[Run]], request: FitRequest, folder: Path, *, progress_bar: bool
) -> _Trainings:
    """Train the runs on the split or on folds, and then on all rows if that is the model."""

    def train(run: Run) -> RunRecord:
        keeps = request.ensemble > 1 and not run.source.all_rows
        record = execute_run(run, progress_bar=progress_bar, keep_validation=keeps)
        if record["status"] == "failed":
            _remove_training(folder)  # it would diverge again
            raise RankSimError(record["result"]["error"])
        return record

    records = [[train(run) for run in runs] for runs in folds]
    final: list[Run] = []
    if request.is_final:
        final = [make_final_run(runs, folder / "all-rows") for runs in zip(*folds, strict=True)]
    return _Trainings(folds, records, final, [train(run) for run in final])


def _collect_scores(trainings: _Trainings) -> dict[str, Any]:
    """Return the scores on held-out samples; with folds, those of all of them together."""
    folds = trainings.folds
    if len(folds) > 1:
        held_out, _ = read_fold_predictions(folds, trainings.final[0])
        spec = folds[0][0].source.spec
        assert isinstance(spec, UserDataSpec)
        unit = _UNITS.get(spec.split_method, "samples")
        return held_out.to_metrics() | {
            "intervals": held_out.compute_intervals(),
            "interval_units": {"unit": unit, "counts": held_out.count_groups()},
        }
    if len(folds[0]) > 1:
        return score_ensemble(folds[0])
    return dict(trainings.records[0][0]["result"]["metrics"])


def _collect_costs(trainings: _Trainings) -> dict[str, Any]:
    """Return the length and time of each training, and of several their validation scores."""
    folds, records = trainings.folds, trainings.records
    costs = _read_costs(records[0][0])
    if len(folds) > 1 or len(folds[0]) > 1:
        costs = {"trainings": []}
        for k, pairs in enumerate(zip(folds, records, strict=True)):
            for run, record in zip(*pairs, strict=True):
                fold = {"fold": k + 1} if len(folds) > 1 else {}
                val = record["result"]["metrics"]["val"]["all"]
                length = _read_costs(record)
                costs["trainings"].append({"seed": run.seed, **fold, **length, "val": val})
    if trainings.final:
        costs["refit"] = [
            {"seed": run.seed, **describe_length(run), **_read_costs(record)}
            for run, record in zip(trainings.final, trainings.final_records, strict=True)
        ]
    return costs


def _read_costs(record: RunRecord) -> dict[str, Any]:
    """Return the length and time of a training."""
    return {name: record["result"][name] for name in ("epochs", "best_epoch", "steps", "seconds")}


def _describe_model(
    request: FitRequest, trainings: _Trainings, metrics: Mapping[str, Any], report: DataReport
) -> dict[str, Any]:
    """Return the content of ``config.json``, of members without their recipes and weights."""
    bench, run, record = request.bench, trainings.runs[0], trainings.records[0][0]
    origin = record["provenance"]
    benchmark, spec = load_benchmark(run.source, run.recipe), run.source.spec
    assert isinstance(spec, UserDataSpec)
    data, plural = origin["data"], len(trainings.members) > 1
    config: dict[str, Any] = {
        "format": ENSEMBLE_FORMAT if plural else FORMAT,
        "ranksim": origin["versions"]["ranksim"],
        "kind": spec.benchmark,
        "target": benchmark.quantity,
        "method": run.method.key,
        "technique": record["identity"]["technique"],
        "seed": run.seed,
        "precision": run.trainer_config.precision,
        "reader": load_adapter(run.source, run.recipe).to_dict(),
        "density": density_to_dict(
            benchmark.regions(spec.regions_from), many=benchmark.many, few=benchmark.few
        ),
        "data": data,
        "data_report": report.to_dict(),
        "options": spec.to_dict()["options"],
        "test_set": WHOLE_DATA if request.cross_validate else benchmark.test_set,
        "command": bench.command,
        **{name: origin[name] for name in ("versions", "commit", "machine")},
    }
    if run.network is not None:
        config["network"] = run.network.describe()
    if trainings.final:
        config["refit"] = {"samples": len(benchmark.train)}
    if count := request.cross_validate:
        config["folds"] = {"count": count, "seed": spec.seed}
    if plural:
        config["members"] = [
            {"seed": member.seed, **(_describe_member(member) if run.members else {})}
            for member in trainings.members
        ]
        config |= {"scores": _select_overall(metrics)}
        if not run.members:  # otherwise a score belongs to the networks of a seed together
            for member, scores in zip(
                config["members"], metrics.get("member_scores", ()), strict=False
            ):
                member["scores"] = _select_overall(scores)
    return config


def _describe_member(run: Run) -> dict[str, Any]:
    """Return the method of a member that differs from that of the model, for ``config.json``."""
    return {"method": run.method.key, "technique": run.method.technique.to_dict()}


def _select_overall(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scores over all validation and test samples."""
    return {part: metrics[part]["all"] for part in ("val", "test") if part in metrics}


def _write_model(
    bench: SweepRequest,
    trainings: _Trainings,
    config: dict[str, Any],
    metrics: dict[str, Any],
    intervals: SavedIntervals | None = None,
) -> None:
    """Write the model folder from the best checkpoints of the members."""
    run = trainings.runs[0]
    with replace_folder(bench.out) as folder:
        if "members" in config:
            for number, member in enumerate(trainings.members):
                config["members"][number] |= write_member(member, folder / MEMBERS / str(number))
        else:
            config |= write_member(run, folder)
        write_json(folder / CONFIG, with_digest(config))
        write_json(folder / METRICS, with_digest(metrics))
        if intervals is not None:
            intervals.save(folder)
        is_estimator = isinstance(run.recipe, EstimatorRecipe)
        model = describe_estimator(run.method) if is_estimator else ""
        card = model_card(config, metrics, headline(config["kind"]), bench.out.name, model)
        (folder / CARD).write_text(card, encoding="utf-8")
        plan, adapter = load_plan(run.source), load_adapter(run.source, run.recipe)
        SampleParts.from_plan(plan, adapter).write(folder / SAMPLES)
        _summarize_data(trainings).save(folder)
        if len(trainings.folds) > 1:
            _write_folds(folder / FOLDS, trainings)
        else:
            load_plan(trainings.folds[0][0].source).write_split(folder / SPLIT_FILE)


def _summarize_data(trainings: _Trainings) -> Reference:
    """Return the distributions in the data, and the predictions on held-out samples."""
    run, first = trainings.members[0], trainings.folds[0][0]
    regions = load_benchmark(run.source, run.recipe).regions(run.source.spec.regions_from)
    if len(trainings.folds) > 1:  # each sample is held out once, so that labels are as in the data
        preds, _ = read_fold_predictions(trainings.folds, run)
        held_out = HeldOutSample.draw(preds.labels, preds.preds.mean(axis=0))
    else:
        preds = read_test_predictions(trainings.folds[0])
        held_out = weight_held_out(
            preds.labels, preds.preds.mean(axis=0), first.source, first.recipe
        )
    return Reference.from_data(run.source, run.recipe, regions, held_out)


def _write_folds(path: Path, trainings: _Trainings) -> None:
    """Write the fold of each sample, from 1, and the prediction of the models of other folds."""
    held_out, positions = read_fold_predictions(trainings.folds, trainings.final[0])
    source = dataclasses.replace(trainings.final[0].source, all_rows=False)
    plan, count = load_plan(source), len(trainings.folds)
    columns: dict[str, Any] = dict(plan.describe_origin(plan.rows[positions]))
    columns["fold"] = (load_folds(source, count).numbers[positions] + 1).tolist()
    columns["prediction"] = held_out.preds.mean(axis=0).tolist()
    write_columns(path, columns)


def write_member(run: Run, folder: Path) -> dict[str, Any]:
    """Write the files of a trained run, and return its entries of ``config.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(run.recipe, EstimatorRecipe):
        shutil.copytree(run.folder / ESTIMATOR, folder / ESTIMATOR)
        return {"recipe": json.loads(json.dumps(dataclasses.asdict(run.recipe)))}
    safetensors = require_optional("safetensors.torch", "train")
    recipe, weights, transform = _read_best(run)
    safetensors.save_file(weights, folder / WEIGHTS)
    entries = {"recipe": recipe, "weights_sha256": sha256(folder / WEIGHTS)}
    return entries if transform is None else entries | {"transform": transform}


def _read_best(run: Run) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Any] | None]:
    """Read the resolved recipe, best network weights and transform of a finished run."""
    checkpoint = read_training_checkpoint(run.folder / BEST)
    weights = select_prefix(checkpoint["state_dict"], "model.")
    if run.stage_one is not None:  # the second stage trains a head over the first stage's encoder
        encoder = select_prefix(weights, 2 * _ENCODER)
        if not encoder:
            first = read_training_checkpoint(run.stage_one.folder / BEST)["state_dict"]
            encoder = select_prefix(first, f"model.{_ENCODER}")
        head = {name: value for name, value in weights.items() if not name.startswith(_ENCODER)}
        weights = head | {_ENCODER + name: value for name, value in encoder.items()}
    # safetensors rejects tensors that share memory
    weights = {name: value.clone().contiguous() for name, value in weights.items()}
    return checkpoint["recipe"], weights, checkpoint.get("transform")
