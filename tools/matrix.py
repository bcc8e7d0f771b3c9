"""Build the package, install it into empty environments, and use it there.

Usage: ``python -m tools.matrix [--ends | --all]``. It prints a line an environment and ends with 1
where one failed. By default: the wheel with torch and numpy alone, in the versions of
constraints.txt. With ``--ends``, as CI does, also the lowest versions that pyproject.toml allows on
the lowest Python, and the newest on the newest Python; their PyTorch may be a download of
gigabytes. With ``--all`` also the extra bench in the versions of constraints.txt, each later Python
that is installed, and more of the suite.
"""

import argparse
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
THIS = ".".join(platform.python_version_tuple()[:2])
LOWEST, LATER = "3.11", ("3.12", "3.13")
# what is not Python and must be in the wheel
HELD = (
    "py.typed", "bench/recipes.toml", "bench/published/sts-b-dir.csv",
    "report/page/page.html.j2", "report/page/script.js", "report/page/style.css",
)  # fmt: skip
EXTRAS = ("bench", "images", "sentences", "hub", "tune")  # ray alone is left out
TESTS = (
    "functional/test_ranksim.py", "functional/test_ranking.py", "functional/test_dispatch.py",
    "losses", "balance/test_weights.py", "balance/test_density.py", "metrics",
    "models/test_mlp.py", "models/test_published.py", "models/test_sentence.py",
)  # fmt: skip
FEW = (
    "functional/test_ranksim.py",
    "losses/test_regression.py",
    "balance/test_weights.py",
    "metrics",
)
_SECONDS = 400  # of a command
_ALONE = """
import torch, ranksim
from ranksim.exceptions import MissingExtraError
loss = ranksim.RankSimLoss(gamma=2.0)
features = torch.randn(8, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
loss(features, torch.arange(8.0)).backward()
assert features.grad.isfinite().all()
for use in (lambda: ranksim.load_model("x"), lambda: __import__("ranksim.integrations.sklearn").sklearn
            .RankSimRegressor()):
    try:
        use()
    except MissingExtraError as error:
        assert str(error).endswith("is not installed: run pip install 'ranksim[train]'."), error
    else:
        raise SystemExit("nothing was missing")
"""
_VERSIONS = """
import platform, torch, numpy
print(f"Python {platform.python_version()}, torch {torch.__version__}, numpy {numpy.__version__}")
"""


@dataclass
class Made:
    """What came of an environment: ``told`` holds versions, or why there is none."""

    name: str
    told: str = ""
    tests: str = ""
    seconds: float = 0.0
    ok: bool | None = None
    checks: list[str] = field(default_factory=list)

    @property
    def line(self) -> str:
        """As it is printed."""
        verdict = {None: "not made here", True: "works", False: "FAILED"}[self.ok]
        told = ", ".join(filter(None, (self.told, *self.checks, self.tests)))
        return f"{self.name}: {verdict} ({told}), {self.seconds:.0f} s"


def build(folder: Path) -> Path:
    """The wheel, made of the source distribution, as an index would have it.

    Raises:
        RuntimeError: it holds what it should not, or lacks what it should hold.
    """
    _run("uv", "build", "--quiet", "--out-dir", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    missing = [name for name in HELD if f"ranksim/{name}" not in names]
    others = {name.partition("/")[0] for name in names} - {"ranksim"}
    if missing or any(not name.endswith(".dist-info") for name in others):
        raise RuntimeError(f"the wheel lacks {missing} or holds {others}")
    return wheel


def environments(which: str) -> list[tuple[str, str]]:
    """Their names and Pythons, of ``alone``, the two ``ends`` or ``all``."""
    rest = [("lowest", LOWEST), *(("newest", python) for python in LATER)]
    more = {"alone": [], "ends": [rest[0], rest[-1]], "all": [("pinned", THIS), *rest]}
    return [("alone", THIS), *more[which]]


def make(name: str, python: str, wheel: Path, folder: Path, tests: Sequence[str] = TESTS) -> Made:
    """An environment, made, used and removed."""
    made, begun = Made(f"{name}, Python {python}"), time.monotonic()
    found = interpreter(python)
    if found is None:
        made.told = f"no Python {python} is installed"
        return made
    folder.mkdir(parents=True)
    home = folder / "env"
    try:
        if name in ("alone", "pinned"):  # as a user does it
            _run(found, "-m", "venv", home)
            _run(home / "bin/python", "-m", "pip", "install", "-q", *requirements(name, wheel))
        else:  # uv knows how to take the lowest versions
            _run("uv", "venv", "--quiet", "--python", found, home)
            install = ("uv", "pip", "install", "--quiet", "--python", home / "bin/python")
            _run(*install, *requirements(name, wheel))
    except RuntimeError as error:
        made.told = f"what it needs cannot be installed here: {error}"
        return made
    try:
        made.told = _run(home / "bin/python", "-W", "ignore", "-c", _VERSIONS, at=folder).strip()
        made.checks = _alone(home, folder) if name == "alone" else _used(home, folder)
        made.tests = _tested(home, folder, tests) if name in ("lowest", "newest") else ""
        made.ok = True
    except RuntimeError as error:
        made.checks, made.ok = [str(error)], False
    made.seconds = time.monotonic() - begun
    shutil.rmtree(home)
    return made


def requirements(name: str, wheel: Path) -> list[str]:
    """What is to be installed, as pip and uv take it."""
    pinned = ["--constraint", str(ROOT / "constraints.txt")]
    if name == "alone":
        return [*pinned, str(wheel)]
    if name == "pinned":
        return [*pinned, f"{wheel}[bench]"]
    optional = PROJECT["optional-dependencies"]
    named = [*PROJECT["dependencies"], *(each for extra in EXTRAS for each in optional[extra])]
    direct = [each for each in named if not each.startswith("ranksim[")]
    how = "lowest-direct" if name == "lowest" else "highest"
    return ["--resolution", how, str(wheel), *direct, "pytest>=8.3"]


def interpreter(python: str) -> Path | None:
    """A Python of that version: this one, one on the PATH, or one of pyenv."""
    if python == THIS:
        return Path(sys.executable)
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    places = [shutil.which(f"python{python}"), *pyenv.glob(f"versions/{python}*/bin/python")]
    for place in filter(None, places):
        told = subprocess.run([place, "--version"], capture_output=True, text=True)
        if told.stdout.startswith(f"Python {python}."):
            return Path(place)
    return None


def _alone(home: Path, folder: Path) -> list[str]:
    """With torch and numpy: the loss works, and whatever is missing is one sentence."""
    _run(home / "bin/python", "-W", "ignore", "-c", _ALONE, at=folder)
    told = subprocess.run([home / "bin/ranksim", "demo"], capture_output=True, text=True)
    if told.returncode != 1 or len(told.stderr.splitlines()) != 1:
        raise RuntimeError(f"the command line says {told.stderr[-300:]!r}")
    return ["the loss", "a sentence for each missing extra"]


def _used(home: Path, folder: Path) -> list[str]:
    """With the extra bench: a comparison, its page, a model and its predictions."""
    draw, ranksim = random.Random(0), home / "bin/ranksim"
    sizes = [draw.gammavariate(2, 20) for _ in range(120)]
    lines = [f"{size:.2f},{size / 5 + draw.gauss(0, 1):.1f}" for size in sizes]
    (folder / "things.csv").write_text("\n".join(["size,price", *lines]) + "\n")
    few = ("--target", "price", "--set", "hidden=8", "--max-steps", "6", "--accelerator", "cpu")
    methods = ("--methods", "vanilla,inv+fds+ranksim", "--seeds", "1", "--jobs", "1")
    _run(ranksim, "compare", "things.csv", *few, *methods, "--out", "swept", at=folder)
    _run(ranksim, "fit", "things.csv", *few, "--out", "model", at=folder)
    _run(ranksim, "predict", "model", "things.csv", "--out", "made.csv", at=folder)
    made = (folder / "made.csv").read_text().splitlines()
    if len(made) != 121 or not (folder / "swept/report.html").is_file():
        raise RuntimeError("the comparison or the predictions are not there")
    return ["a comparison", "a model", "its predictions"]


def _tested(home: Path, folder: Path, tests: Sequence[str]) -> str:
    """Tests that need no more than is installed, on the installed package."""
    for name in ("tests", "conftest.py", "pyproject.toml"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    told = _run(
        home / "bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o",
        "filterwarnings=default", *(f"tests/{name}" for name in tests), at=folder,
    )  # fmt: skip
    return told.strip().splitlines()[-1].partition(" in ")[0]


def _run(*command: object, at: Path | None = None) -> str:
    """What a command prints.

    Raises:
        RuntimeError: it failed; its last line.
    """
    left_out = ("PYTHONPATH", "VIRTUAL_ENV", "RANKSIM_DATA")
    environment = {k: v for k, v in os.environ.items() if k not in left_out}
    environment |= {"OMP_NUM_THREADS": "1"}
    if at is not None:
        environment["RANKSIM_CACHE"] = str(at / "cache")
    # tools of the environment that this runs in, such as uv
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    words = [str(word) for word in command]
    words[0] = shutil.which(words[0], path=environment["PATH"]) or words[0]
    how = {"cwd": at, "env": environment, "capture_output": True, "text": True}
    try:
        told = subprocess.run(words, timeout=_SECONDS, **how)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{Path(words[0]).name} {words[1]}: over {_SECONDS} s") from None
    if told.returncode:
        lines = (told.stderr.strip() or told.stdout.strip()).splitlines()
        raise RuntimeError(f"{Path(words[0]).name} {words[1]}: {lines[-1] if lines else ''}")
    return told.stdout


def matrix(which: str, folder: Path) -> list[Made]:
    """Environments, each printed as it is done."""
    wheel, found = build(folder / "dist"), []
    tests = TESTS if which == "all" else FEW
    for name, python in environments(which):
        made = make(name, python, wheel, folder / f"{name}-{python}", tests)
        print(made.line, flush=True)
        found.append(made)
    return found


def main() -> None:
    """Carry out the command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name, told in (("ends", "the lowest and the newest too"), ("all", "every environment")):
        parser.add_argument(f"--{name}", dest="which", action="store_const", const=name, help=told)
    with tempfile.TemporaryDirectory() as folder:
        found = matrix(parser.parse_args().which or "alone", Path(folder))
    sys.exit(any(made.ok is False for made in found))


if __name__ == "__main__":
    main()
