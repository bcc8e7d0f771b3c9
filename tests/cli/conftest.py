"""Commands in this process."""

from __future__ import annotations

import functools
import sys
from typing import NamedTuple

import pytest
import typer.main

from ranksim.cli import main

build_commands = functools.cache(typer.main.get_command)  # takes longer than most commands


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def run_command(monkeypatch, capsys):
    """Return a function that runs ``ranksim WORDS``: exit code, stdout, stderr."""

    def run(*words) -> Outcome:
        monkeypatch.setattr(typer.main, "get_command", build_commands)
        monkeypatch.setattr(sys, "argv", ["ranksim", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        output = capsys.readouterr()
        return Outcome(end.value.code or 0, output.out, output.err)

    return run


@pytest.fixture
def check_error(run_command):
    """Return a function that runs a command and checks its error: one sentence with key words."""

    def check(words, code: int, *key_words: str) -> None:
        outcome = run_command(*words)
        assert outcome.code == code, outcome.err
        assert outcome.err.startswith("Error: ")
        assert outcome.err.endswith(".\n")
        assert outcome.err.count("\n") == 1
        assert not outcome.out
        for word in key_words:
            assert word in outcome.err

    return check


@pytest.fixture
def requests(monkeypatch):
    """Sweep requests that commands make, none of which is carried out."""
    from ranksim.cli import train
    from ranksim.experiments import tune

    received = []
    monkeypatch.setattr(train, "run_sweep_request", lambda request, *_: received.append(request))

    def search(request, on_trial):
        received.append(request.bench)
        return tune.TuneResult({"lr": 0.1}, 0.5, "mae", "1 trial", request.bench.out / "best.toml")

    monkeypatch.setattr(tune, "tune", search)
    return received
