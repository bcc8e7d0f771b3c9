"""Every command of the page of scaling out is one that the programs take."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ranksim.cli import main, train
from ranksim.data.spec import TableSpec
from ranksim.experiments import tune as tune_part
from ranksim.experiments import user_data
from ranksim.experiments.sweep_request import parse_seeds
from ranksim.training.task_loading import DataSource

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "scaling.md").read_text(encoding="utf-8")
SOURCE = DataSource(TableSpec(target="y"))
SCRIPTS = re.findall(r"^```bash\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
TYPED = [
    line.strip()
    for text in (re.sub(r"```bash.*?```", "", PAGE, flags=re.DOTALL), *SCRIPTS)
    for line in text.replace("\\\n", " ").splitlines()
    if re.match(r"    \S", line) or line.startswith(("srun", ".venv"))
]


def words(program):
    """What follows the program's name, in each line that has it."""
    for line in TYPED:
        line = line.replace("$SLURM_ARRAY_TASK_ID", "3").replace("$SLURM_CPUS_PER_TASK", "16")
        said = shlex.split(line)
        for k, word in enumerate(said):
            if word.removeprefix(".venv/bin/") == program and said[k - 1 : k] != ["--engine"]:
                yield said[k + 1 :]


def test_there_are_as_many_as_are_seen():
    assert len(list(words("ranksim"))) == 7
    assert len(list(words("ray"))) == 5
    assert len(SCRIPTS) == 3


@pytest.mark.parametrize("said", list(words("ranksim")), ids=" ".join)
def test_ranksim_takes_it(said, monkeypatch):
    requests = []
    monkeypatch.setattr(
        train, "run_sweep_request", lambda request, as_json: requests.append(request)
    )
    monkeypatch.setattr(user_data, "resolve_user_data", lambda location, options: SOURCE)
    monkeypatch.setattr(
        tune_part, "tune", lambda request, as_json: requests.append(request.bench) or {}
    )
    monkeypatch.setattr(sys, "argv", ["ranksim", *said])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code in (0, None)
    (request,) = requests
    assert request.engine == ("ray" if "ray" in said else "processes")
    assert request.trainer.num_nodes == (2 if "--num-nodes" in said else 1)
    assert parse_seeds(request.seeds)
    if "3," in said:
        assert parse_seeds(request.seeds) == [3]


@pytest.mark.parametrize("said", list(words("ray")), ids=" ".join)
def test_ray_takes_it(said):
    scripts = pytest.importorskip("ray.scripts.scripts")
    name, *given = said
    if name == "symmetric-run":
        place = given.index("--")
        until = given.index("--num-cpus=16")
        scripts.cli.commands[name].make_context(name, given[:until])
        name, given = "start", ["--address=first:6379", *given[until:place]]
    scripts.cli.commands[name].make_context(name, given)


@pytest.mark.parametrize("script", SCRIPTS, ids=range(3))
def test_bash_reads_it(script):
    told = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert (told.returncode, told.stderr) == (0, "")
    options = re.findall(r"^#SBATCH (.*)$", script, flags=re.MULTILINE)
    assert options
    assert all(re.fullmatch(r"--[a-z-]+(=\S+)?", option) for option in options)


def test_a_script_asks_for_what_its_command_uses():
    """Nodes and GPUs that Slurm gives are those that programs are told of."""
    one, _, ray = SCRIPTS
    for name, option in (("nodes", "--num-nodes "), ("gpus-per-node", "--devices ")):
        assert f"{option}{given(one, name)} " in one
    for name, option in (
        ("nodes", "--min-nodes "),
        ("cpus-per-task", "--num-cpus="),
        ("gpus-per-node", "--num-gpus="),
    ):
        assert f"{option}{given(ray, name)} " in ray
    assert f"--jobs {int(given(ray, 'nodes')) * int(given(ray, 'gpus-per-node'))} " in ray


def given(script, name):
    (value,) = re.findall(rf"^#SBATCH --{name}=(\d+)$", script, flags=re.MULTILINE)
    return value
