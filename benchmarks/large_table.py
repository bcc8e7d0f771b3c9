"""Measure memory and time of ``inspect`` and ``fit`` on a large Parquet file.

The file has 20 columns of numbers, integers and names, the target among them. Memory is the peak of
the process above that after its imports, divided by the bytes of the columns in their Arrow types;
processor time is divided by that of reading the same columns with pyarrow and sorting the target.
A command that takes more than 8 GB ends, and is reported.

Example:
    python -m benchmarks.large_table --rows 1000000 --write
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.alternatives import write_page
from ranksim._utils.storage import write_json
from ranksim.exceptions import require_optional

ROOT = Path(__file__).resolve().parents[1]
FILE, PAGE = ROOT / "results" / "speed" / "large_table.json", ROOT / "docs" / "speed.md"
MARKS = "<!-- made by benchmarks/large_table.py -->", "<!-- end of large tables -->"
TARGET = "price"
MAX_MEMORY = 3.0  # × the bytes of the columns
MAX_TIME = 1.0  # × one read and one sort
MAX_BYTES = 8 * 10**9  # of a process
_GROUP_ROWS = 250_000  # of a row group
_MEASURE = """
import contextlib, json, resource, sys, time
import numpy as np
import pyarrow
import pyarrow.dataset
import pyarrow.parquet as parquet
pyarrow.array(np.zeros(1))  # imports pandas, where it is installed
path, task, limit, *words = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_DATA, (int(limit), int(limit)))
if task != "read":
    import torch
    import ranksim.cli.app, ranksim.inference.fit, ranksim.user_data.proposals
    import ranksim.evaluation.report.label_report, ranksim.user_data.label_report
    import matplotlib.figure
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
start, cpu, before = time.perf_counter(), time.process_time(), peak()
size = 0
if task == "read":
    table = parquet.read_table(path)
    size = table.nbytes
    np.sort(table.column("price").to_numpy())
else:
    from ranksim.cli import main
    sys.argv = ["ranksim", task, path, *words]
    try:
        with contextlib.redirect_stdout(sys.stderr):
            main()
    except SystemExit as error:
        if error.code:
            raise
result = {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu}
print(json.dumps({**result, "bytes": peak() - before, "size": size}))
"""
TASKS = {
    "inspect": ("inspect",),
    "fit vanilla, 1,000 steps": ("fit", "--method", "vanilla", "--max-steps", "1000"),
    "fit trees": ("fit", "--method", "trees", "--set", "max_iterations=20"),
}


REASONS = {
    "inspect": "each column is parsed, compared row by row and summarized, and a figure is drawn",
    "fit vanilla, 1,000 steps": "the network is trained and validated, and the rows of split.csv "
    "and of the model are hashed as texts",
    "fit trees": "bins of the trees are made from a float64 copy of all columns, and rows are "
    "hashed as texts",
}


def write_table(path: Path, rows: int, seed: int = 0) -> None:
    """Write a table of 20 columns in row groups."""
    pa, parquet = (require_optional(name, "train") for name in ("pyarrow", "pyarrow.parquet"))

    rng = np.random.default_rng(seed)
    writer = None
    for start in range(0, rows, _GROUP_ROWS):
        n = min(_GROUP_ROWS, rows - start)
        columns: dict[str, Any] = {f"x{k}": rng.normal(size=n) for k in range(8)}
        columns |= {f"f{k}": rng.normal(size=n).astype(np.float32) for k in range(4)}
        columns |= {f"n{k}": rng.integers(0, 10 ** (k + 2), size=n) for k in range(3)}
        columns["days"] = rng.poisson(30.0, size=n).astype(np.int32)
        for name, count in (("city", 12), ("kind", 5), ("shop", 40)):
            codes = rng.geometric(0.2, size=n).clip(max=count) - 1
            names = pa.array([f"{name} {k}" for k in range(count)])
            columns[name] = pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), names)
        missing = rng.random(n) < 0.02
        columns["x7"][missing] = np.nan
        effect = 0.6 * columns["x0"] + 0.3 * columns["x1"] ** 2 + 0.02 * columns["days"]
        columns[TARGET] = np.round(np.exp(effect + 0.5 * rng.normal(size=n)), 2) + 1
        table = pa.table(columns)
        if writer is None:
            writer = parquet.ParquetWriter(path, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()


def measure(
    path: Path, task: str, words: tuple[str, ...] = (), *, setup: str = ""
) -> dict[str, float]:
    """Run a command in a process of its own, and return its time and its peak memory.

    ``setup`` is code that the process runs first.
    """
    process = subprocess.run(
        [sys.executable, "-c", setup + _MEASURE, str(path), task, str(MAX_BYTES), *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    if process.returncode or not process.stdout:
        raise RuntimeError(process.stderr[-2000:])
    result: dict[str, float] = json.loads(process.stdout.splitlines()[-1])
    return result


def run(rows: int, folder: Path, names: list[str]) -> dict[str, Any]:
    """Write the table unless it exists, measure the tasks, and return the results."""
    path = folder / f"rows-{rows}.parquet"
    if not path.is_file():
        write_table(path, rows)
    plain = measure(path, "read")
    results: dict[str, Any] = {"rows": rows, "bytes": plain["size"], "read and sort": plain}
    for place, name in enumerate(names):
        task, *words = TASKS[name]
        words += ["--target", TARGET, "--out", str(folder / f"out-{rows}-{place}")]
        try:
            costs = measure(path, task, tuple(words))
        except RuntimeError as error:
            results[name] = {"failed": str(error).strip().splitlines()[-1]}
        else:
            results[name] = costs | {
                "memory_ratio": costs["bytes"] / plain["size"],
                "time_ratio": costs["cpu"] / plain["cpu"],
            }
        print(name, json.dumps(results[name]), file=sys.stderr)
    return results


def format_table(results: dict[str, Any]) -> str:
    """Return the results as a Markdown table, and why a target was not reached."""
    lines = [
        f"{results['rows']:,} rows, {results['bytes'] / 1e9:.2f} GB of columns; reading and "
        f"sorting takes {results['read and sort']['cpu']:.1f} s of processor time:",
        "",
        "| command | memory / columns | target | processor time, s | / read and sort | target |",
        "| --- | ---: | --- | ---: | ---: | --- |",
    ]
    reasons = []
    for name in (name for name in TASKS if name in results):
        row = results[name]
        if "failed" in row:
            lines.append(f"| {name} | – | not reached: {row['failed']} | – | – | not reached |")
            continue
        verdicts = [
            f"≤ {limit:g}: {'reached' if row[key] <= limit else 'not reached'}"
            for key, limit in (("memory_ratio", MAX_MEMORY), ("time_ratio", MAX_TIME))
        ]
        lines.append(
            f"| {name} | {row['memory_ratio']:.2f} | {verdicts[0]} | {row['cpu']:.1f} | "
            f"{row['time_ratio']:.1f} | {verdicts[1]} |"
        )
        if any("not reached" in verdict for verdict in verdicts):
            reasons.append(f"- {name}: {REASONS[name]}.")
    return "\n".join([*lines, "", *reasons] if reasons else lines)


def format_tables(content: dict[str, Any]) -> str:
    """Return the tables of all numbers of rows."""
    return "\n\n".join(format_table(content[key]) for key in sorted(content, key=int))


def write_results(results: dict[str, Any]) -> None:
    """Add the results to the file, and write its tables to the page."""
    content = json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {}
    key = str(results["rows"])
    write_json(FILE, content | {key: content.get(key, {}) | results})
    write_page(PAGE, format_tables(json.loads(FILE.read_text(encoding="utf-8"))), MARKS)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table, and write the file and the page if told to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="keeps the table; default: a temporary one")
    parser.add_argument(
        "--tasks", default=";".join(TASKS), help="beginnings of names, with ; between"
    )
    parser.add_argument("--write", action="store_true", help="write the file and the page")
    values = parser.parse_args(argv)
    words = tuple(values.tasks.split(";"))
    with tempfile.TemporaryDirectory() as temporary:
        names = [name for name in TASKS if name.startswith(words)]
        results = run(values.rows, values.folder or Path(temporary), names)
    print(format_table(results))
    if values.write:
        write_results(results)


if __name__ == "__main__":
    main()
