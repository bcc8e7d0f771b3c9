"""Nothing that is read is executed, and nothing that is written tells who and where one is."""

import getpass
import re
import socket
import sys
from pathlib import Path

import pytest
from tests.reliability.security_source import FOLDERS, faults, of_source, sources

from ranksim.cli.requests import portable_command
from ranksim.datasets import agedb_dir, glucose, sentiment_dir, sts_b_dir
from tests.helpers import user_data
from tests.helpers.language import save_bert
from tests.reliability.security_attacks import attacks, carried_out

ROOT = Path(__file__).parents[2]
PINNED = {"sts_b_dir": sts_b_dir.CHECKSUMS, "agedb_dir": agedb_dir.CHECKSUMS}
# addresses whose files have no checksum of their origin; docs/reliability.md says so
UNPINNED = {
    "https://data.vision.ee.ethz.ch/cvl/rrothe/imdb-wiki/static/imdb_crop.tar",
    "https://data.vision.ee.ethz.ch/cvl/rrothe/imdb-wiki/static/wiki_crop.tar",
    "https://nlp.stanford.edu/data/glove.840B.300d.zip",  # named in a message, never fetched
}


def test_no_source_loads_what_could_run():
    assert len(sources(ROOT)) > 200
    assert {path.relative_to(ROOT).parts[0] for path in sources(ROOT)} == set(FOLDERS)
    assert faults(ROOT) == []


@pytest.mark.parametrize(
    "line",
    [
        "pickle.load(file)", "from pickle import load", "import dill", "from joblib import load",
        "torch.load(path)", "torch.load(path, weights_only=False)", "np.load(path)",
        "np.load(path, allow_pickle=True)", "np.load(path, allow_pickle=asked)", "eval(text)",
        "exec(text)", "pd.read_pickle(path)", "yaml.load(text)", "os.system(text)",
        "subprocess.run(text, shell=True)", "archive.extractall(root)", "import shelve",
        "datasets.load_dataset(name, trust_remote_code=True)", "trainer.fit(x, ckpt_path=path)",
        "AutoConfig.from_pretrained(name)", "Module.load_from_checkpoint(path)",
        "transformers.AutoModel.from_pretrained(name, trust_remote_code=False)",
    ],
)  # fmt: skip
def test_each_rule_finds_what_breaks_it(line):
    assert list(of_source(line))


@pytest.mark.parametrize(
    "line",
    ["network.eval()", "torch.load(p, weights_only=True)", "import pickle", "trainer.fit(model)"],
)
def test_the_rules_leave_the_rest(line):
    assert not list(of_source(line))


@pytest.mark.parametrize("name", attacks())
def test_nothing_that_is_read_is_executed(name, tmp_path, monkeypatch):
    monkeypatch.setenv("RANKSIM_CACHE", str(tmp_path / "cache"))
    held, told = carried_out(name, tmp_path / "attack")
    assert held, told


def test_what_is_downloaded_is_pinned():
    """Each address of the source stands beside SHA-256s, or on the short list of those without."""
    for path in sorted((ROOT / "src").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for url in re.findall(r"https?://[^\s\"')]+", text):
            known = PINNED.get(path.stem)
            assert url in UNPINNED or known, f"{path.name}: {url}"
        if "fetch_unpinned(" in text:
            assert path.name in ("download.py", "fetch.py")
    pins = [each for parts in PINNED["sts_b_dir"].values() for each in parts.values()]
    pins += [*PINNED["agedb_dir"].values(), sentiment_dir.CHECKSUM, glucose.CHECKSUM]
    pins += [glucose.WHEEL_CHECKSUM]
    assert all(re.fullmatch("[0-9a-f]{64}", pin) for pin in pins)


def ranksim(monkeypatch, *words):
    from ranksim.cli import main

    monkeypatch.setattr(sys, "argv", ["ranksim", *map(str, words)])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0


def test_nothing_written_tells_who_and_where(tmp_path, monkeypatch):
    """Every file of compare, fit, predict and inspect, with folders of this machine all over."""
    here = tmp_path / "someones-own-place"
    said = user_data.write_sentences(here / "data")
    bert = save_bert(here / "pretrained/bert")
    recipe = here / "recipes/mine.toml"
    recipe.parent.mkdir()
    recipe.write_text("[methods.vanilla]\nlr = 0.01\n")
    monkeypatch.setenv("RANKSIM_CACHE", str(here / "cache"))
    own = (said, *user_data.cli_options("sentences"), "--encoder", bert, "--recipe", recipe)
    few = ("--max-steps", 3, "--accelerator", "cpu")
    out = tmp_path / "out"
    ranksim(monkeypatch, "inspect", said, "--target", "feeling", "--out", out / "seen.svg")
    ranksim(
        monkeypatch, "compare", *own, "--methods", "vanilla,rrt", "--seeds", 2,
        *few, "--out", out / "swept",
    )  # fmt: skip
    cut = ("--set", f"encoder={bert}", "--method", "vanilla")
    ranksim(monkeypatch, "fit", *own, *cut, *few, "--out", out / "model")
    ranksim(
        monkeypatch, "predict", out / "model", said, "--encoder", bert, "--out", out / "made.csv"
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
    named = {str(tmp_path), "someones-own-place", str(Path.home())}
    short = {getpass.getuser(), socket.gethostname()}
    named |= {name for name in short if len(name) > 4}  # root and vm are found anywhere
    for path in files:
        content = path.read_bytes()
        if path.suffix == ".lock":
            continue
        for name in named:
            assert name.encode() not in content, f"{path.relative_to(out)} tells {name}"


def test_recorded_command_names_no_folder(tmp_path):
    (tmp_path / "bert").mkdir()
    words = ["compare", "owner/name", "--encoder", f"{tmp_path}/bert", f"--out={tmp_path}/x"]
    words += ["--set", f"encoder={tmp_path}/bert"]
    assert portable_command(words) == (
        "ranksim compare owner/name --encoder bert --set encoder=bert"
    )
