"""Run the study of RankSim's mechanism, and write its results.

    python -m benchmarks.mechanism --tables DIR --data-dir DIR --encoder DIR --write

``--tables`` has abalone.csv and bike-hour.csv, ``--data-dir`` STS-B-DIR, ``--encoder`` the weights
of all-MiniLM-L6-v2. Finished runs are kept in ``results/mechanism/runs.json``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, get_args

import torch

from benchmarks.mechanism.tasks import TABLES, TEXTS, Task, load_table_task, load_text_task
from benchmarks.mechanism.terms import Control, Term
from benchmarks.mechanism.training import train
from ranksim._utils.provenance import collect_provenance
from ranksim._utils.storage import with_digest, write_json

RUNS = Path("results/mechanism/runs.json")
WEIGHTS = (1e-2, 1e-1)
PERTURBATIONS = (0.02, 0.2, 2.0, 20.0, 200.0)  # γ·λ
RELATIVE = (0.3, 1.0, 3.0)  # deviations of a row's similarities
SEEDS, MORE_SEEDS = 3, 5


def list_grid() -> Iterator[tuple[Term | None, int]]:
    """Return each variant with a number of seeds."""
    yield None, MORE_SEEDS
    for weight in WEIGHTS[::-1]:
        yield Term(weight, 2.0), SEEDS
        yield Term(weight, 1.0, relative=True), SEEDS
        for control in get_args(Control)[1:]:
            yield Term(weight, 2.0, control=control), SEEDS
            yield Term(weight, 1.0, relative=True, control=control), SEEDS
        yield Term(weight, 2.0, centered=True), SEEDS
        yield Term(weight, 2.0, before_relu=True), SEEDS
        yield Term(weight, 1.0, relative=True, centered=True), SEEDS
        yield Term(weight, 1.0, relative=True, annealed=True), SEEDS
    for weight in WEIGHTS:
        for value in PERTURBATIONS:
            if value != 2.0:
                yield Term(weight, value), SEEDS
        for value in RELATIVE:
            if value != 1.0:
                yield Term(weight, value, relative=True), SEEDS


def run(task: Task, term: Term | None, seed: int) -> dict[str, Any]:
    """Train once, on one thread, and return the record."""
    torch.set_num_threads(1)
    return {
        "task": task.name,
        "term": None if term is None else term.to_dict(),
        "seed": seed,
        **_round(train(task, term, seed)),
    }


def _round(values: Any) -> Any:
    if isinstance(values, dict):
        return {name: _round(value) for name, value in values.items()}
    if isinstance(values, list):
        return [_round(value) for value in values]
    return float(f"{values:.5g}")


def _key(record: dict[str, Any]) -> str:
    return json.dumps([record["task"], record["term"], record["seed"]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=Path, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RUNS)
    arguments = parser.parse_args()
    tasks = {name: load_table_task(name, arguments.tables) for name in TABLES}
    tasks[TEXTS] = load_text_task(arguments.data_dir, arguments.encoder)
    records = json.loads(arguments.out.read_text())["runs"] if arguments.out.is_file() else []
    finished = {_key(record) for record in records}
    with ProcessPoolExecutor(arguments.jobs) as pool:
        futures = []
        for term, seeds in list_grid():
            for seed in range(seeds):
                for task in tasks.values():
                    content = {"task": task.name, "term": term and term.to_dict(), "seed": seed}
                    if _key(content) not in finished:
                        futures.append(pool.submit(run, task, term, seed))
        for number, future in enumerate(as_completed(futures), start=1):
            records.append(future.result())
            if number % 10 == 0 or number == len(futures):
                arguments.out.parent.mkdir(parents=True, exist_ok=True)
                results = {"runs": sorted(records, key=_key), "provenance": collect_provenance()}
                write_json(arguments.out, with_digest(results))
                print(f"{number} of {len(futures)} runs", flush=True)


if __name__ == "__main__":
    main()
