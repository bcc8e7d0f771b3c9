"""Messages name the command that installs an extra from where the package came from."""

import json
import tomllib
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

import ranksim
from ranksim.exceptions import MissingDependencyError, install_command, require_optional
from tests.helpers.errors import raises_with

ROOT = Path(ranksim.__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def record(monkeypatch, content):
    """Let pip's record of the installation be this one."""
    text = None if content is None else json.dumps(content)
    monkeypatch.setattr(
        metadata, "distribution", lambda name: SimpleNamespace(read_text=lambda file: text)
    )


def test_commands_by_origin(monkeypatch, tmp_path):
    folder = tmp_path / "my source"
    folder.mkdir()
    (folder / "pyproject.toml").write_text("")
    url, vcs = "https://example.org/r.git", {"vcs": "git", "commit_id": "abc"}
    uri = folder.as_uri()
    cases = [
        (None, "pip install 'ranksim[hub]'"),
        ({"url": uri, "dir_info": {"editable": True}}, f"pip install -e '{folder}[hub]'"),
        ({"url": uri, "dir_info": {}}, f"pip install '{folder}[hub]'"),
        ({"url": (tmp_path / "gone").as_uri(), "dir_info": {}}, "pip install 'ranksim[hub]'"),
        ({"url": "file:///r.whl", "archive_info": {}}, "pip install 'ranksim[hub] @ file:///r.whl'"),
        ({"url": url, "vcs_info": vcs}, f"pip install 'ranksim[hub] @ git+{url}@abc'"),
        (
            {"url": url, "vcs_info": vcs | {"requested_revision": "v2"}},
            f"pip install 'ranksim[hub] @ git+{url}@v2'",
        ),
    ]  # fmt: skip
    for content, command in cases:
        record(monkeypatch, content)
        assert install_command("hub") == command
    with raises_with(MissingDependencyError, "no_such_module is not installed", cases[-1][1]):
        require_optional("no_such_module", "hub")


def test_command_without_an_installation(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    assert install_command("tune") == f"pip install -e '{ROOT}[tune]'"


@pytest.mark.parametrize("extra", sorted({*PROJECT["optional-dependencies"]} - {"cpu", "docs"}))
def test_extras_install_a_command_that_starts(extra):
    """The command is installed with each extra; it needs the extra cpu."""
    requirements = PROJECT["optional-dependencies"][extra]
    assert any(each.startswith(("ranksim[train", "ranksim[cpu")) for each in requirements)
