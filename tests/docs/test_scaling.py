"""Every command of the page of scaling out is one that the programs take."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ranksim.cli import main
from ranksim.experiments import sweep_request, user_data
from ranksim.experiments import tune as tune_part

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "scaling.md").read_text(encoding="utf-8")
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
    asked = []
    monkeypatch.setattr(
        sweep_request, "run_benchmark", lambda given, **_: asked.append(given) or {}
    )
    monkeypatch.setattr(user_data, "own_request", lambda data, given: given)
    monkeypatch.setattr(tune_part, "tune", lambda given, **_: asked.append(given.bench) or {})
    monkeypatch.setattr(sys, "argv", ["ranksim", *said])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code in (0, None)
    (given,) = asked
    assert given.engine == ("ray" if "ray" in said else "processes")
    assert given.num_nodes == (2 if "--num-nodes" in said else 1)
    assert sweep_request.parse_seeds(given.seeds)
    if "3," in said:
        assert sweep_request.parse_seeds(given.seeds) == [3]


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
