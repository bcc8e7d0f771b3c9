"""The page of the loss's speed quotes what was measured."""

import json
from pathlib import Path

from benchmarks.loss_speed import main, text

ROOT = Path(__file__).parents[2]


def test_the_page_quotes_the_committed_run():
    results = json.loads((ROOT / "results/speed/loss.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs/speed.md").read_text(encoding="utf-8")
    parts = [part.strip() for part in text(results).split("\n\n")]
    assert len(parts) == 2
    assert all(part in page for part in parts)


def test_the_benchmark_runs(tmp_path, monkeypatch, capsys):
    out = tmp_path / "bench.json"
    small = ["--sizes", "16", "--large-sizes", "--least", "0.001", "--json", str(out)]
    monkeypatch.setattr("sys.argv", ["loss_speed", *small])
    main()
    (row,) = json.loads(out.read_text(encoding="utf-8"))["cpu"]
    assert row["floor"] > row["sort"] > 0
    assert f"{row['loop'] / row['ranksim']:.1f}" in capsys.readouterr().out
