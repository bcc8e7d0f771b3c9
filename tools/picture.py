"""Draw what RankSim changes in each region, from a committed ``results.json``.

Usage: ``python tools/picture.py results/sts-b-dir/borealis --data-dir ../shared/data --out
docs/img/sts-b-dir.svg`` (the PNG is written beside it).
"""

import argparse
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from ranksim.evaluation.report.figures import region_figure
from ranksim.training.task_loading import load_benchmark


def main() -> None:
    """Read the results, count the benchmark's training labels, write SVG and PNG."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="folder with results.json")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    results = json.loads((given.results / "results.json").read_text(encoding="utf-8"))
    options = {
        key: tuple(value) if isinstance(value, list) else value
        for key in ("split", "domains")
        if (value := results.get(key)) is not None
    }
    benchmark = load_benchmark(results["benchmark"], options, given.data_dir)
    figure = region_figure(results, benchmark.regions(results["regions_from"]))
    for suffix in (".svg", ".png"):
        figure.savefig(given.out.with_suffix(suffix), dpi=160)
    plt.close(figure)
    print(f"{given.out}: {np.sum(benchmark.regions(results['shots']).counts)} training samples")


if __name__ == "__main__":
    main()
