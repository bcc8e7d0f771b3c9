"""The parts of the profile sum to its totals, and docs/profile.md holds its output."""

import re
from pathlib import Path

import pytest
import torch

from benchmarks import step_profile

PAGE = Path(__file__).resolve().parents[2] / "docs" / "profile.md"
CELL = re.compile(r"([\d.]+) \(([\d.]+) %\)|–")


@pytest.fixture(autouse=True)
def restore_determinism():
    yield
    torch.use_deterministic_algorithms(False)


def read_tables(lines):
    """Return head and rows of each table, the cells of a row by its name."""
    tables = []
    for line in lines:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith(("| a step", "| an epoch")):
            tables.append((cells, {}))
        elif line.startswith("|") and not line.startswith("| ---"):
            tables[-1][1][cells[0]] = cells[1:]
    return tables


def assert_parts_sum_to_totals(lines, *sections):
    """Each section has a table of a step and one of an epoch, with a column per method."""
    tables = read_tables(lines)
    assert len(tables) == 2 * len(sections)
    methods_of_tables = [methods for methods in sections for _ in range(2)]
    names_of_tables = [step_profile.STEP, step_profile.EPOCH] * len(sections)
    for (head, rows), names, methods in zip(
        tables, names_of_tables, methods_of_tables, strict=True
    ):
        assert head[1:] == list(methods)
        *parts, total = rows
        assert total == "**total**"
        assert parts == [name for name in names.values() if name in parts]  # in this order
        for k in range(len(methods)):
            cells = [CELL.fullmatch(rows[part][k]) for part in parts]
            expected = float(rows[total][k].strip("*"))
            assert sum(float(c[1] or 0) for c in cells) == pytest.approx(expected, abs=0.07)
            assert sum(float(c[2] or 0) for c in cells) == pytest.approx(100, abs=0.7)
    assert sum(line.startswith("Operators") for line in lines) == len(sections)


def test_page_holds_the_output():
    text = PAGE.read_text(encoding="utf-8")
    assert [text.count(mark) for mark in step_profile.MARKS] == [1, 1]
    block = text.split(step_profile.MARKS[0])[1].split(step_profile.MARKS[1])[0]
    assert_parts_sum_to_totals(block.splitlines(), step_profile.TEXTS, step_profile.IMAGES)


@pytest.mark.slow
def test_profile_writes_between_the_marks(small_sts, tmp_path, monkeypatch):
    monkeypatch.setattr(step_profile, "PROFILED_STEPS", 1)
    monkeypatch.setattr(step_profile, "IMAGES", ("vanilla+fds",))
    page = tmp_path / "page.md"
    page.write_text("above\n{}\nold\n{}\nbelow\n".format(*step_profile.MARKS), encoding="utf-8")
    few = ["--threads", "1", "--scale", "0.01", "--repeats", "1", "--write", str(page)]
    step_profile.main(["--data-dir", str(small_sts), *few])
    first, *lines, last = page.read_text(encoding="utf-8").splitlines()
    assert (first, last, "old" in lines) == ("above", "below", False)
    assert_parts_sum_to_totals(lines, step_profile.TEXTS, ("vanilla+fds",))
    texts, epoch, images, last_epoch = (rows for _, rows in read_tables(lines))
    assert texts["RankSim, with its gradient"][0] == "–"
    fds_update = step_profile.EPOCH["refresh"]
    assert fds_update not in epoch
    assert last_epoch[fds_update] != ["–"]
    assert {"augmentation", "FDS, calibration"} <= set(images)
