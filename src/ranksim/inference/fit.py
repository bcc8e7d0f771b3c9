"""Train one model on user data and save it to a folder."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import Tensor

from ranksim._utils.arrays import unwrap_scalar
from ranksim._utils.storage import sha256, with_digest, write_json
from ranksim.data.data_report import print_data_report
from ranksim.evaluation.record import RunRecord
from ranksim.exceptions import RankSimError, StoppedError, require_optional
from ranksim.experiments.executor import one_thread
from ranksim.experiments.run import Run, check_data, execute_run
from ranksim.experiments.sweep_request import SweepRequest, SweepSettings, make_runs
from ranksim.inference.card import model_card
from ranksim.inference.saved_model import (
    CARD,
    CONFIG,
    FORMAT,
    METRICS,
    WEIGHTS,
    density_to_dict,
    replace_folder,
    require_model_folder,
)
from ranksim.inference.seen_samples import SAMPLES, SampleParts
from ranksim.training.fit import select_prefix
from ranksim.training.fit_estimator import ESTIMATOR
from ranksim.training.hardware import check_trainer_config
from ranksim.training.method import describe_estimator, parse_method
from ranksim.training.recipe import EstimatorRecipe, headline
from ranksim.training.resume import BEST, read_training_checkpoint
from ranksim.training.task_loading import load_adapter, load_benchmark, load_plan
from ranksim.user_data.split_column import SPLIT_FILE

_ENCODER = "encoder."


@dataclass(frozen=True)
class FitRequest:
    """The arguments of ``ranksim fit``; ``bench.out`` is the folder for the model."""

    bench: SweepRequest
    method: str
    seed: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", unwrap_scalar(self.seed))  # it is recorded


def fit_model(
    request: FitRequest, console: Console | None = None, *, progress_bar: bool = False
) -> dict[str, Any]:
    """Train and save one model; return its folder and its metrics by part and shot region.

    The console prints what was read of the data.

    The training is stored in ``OUT.training`` beside the model and removed afterwards. If the
    process is killed, the same command resumes from the last validation.
    """
    bench = request.bench
    require_model_folder(bench.out)
    settings = SweepSettings.from_request(bench)
    method = parse_method(request.method, settings.weighting, bench.target_transform)
    settings.check([method])  # before the data is read
    folder = _training_folder(make_runs(bench, settings)(method, request.seed))
    run = make_runs(dataclasses.replace(bench, out=folder), settings)(method, request.seed)
    check_trainer_config(run.trainer_config)
    data = check_data(run, strict=bench.strict)
    if console is not None:
        print_data_report(data.report, console)
    try:
        with one_thread():
            record = execute_run(run, progress_bar=progress_bar)
    except KeyboardInterrupt as error:
        raise StoppedError(
            "Training was stopped; run the same command again to resume it."
        ) from error
    if record["status"] == "failed":
        _remove_training(folder)  # it would diverge again
        raise RankSimError(record["result"]["error"])
    if not run.trainer_config.is_follower_node:
        _write_model(bench, run, record)
        if run.trainer_config.num_nodes == 1:  # other nodes still read the folder
            _remove_training(folder)
    return {
        "model": str(bench.out),
        "method": run.method.key,
        "seed": run.seed,
        "metrics": record["result"]["metrics"],
        "data_report": data.report.to_dict(),
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


def _write_model(bench: SweepRequest, run: Run, record: RunRecord) -> None:
    """Write the model folder from the best checkpoint and the record of a run."""
    safetensors = require_optional("safetensors.torch", "train")
    identity, result, origin = record["identity"], record["result"], record["provenance"]
    is_estimator = isinstance(run.recipe, EstimatorRecipe)
    recipe, weights, transform = (identity["recipe"], {}, None) if is_estimator else _read_best(run)
    benchmark, spec = load_benchmark(run.source, run.recipe), run.source.spec
    regions = benchmark.regions(spec.regions_from)
    config = {
        "format": FORMAT,
        "ranksim": origin["versions"]["ranksim"],
        "kind": spec.benchmark,
        "target": benchmark.quantity,
        "method": run.method.key,
        "technique": identity["technique"],
        "seed": run.seed,
        "precision": run.trainer_config.precision,
        "recipe": recipe,
        "reader": load_adapter(run.source, run.recipe).to_dict(),
        "density": density_to_dict(regions, many=benchmark.many, few=benchmark.few),
        "data": origin["data"],
        "data_report": origin["data_report"],
        "options": spec.to_dict()["options"],
        "command": bench.command,
        **({} if transform is None else {"transform": transform}),
        **{name: origin[name] for name in ("versions", "commit", "machine")},
    }
    costs = {name: result[name] for name in ("epochs", "best_epoch", "steps", "seconds")}
    metrics = result["metrics"] | costs
    with replace_folder(bench.out) as folder:
        if is_estimator:
            shutil.copytree(run.folder / ESTIMATOR, folder / ESTIMATOR)
        else:
            safetensors.save_file(weights, folder / WEIGHTS)
            config["weights_sha256"] = sha256(folder / WEIGHTS)
        write_json(folder / CONFIG, with_digest(config))
        write_json(folder / METRICS, with_digest(metrics))
        model = describe_estimator(run.method) if is_estimator else ""
        card = model_card(config, metrics, headline(spec.benchmark), bench.out.name, model)
        (folder / CARD).write_text(card, encoding="utf-8")
        plan, adapter = load_plan(run.source), load_adapter(run.source, run.recipe)
        SampleParts.from_plan(plan, adapter).write(folder / SAMPLES)
        plan.write_split(folder / SPLIT_FILE)


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
