"""Checks in fresh environments: supported versions, the built wheel, security, API changes.

``nox -l`` lists the sessions; ``nox -s wheel`` runs one. uv creates the environments.
"""

import json
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import nox

ROOT = Path(__file__).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = ("cpu", "train", "images", "sentences", "hub", "tune")  # Ray only supports some Pythons
EXTRAS_OF = PROJECT["optional-dependencies"]
FAST = "not slow and not reliability"
COVERAGE = 80  # per cent of the lines of src that the fast tests run
PACKAGE_DATA = (
    "py.typed",
    "training/recipes.toml",
    "datasets/published/sts-b-dir.csv",
    "evaluation/report/page/page.html.j2",
    "inference/card.md.j2",
    "functional/_kernels/cpu/term.c",
    "weights/digests.json",
)
# tests that need no data and no optional tool, for sessions with other versions
PORTABLE_TESTS = (
    "tests/functional/test_ranksim.py",
    "tests/losses/test_regression.py",
    "tests/imbalance/test_weights.py",
    "tests/metrics",
)
CORE_ONLY = """
import torch, ranksim
from ranksim.exceptions import MissingDependencyError
features = torch.randn(8, 4, requires_grad=True)
ranksim.RankSimLoss(gamma=2.0)(features, torch.arange(8.0)).backward()
assert features.grad.isfinite().all()
try:
    ranksim.load_model("model")
except MissingDependencyError as error:
    assert "run pip install 'ranksim[train] @ " in str(error), error  # from the wheel
else:
    raise SystemExit("load_model works without the extra train")
"""

nox.options.default_venv_backend = "uv"
nox.options.sessions = ["wheel"]


def build_wheel(session: nox.Session) -> Path:
    """Build the wheel from the source distribution and check its content."""
    folder = Path(session.create_tmp())
    command = (sys.executable, "-m", "uv", "build", "--quiet", "--out-dir", str(folder), str(ROOT))
    session.run(*command, external=True)
    (wheel,) = folder.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    if missing := [name for name in PACKAGE_DATA if f"ranksim/{name}" not in names]:
        session.error(f"the wheel lacks {', '.join(missing)}")
    if not any(name.endswith(".so") for name in names):
        session.error("the wheel lacks the compiled CPU path of RankSim")
    if extra := {n.split("/")[0] for n in names if "dist-info" not in n} - {"ranksim"}:
        session.error(f"the wheel holds {', '.join(sorted(extra))}")
    return wheel


def direct_requirements() -> list[str]:
    """Return the requirements of the package and of its extras, without references to itself."""
    named = [*PROJECT["dependencies"], *(each for extra in EXTRAS for each in EXTRAS_OF[extra])]
    return [each for each in named if not each.startswith("ranksim[")]


def compare_table(session: nox.Session) -> None:
    """Compare two methods on a small table, fit a model and predict, with the installed package."""
    folder = Path(session.create_tmp())
    rows = [f"{k % 17},{(k % 17) / 5 + k % 3}" for k in range(120)]
    (folder / "homes.csv").write_text("\n".join(["size,price", *rows]), encoding="utf-8")
    common = ("--target", "price", "--set", "hidden=8", "--max-steps", "6", "--accelerator", "cpu")
    methods = ("--methods", "vanilla,inv+fds+ranksim", "--seeds", "1", "--jobs", "1")
    with session.chdir(folder):
        session.run("ranksim", "compare", "homes.csv", *common, *methods, "--out", "sweep")
        session.run("ranksim", "fit", "homes.csv", *common, "--out", "model")
        session.run("ranksim", "predict", "model", "homes.csv", "--out", "predictions.csv")
    if len((folder / "predictions.csv").read_text(encoding="utf-8").splitlines()) != 121:
        session.error("predictions.csv does not hold one row per row of homes.csv")


@nox.session(venv_backend="venv")  # pip, as users install it
def wheel(session: nox.Session) -> None:
    """Install the wheel with torch and numpy alone; missing extras raise one clear sentence."""
    path = build_wheel(session)
    session.install("--constraint", "constraints.txt", str(path))
    session.run("python", "-W", "ignore", "-c", CORE_ONLY)
    demo = Path(session.bin) / "ranksim"
    result = subprocess.run([demo, "demo"], capture_output=True, text=True, check=False)
    if result.returncode != 1 or len(result.stderr.splitlines()) != 1:
        session.error(f"ranksim demo without the extra train: {result.stderr[-300:]}")


@nox.session(python=["3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """Run the fast tests with the newest versions of all dependencies."""
    session.install("--resolution", "highest", "--editable", ".[dev]")
    session.run("pytest", "-q", "-m", FAST, *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; a broken link or anchor is an error."""
    session.install("--constraint", "constraints.txt", *EXTRAS_OF["docs"])
    session.run("mkdocs", "build", "--strict", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Measure which lines of src the fast tests run, subprocesses left out."""
    session.install("--constraint", "constraints.txt", "--editable", ".[dev]", "pytest-cov")
    measure = ("--cov=ranksim", "--cov-report=term", f"--cov-fail-under={COVERAGE}")
    session.run("pytest", "-q", "-n", "auto", "-m", FAST, *measure, *session.posargs)


@nox.session(python="3.11")
def lowest(session: nox.Session) -> None:
    """Run portable tests and a comparison with the lowest supported versions."""
    requirements = [str(build_wheel(session)), *direct_requirements(), "pytest>=8.3"]
    session.install("--resolution", "lowest-direct", *requirements)
    options = ("-q", "-p", "no:cacheprovider", "-o", "filterwarnings=default")
    session.run("pytest", *options, *PORTABLE_TESTS)
    compare_table(session)


@nox.session(venv_backend="none")
def audit(session: nox.Session) -> None:
    """Look for known vulnerabilities and for secrets in tracked files."""
    command = [sys.executable, "-m", "pip_audit", "--progress-spinner", "off", "--format", "json"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        packages = json.loads(result.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        session.warn("the advisory service cannot be reached: no package was audited")
    else:
        vulnerable = [each["name"] for each in packages if each.get("vulns")]
        if vulnerable:
            session.error(f"known vulnerabilities in {', '.join(vulnerable)}")
        skipped = sum("skip_reason" in each for each in packages)
        session.log(f"{len(packages) - skipped} packages audited, {skipped} unknown to the service")
    files = session.run("git", "ls-files", silent=True, external=True, log=False) or ""
    text = [f for f in files.splitlines() if not f.startswith(("results/", "docs/", ".secrets"))]
    hook = (sys.executable, "-m", "detect_secrets.pre_commit_hook")
    session.run(*hook, "--baseline", ".secrets.baseline", *text, log=False, external=True)


@nox.session(venv_backend="none")
def api(session: nox.Session) -> None:
    """List changes of the public API since the latest release tag."""
    tags = session.run("git", "tag", "--list", "v*", silent=True, external=True) or ""
    if not tags.strip():
        session.skip("there is no release to compare with")
    session.run("griffe", "check", "ranksim", "--search", "src")
