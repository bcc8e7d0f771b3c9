"""The README's examples run and print what it shows; its figures are measured; links work."""

import re
from pathlib import Path

import numpy as np
import pytest

from ranksim._utils.formatting import format_percent, format_signed
from ranksim.evaluation.record import read_results
from tests.helpers.examples import decimals

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_first_example_prints_what_is_shown(capsys):
    exec(EXAMPLES[0], {})
    output = capsys.readouterr().out
    (expected,) = re.findall(r"```text\n(.*?)```", README, flags=re.DOTALL)
    assert [line.split()[0] for line in output.splitlines()] == ["vanilla", "sqinv+ranksim"]
    # digits may differ with the version of PyTorch and the processor
    errors, shown_errors = (np.array([*decimals(text)]) for text in (output, expected))
    assert errors == pytest.approx(shown_errors, rel=0.1)
    (common, rare), (weighted_common, weighted_rare) = errors.reshape(2, 2)
    assert weighted_rare < rare
    assert weighted_common > common


def test_other_examples_run():
    scope = {}
    assert len(EXAMPLES) == 2
    exec(EXAMPLES[1], scope)
    assert scope["encoder"][0].weight.grad.abs().sum() > 0


def test_figures_of_the_benchmark_are_those_of_the_results():
    rows = {
        row["method"]: row for row in read_results(ROOT / "results/sts-b-dir/borealis")["summary"]
    }
    effects = rows["vanilla+ranksim"]["vs_without_ranksim"]["test"]
    for region in ("all", "few"):
        effect = effects[region]["mse"]
        low, high = (format_signed(end, 3) for end in effect["ci_seeds"])
        text = f"by {format_percent(-effect['relative'])[1:]}".replace("\u202f", " ")
        assert text in " ".join(README.split())
        assert f"{low} to {high}" in README


def test_links_of_all_pages_work():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "results/README.md"]
    for page in pages:
        for link in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert link.startswith("http") or (page.parent / link).exists(), (page, link)
