"""Older run records and results are converted when they are read, without a change of numbers."""

import importlib.util
import json
from collections import Counter
from pathlib import Path

import pytest

from ranksim._utils.storage import read_verified_json, with_digest
from ranksim.evaluation.record import (
    FORMAT,
    first_difference,
    is_complete,
    read_record,
    read_results,
    upgrade_identity,
    upgrade_record,
    upgrade_results,
)
from ranksim.exceptions import DataError
from ranksim.training.recipe import OLD_FIELDS, NetworkRecipe
from tests.helpers.records import run_record

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = {k: ROOT / f"tests/data_files/results_format_{k}.json" for k in (1, 2, 3)}


def load(version):
    return json.loads(FIXTURES[version].read_text())


def numbers(content):
    """Count all numbers of nested tables and lists."""
    if isinstance(content, dict):
        return sum((numbers(value) for value in content.values()), Counter())
    if isinstance(content, list):
        return sum((numbers(value) for value in content), Counter())
    return Counter([content] if type(content) in (int, float) else [])


def find_script():
    spec = importlib.util.spec_from_file_location("migrate", ROOT / "scripts/migrate_results.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("version", FIXTURES)
def test_conversion_keeps_all_numbers(version):
    old = load(version)
    new = upgrade_results(old)
    assert new["format"] == FORMAT
    old_numbers, added = numbers(old), numbers(new)
    old_numbers.subtract([version])
    added.subtract([FORMAT])
    assert not old_numbers - added
    # only recipe fields that were added later are new
    assert (added - old_numbers).total() <= len(NetworkRecipe.optional_fields()) * 2 * len(
        new["runs"]
    )


@pytest.mark.parametrize("version", FIXTURES)
def test_conversion_is_idempotent_and_keeps_the_old_content(version):
    old = load(version)
    before = json.dumps(old)
    new = upgrade_results(old)
    assert json.dumps(old) == before
    assert upgrade_results(new) == new
    assert all(is_complete(run) for run in new["runs"])


def test_conversion_uses_the_current_names():
    old, new = load(3), upgrade_results(load(3))
    run, flat = new["runs"][1], old["runs"][1]
    assert run["identity"]["data"] == {
        "benchmark": "sts-b-dir", "options": {"split": "borealis"}, "regions_from": "published",
    }  # fmt: skip
    assert run["identity"]["trainer"]["gather_across_devices"] is False
    assert run["result"]["error_by_bin"] == flat["by_bin"]
    assert run["provenance"]["data"] == flat["data"]
    recipe = run["identity"]["recipe"]
    assert recipe["ranksim_weight"] == flat["recipe"]["strength"]
    assert not recipe.keys() & OLD_FIELDS.keys()
    assert run["identity"]["stage_one"]["recipe"]["max_grad_norm"] == 5.0
    effect = new["summary"][1]["vs_baseline"]["test"]["all"]["mse"]
    flat = old["summary"][1]["against"]["test"]["all"]["mse"]
    assert effect["ci_adjusted"] == [flat["sure_low"], flat["sure_high"]]
    assert effect["ci_seeds"] == [flat["low"], flat["high"]]
    assert new["conclusion"] == old["answer"]
    assert upgrade_results(load(2))["summary"][1]["alias_of"] == "sqinv+lds"


def test_the_order_of_keys_has_no_meaning():
    flat = load(3)["runs"][1]
    shuffled = dict(sorted(flat.items(), reverse=True))
    assert upgrade_record(shuffled) == upgrade_record(flat)


def test_fields_added_later_have_their_old_value():
    flat = load(1)["runs"][0]
    recipe = upgrade_identity(flat)["recipe"]
    assert recipe["memory_size"] == 0
    assert upgrade_identity({"recipe": {"memory": 9}})["recipe"]["memory_size"] == 9
    recipe = upgrade_identity({"recipe": {"unique_labels": 0.5}})["recipe"]  # a flag or a width
    assert (recipe["unique_labels"], recipe["label_width"]) == (True, 0.5)


def test_fields_of_parts_are_added_to_their_own_records_only():
    plain = upgrade_identity({"recipe": {"lr": 0.1}, "technique": {"fds": True}})["recipe"]
    assert "ccc_weight" not in plain
    assert "ccc_weight" not in upgrade_identity({"recipe": {"lr": 0.1}})["recipe"]
    technique = {"fds": False, "parts": ["ccc"]}
    recipe = upgrade_identity({"recipe": {"lr": 0.1}, "technique": technique})["recipe"]
    assert recipe["ccc_weight"] == 1.0
    assert "gar_alpha" not in recipe


def test_read_record_converts_and_rejects_damaged_files(tmp_path):
    path = tmp_path / "record.json"
    assert read_record(tmp_path) is None
    flat = load(2)["runs"][0]
    path.write_text(json.dumps(with_digest(flat)))
    assert read_record(tmp_path) == upgrade_record(flat)
    for damaged in ("", "[]", "{}", json.dumps(flat | {"recipe": 3}), path.read_text()[:-9]):
        path.write_text(damaged)
        assert read_record(tmp_path) is None


@pytest.mark.parametrize(
    "lost",
    [("identity",), ("status",), ("provenance",), ("identity", "seed"), ("result", "metrics")],
)
def test_records_without_a_part_are_incomplete(lost):
    record = run_record("inv", 0, metrics={})
    assert is_complete(record)
    *parents, name = lost
    part = record
    for parent in parents:
        part = part[parent]
    del part[name]
    assert not is_complete(record)


def test_read_results_explains_what_is_wrong(tmp_path):
    path = tmp_path / "results.json"
    with pytest.raises(DataError, match="does not exist"):
        read_results(tmp_path)
    for content, problem in (
        ("{", "is damaged"),
        (json.dumps({"format": FORMAT + 1}), "later version"),
        (json.dumps(load(1) | {"runs": 3}), "is damaged"),
    ):
        path.write_text(content)
        with pytest.raises(DataError, match=problem):
            read_results(tmp_path)


def test_migration_script_converts_files_once(tmp_path):
    script, path = find_script(), tmp_path / "results.json"
    path.write_text(json.dumps(load(1)))
    assert script.migrate(path)
    assert read_verified_json(path) == json.loads(json.dumps(upgrade_results(load(1))))
    assert "digest" in json.loads(path.read_text())
    assert not script.migrate(path)


def test_first_difference_compares_as_json():
    assert first_difference({"a": (1, 2)}, {"a": [1, 2]}) is None
    assert first_difference({"a": 1}, {"a": 1, "b": {"c": None}, "d": 0}) == ("d", None, 0)
    assert first_difference({"a": 1, "b": {"c": 2}}, {"b": {"c": 3}, "a": 1}) == ("b.c", 2, 3)
