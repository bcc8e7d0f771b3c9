"""Models of benchmarks: save a finished run as a model, and score it again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ranksim._utils.storage import with_digest, write_json
from ranksim.data.series import SeriesScaling
from ranksim.data.spec import (
    DataLocation,
    DataSpec,
    SeriesSpec,
    TextSpec,
    UserDataSpec,
)
from ranksim.datasets import glucose
from ranksim.evaluation.record import RunRecord
from ranksim.exceptions import UsageError
from ranksim.experiments.run import Run
from ranksim.inference.card import model_card
from ranksim.inference.fit import write_member
from ranksim.inference.saved_model import (
    CARD,
    CONFIG,
    FORMAT,
    METRICS,
    Model,
    density_to_dict,
    replace_folder,
)
from ranksim.metrics.scores import Scores
from ranksim.training.adapters import DataAdapter, SeriesAdapter, TextAdapter
from ranksim.training.data_source import DataSource
from ranksim.training.fit import evaluate
from ranksim.training.recipe import NetworkRecipe, headline
from ranksim.training.task_loading import load_benchmark, load_task
from ranksim.training.trainer_config import TrainerConfig

_TEXTS = {"sts-b-dir": ("sentence1", "sentence2"), "sentiment-dir": ("text",)}


def save_run(run: Run, record: RunRecord, out: Path) -> None:
    """Save a finished run of a benchmark of texts or of glucose as a model of ``ranksim fit``.

    Its columns are called ``sentence1`` and ``sentence2`` (STS-B-DIR), ``text`` (Sentiment-DIR), or
    ``datetime``, ``glucose`` and ``isig`` (glucose).

    Args:
        run: trained in one stage, without a network of the user.
        record: of the run.
        out: folder for the model; a model in it is replaced.
    """
    benchmark = load_benchmark(run.source, run.recipe)
    adapter, spec = _describe_input(run)
    origin, result = record["provenance"], record["result"]
    config: dict[str, Any] = {
        "format": FORMAT,
        "ranksim": origin["versions"]["ranksim"],
        "kind": spec.benchmark,
        "target": benchmark.quantity,
        "method": run.method.key,
        "technique": record["identity"]["technique"],
        "seed": run.seed,
        "precision": run.trainer_config.precision,
        "reader": adapter.to_dict(),
        "density": density_to_dict(
            benchmark.regions(run.source.spec.regions_from),
            many=benchmark.many,
            few=benchmark.few,
        ),
        "data": {
            **benchmark.facts,
            "name": benchmark.name,
            "sha256": _join_digests(benchmark.facts["sha256"]),
            "inputs": list(adapter.columns),
            "counts": [len(part) for part in benchmark.parts],
        },
        "data_report": benchmark.report.to_dict(),
        "options": spec.to_dict()["options"],
        "test_set": benchmark.test_set,
        "command": f"python scripts/release_weights.py {out.name}",
        "benchmark": record["identity"]["data"],
        **{name: origin[name] for name in ("versions", "commit", "machine")},
    }
    names = ("epochs", "best_epoch", "steps", "seconds")
    metrics = {**result["metrics"], **{name: result[name] for name in names}}
    with replace_folder(out) as folder:
        config |= write_member(run, folder)
        write_json(folder / CONFIG, with_digest(config))
        write_json(folder / METRICS, with_digest(metrics))
        card = model_card(config, metrics, headline(benchmark.name), f"ranksim/{out.name}")
        (folder / CARD).write_text(card, encoding="utf-8")


def _join_digests(digests: str | Mapping[str, str]) -> str:
    """Return the SHA-256 of a data file, or one of the digests of several files."""
    if isinstance(digests, str):
        return digests
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()


def _describe_input(run: Run) -> tuple[DataAdapter, UserDataSpec]:
    """Return what reads a table for the network of a run, and the options of such a table."""
    kind, recipe = run.source.spec.benchmark, run.recipe
    benchmark = load_benchmark(run.source, recipe)
    if kind in _TEXTS:
        names = _TEXTS[kind]
        limit = int(getattr(recipe, "max_tokens", 0))
        return TextAdapter(names, limit), TextSpec(target=benchmark.quantity, text=names)
    if kind != glucose.NAME:
        raise UsageError(
            f"A run of {kind} cannot be saved as a model: choose one of {', '.join(_TEXTS)} or "
            f"{glucose.NAME}."
        )
    train, minutes = benchmark.train, benchmark.facts["horizon"]
    spec = SeriesSpec(
        target=benchmark.quantity,
        time="datetime",
        window=train.window,
        horizon=minutes // glucose.STEP,
        features=("isig",),
        repeated_times="mean",
    )
    adapter = SeriesAdapter(
        spec.inputs,
        spec.time,
        None,
        train.window,
        minutes // glucose.STEP,
        (60.0 * glucose.STEP,),
        SeriesScaling.fit(train.values, train.ends, window=train.window),
        "mean",
        zoned=False,
    )
    return adapter, spec


def score_on_benchmark(model: Model, data_dir: Path | None = None) -> dict[str, Scores]:
    """Return the test scores by region of a model of :func:`save_run` on its benchmark.

    Args:
        model: of one member.
        data_dir: folder of the data, as for ``ranksim bench``.

    Raises:
        UsageError: the model was not trained on a benchmark.
    """
    content = model.config.get("benchmark")
    if content is None:
        raise UsageError(f"The model {model.path} was not trained on a benchmark of ranksim.")
    source = DataSource(DataSpec.from_dict(content), DataLocation(data_dir=data_dir))
    recipe, config = model.recipe, TrainerConfig(precision=model.config["precision"])
    assert isinstance(recipe, NetworkRecipe)
    _, task = load_task(source, recipe, hardware=config)
    network = task.build_model()
    network.load_state_dict(dict(model.weights))
    scores, _ = evaluate(network, recipe, task, config)
    return scores
