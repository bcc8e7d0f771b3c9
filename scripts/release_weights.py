"""Train the released models into ``results/weights``, or check that they have their scores.

``python scripts/release_weights.py NAME…`` trains models, by default all, and
``python scripts/release_weights.py --check`` scores the committed ones on their benchmarks and
compares the scores with the committed row.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path

from ranksim._utils.storage import sha256, with_digest, write_json
from ranksim.api.options import make_sweep_request
from ranksim.experiments.executor.local import one_thread
from ranksim.experiments.run import execute_run
from ranksim.experiments.sweep_request import make_runs
from ranksim.experiments.sweep_settings import SweepSettings
from ranksim.inference.benchmark_model import save_run, score_on_benchmark
from ranksim.inference.released import DIGESTS
from ranksim.inference.saved_model import load_model
from ranksim.training.recipe import headline

FOLDER = Path(__file__).resolve().parents[1] / "results" / "weights"
STS_B = {"split": "borealis", "regions_from": "published"}
# benchmark, its options, method
MODELS = {
    "sts-b-dir": ("sts-b-dir", STS_B, "vanilla"),
    "sts-b-dir-ranksim": ("sts-b-dir", STS_B, "vanilla+ranksim"),
    "sentiment-dir": ("sentiment-dir", {"domains": ("tweets", "amazon")}, "vanilla+ranksim"),
    "glucose": ("glucose", {"horizon": 30}, "vanilla"),
}
MAX_BYTES = 3_000_000  # of the files of a model
TOLERANCE = 1e-5  # relative, of scores on another processor


def train(name: str) -> None:
    """Train a model with seed 0 and the preset ``small``, and write its folder."""
    benchmark, options, method_name = MODELS[name]
    with tempfile.TemporaryDirectory() as folder:
        values = {"methods": method_name, "preset": "small", "accelerator": "cpu", **options}
        request = make_sweep_request(benchmark, Path(folder), values, user_data=False)
        settings = SweepSettings.from_request(request)
        run = make_runs(request, settings)(settings.parse_method(request, method_name), 0)
        with one_thread():
            record = execute_run(run)
        save_run(run, record, FOLDER / name)
    size = sum(path.stat().st_size for path in (FOLDER / name).iterdir())
    if size > MAX_BYTES:
        raise SystemExit(f"{name} has {size:,} bytes, more than {MAX_BYTES:,}.")
    print(f"{name}: {size:,} bytes")


def write_digests() -> None:
    """Write the SHA-256 of each file of the models."""
    models = {
        name: {path.name: sha256(path) for path in sorted((FOLDER / name).iterdir())}
        for name in MODELS
        if (FOLDER / name).is_dir()
    }
    write_json(FOLDER / DIGESTS, with_digest({"models": models}))


def check(name: str, data_dir: Path | None = None) -> bool:
    """Score a model on its benchmark; print both rows, and return whether they agree."""
    model = load_model(f"ranksim/{name}")
    with one_thread():
        scores = score_on_benchmark(model, data_dir)
    is_equal = True
    for region, values in model.metrics["test"].items():
        for metric in headline(MODELS[name][0]):
            committed, computed = values[metric], scores[region][metric]
            if committed is None or computed is None:
                is_equal &= committed is computed
                continue
            is_equal &= math.isclose(committed, computed, rel_tol=TOLERANCE)
            if region == "all":
                print(f"{name:18} {metric:8} committed {committed:.6f}, computed {computed:.6f}")
    return is_equal


def main() -> None:
    """Run the command line of this script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(MODELS))
    parser.add_argument("--check", action="store_true", help="score the committed models")
    parser.add_argument("--data-dir", type=Path, help="folder of the data")
    arguments = parser.parse_args()
    names = arguments.names or [*MODELS]
    unknown = [name for name in names if name not in MODELS]
    if unknown:
        parser.error(f"there is no model {unknown[0]}: choose from {', '.join(MODELS)}")
    if arguments.check:
        wrong = [name for name in names if not check(name, arguments.data_dir)]
        if wrong:
            raise SystemExit(f"The scores differ: {', '.join(wrong)}.")
        return
    for name in names:
        train(name)
    write_digests()


if __name__ == "__main__":
    main()
