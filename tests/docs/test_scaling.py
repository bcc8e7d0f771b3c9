"""Commands and Slurm scripts of docs/scaling.md are valid."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ranksim.cli import main, train
from ranksim.data.spec import TableSpec
from ranksim.experiments import sweep_request
from ranksim.experiments import tune as tune_part
from ranksim.experiments.sweep_settings import parse_seeds
from ranksim.experiments.tune import TuneResult
from ranksim.training.data_source import DataSource

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "scaling.md").read_text(encoding="utf-8")
TUNED = TuneResult({}, 0.0, "MSE", "0 trials", Path("recipe.toml"))
SOURCE = DataSource(TableSpec(target="y"))
SCRIPTS = re.findall(r"^```bash\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
COMMAND_LINES = [
    line.strip()
    for text in (re.sub(r"```bash.*?```", "", PAGE, flags=re.DOTALL), *SCRIPTS)
    for line in text.replace("\\\n", " ").splitlines()
    if re.match(r"    \S", line) or line.startswith(("srun", ".venv"))
]


def commands(program):
    """Yield the arguments of each call of a program."""
    for line in COMMAND_LINES:
        line = line.replace("$SLURM_ARRAY_TASK_ID", "3").replace("$SLURM_CPUS_PER_TASK", "16")
        words = shlex.split(line)
        for k, word in enumerate(words):
            if word.removeprefix(".venv/bin/") == program and words[k - 1 : k] != ["--engine"]:
                yield words[k + 1 :]


def test_page_has_expected_number_of_commands():
    assert len(list(commands("ranksim"))) == 7
    assert len(list(commands("ray"))) == 5
    assert len(SCRIPTS) == 3


@pytest.mark.parametrize("arguments", list(commands("ranksim")), ids=" ".join)
def test_ranksim_accepts_command(arguments, monkeypatch, tmp_path):
    requests = []
    monkeypatch.chdir(tmp_path)
    (tmp_path / "homes.csv").touch()  # is looked for, and not read
    monkeypatch.setattr(train, "run_sweep_request", lambda request, *_: requests.append(request))
    monkeypatch.setattr(sweep_request, "resolve_user_data", lambda location, options: SOURCE)
    monkeypatch.setattr(
        tune_part, "tune", lambda request, as_json: requests.append(request.bench) or TUNED
    )
    monkeypatch.setattr(sys, "argv", ["ranksim", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code in (0, None)
    (request,) = requests
    assert request.engine == ("ray" if "ray" in arguments else "processes")
    assert request.trainer.num_nodes == (2 if "--num-nodes" in arguments else 1)
    assert parse_seeds(request.seeds)
    if "3," in arguments:
        assert parse_seeds(request.seeds) == [3]


@pytest.mark.parametrize("arguments", list(commands("ray")), ids=" ".join)
def test_ray_accepts_command(arguments):
    scripts = pytest.importorskip("ray.scripts.scripts")
    name, *options = arguments
    if name == "symmetric-run":
        end = options.index("--")
        start = options.index("--num-cpus=16")
        scripts.cli.commands[name].make_context(name, options[:start])
        name, options = "start", ["--address=first:6379", *options[start:end]]
    scripts.cli.commands[name].make_context(name, options)


@pytest.mark.parametrize("script", SCRIPTS, ids=range(3))
def test_slurm_script_is_valid_bash(script):
    result = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    options = re.findall(r"^#SBATCH (.*)$", script, flags=re.MULTILINE)
    assert options
    assert all(re.fullmatch(r"--[a-z-]+(=\S+)?", option) for option in options)


def test_scripts_request_the_resources_of_their_command():
    one, _, ray = SCRIPTS
    for name, option in (("nodes", "--num-nodes "), ("gpus-per-node", "--devices ")):
        assert f"{option}{slurm_option(one, name)} " in one
    for name, option in (
        ("nodes", "--min-nodes "),
        ("cpus-per-task", "--num-cpus="),
        ("gpus-per-node", "--num-gpus="),
    ):
        assert f"{option}{slurm_option(ray, name)} " in ray
    assert (
        f"--jobs {int(slurm_option(ray, 'nodes')) * int(slurm_option(ray, 'gpus-per-node'))} "
        in ray
    )


def slurm_option(script, name):
    (value,) = re.findall(rf"^#SBATCH --{name}=(\d+)$", script, flags=re.MULTILINE)
    return value
