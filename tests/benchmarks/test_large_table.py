import json

import pytest

from benchmarks import large_table
from benchmarks.large_table import MAX_MEMORY, TARGET, TASKS, measure, write_table


@pytest.fixture(scope="module")
def sizes(tmp_path_factory):
    """Bytes in Arrow types of two tables, by path."""
    folder, by_path = tmp_path_factory.mktemp("tables"), {}
    for rows in (100_000, 300_000):
        path = folder / f"{rows}.parquet"
        write_table(path, rows)
        by_path[path] = measure(path, "read")["size"]
    return by_path


@pytest.mark.slow
@pytest.mark.parametrize("name", ["inspect", "fit vanilla, 1,000 steps"])
def test_memory_grows_with_the_columns(name, sizes, tmp_path):
    """Each row adds at most three times its bytes in Arrow types to the peak of the process."""
    task, *words = TASKS[name]
    peaks = []
    for path in sizes:
        options = [*words, "--target", TARGET, "--out", str(tmp_path / path.stem)]
        setup = ""
        if task == "fit":
            options += ["--max-steps", "20"]
            setup = "from ranksim.training import adapters; adapters.MAX_ENCODED = 0"
        peaks.append(measure(path, task, tuple(options), setup=setup)["bytes"])
    small, large = sizes.values()
    assert (peaks[1] - peaks[0]) / (large - small) < MAX_MEMORY


def test_page_quotes_the_committed_measurement():
    content = json.loads(large_table.FILE.read_text(encoding="utf-8"))
    page = large_table.PAGE.read_text(encoding="utf-8")
    block = page.partition(large_table.MARKS[0])[2].partition(large_table.MARKS[1])[0]
    assert block.strip() == large_table.format_tables(content)


@pytest.mark.parametrize("ratio", [0.9, 2.0, 3.5, None])
def test_each_target_is_judged(ratio, tmp_path, monkeypatch, capsys):
    page = tmp_path / "page.md"
    page.write_text("above\n{}\nold\n{}\nbelow\n".format(*large_table.MARKS), encoding="utf-8")
    monkeypatch.setattr(large_table, "PAGE", page)
    monkeypatch.setattr(large_table, "FILE", tmp_path / "large_table.json")

    def fake_measure(path, task, words=()):
        if task != "read" and ratio is None:
            raise RuntimeError("Traceback\nMemoryError")
        factor = 1 if task == "read" else ratio
        return {"seconds": 2.0, "cpu": factor * 1.0, "bytes": factor * 1e8, "size": 10**8}

    monkeypatch.setattr(large_table, "measure", fake_measure)
    for rows in (20, 3):
        large_table.main(["--rows", str(rows), "--tasks", "inspect", "--write"])
    content = json.loads(large_table.FILE.read_text(encoding="utf-8"))
    assert set(content) == {"3", "20"}
    tables = large_table.format_tables(content)
    start, end = large_table.MARKS
    assert page.read_text(encoding="utf-8") == f"above\n{start}\n{tables}\n{end}\nbelow\n"
    assert tables.startswith("3 rows")
    assert "\n\n20 rows" in tables
    row = next(line for line in tables.splitlines() if line.startswith("| inspect"))
    assert ("≤ 3: reached" in row) == (ratio is not None and ratio <= 3)
    assert ("≤ 1: reached" in row) == (ratio == 0.9)
    assert ("- inspect: " in tables) == (ratio in (2.0, 3.5))
    assert ("MemoryError" in row) == (ratio is None)
    assert "| inspect" in capsys.readouterr().out
