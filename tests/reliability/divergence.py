"""Divergence: non-finite or exploding losses at every step of a real sweep."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

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
_DIVERGING = "inv+fds+ranksim"
_STEPS = 12  # per run
_CHECKS = 20_000


def measure(short: bool, folder: Path) -> dict[str, Any]:
    """Let one method diverge at many steps; the sweep must continue and report the step."""
    data = user_data.write_table(folder)
    reference = _sweep(data, folder / "reference")
    steps = (_STEPS,) if short else range(1, _STEPS + 1)
    kinds = {"nan": math.nan, "infinite": math.inf, "exploding": 1e30}
    checks = []
    for kind, value in kinds.items():
        failures = []
        for step in steps:
            with _diverge_at(step, value):
                results = _sweep(data, folder / f"{kind}-{step}")
            failures += _find_failures(results, reference, folder / f"{kind}-{step}", step)
        checks.append(
            {
                "check": f"{kind} loss at a random step of a sweep",
                "cases": len(steps),
                "failures": len(failures),
                "note": "; ".join(failures[:3]),
            }
        )
    check, step = _time_check(folder, data)
    checks.append(
        {
            "check": "a check of the loss takes under 1 % of a step",
            "cases": 1,
            "failures": int(check > 0.01 * step),
        }
    )
    return {
        "checks": checks,
        "check_us": 1e6 * check,
        "step_us": 1e6 * step,
        "limit": EXPLOSION_FACTOR,
    }


def describe(figures: dict[str, Any]) -> str:
    """Describe what is guaranteed."""
    share = 100 * figures["check_us"] / figures["step_us"]
    return f"""\
Training stops at the step whose loss or RankSim term is not finite, or whose mean loss exceeds
{figures["limit"]:,.0f} times the largest loss of a training sample under the prediction of the mean label, and at a
validation score that is not finite. The error and the record name step, epoch, learning rate and the
samples of the batch (for a user's table, its lines). The checkpoints of the last validation remain, the row
is marked in the table and on the page, the other methods continue with unchanged results, and the command
ends with exit code 0. Measured by letting one of several methods of a sweep diverge at each of its steps. On
a CPU the optimizer never uses such a loss; on a CUDA device it is noticed one step later, so that the host
does not wait, and nothing after it is validated or saved. A check takes {figures["check_us"]:.1f} µs, {share:.2f} % of
a step of {figures["step_us"]:,.0f} µs of a small MLP on a CPU, alone in its process."""


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
def _diverge_at(step: int, value: float) -> Iterator[None]:
    """Set the bias of the head of one method to a value at a step."""
    plain = RegressionModule.compute_loss

    def diverging_step(self: RegressionModule, batch: Any, epoch: int) -> Any:
        self.calls = getattr(self, "calls", 0) + 1  # type: ignore[assignment, operator]
        if self.fds is not None and self.calls == step:
            torch.nn.init.constant_(self.model.head.bias, value)
        return plain(self, batch, epoch)

    with mock.patch.object(RegressionModule, "compute_loss", diverging_step):
        yield


def _find_failures(
    results: dict[str, Any], reference: dict[str, Any], out: Path, step: int
) -> list[str]:
    """Return the promises that a sweep with a diverging method breaks."""
    runs, expected = (
        {run["identity"]["method"]: run for run in content["runs"]}
        for content in (results, reference)
    )
    diverged = runs[_DIVERGING]["result"].get("diverged", {})
    row = next(row for row in results["summary"] if row["method"] == _DIVERGING)
    checkpoints = {path.name for path in (out / "runs" / _DIVERGING / "seed-0").glob("*.ckpt")}
    validated = (step - 1) // _steps_per_epoch(expected[_DIVERGING]) > 0
    page = (out / "report.html").read_text(encoding="utf-8")
    promises = {
        "status": runs[_DIVERGING]["status"] == "failed",
        "step": diverged.get("step") == step,
        "samples": len(diverged.get("samples", ())) == len(diverged.get("lines", ())) > 0,
        "row": (row["failed"], row["seeds"]) == (1, []),
        "page": f"failed: diverged at step {step} (lr " in page,
        "checkpoints": checkpoints == ({BEST, LAST} if validated else set()),
        "other methods": all(
            runs[method]["result"]["metrics"] == record["result"]["metrics"]
            for method, record in expected.items()
            if method != _DIVERGING
        ),
    }
    return [f"step {step}: {name}" for name, holds in promises.items() if not holds]


def _steps_per_epoch(record: dict[str, Any]) -> int:
    return round(record["result"]["steps"] / record["result"]["curves"]["epoch"][-1])


def _time_check(folder: Path, data: Path) -> tuple[float, float]:
    """Return the median seconds of one check of the loss and of one step of a small MLP."""
    monitor, loss, term = DivergenceMonitor(1e9), torch.tensor(0.5), torch.tensor(0.1)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    trainer = SimpleNamespace(world_size=1, global_step=0, current_epoch=0, optimizers=[optimizer])
    index = torch.arange(32)
    checks = []
    for _ in range(10):
        start = time.perf_counter()
        for _ in range(_CHECKS // 10):
            monitor.check(trainer, index, loss, term)
        checks.append((time.perf_counter() - start) / (_CHECKS // 10))
    plain, starts = RegressionModule.compute_loss, []

    def timed_step(self: RegressionModule, batch: Any, epoch: int) -> Any:
        starts.append(time.perf_counter())
        return plain(self, batch, epoch)

    with mock.patch.object(RegressionModule, "compute_loss", timed_step):
        _sweep(data, folder / "timed")
    return float(np.median(checks)), float(np.median(np.diff(starts)))
