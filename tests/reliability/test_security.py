"""No file executes code when it is read, and no output names users or folders of the machine."""

import ast
import getpass
import re
import socket
import sys
from pathlib import Path

import pytest

from ranksim.cli.options import portable_command
from ranksim.datasets import agedb_dir, glucose, sentiment_dir, sts_b_dir
from tests.helpers import user_data
from tests.helpers.language import save_bert
from tests.reliability.security_attacks import attacks, run_attack

ROOT = Path(__file__).parents[2]
PINNED = {"sts_b_dir": sts_b_dir.CHECKSUMS, "agedb_dir": agedb_dir.CHECKSUMS}
# URLs without a published checksum; docs/reliability.md mentions them
UNPINNED = {
    "https://data.vision.ee.ethz.ch/cvl/rrothe/imdb-wiki/static/imdb_crop.tar",
    "https://data.vision.ee.ethz.ch/cvl/rrothe/imdb-wiki/static/wiki_crop.tar",
    "http://www.w3.org/2000/svg}",  # namespaces of XML
    "http://www.w3.org/1999/xlink}",
    "https://nlp.stanford.edu/data/glove.840B.300d.zip",  # named in a message, never fetched
}


# keywords that a call must pass as constants
REQUIRED = {
    "torch.load": ("weights_only", True),
    "AutoModel.from_pretrained": ("use_safetensors", True),
    "from_pretrained": ("trust_remote_code", False),
    "load_from_checkpoint": ("weights_only", True),
}


def find_unsafe_calls(text):
    """Yield lines of calls that could run code from a file; ruff's rules S cover the rest."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        for suffix, (keyword, value) in REQUIRED.items():
            if name == suffix or name.endswith(f".{suffix}"):
                values = [each.value for each in node.keywords if each.arg == keyword]
                if not (values and getattr(values[0], "value", None) is value):
                    yield node.lineno


def test_source_loads_no_code():
    for path in (ROOT / "src").rglob("*.py"):
        assert list(find_unsafe_calls(path.read_text(encoding="utf-8"))) == [], path


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "AutoConfig.from_pretrained(name)",
        "Module.load_from_checkpoint(path)",
        "transformers.AutoModel.from_pretrained(name, trust_remote_code=False)",
    ],
)
def test_unsafe_calls_are_found(line):
    assert list(find_unsafe_calls(line)) == [1]
    assert list(find_unsafe_calls("torch.load(path, weights_only=True)")) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", attacks())
def test_readers_execute_nothing(name, tmp_path, monkeypatch):
    monkeypatch.setenv("RANKSIM_CACHE", str(tmp_path / "cache"))
    passed, message = run_attack(name, tmp_path / "attack")
    assert passed, message


def test_downloads_are_pinned():
    """Each URL of the source has SHA-256 checksums or is on the short list of exceptions."""
    for path in sorted((ROOT / "src").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for url in re.findall(r"https?://[^\s\"')]+", text):
            known = PINNED.get(path.stem)
            assert url in UNPINNED or known, f"{path.name}: {url}"
    pins = [pin for parts in PINNED["sts_b_dir"].values() for pin in parts.values()]
    pins += [*PINNED["agedb_dir"].values(), sentiment_dir.CHECKSUM, glucose.CHECKSUM]
    pins += [glucose.WHEEL_CHECKSUM]
    assert all(re.fullmatch("[0-9a-f]{64}", pin) for pin in pins)


def ranksim(monkeypatch, *words):
    from ranksim.cli import main

    monkeypatch.setattr(sys, "argv", ["ranksim", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 0


@pytest.mark.slow
def test_outputs_name_no_user_or_folder(tmp_path, monkeypatch):
    """Check all files of compare, fit, predict and inspect with absolute paths everywhere."""
    here = tmp_path / "someones-folder"
    data = user_data.write_sentences(here / "data")
    bert = save_bert(here / "pretrained/bert")
    recipe = here / "recipes/mine.toml"
    recipe.parent.mkdir()
    recipe.write_text("[methods.vanilla]\nlr = 0.01\n")
    monkeypatch.setenv("RANKSIM_CACHE", str(here / "cache"))
    words = (data, *user_data.cli_options("sentences"), "--encoder", bert, "--recipe", recipe)
    few = ("--max-steps", 3, "--accelerator", "cpu")
    out = tmp_path / "out"
    ranksim(monkeypatch, "inspect", data, "--target", "feeling", "--out", out / "labels.svg")
    ranksim(
        monkeypatch, "compare", *words, "--methods", "vanilla,rrt", "--seeds", 2,
        *few, "--out", out / "sweep",
    )  # fmt: skip
    cut = ("--set", f"encoder={bert}", "--method", "vanilla")
    ranksim(monkeypatch, "fit", *words, *cut, *few, "--out", out / "model")
    ranksim(
        monkeypatch,
        "predict",
        out / "model",
        data,
        "--encoder",
        bert,
        "--out",
        out / "predictions.csv",
    )
    pictures = user_data.write_pictures(here)
    ranksim(
        monkeypatch, "compare", pictures / "labels.csv", "--image", "file", "--image-root",
        pictures, "--target", "years", "--encoder", "resnet18", "--image-size", 16, "--methods",
        "vanilla", "--seeds", 1, *few, "--out", out / "images",
    )  # fmt: skip
    files = [path for path in out.rglob("*") if path.is_file()]
    assert {"results.json", "report.html", "record.json", "config.json", "README.md"} <= {
        path.name for path in files
    }
    named = {str(tmp_path), "someones-folder", str(Path.home())}
    short = {getpass.getuser(), socket.gethostname()}
    named |= {name for name in short if len(name) > 4}  # short names occur by chance
    for path in files:
        content = path.read_bytes()
        if path.suffix == ".lock":
            continue
        for name in named:
            assert name.encode() not in content, f"{path.relative_to(out)} names {name}"


def test_recorded_command_names_no_folder(tmp_path):
    (tmp_path / "bert").mkdir()
    words = ["compare", "owner/name", "--encoder", f"{tmp_path}/bert", f"--out={tmp_path}/x"]
    words += ["--set", f"encoder={tmp_path}/bert"]
    assert portable_command(words) == (
        "ranksim compare owner/name --encoder bert --set encoder=bert"
    )
