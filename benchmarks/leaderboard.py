"""Train all rows of the leaderboard: tune each method, then compare on all data sets.

    python -m benchmarks.leaderboard --tables DIR --data-dir DIR --out runs/leaderboard --write

``--tables`` has abalone.csv, ames.csv and wine-white.csv, ``--data-dir`` STS-B-DIR. Each method is
tuned by validation error with six trials on abalone and on STS-B-DIR; its recipe is carried over to
the other tables and glucose, and to Sentiment-DIR. On STS-B-DIR with features of a frozen MiniLM,
where a training takes seconds, it is tuned again. A row with RankSim has the recipe of its method
and the fields of RankSim that were tuned without another one. Finished trials and runs in ``--out``
are kept, so that the command can be stopped and started again. ``--write`` copies the results of
finished data sets to ``results/leaderboard``.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ranksim.imbalance.weights import Scheme
from ranksim.training.method import family_method_names, parse_method
from ranksim.training.parts import PARTS

RESULTS = Path("results/leaderboard")
COMMAND = "from ranksim.cli import main; main()"
TRIALS = 6
WEIGHTING: Scheme = "inverse"  # of LDS without another scheme
RANKSIM = "vanilla+ranksim"
NO_RANKSIM = ("vanilla", RANKSIM)
"""Methods without a row of their own with RankSim."""
OTHER_HEADS = ("vanilla+gaussian", "vanilla+laplace", "vanilla+quantile")
"""Heads for intervals: they do not change what is learned where labels are rare."""


@dataclass(frozen=True)
class DataSet:
    """Arguments of ``ranksim`` for one data set.

    Args:
        arguments: of the command after ``bench`` or ``compare``; ``{tables}`` and ``{data_dir}``
            are replaced.
        recipe: name of the data set whose tuned recipes are used.
        tuning_seeds: seeds of the trials, if this data set tunes.
        with_ranksim: train each method with RankSim, too.
    """

    arguments: tuple[str, ...]
    recipe: str
    tuning_seeds: str = ""
    with_ranksim: bool = False

    def command(self, verb: str, paths: dict[str, Any]) -> list[str]:
        """Return the command line of ``compare`` or ``tune`` without its options."""
        arguments = [each.format(**paths) for each in self.arguments]
        name = "data" if arguments[0].endswith(".csv") else arguments.pop(0)
        if verb == "tune":
            return ["tune", name, *arguments]
        return ["compare", *arguments] if name == "data" else ["bench", name, *arguments]


DATA_SETS = {
    "abalone": DataSet(
        ("{tables}/abalone.csv", "--target", "rings"), "abalone", "100,101", with_ranksim=True
    ),
    "wine-white": DataSet(
        ("{tables}/wine-white.csv", "--target", "quality"), "abalone", with_ranksim=True
    ),
    "ames": DataSet(("{tables}/ames.csv", "--target", "SalePrice"), "abalone"),
    "glucose": DataSet(("glucose", "--horizon", "30"), "abalone"),
    "sts-b-minilm": DataSet(
        ("sts-b-dir", "--data-dir", "{data_dir}", "--preset", "minilm"),
        "sts-b-minilm",
        "100,",
        with_ranksim=True,
    ),
    "sts-b-dir": DataSet(
        ("sts-b-dir", "--data-dir", "{data_dir}"), "sts-b-dir", "100,", with_ranksim=True
    ),
    "sentiment-dir": DataSet(("sentiment-dir",), "sts-b-dir"),
}


def list_fields(name: str) -> list[str]:
    """Return the recipe fields that are tuned for a method: its own, and the learning rate."""
    technique = parse_method(name, WEIGHTING).technique
    fields = []
    if technique.weighting == "denseweight":
        fields.append("denseweight_alpha")
    if technique.lds:
        fields += ["lds_kernel_size", "lds_sigma"]
    if technique.fds:
        fields += ["fds_bins", "fds_kernel_size", "fds_sigma"]
    if technique.ranksim:
        fields += ["ranksim_weight", "gamma"]
    for part in technique.parts:
        fields += [*PARTS[part].ranges, *PARTS[part].choices]
    return ["lr", *fields]


def merge_recipes(folder: Path, methods: list[str]) -> Path:
    """Join the recipes of all methods in one file, with what each search notes, and return it."""
    files = [folder / method / "recipe.toml" for method in methods]
    merged = folder / "recipe.toml"
    texts = [path.read_text(encoding="utf-8").strip() for path in files if path.is_file()]
    merged.write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    return merged


def run(arguments: list[str]) -> bool:
    """Run ``ranksim`` in a process, and return whether it succeeded."""
    print("ranksim", *arguments, flush=True)
    return subprocess.run([sys.executable, "-c", COMMAND, *arguments]).returncode == 0


def tune(name: str, methods: list[str], options: argparse.Namespace) -> None:
    """Search a recipe for each method on a data set."""
    data_set, folder = DATA_SETS[name], options.out / "recipes" / name
    for method in methods:
        if parse_method(method, WEIGHTING).technique.average:
            continue  # it averages runs of methods that have recipes
        search = ["--fields", ",".join(list_fields(method)), "--trials", str(TRIALS)]
        search += ["--seeds", data_set.tuning_seeds, "--jobs", options.jobs]
        command = [*data_set.command("tune", vars(options)), "--method", method]
        run([*command, *search, "--out", str(folder / method)])


def compare(name: str, methods: list[str], options: argparse.Namespace) -> None:
    """Train all rows of a data set, those with RankSim in a folder of their own."""
    data_set = DATA_SETS[name]
    recipe = merge_recipes(options.out / "recipes" / data_set.recipe, methods)
    sweeps = {name: (methods, "5")}
    if data_set.with_ranksim:
        rows = [f"{method}+ranksim" for method in methods if method not in NO_RANKSIM]
        sweeps[f"{name}-ranksim"] = (["vanilla", RANKSIM, *rows], "3")
    for folder, (rows, seeds) in sweeps.items():
        out = options.out / folder
        command = [*data_set.command("compare", vars(options)), "--methods", ",".join(rows)]
        command += ["--seeds", seeds, "--recipe", str(recipe), "--share-ranksim"]
        is_finished = run([*command, "--jobs", options.jobs, "--out", str(out)])
        if options.write and is_finished:
            (RESULTS / folder).mkdir(parents=True, exist_ok=True)
            shutil.copy(out / "results.json", RESULTS / folder)
    if options.write:
        (RESULTS / "recipes").mkdir(parents=True, exist_ok=True)
        shutil.copy(recipe, RESULTS / "recipes" / f"{data_set.recipe}.toml")


def main() -> None:
    """Tune, train and copy results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tables", type=Path, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/leaderboard"))
    parser.add_argument("--jobs", default="2")
    parser.add_argument("--data-sets", default=",".join(DATA_SETS))
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    methods = [name for name in family_method_names() if name not in OTHER_HEADS]
    for name in options.data_sets.split(","):
        if DATA_SETS[name].tuning_seeds:
            tune(name, methods, options)
        compare(name, methods, options)


if __name__ == "__main__":
    main()
