"""What ``ranksim fit`` does: one run of the engine to the folder of a model."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import Tensor

from ranksim._utils.storage import sha256, with_digest, write_json
from ranksim.evaluation.record import RunRecord
from ranksim.evaluation.report.terminal import print_scores
from ranksim.exceptions import RankSimError, StoppedError, require_optional
from ranksim.experiments.executor import one_thread
from ranksim.experiments.run import Run, check_data, execute_run
from ranksim.experiments.sweep_request import SweepRequest, SweepSettings, make_runs
from ranksim.inference.card import model_card
from ranksim.inference.density import density_of
from ranksim.inference.files import (
    CARD,
    CONFIG,
    FORMAT,
    METRICS,
    WEIGHTS,
    refuse_other_folder,
    remove_training,
    written_folder,
)
from ranksim.training.method import parse_method
from ranksim.training.modality import headline
from ranksim.training.resume import BEST, read_training_checkpoint
from ranksim.training.task_loading import load_adapter, load_benchmark
from ranksim.training.trainer_config import check_trainer_config, silence_lightning

_FIRST = "encoder."


@dataclass(frozen=True)
class FitRequest:
    """A fit command as it was given.

    Args:
        bench: the data and how it is trained on; its ``out`` is the model's folder.
        method, seed: of the one run.
    """

    bench: SweepRequest
    method: str
    seed: int


def fit_model(request: FitRequest, *, as_json: bool = False) -> dict[str, Any]:
    """Train one model, and write its folder whole or not at all.

    It trains in ``OUT.training`` beside the model, which goes once the model is there: killed and
    started again, the same command goes on from the last validation.

    Returns:
        Where the model is, its method and seed, and its scores by region.

    Raises:
        UsageError: ``out`` is there and no model, or what is asked for makes no sense.
        DataError: the data cannot be used.
        RankSimError: the training diverged.
    """
    silence_lightning()
    bench, console = request.bench, Console(stderr=as_json)
    refuse_other_folder(bench.out)
    settings = SweepSettings.from_request(bench)
    method = parse_method(request.method, settings.weighting)
    settings.recipe(method)  # nonsense ends here
    run = make_runs(bench, settings)(method, request.seed)
    place = _training(run)
    run = make_runs(dataclasses.replace(bench, out=place), settings)(method, request.seed)
    check_trainer_config(run.trainer_config)
    check_data(run)
    try:
        with one_thread():
            record = execute_run(run, progress_bar=console.is_terminal and not as_json)
    except KeyboardInterrupt as error:
        raise StoppedError("Stopped; the same command goes on where it stopped.") from error
    if record["status"] == "failed":
        remove_training(place)  # it would diverge again
        raise RankSimError(record["result"]["error"])
    if not run.trainer_config.is_follower_node:
        _write(request, run, record)
        if run.trainer_config.num_nodes == 1:  # else other nodes still look there
            remove_training(place)
    title = f"{run.method.name}, seed {run.seed}, test"
    print_scores(record["result"]["metrics"]["test"], headline(bench.benchmark), title, console)
    console.print(f"Model: {bench.out}", markup=False, highlight=False, soft_wrap=True)
    named = {"model": str(bench.out), "method": run.method.key, "seed": run.seed}
    return named | {"metrics": record["result"]["metrics"]}


def _training(run: Run) -> Path:
    """Where it trains: another folder for other settings, so that none is mixed or lost."""
    told = json.dumps(run.identity(), sort_keys=True).encode()
    out = run.out.absolute()
    return out.with_name(f"{out.name}.training") / hashlib.sha256(told).hexdigest()[:12]


def _write(request: FitRequest, run: Run, record: RunRecord) -> None:
    safetensors = require_optional("safetensors.torch", "train")
    identity, result, origin = record["identity"], record["result"], record["provenance"]
    recipe, weights = _trained(run)
    benchmark = load_benchmark(run.source, run.recipe)
    regions = benchmark.regions(run.source.spec.regions_from)
    content = {
        "format": FORMAT,
        "ranksim": origin["versions"]["ranksim"],
        "kind": run.source.spec.benchmark,
        "target": benchmark.quantity,
        "method": run.method.key,
        "technique": identity["technique"],
        "seed": run.seed,
        "precision": run.trainer_config.precision,
        "recipe": recipe,
        "reader": load_adapter(run.source, run.recipe).to_dict(),
        "density": density_of(regions, many=benchmark.many, few=benchmark.few),
        "data": origin["data"],
        "options": run.source.spec.to_dict()["options"],
        "command": request.bench.command,
        **{name: origin[name] for name in ("versions", "commit", "machine")},
    }
    told = ("epochs", "best_epoch", "steps", "seconds")
    metrics = result["metrics"] | {name: result[name] for name in told}
    out = request.bench.out
    with written_folder(out) as folder:
        safetensors.save_file(weights, folder / WEIGHTS)
        content["weights_sha256"] = sha256(folder / WEIGHTS)
        write_json(folder / CONFIG, with_digest(content))
        write_json(folder / METRICS, with_digest(metrics))
        card = model_card(content, metrics, headline(run.source.spec.benchmark), out.name)
        (folder / CARD).write_text(card, encoding="utf-8")


def _trained(run: Run) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The settled recipe of a finished run, and the weights of its network."""
    found = read_training_checkpoint(run.folder / BEST)
    weights = _part(found["state_dict"], "model.")
    if run.stage_one is not None:  # what it trained is a head over the encoder of its first stage
        moved = _part(weights, 2 * _FIRST)
        encoder = moved or _part(
            read_training_checkpoint(run.stage_one.folder / BEST)["state_dict"], f"model.{_FIRST}"
        )
        head = {name: value for name, value in weights.items() if not name.startswith(_FIRST)}
        weights = head | {_FIRST + name: value for name, value in encoder.items()}
    # no two in one memory, as safetensors wants them
    return found["recipe"], {name: value.clone().contiguous() for name, value in weights.items()}


def _part(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)
    }
