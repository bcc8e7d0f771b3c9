"""Measure how RRT with RankSim predicts labels that training lacks.

    python -m benchmarks.extrapolation --tables DIR --faces DIR --out runs/extrapolation
    python -m benchmarks.extrapolation --out runs/extrapolation --write

The first command trains on tables (``--tables`` has abalone.csv and wine-white.csv), glucose and
drawn faces (``--faces`` has labels.csv), each without its outer labels; finished runs in ``--out``
are kept. The second one writes their errors to ``results/extrapolation/runs.json``, and the tables
of ``docs/extrapolation.md`` from that file; without ``--out`` it writes the tables alone.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ranksim._utils.provenance import collect_provenance
from ranksim._utils.storage import read_verified_json, with_digest, write_json
from ranksim.evaluation.record import read_results

RUNS, PAGE = Path("results/extrapolation/runs.json"), Path("docs/extrapolation.md")
COMMAND = "from ranksim.cli import main; main()"
METHODS = ("vanilla", "vanilla+ranksim", "rrt", "rrt+ranksim")
SETTINGS: dict[str, tuple[str, ...]] = {
    "default": (),
    "weight 0.1, γ 1": ("ranksim_weight=0.1", "gamma=1"),
    "weight 1, γ 1": ("ranksim_weight=1", "gamma=1"),
    "weight 0.1, γ 100": ("ranksim_weight=0.1", "gamma=100"),
}
COMMANDS: dict[str, tuple[str, ...]] = {
    "abalone": ("compare", "{tables}/abalone.csv", "--target", "rings", "--drop-labels", ">15"),
    "wine-white": (
        *("compare", "{tables}/wine-white.csv", "--target", "quality", "--drop-labels", "<5,>7"),
    ),
    "glucose": ("bench", "glucose", "--horizon", "30", "--drop-labels", "<70,>250"),
    "faces": (
        *("compare", "{faces}/labels.csv", "--image", "file", "--image-root", "{faces}"),
        *(
            "--target",
            "years",
            "--bin-width",
            "1",
            "--image-size",
            "32",
            "--drop-labels",
            "<20,>60",
        ),
    ),
}
TITLES = {
    "abalone": "abalone, without more than 15 rings",
    "wine-white": "white wine, without qualities below 5 and above 7",
    "glucose": "glucose, without readings below 70 and above 250 mg/dL",
    "faces": "drawn faces, without ages below 20 and above 60",
}
FEW = {"glucose": ("default", "weight 0.1, γ 100"), "faces": ("default", "weight 0.1, γ 100")}
"""Settings of data sets that take long."""
LIMITS = {"faces": ("--max-epochs", "8")}
_BLOCK = re.compile(r"(<!-- (errors|findings) -->\n).*?(<!-- end -->)", re.DOTALL)
Records = list[dict[str, Any]]
Groups = dict[tuple[str, str, str], Records]  # by task, setting and method


def train(task: str, setting: str, options: argparse.Namespace) -> None:
    """Run ``ranksim compare`` or ``bench`` of a data set in a process."""
    paths = {"tables": options.tables, "faces": options.faces}
    seeds = str(count_seeds(task))
    command = [each.format(**paths) for each in COMMANDS[task]]
    command += ["--methods", ",".join(METHODS), "--seeds", seeds, "--jobs", options.jobs]
    command += [*LIMITS.get(task, ()), "--out", str(options.out / f"{task}, {setting}")]
    for change in SETTINGS[setting]:
        command += ["--set", change]
    print("ranksim", *command, flush=True)
    subprocess.run([sys.executable, "-c", COMMAND, *command], check=True)


def collect_runs(out: Path) -> Records:
    """Return the test errors by region of all runs in a folder, None if a run diverged.

    Sweeps that have not ended are left out.
    """
    records = []
    for task in COMMANDS:
        for setting in SETTINGS:
            folder = out / f"{task}, {setting}"
            if not (folder / "results.json").is_file():
                continue
            runs = [
                run for run in read_results(folder)["runs"] if run["identity"]["method"] in METHODS
            ]
            if len(runs) < len(METHODS) * count_seeds(task):
                continue
            for run in runs:
                scores = run["result"].get("metrics", {}).get("test", {})
                records.append(
                    {"task": task, "setting": setting, "method": run["identity"]["method"]}
                    | {"seed": run["identity"]["seed"], "commit": run["provenance"]["commit"]}
                    | {name: scores.get(name, {}).get("mae") for name in ("all", "many", "zero")}
                )
    return records


def count_seeds(task: str) -> int:
    """Return the number of seeds of each method on a data set."""
    return 3 if task in FEW else 5


def group_runs(records: Records) -> Groups:
    """Return the runs by task, setting and method."""
    groups: Groups = defaultdict(list)
    for record in records:
        groups[record["task"], record["setting"], record["method"]].append(record)
    return groups


def list_findings(records: Records) -> list[str]:
    """Return the spread of RRT over seeds with and without RankSim, a sentence a data set."""
    groups = group_runs(records)
    lines = []
    for task in dict.fromkeys(record["task"] for record in records):
        errors = {
            key[1:]: np.array([run["zero"] for run in runs if run["zero"] is not None])
            for key, runs in groups.items()
            if key[0] == task
        }
        plain, vanilla = errors["default", "rrt"], errors["default", "vanilla"]
        both = [errors[key] for key in errors if key[1] == "rrt+ranksim" and len(errors[key]) > 1]
        ratios = sorted(np.std(each, ddof=1) / np.std(plain, ddof=1) for each in both)
        means = sorted(float(each.mean()) for each in both)
        deviation = float(np.std(plain, ddof=1))
        lines.append(
            f"- **{TITLES[task][0].upper()}{TITLES[task][1:]}**: over seeds, the error of "
            f"`rrt+ranksim` on labels without training samples has {describe_range(ratios, '.1f')} "
            f"times the standard deviation of `rrt` (`vanilla`: "
            f"{np.std(vanilla, ddof=1) / deviation:.1f} times). Its mean is "
            f"{describe_range(means, '.3g')}, of `rrt` {plain.mean():.3g}, of "
            f"`vanilla` {vanilla.mean():.3g}; the worst seed has {max(map(max, both)):.3g}."
        )
    diverged = sum(record["zero"] is None for record in records)
    lines.append(f"- {diverged or 'No'} run{'s' * (diverged > 1)} diverged.")
    return lines


def describe_range(values: Sequence[float], form: str) -> str:
    """Return the least and the largest of ascending values, or the only one."""
    ends = dict.fromkeys(format(value, form) for value in (values[0], values[-1]))
    return " to ".join(ends)


def list_errors(records: Records) -> list[str]:
    """Return the lines of the table: means and standard deviations of errors over seeds.

    Runs that diverged are counted beside the method, and missing from its errors.
    """
    lines = [
        "| data | RankSim | method | all labels | labels without training samples | worst seed |",
        "| --- | --- | --- | ---: | ---: | ---: |",
    ]
    for (task, setting, method), runs in group_runs(records).items():
        if setting != "default" and "ranksim" not in method:
            continue  # the same runs
        name = setting if "ranksim" in method else ""
        done = [run for run in runs if run["zero"] is not None]
        count = len(runs) - len(done)
        failure = f" ({count} of {len(runs)} diverged)" if count else ""
        errors = [[run[part] for run in done] for part in ("all", "zero")]
        cells = [*map(describe_errors, errors), f"{max(errors[1]):.3g}" if done else "–"]
        lines.append(f"| {TITLES[task]} | {name} | {method}{failure} | {' | '.join(cells)} |")
    return lines


def describe_errors(errors: list[float]) -> str:
    """Return the mean and the standard deviation of some errors."""
    if not errors:
        return "–"
    deviation = f" ± {np.std(errors, ddof=1):.2g}" if len(errors) > 1 else ""
    return f"{np.mean(errors):.3g}{deviation}"


def write_tables(path: Path = PAGE) -> None:
    """Replace the table and the findings of the page from the committed runs."""
    records = read_verified_json(RUNS)["runs"]
    lines = {"errors": list_errors(records), "findings": list_findings(records)}
    page = path.read_text(encoding="utf-8")
    page = _BLOCK.sub(
        lambda match: "\n".join([match[1].rstrip(), *lines[match[2]], match[3]]), page
    )
    path.write_text(page, encoding="utf-8")


def main() -> None:
    """Train, or write results and tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tables", type=Path)
    parser.add_argument("--faces", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--tasks", default=",".join(COMMANDS))
    parser.add_argument("--jobs", default="2")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if not options.write:
        for task in options.tasks.split(","):
            for setting in FEW.get(task, tuple(SETTINGS)):
                train(task, setting, options)
        return
    if options.out is not None:
        runs = {"runs": collect_runs(options.out), "provenance": collect_provenance()}
        RUNS.parent.mkdir(parents=True, exist_ok=True)
        write_json(RUNS, with_digest(json.loads(json.dumps(runs))))
    write_tables()


if __name__ == "__main__":
    main()
