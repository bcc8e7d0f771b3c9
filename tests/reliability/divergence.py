"""Divergence: losses that stop being numbers or explode, at every step of a real sweep."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from ranksim.experiments.sweep_request import run_benchmark
from ranksim.training.divergence import EXPLOSION_FACTOR, DivergenceMonitor
from ranksim.training.module import RegressionModule
from ranksim.training.resume import BEST, LAST
from tests.helpers import user_data
from tests.helpers.requests import make_request

TITLE = "Divergence"
_METHODS = "vanilla,inv+fds+ranksim,rrt+ranksim"
_SPOILT = "inv+fds+ranksim"
_STEPS = 12  # of a run
_LOOKS = 20_000


def measure(short: bool, folder: Path) -> dict[str, Any]:
    """Spoil one method at many steps; the sweep must go on, and say where it was."""
    data = user_data.write_table(folder)
    whole = _sweep(data, folder / "whole")
    steps = (_STEPS,) if short else range(1, _STEPS + 1)
    kinds = {"nan": math.nan, "infinite": math.inf, "exploding": 1e30}
    checks = []
    for kind, value in kinds.items():
        wrong = []
        for step in steps:
            with _spoilt(step, value):
                found = _sweep(data, folder / f"{kind}-{step}")
            wrong += _wrong(found, whole, folder / f"{kind}-{step}", step)
        note = "; ".join(wrong[:3])
        what = f"a loss that is {kind}, at step k of a sweep's method"
        checks.append({"what": what, "tried": len(steps), "failed": len(wrong), "note": note})
    look, step = _cost(folder, data)
    cheap = {"what": "a look at the loss under 1 % of a step", "tried": 1, "note": ""}
    checks.append({**cheap, "failed": int(look > 0.01 * step)})
    return {
        "checks": checks,
        "look_us": 1e6 * look,
        "step_us": 1e6 * step,
        "limit": EXPLOSION_FACTOR,
    }


def text(found: dict[str, Any]) -> str:
    """What is promised."""
    share = 100 * found["look_us"] / found["step_us"]
    return (
        "A training ends at the step whose loss, or RankSim term, is no finite number, or whose "
        f"batch's mean loss is beyond {found['limit']:,.0f} times the largest loss of a training "
        "sample where the mean label is guessed for all; and at a validation that is no number. "
        "The error and the record name the step, the epoch, the learning rate and the samples of "
        "the batch (in a table of your own, its lines); the checkpoints of the last validation "
        "stay, the row is marked in the table and on the page, the other methods go on and come "
        "out as ever, and the command ends with 0. Tried by spoiling one of several methods of a "
        "sweep at each of its steps. On a CPU the optimiser never uses such a loss; on a CUDA "
        "device it is noticed one step later, so that the host need not wait, and nothing after "
        f"it is validated or saved. A look takes {found['look_us']:.1f} µs, {share:.2f} % of a "
        f"step of {found['step_us']:,.0f} µs of a small MLP on a CPU, alone in its process."
    )


def _sweep(data: Path, out: Path) -> dict[str, Any]:
    request = make_request(
        data,
        out,
        options={"target": "price"},
        methods=_METHODS,
        changes=("hidden=8", "batch_size=32"),
        max_steps=_STEPS,
    )
    return run_benchmark(request)


@contextlib.contextmanager
def _spoilt(step: int, value: float) -> Iterator[None]:
    """The head of the one method gives this number at this step."""
    plain = RegressionModule.training_step

    def spoilt(self: RegressionModule, batch: Any, batch_idx: int) -> torch.Tensor:
        own = self.fds is not None
        if own and self.trainer.global_step + 1 == step:
            torch.nn.init.constant_(self.model.head.bias, value)
        return plain(self, batch, batch_idx)

    RegressionModule.training_step = spoilt  # type: ignore[method-assign]
    try:
        yield
    finally:
        RegressionModule.training_step = plain  # type: ignore[method-assign]


def _wrong(found: dict[str, Any], whole: dict[str, Any], out: Path, step: int) -> list[str]:
    """What is not as promised."""
    runs, before = ({r["identity"]["method"]: r for r in each["runs"]} for each in (found, whole))
    bad = runs[_SPOILT]
    told = bad["result"].get("diverged", {})
    row = next(row for row in found["summary"] if row["method"] == _SPOILT)
    kept = {path.name for path in (out / "runs" / _SPOILT / "seed-0").glob("*.ckpt")}
    validated = (step - 1) // _per_epoch(before[_SPOILT]) > 0
    lines = (out / "report.html").read_text(encoding="utf-8")
    checks = {
        "not failed": bad["status"] == "failed",
        "another step": told.get("step") == step,
        "no samples": len(told.get("samples", ())) == len(told.get("lines", ())) > 0,
        "the row": (row["failed"], row["seeds"]) == (1, []),
        "the page": f"failed: diverged at step {step} (lr " in lines,
        "checkpoints": kept == ({BEST, LAST} if validated else set()),
        "others": all(
            runs[method]["result"]["metrics"] == record["result"]["metrics"]
            for method, record in before.items()
            if method != _SPOILT
        ),
    }
    return [f"step {step}: {name}" for name, fine in checks.items() if not fine]


def _per_epoch(record: dict[str, Any]) -> int:
    """Steps of an epoch."""
    return round(record["result"]["steps"] / record["result"]["curves"]["epoch"][-1])


def _cost(folder: Path, data: Path) -> tuple[float, float]:
    """Seconds of a look at the loss, and of a whole step of a small MLP, at their medians."""
    watch, loss, term = DivergenceMonitor(1e9), torch.tensor(0.5), torch.tensor(0.1)
    trainer, index = SimpleNamespace(world_size=1), torch.arange(32)
    looks = []
    for _ in range(10):
        begun = time.perf_counter()
        for _ in range(_LOOKS // 10):
            watch.check(trainer, index, loss, term)
        looks.append((time.perf_counter() - begun) / (_LOOKS // 10))
    plain, began = RegressionModule.training_step, []

    def timed(self: RegressionModule, batch: Any, batch_idx: int) -> torch.Tensor:
        began.append(time.perf_counter())
        return plain(self, batch, batch_idx)

    RegressionModule.training_step = timed  # type: ignore[method-assign]
    try:
        _sweep(data, folder / "timed")
    finally:
        RegressionModule.training_step = plain  # type: ignore[method-assign]
    return float(np.median(looks)), float(np.median(np.diff(began)))
