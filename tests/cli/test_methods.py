"""``ranksim methods`` lists the published rows, and each part with its paper."""

import json

import pytest

from ranksim.training.parts import PARTS


@pytest.mark.parametrize("benchmark", ["sts-b-dir", "table"])
def test_methods_are_listed_with_their_papers(benchmark, run_command):
    rows = json.loads(run_command("methods", benchmark, "--json").out)
    assert len(rows) == 32 + len(PARTS) + 1
    later = {row["method"]: row for row in rows[32:]}
    assert [*later] == [*(f"vanilla+{name}" for name in PARTS), "average+sqinv"]
    assert later["average+sqinv"]["trains"].startswith("mean of ")
    assert "2506.01486" in later["average+sqinv"]["paper"]
    for name, part in PARTS.items():
        row = later[f"vanilla+{name}"]
        assert row["paper"] == part.paper
        assert part.title in row["trains"]
    assert not any("paper" in row for row in rows[:32])


def test_rules_name_every_part(run_command):
    text = " ".join(run_command("methods").out.split())
    assert all(f" {name}" in text for name in PARTS)
    assert "family for one row of each method" in text
