"""The comparison with alternatives: losses, fits, missing packages, and the page."""

import json
import sys

import numpy as np
import pytest
import torch

from benchmarks import alternatives
from benchmarks.loss_speed import make_batch
from ranksim._utils.provenance import collect_provenance


@pytest.fixture(autouse=True)
def restore_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def small(monkeypatch):
    """Tiny fits, without the packages that are no dependencies."""
    monkeypatch.setattr(alternatives, "TABLE", (80, 30, 30))
    monkeypatch.setattr(alternatives, "EPOCHS", 1)
    monkeypatch.setattr(alternatives, "SIZES", (16, 32))
    for name in alternatives.PACKAGES:
        monkeypatch.setitem(sys.modules, name, None)


def make_content(**changes):
    models = [
        {"model": "ours", "seconds": 2.0, "mae": 1.5, "mae_few": 9.0},
        {"model": "trees", "seconds": 0.5, "mae": 1.25, "mae_few": 8.0},
    ]
    losses = [
        {"M": 64, "times": {alternatives.OURS: 0.25, "loop": 20.0}},
        {"M": 256, "times": {alternatives.OURS: 2.0, "loop": 90.0}},
    ]
    return {"losses": losses, "missing": {"soft": "not installed"}, "models": models} | changes


def test_tables_have_ratios_to_ours():
    lines = alternatives.format_tables(make_content()).splitlines()
    assert "| `RankSimLoss` | 0.25 | 1.0 | 2.00 | 1.0 |" in lines
    assert "| loop | 20.00 | 80.0 | 90.00 | 45.0 |" in lines
    assert "| soft | not installed | | | |" in lines
    assert "| ours | 2.00 | 1.00 | 1.50 | 9.00 |" in lines
    assert "| trees | 0.50 | 0.25 | 1.25 | 8.00 |" in lines
    widths = [line.count("|") for line in lines if line]
    assert widths == [6] * len(widths)


def test_the_loop_computes_the_same_loss():
    losses = alternatives.list_losses()
    features, labels = make_batch(20, width=8)
    expected = losses[alternatives.OURS](features, labels)
    loop = losses["the official algorithm, a loop over anchors"](features, labels)
    torch.testing.assert_close(loop, expected)


def test_measurement_is_written_to_file_and_page(small, tmp_path, monkeypatch, capsys):
    page = tmp_path / "page.md"
    page.write_text("above\n{}\nold\n{}\nbelow\n".format(*alternatives.MARKS), encoding="utf-8")
    monkeypatch.setattr(alternatives, "PAGE", page)
    monkeypatch.setattr(alternatives, "FILE", tmp_path / "alternatives.json")
    alternatives.main(["--min-seconds", "0", "--turns", "1", "--write"])
    content = json.loads(alternatives.FILE.read_text(encoding="utf-8"))
    assert [row["M"] for row in content["losses"]] == [16, 32]
    assert len(content["missing"]) == 2
    assert all("is not installed" in reason for reason in content["missing"].values())
    assert len(content["models"]) == 4
    for row in content["models"]:
        assert row["seconds"] > 0
        assert np.isfinite([row["mae"], row["mae_few"]]).all()
    tables = alternatives.format_tables(content)
    start, end = alternatives.MARKS
    text = page.read_text(encoding="utf-8")
    assert text == f"above\n{start}\n{tables}\n{end}\nbelow\n"
    assert capsys.readouterr().out == tables + "\n"


def test_page_quotes_the_committed_measurement():
    content = json.loads(alternatives.FILE.read_text(encoding="utf-8"))
    page = alternatives.PAGE.read_text(encoding="utf-8")
    block = page.partition(alternatives.MARKS[0])[2].partition(alternatives.MARKS[1])[0]
    assert block.strip() == alternatives.format_tables(content)
    assert set(content["versions"]) == set(collect_provenance()["versions"])
