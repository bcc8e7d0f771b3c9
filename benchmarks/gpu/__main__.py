"""Test and time RankSim on a GPU: ``make gpu``, at most 8 minutes.

Usage: ``make gpu``, or ``python -m benchmarks.gpu [--out FOLDER] [--commit HASH] [--parts NAMES]``
with ``src`` on PYTHONPATH. It needs Python, torch with CUDA, numpy, lightning and transformers,
and no network; a part that needs more is skipped with the reason. Each part runs in a process of
its own with a time limit, and its failure stops no other. ``results/gpu/<card>.json`` is complete
after every figure.

``--smoke`` runs every part in a tiny size on a CPU, Triton's kernels in their interpreter, and
writes to a temporary folder. ``--page docs/speed.md`` only copies the results into that page.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.gpu import correctness, loss, tests
from benchmarks.gpu.figures import (
    COMPLETE,
    RUNNING,
    SKIPPED,
    Figure,
    ResultFile,
    Settings,
    describe_machine,
    file_name,
    format_part,
    write_page,
)

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results" / "gpu"
TOTAL_SECONDS = 470.0


def measure_resnet50(settings: Settings) -> Iterator[Figure]:
    """Import the part only where its packages are installed."""
    from benchmarks.gpu import network

    return network.measure_resnet50(settings)


def measure_training(settings: Settings) -> Iterator[Figure]:
    """Import the part only where its packages are installed."""
    from benchmarks.gpu import network

    return network.measure_training(settings)


@dataclass(frozen=True)
class Part:
    """A part of the run: its function, its limit, and the modules and packages that it needs."""

    measure: Callable[[Settings], Iterator[Figure]]
    seconds: float
    needs: dict[str, str]  # packages by the names of their modules

    def missing(self) -> str:
        """Return why the part cannot run, or an empty string."""
        names = [
            name for module, name in self.needs.items() if importlib.util.find_spec(module) is None
        ]
        return f"{' and '.join(names)} not installed" if names else ""


NETWORKS = {"transformers": "transformers"}
PARTS = {
    "correctness": Part(correctness.measure, 130, {}),
    "graph": Part(loss.measure_graph, 45, {}),
    "compile": Part(loss.measure_compile, 60, {}),
    "loss": Part(loss.measure_loss, 75, {}),
    "resnet50": Part(measure_resnet50, 70, NETWORKS),
    "training": Part(measure_training, 90, {**NETWORKS, "lightning": "lightning", "PIL": "Pillow"}),
    "tests": Part(tests.measure, 150, {"pytest": "pytest"}),  # in what is left of TOTAL_SECONDS
}


def run_part(name: str, path: Path, settings: Settings) -> None:
    """Measure a part in this process, and record each figure at once."""
    file = ResultFile(path)
    try:
        for figure in PARTS[name].measure(settings):
            file.add(name, figure)
    except Exception as error:
        traceback.print_exc()
        sentence = " ".join(str(error).split())[:300]
        file.update(name, status="failed", reason=f"{type(error).__name__}: {sentence}")
    else:
        file.update(name, status=COMPLETE)


def supervise_part(name: str, path: Path, options: Sequence[str], seconds: float) -> None:
    """Run a part in a process of its own, and record how it ended."""
    file, start = ResultFile(path), time.perf_counter()
    if reason := PARTS[name].missing():
        file.update(name, status=SKIPPED, reason=reason)
        return
    file.update(name, status=RUNNING)
    command = [sys.executable, "-m", "benchmarks.gpu", "--part", name, "--file", str(path)]
    process = subprocess.Popen([*command, *options], cwd=ROOT, process_group=0)
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        file.update(name, status="stopped", reason=f"it took more than {seconds:.0f} s")
    finally:
        # readers of images outlive their parent
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if file.read()["parts"][name]["status"] == RUNNING:
        file.update(name, status="failed", reason=f"the process ended with {process.returncode}")
    file.update(name, seconds=round(time.perf_counter() - start, 1))


def run_all(arguments: argparse.Namespace, settings: Settings) -> bool:
    """Run all parts and print their tables; return whether none failed."""
    card = describe_machine(settings, None)["card"]
    path: Path = arguments.out / file_name(card)
    file = ResultFile(path)
    file.start(settings, arguments.commit)
    if settings.smoke:
        os.environ["TRITON_INTERPRET"] = "1"
    options = ["--smoke"] * settings.smoke
    if settings.data is not None:
        options += ["--data", str(settings.data)]
    end = time.perf_counter() + TOTAL_SECONDS
    for name in arguments.parts or PARTS:
        limit = min(PARTS[name].seconds, max(end - time.perf_counter(), 1.0))
        supervise_part(name, path, options, limit if not settings.smoke else TOTAL_SECONDS)
        print(format_part(name, file.read()["parts"][name]), end="\n\n", flush=True)
    print(path)
    return all(part["status"] in (COMPLETE, SKIPPED) for part in file.read()["parts"].values())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parts, or one of them in this process."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="folder of the results (results/gpu)")
    parser.add_argument("--commit", help="commit, where the checkout has no .git")
    parser.add_argument("--data", type=Path, help="folder of faces-64.zip (RANKSIM_DATA)")
    parser.add_argument("--parts", nargs="+", choices=PARTS)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes on a CPU")
    parser.add_argument("--page", type=Path, help="copy the results into a page, and measure none")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    settings = Settings(arguments.smoke, arguments.data)
    if arguments.page is not None:
        write_page(arguments.page, arguments.out or RESULTS)
        return 0
    if arguments.part is not None:
        run_part(arguments.part, arguments.file, settings)
        return 0
    if settings.device == "cuda" and not torch.cuda.is_available():
        parser.error("no CUDA device was found: add --smoke to run every part on the CPU")
    if arguments.out is None:
        arguments.out = Path(tempfile.mkdtemp()) if settings.smoke else RESULTS
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # stops the part too
    return 0 if run_all(arguments, settings) else 1


if __name__ == "__main__":
    sys.exit(main())
