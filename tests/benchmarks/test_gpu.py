"""``make gpu`` in tiny sizes on a CPU: each part, failures, time limits, the file and the page."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import correctness, figures
from benchmarks.gpu.figures import Figure, ResultFile, Settings

ROOT = Path(__file__).resolve().parents[2]
SMOKE = Settings(smoke=True)
# packages of development and of the command line that a machine with a GPU may lack
BLOCKED = (
    "rich", "typer", "optuna", "pandas", "pytest", "hypothesis", "nltk", "scipy", "sklearn", "PIL",
    "pyarrow", "platformdirs", "tensorboard", "glove", "ray", "datasets",
)  # fmt: skip


@pytest.fixture
def file(tmp_path):
    result = ResultFile(tmp_path / "cpu.json")
    result.start(SMOKE, "abc")
    return result


def run_part(file, name):
    gpu.run_part(name, file.path, SMOKE)
    return file.read()["parts"][name]


def values_of(part, column):
    return {
        figure["row"]: figure["value"] for figure in part["figures"] if figure["column"] == column
    }


@pytest.mark.parametrize(
    ("limits", "value", "reached"),
    [
        ({"at_least": 2}, 2.0, True),
        ({"at_least": 2}, 1.9, False),
        ({"at_most": 2}, 2.0, True),
        ({"at_most": 2}, 2.1, False),
        ({"at_most": 0}, 1, False),
        ({}, 1, None),
    ],
)
def test_figure_says_whether_its_target_is_reached(limits, value, reached):
    content = Figure("row", "column", value, "ms", **limits).to_dict()
    assert content.get("reached") is reached
    text = figures.format_figure(content)
    assert ("not reached" in text) is (reached is False)
    assert ("reached" in text) is (reached is not None)


def test_file_is_complete_after_every_figure(file):
    expected = []
    for k in range(3):
        file.add("loss", Figure(f"M = {k}", "time", float(k)))
        expected.append({"row": f"M = {k}", "column": "time", "value": float(k), "unit": ""})
        assert json.loads(file.path.read_text())["parts"] == {"loss": {"figures": expected}}
    content = file.read()
    assert {"card", "driver", "torch", "date"} <= set(content)
    assert content["commit"] == "abc"


def test_graph_is_exact_and_draws_anew(file):
    part = run_part(file, "graph")
    assert part["status"] == "complete"
    assert set(values_of(part, "difference from a plain pass").values()) == {0}
    assert min(values_of(part, "different values of 8 replays").values()) > 1
    assert min(values_of(part, "captured").values()) > 0


def test_loss_ratios_are_those_of_the_times(file):
    part = run_part(file, "loss")
    times, floors = values_of(part, "ranksim"), values_of(part, "products and a sort")
    loops = values_of(part, "loop")
    assert len(times) == 2
    for row, ratio in values_of(part, "× products and a sort").items():
        assert ratio == pytest.approx(times[row] / floors[row])
    for row, ratio in values_of(part, "× as fast as the loop").items():
        assert ratio == pytest.approx(loops[row] / times[row])


def test_loop_is_measured_only_where_it_fits(file, monkeypatch):
    monkeypatch.setattr("benchmarks.gpu.loss.LOOP_SECONDS", 0.0)
    part = run_part(file, "loss")
    assert list(values_of(part, "loop")) == ["M = 8, D = 16"]
    assert len(values_of(part, "ranksim")) == 2


def test_wrong_results_are_failures(file, monkeypatch):
    compute_term = correctness.compute_term

    def double_gradient(path, *arguments, **settings):
        value, gradient = compute_term(path, *arguments, **settings)
        return value, gradient * (1.001 if path == "blocks" else 1)

    monkeypatch.setattr(correctness, "compute_term", double_gradient)
    monkeypatch.setattr(correctness, "list_paths", lambda _: ["reference", "blocks"])
    names = "each implementation", "ranks"
    monkeypatch.setattr(correctness, "CHECKS", {name: correctness.CHECKS[name] for name in names})
    part = run_part(file, "correctness")
    wrong = sum(case.keywords["path"] == "blocks" for case in correctness.term_cases(SMOKE))
    assert values_of(part, "failures") == {"each implementation": wrong, "ranks": 0}
    assert 0 < wrong < values_of(part, "cases")["each implementation"]
    assert part["status"] == "failed"
    assert "the first: each implementation, path=blocks" in part["reason"]


def test_errors_of_cases_and_parts_are_recorded(file, monkeypatch):
    def fail():
        raise RuntimeError("no kernel image")

    monkeypatch.setattr(correctness, "CHECKS", {"one": lambda _: [fail, lambda: float("nan")]})
    part = run_part(file, "correctness")
    assert values_of(part, "failures") == {"one": 2}
    assert part["reason"].startswith(
        "AssertionError: 2 checks failed, the first: one, one case: no"
    )


def test_part_that_takes_too_long_or_dies_does_not_stop_the_others(file, monkeypatch):
    gpu.supervise_part("loss", file.path, ["--smoke"], 0.05)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    gpu.supervise_part("graph", file.path, ["--smoke"], 60)
    parts = file.read()["parts"]
    assert (parts["loss"]["status"], parts["graph"]["status"]) == ("stopped", "failed")
    assert parts["loss"]["reason"] == "it took more than 0 s"
    assert parts["graph"]["reason"] == "the process ended with 1"


@pytest.mark.parametrize("module", ["PIL", "lightning"])
def test_part_without_its_packages_is_skipped(file, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    gpu.supervise_part("training", file.path, ["--smoke"], 60)
    part = file.read()["parts"]["training"]
    assert part["status"] == "skipped"
    assert part["reason"] == f"{'Pillow' if module == 'PIL' else module} not installed"


def test_limits_of_all_parts_are_eight_minutes():
    assert sum(part.seconds for name, part in gpu.PARTS.items() if name != "tests") <= 470
    assert gpu.TOTAL_SECONDS <= 470  # and the start and the end of the run


def test_without_a_gpu_the_command_says_what_to_do(capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit):
        gpu.main([])
    assert "no CUDA device was found: add --smoke" in capsys.readouterr().err


def test_page_quotes_the_committed_results(tmp_path):
    page = ROOT / "docs" / "speed.md"
    text = page.read_text(encoding="utf-8")
    copy = tmp_path / "speed.md"
    copy.write_text(text, encoding="utf-8")
    gpu.main(["--page", str(copy)])
    assert copy.read_text(encoding="utf-8") == text
    results = sorted((ROOT / "results" / "gpu").glob("*.json"))
    assert (figures.NO_FILE in text) is (not results)
    for path in results:
        content = json.loads(path.read_text(encoding="utf-8"))
        assert (path.name, content["smoke"]) == (figures.file_name(content["card"]), False)


def test_page_gets_the_tables_of_a_card(tmp_path, file):
    page = tmp_path / "page.md"
    page.write_text("above\n{}\nold\n{}\nbelow\n".format(*figures.MARKS), encoding="utf-8")
    file.add("graph", Figure("M = 64", "captured", 41.26, "µs", at_most=60))
    file.update("graph", status="complete", seconds=8.1)
    gpu.main(["--page", str(page), "--out", str(tmp_path)])
    lines = page.read_text(encoding="utf-8").splitlines()
    assert (lines[0], lines[-1], "old" in lines) == ("above", "below", False)
    assert "*graph* (complete, 8 s)" in lines
    assert "| M = 64 | 41.3 µs (≤ 60: reached) |" in lines


@pytest.mark.slow
def test_smoke_runs_the_parts_in_processes(tmp_path, capfd):
    names = ("loss", "training", "tests")  # the next test runs the others
    assert gpu.main(["--smoke", "--out", str(tmp_path), "--parts", *names]) == 0
    content = ResultFile(tmp_path / "cpu.json").read()
    assert {name: part["status"] for name, part in content["parts"].items()} == dict.fromkeys(
        names, "complete"
    )
    errors = values_of(content["parts"]["training"], "test MAE, all")
    assert set(errors) == {"vanilla", "vanilla+ranksim"}
    assert "*training* (complete" in capfd.readouterr().out


@pytest.mark.slow
def test_runs_without_packages_of_development(tmp_path):
    """As on a machine that has torch, numpy, lightning and transformers alone."""
    code = f"""
import sys
for name in {BLOCKED}:
    sys.modules[name] = None
from benchmarks.gpu import __main__ as gpu, network
from benchmarks.gpu.figures import ResultFile, Settings
from pathlib import Path
file = ResultFile(Path({str(tmp_path / "cpu.json")!r}))
file.start(Settings(smoke=True), None)
for name in ("correctness", "graph", "compile", "resnet50"):
    gpu.run_part(name, file.path, Settings(smoke=True))
for name in ("training", "tests"):
    gpu.supervise_part(name, file.path, [], 1)
parts = file.read()["parts"]
checks = parts["correctness"]["figures"]
assert {{c["value"] for c in checks if c["column"] == "failures"}} == {{0}}
assert min(c["value"] for c in checks if c["column"] == "cases") > 1
print(*(part["status"] for part in parts.values()))
"""
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-c", code]
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert output.stdout.split() == ["complete"] * 4 + ["skipped"] * 2
