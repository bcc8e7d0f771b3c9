"""Wrong options are refused before PyTorch is imported, and training starts without the rest."""

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "scipy", "sklearn", "pandas", "pyarrow", "lightning", "matplotlib", "optuna")
_RUN = f"""
import contextlib, io, json, sys
from ranksim.cli import main

results = []
for words in json.loads(sys.argv[1]):
    sys.argv = ["ranksim", *words]
    errors = io.StringIO()
    code = 0
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        try:
            main()
        except SystemExit as stop:
            code = stop.code
    loaded = [name for name in {HEAVY!r} if name in sys.modules]
    results.append([code, errors.getvalue(), loaded])
print(json.dumps(results))
"""
_COMPARE = ("compare", "DATA", "--target", "y")
_FIT = ("fit", "DATA", "--target", "y")
_TUNE = ("tune", "data", "DATA", "--target", "y", "--method", "vanilla")
# words of a command, exit code, part of the message
MISTAKES = [
    ((*_COMPARE, "--sedes", "3"), 2, "--sedes"),
    ((*_COMPARE, "--methods", "vanila"), 2, "'vanila'"),
    ((*_COMPARE, "--methods", "vanilla,vanilla+last-value"), 2, "last-value"),
    ((*_COMPARE, "--set", "learningrate=3"), 2, "'learningrate'"),
    ((*_COMPARE, "--set", "lr=fast"), 2, "lr must be"),
    ((*_COMPARE, "--set", "lr"), 2, "FIELD=VALUE"),
    ((*_COMPARE, "--set", "lr=1", "--set", "lr=2"), 2, "set it once"),
    ((*_COMPARE, "--methods", "linear", "--set", "lr=0.1"), 2, "networks"),
    ((*_COMPARE, "--seeds", "none"), 2, "--seeds"),
    ((*_COMPARE, "--budget", "10"), 2, "--budget"),
    ((*_COMPARE, "--budget", "1m", "--max-steps", "5"), 2, "--max-steps"),
    ((*_COMPARE, "--tune", "2", "--budget", "1m"), 2, "--budget"),
    ((*_COMPARE, "--group", "a", "--split", "b"), 2, "--split"),
    ((*_COMPARE, "--text", "a", "--image", "b"), 2, "--image"),
    ((*_COMPARE, "--encoder", "resnet18", "--window", "3"), 2, "resnet18"),
    ((*_COMPARE, "--name", "mine"), 2, "--predictions"),
    ((*_COMPARE, "--recipe", "absent.toml"), 2, "absent.toml"),
    (("compare", "absent.csv", "--target", "y"), 1, "absent.csv does not exist"),
    (("inspect", "absent.csv", "--target", "y"), 1, "absent.csv does not exist"),
    (("inspect", "DATA", "--target", "y", "--region", "low"), 2, "--region"),
    ((*_FIT, "--method", "vanila"), 2, "'vanila'"),
    ((*_FIT, "--set", "lr=fast"), 2, "lr must be"),
    ((*_FIT, "--refit", "--cross-validate", "3"), 2, "--cross-validate"),
    ((*_FIT, "--ensemble", "3", "--method", "linear"), 2, "--ensemble"),
    ((*_FIT, "--split", "a", "--cross-validate", "3"), 2, "--cross-validate"),
    ((*_TUNE, "--fields", "speed"), 2, "'speed'"),
    ((*_TUNE, "--set", "lr=fast"), 2, "lr must be"),
    (("bench", "sts-b-dir", "--methods", "vanila"), 2, "'vanila'"),
    (("bench", "sts-b-dir", "--set", "lr=fast"), 2, "lr must be"),
    (("predict", "model", "absent.csv"), 1, "absent.csv does not exist"),
    (("evaluate", "absent.csv"), 2, "--train"),
]


def run_python(code, *words, cwd):
    process = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert process.stdout, process.stderr
    return process.stdout


@pytest.fixture
def table(tmp_path):
    rows = "".join(f"{k % 7},{k % 5},{'xyz'[k % 3]},{k % 11}\n" for k in range(300))
    (tmp_path / "data.csv").write_text(f"a,b,c,y\n{rows}")
    return tmp_path / "data.csv"


@pytest.mark.slow
def test_mistakes_are_refused_before_heavy_imports(tmp_path):
    # the file is no table, so reading it would raise another error
    (tmp_path / "data.csv").write_bytes(b"\xff\xff")
    commands = [[word.replace("DATA", "data.csv") for word in words] for words, *_ in MISTAKES]
    results = json.loads(run_python(_RUN, json.dumps(commands), cwd=tmp_path).splitlines()[-1])
    for (words, code, message), (exit_code, errors, loaded) in zip(MISTAKES, results, strict=True):
        assert (exit_code, loaded) == (code, []), (words, errors)
        assert message in errors, words


@pytest.mark.slow
def test_training_of_default_rows_starts_without_unused_libraries(table):
    unwanted = [name for name in HEAVY if name != "torch"]
    unwanted += ["torchmetrics", "transformers", "datasets", "tensorboard", "PIL", "jinja2", "ray"]
    unwanted += ["torch._dynamo", "torch._inductor", "sympy"]
    code = f"""
import sys
from ranksim.cli import main
from ranksim.experiments import run

def report(*args, **kwargs):
    print("LOADED", *(name for name in {unwanted!r} if name in sys.modules))
    raise SystemExit

run.fit = report
main()
"""
    words = ["compare", str(table), "--target", "y", "--seeds", "3"]
    last = run_python(code, *words, cwd=table.parent).splitlines()[-1]
    assert last == "LOADED"
