"""A diverged run in a sweep: its record, its checkpoints, the other runs, and a second call."""

import csv
import json
import math

import pytest
import torch

from ranksim.cli.train import run_sweep_request
from ranksim.data.spec import parse_drop_labels
from ranksim.training.module import RegressionModule
from ranksim.training.resume import BEST, LAST
from tests.helpers import user_data
from tests.helpers.requests import make_request

WRITES_PAGE = True
STEP = 5  # the first of the second epoch or a later one


@pytest.fixture
def diverging_batches(monkeypatch):
    """Make methods with FDS predict NaN at one step; returns the labels of these batches."""
    plain, batches = RegressionModule.compute_loss, []

    def step(self, batch, epoch):
        self.calls = getattr(self, "calls", 0) + 1
        if self.fds is not None and self.calls == STEP:
            torch.nn.init.constant_(self.model.head.bias, math.nan)
            batches.append(batch["label"].tolist())
        return plain(self, batch, epoch)

    monkeypatch.setattr(RegressionModule, "compute_loss", step)
    return batches


def run_sweep(data, out, methods, dropped):
    options = {"target": "price", "drop_labels": parse_drop_labels(dropped)}
    changes = ("hidden=8", "batch_size=32")
    request = make_request(
        data, out, options=options, methods=methods, changes=changes, max_epochs=4
    )
    return run_sweep_request(request, as_json=False)


@pytest.mark.slow
def test_sweep_continues_and_names_lines_of_the_table(tmp_path, capsys, diverging_batches):
    dropped = "15-25"  # the lines after them count too
    data, out = user_data.write_table(tmp_path), tmp_path / "out"
    results = run_sweep(data, out, "vanilla,vanilla+fds,rrt+fds", dropped)
    runs = {run["identity"]["method"]: run for run in results["runs"]}
    assert [runs[m]["status"] for m in ("vanilla", "vanilla+fds", "rrt+fds")] == [
        "done", "failed", "failed",
    ]  # fmt: skip

    record = json.loads((out / "runs/vanilla+fds/seed-0/record.json").read_text())
    bad = record["result"]["diverged"]
    assert (bad["step"], bad["part"], bad["value"]) == (STEP, "loss", "nan")
    assert bad["lr"] == record["identity"]["recipe"]["lr"]
    table = list(csv.DictReader(data.read_text().splitlines()))
    prices = [float(table[line - 2]["price"]) for line in bad["lines"]]  # the header is line 1
    assert prices == diverging_batches[0]
    assert len(bad["samples"]) == len(bad["lines"])
    first = ", ".join(map(str, bad["lines"][:5]))
    assert (
        f"the loss is nan on lines {first} and {len(prices) - 5} more of"
        in record["result"]["error"]
    )

    later = runs["rrt+fds"]
    assert later["result"]["error"].startswith(
        "Stage one, vanilla+fds seed 0: Training diverged at step 5 "
    )
    assert later["result"]["diverged"] == {**bad, "stage_one": "vanilla+fds seed 0"}

    folder = out / "runs/vanilla+fds/seed-0"
    assert {path.name for path in folder.glob("*.ckpt")} == {BEST, LAST}
    assert torch.load(folder / LAST, weights_only=True)["global_step"] < STEP

    page = (out / "report.html").read_text()
    assert f"failed: diverged at step 5 (lr {bad['lr']:g})" in page
    assert f"failed: diverged in stage one at step 5 (lr {bad['lr']:g})" in page
    output = " ".join(capsys.readouterr().out.split())
    assert "diverged at step 5" in output
    assert "Failed runs are left out" in output

    again = run_sweep(data, out, "vanilla,vanilla+fds,rrt+fds", dropped)
    assert len(diverging_batches) == 1  # nothing is trained again
    assert [run["status"] for run in again["runs"]] == [run["status"] for run in results["runs"]]
