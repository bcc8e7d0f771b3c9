"""What the profile prints adds up, and the page holds what it prints."""

import re
from pathlib import Path

import pytest
import torch

from benchmarks import step_profile

PAGE = Path(__file__).resolve().parents[2] / "docs" / "profile.md"
CELL = re.compile(r"([\d.]+) \(([\d.]+) %\)|–")


@pytest.fixture(autouse=True)
def as_before():
    yield
    torch.use_deterministic_algorithms(False)


def tables(lines):
    """Of each table its head, and the cells of its rows by their names."""
    found = []
    for line in lines:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith(("| a step", "| an epoch")):
            found.append((cells, {}))
        elif line.startswith("|") and not line.startswith("| ---"):
            found[-1][1][cells[0]] = cells[1:]
    return found


def check(lines, *sections):
    """Each section is a step and an epoch of its methods, whose parts sum to the whole."""
    found = tables(lines)
    assert len(found) == 2 * len(sections)
    for (head, rows), names, methods in zip(
        found,
        [step_profile.STEP, step_profile.EPOCH] * len(sections),
        [methods for methods in sections for _ in range(2)],
        strict=True,
    ):
        assert head[1:] == list(methods)
        *parts, whole = rows
        assert whole == "**whole**"
        assert parts == [name for name in names.values() if name in parts]  # in their order
        for k in range(len(methods)):
            cells = [CELL.fullmatch(rows[part][k]) for part in parts]
            told = float(rows[whole][k].strip("*"))
            assert sum(float(c[1] or 0) for c in cells) == pytest.approx(told, abs=0.07)
            assert sum(float(c[2] or 0) for c in cells) == pytest.approx(100, abs=0.7)
    assert sum(line.startswith("Operators") for line in lines) == len(sections)


def test_the_page_holds_what_the_script_prints():
    text = PAGE.read_text(encoding="utf-8")
    assert [text.count(mark) for mark in step_profile.MARKS] == [1, 1]
    block = text.split(step_profile.MARKS[0])[1].split(step_profile.MARKS[1])[0]
    check(block.splitlines(), step_profile.TEXTS, step_profile.IMAGES)


def test_parts_of_both_steps(small_sts, tmp_path, monkeypatch):
    monkeypatch.setattr(step_profile, "PROFILED", 1)
    monkeypatch.setattr(step_profile, "IMAGES", ("vanilla+fds",))
    page = tmp_path / "page.md"
    page.write_text("above\n{}\nold\n{}\nbelow\n".format(*step_profile.MARKS), encoding="utf-8")
    few = ["--threads", "1", "--scale", "0.01", "--repeats", "1", "--write", str(page)]
    step_profile.main(["--data-dir", str(small_sts), *few])
    first, *lines, last = page.read_text(encoding="utf-8").splitlines()
    assert (first, last, "old" in lines) == ("above", "below", False)
    check(lines, step_profile.TEXTS, ("vanilla+fds",))
    texts, epoch, images, last_epoch = (rows for _, rows in tables(lines))
    assert texts["RankSim, with its gradient"][0] == "–"
    assert "FDS, features of all samples and update" not in epoch
    assert last_epoch["FDS, features of all samples and update"] != ["–"]
    assert {"augmentation", "FDS, calibration"} <= set(images)
