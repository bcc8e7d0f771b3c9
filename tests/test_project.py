"""Files that belong to the project rather than to the package agree with each other."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import ranksim

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
SESSIONS = re.findall(
    r"@nox\.session.*\ndef (\w+)", (ROOT / "noxfile.py").read_text(encoding="utf-8")
)
TARGETS = re.findall(
    r"^([\w./-]+):(?!=)", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE
)


def steps_of(path):
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def closure(requirements):
    """Return the names of all packages that requirements install here, by their metadata."""
    names, todo = set(), [Requirement(each) for each in requirements]
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        extras = requirement.extras or {""}
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        new = {(name, extra) for extra in extras} - names
        names |= new
        for each in metadata.requires(requirement.name) or () if new else ():
            inner = Requirement(each)
            marker = inner.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras):
                inner.marker = None
                todo.append(inner)
    return {name for name, _ in names}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_commands_of_workflows_exist(path):
    commands = "\n".join(step.get("run", "") for step in steps_of(path))
    commands = commands.replace("${{ matrix.python }}", "3.13")
    for line in re.findall(r"nox -s (.+)", commands):
        sessions = {name.partition("-")[0] for name in line.split()}
        assert sessions <= set(SESSIONS), line
    for line in re.findall(r"make (.+)", commands):
        assert set(line.split()) <= set(TARGETS), line
    for script in re.findall(r"^(\.ci/\S+)", commands, flags=re.MULTILINE):
        assert (ROOT / script).is_file()
    assert all(step.get("run") or step.get("uses") for step in steps_of(path))


def test_workflows_run_every_check():
    commands = "\n".join(step.get("run", "") for path in WORKFLOWS for step in steps_of(path))
    for command in ("nox -s tests", "nox -s lowest", "nox -s docs", "nox -s coverage", ".ci/run"):
        assert command in commands
    text = (ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8")
    matrix = yaml.safe_load(text)["jobs"]["fast"]["strategy"]["matrix"]
    assert [system.partition("-")[0] for system in matrix["os"]] == ["ubuntu", "macos", "windows"]
    classifiers = "\n".join(PROJECT["classifiers"])
    assert matrix["python"] == re.findall(r"Python :: (3\.\d+)", classifiers)


def test_release_needs_no_token():
    job = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8"))
    publish = job["jobs"]["publish"]
    assert publish["permissions"] == {"id-token": "write"}
    assert set(publish["needs"]) == {"wheels", "source"}
    assert "secrets." not in str(job)


def test_versions_agree():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[([^]]+)\](?: - (.+))?$", changelog, flags=re.MULTILINE)
    assert versions[0] == ("Unreleased", "")
    version, date = versions[1]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == version == ranksim.__version__
    assert citation["date-released"] == date
    assert citation["license"] == PROJECT["license"]


def test_addresses_agree():
    address, site = PROJECT["urls"]["Homepage"], PROJECT["urls"]["Documentation"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["repository-code"], citation["url"]) == (address, site)
    for name in ("SECURITY.md", "CODE_OF_CONDUCT.md", ".github/ISSUE_TEMPLATE/config.yml"):
        assert f"{address}/security/advisories/new" in (ROOT / name).read_text(encoding="utf-8")
    for name in ("bug", "feature"):
        form = yaml.safe_load((ROOT / f".github/ISSUE_TEMPLATE/{name}.yml").read_text("utf-8"))
        assert {"name", "description", "body"} <= form.keys()


def test_demo_installs_few_packages():
    extras = PROJECT["optional-dependencies"]
    packages = closure([*PROJECT["dependencies"], *extras["cpu"]])
    cuda = {name for name in packages if name.startswith(("nvidia-", "cuda-")) or name == "triton"}
    assert 30 < len(packages - cuda) <= 60
    assert not packages & {"ray", "playwright", "mypy", "lightning", "tensorboard", "transformers"}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "--editable '.[cpu]'" in makefile.partition(".venv/demo-ready:")[2]
