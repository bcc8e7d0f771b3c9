"""A model in memory of an estimator of the user, which is not saved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from ranksim._utils.arrays import copy_to_numpy
from ranksim._utils.provenance import collect_provenance
from ranksim.data.batch import BatchDataset
from ranksim.data.data_report import print_data_report
from ranksim.data.spec import UserDataSpec
from ranksim.evaluation.coverage import CalibratedRun, describe_intervals
from ranksim.evaluation.predictions import Predictions
from ranksim.evaluation.views import ViewCounts
from ranksim.exceptions import UsageError
from ranksim.experiments.executor import one_thread
from ranksim.experiments.run import check_data
from ranksim.experiments.sweep_request import make_runs
from ranksim.experiments.sweep_settings import SweepSettings
from ranksim.inference.fit_request import FitRequest
from ranksim.inference.saved_intervals import SavedIntervals
from ranksim.inference.saved_model import Member, Model, density_to_dict
from ranksim.inference.saved_reference import Reference, weight_held_out
from ranksim.inference.seen_samples import SampleParts
from ranksim.metrics import ShotRegions
from ranksim.training.fit_custom import fit_custom
from ranksim.training.fit_estimator import score_predictions
from ranksim.training.method import Method
from ranksim.training.prepare import prepare_task
from ranksim.training.recipe import EstimatorRecipe
from ranksim.training.task_loading import load_adapter, load_plan, load_task


def find_custom_method(request: FitRequest) -> Method | None:
    """Return the method of a request if it is an estimator of the user, after all checks."""
    settings = SweepSettings.from_request(request.bench)
    method = settings.parse_method(request.bench, request.method)
    if method.technique.custom is None:
        return None
    for option, is_given in (
        ("--refit", request.refit),
        ("--ensemble", request.ensemble > 1),
        ("--cross-validate", request.cross_validate is not None),
    ):
        if is_given:
            raise UsageError(f"{option} does not apply to your estimator {method.name}: remove it.")
    return method


def fit_custom_model(request: FitRequest, method: Method, console: Console) -> Model:
    """Fit an estimator of the user to the training samples, and score it on the others.

    Args:
        request: of a fit; its folder stays empty.
        method: its method, of :func:`find_custom_method`.
        console: receives what was read of the data.
    """
    bench = request.bench
    run = make_runs(bench, SweepSettings.from_request(bench))(method, request.seed)
    report = check_data(run, strict=bench.strict).report
    print_data_report(report, console)
    assert isinstance(run.recipe, EstimatorRecipe)
    benchmark, loaded = load_task(run.source, run.recipe, seed=run.seed)
    task = prepare_task(loaded, run.recipe, method.technique, run.seed)
    with one_thread():
        fitted = fit_custom(task, run.recipe, method.technique, run.seed)
        assert task.reader is not None
        preds = {
            name: fitted.predict(task.reader, samples)
            for name, samples in (("val", task.val), ("test", task.test))
        }
        metrics: dict[str, Any] = {
            name: score_predictions(task, getattr(task, name), values)
            for name, values in preds.items()
        }
    spec, regions = run.source.spec, benchmark.regions(run.source.spec.regions_from)
    assert isinstance(spec, UserDataSpec)
    assert method.technique.custom is not None
    adapter = load_adapter(run.source, run.recipe)
    config = {
        "kind": spec.benchmark,
        "target": benchmark.quantity,
        "method": method.key,
        "technique": method.technique.to_dict(),
        "estimator": method.technique.custom.describe(),
        "seed": run.seed,
        "precision": run.trainer_config.precision,
        "reader": adapter.to_dict(),
        "density": density_to_dict(regions, many=benchmark.many, few=benchmark.few),
        "data": benchmark.facts,
        "data_report": report.to_dict(),
        "options": spec.to_dict()["options"],
        "test_set": benchmark.test_set,
        "command": bench.command,
        **collect_provenance(),
    }
    samples = SampleParts.from_plan(load_plan(run.source), adapter)
    member = Member(Path(bench.out), run.recipe, {}, fitted)
    intervals = None
    if bench.interval is not None:
        assert task.calibration is not None
        test, calibration = (
            _make_predictions(fitted.predict(task.reader, part), part, regions)
            for part in (task.test, task.calibration)
        )
        calibrated = CalibratedRun(replace(test, groups=benchmark.groups), calibration)
        intervals = SavedIntervals.fit(calibrated, benchmark, regions, bench.interval)
        counts = ViewCounts.from_benchmark(benchmark)
        metrics["coverage"] = describe_intervals([calibrated], regions, bench.interval, counts)
    held_out = weight_held_out(
        copy_to_numpy(task.test.labels), preds["test"], run.source, run.recipe
    )
    reference = Reference.from_data(run.source, run.recipe, regions, held_out)
    path = Path(bench.out)
    return Model(path, config, metrics, adapter, regions, (member,), samples, intervals, reference)


def _make_predictions(preds: Any, samples: BatchDataset, regions: ShotRegions) -> Predictions:
    """Return the table of predictions ``(N,)`` of samples with labels."""
    labels = copy_to_numpy(samples.labels)
    return Predictions(np.arange(len(labels)), preds, regions.masks(labels), labels)
