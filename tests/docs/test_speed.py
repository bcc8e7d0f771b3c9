"""The page on the speed of the loss quotes the committed measurement."""

import json
from pathlib import Path

from benchmarks.loss_speed import format_tables, main

ROOT = Path(__file__).parents[2]


def test_page_quotes_the_committed_measurement():
    results = json.loads((ROOT / "results/speed/loss.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs/speed.md").read_text(encoding="utf-8")
    tables = [table.strip() for table in format_tables(results).split("\n\n")]
    assert len(tables) == 2
    assert all(table in page for table in tables)


def test_benchmark_runs(tmp_path, monkeypatch, capsys):
    out = tmp_path / "bench.json"
    small = ["--sizes", "16", "--large-sizes", "--min-seconds", "0.001", "--json", str(out)]
    monkeypatch.setattr("sys.argv", ["loss_speed", *small])
    main()
    (row,) = json.loads(out.read_text(encoding="utf-8"))["cpu"]
    assert row["floor"] > row["sort"] > 0
    assert f"{row['loop'] / row['ranksim']:.1f}" in capsys.readouterr().out
