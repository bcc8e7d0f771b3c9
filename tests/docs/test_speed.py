"""The page on the speed of the loss quotes the committed measurement."""

import json
from pathlib import Path

import torch

from benchmarks import loss_speed
from benchmarks.loss_speed import format_tables

ROOT = Path(__file__).parents[2]


def test_page_quotes_the_committed_measurement():
    results = json.loads((ROOT / "results/speed/loss.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs/speed.md").read_text(encoding="utf-8")
    tables = [table.strip() for table in format_tables(results).split("\n\n")]
    assert len(tables) == 5
    assert all(table in page for table in tables)


def test_benchmark_runs(tmp_path, monkeypatch, capsys):
    out = tmp_path / "bench.json"
    words = ["--large-sizes", "--min-seconds", "0.001", "--json", str(out)]
    monkeypatch.setattr("sys.argv", ["loss_speed", *words])
    monkeypatch.setattr(loss_speed, "GOALS", ((16, 64, 6, 2.5),))
    monkeypatch.setattr(loss_speed, "SIZES", (16,))
    monkeypatch.setattr(loss_speed, "measure_busy", lambda _: [])
    threads = torch.get_num_threads()
    try:
        loss_speed.main()
    finally:
        torch.set_num_threads(threads)
    results = json.loads(out.read_text(encoding="utf-8"))
    (row,), (wide,) = results["small"], results["wide"]
    assert row["floor"] > 0
    output = capsys.readouterr().out
    assert f"{row['eager'] / row['ranksim']:.1f}" in output
    assert f"{wide['loop'] / wide['ranksim']:.1f}" in output
