"""Arbitrary method names, recipes, options and JSON are understood correctly or rejected."""

import json
import math
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranksim.data.spec import parse_words
from ranksim.evaluation.record import read_results
from ranksim.exceptions import RankSimError
from ranksim.experiments.sweep_settings import parse_seeds
from ranksim.inference.saved_model import density_from_dict, density_to_dict
from ranksim.metrics import ShotRegions
from ranksim.training.method import (
    BASES,
    MODIFIERS,
    RESAMPLERS,
    describe_method,
    first_stage,
    parse_method,
    parse_methods,
)
from ranksim.training.parts import PARTS as NEW_PARTS
from ranksim.training.presets import load_recipe, preset_table, read_tuned
from ranksim.training.recipe import TableRecipe, parse_change
from tests.reliability.properties import FINITE, NOT_FINITE, TEXT, outcome

PARTS = st.sampled_from([*BASES, *MODIFIERS, *NEW_PARTS])
WEIGHTINGS = st.sampled_from(["none", "inverse", "sqrt_inverse"])
SCALARS = st.none() | st.booleans() | st.integers() | FINITE | NOT_FINITE | TEXT
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("settings")


@given(st.lists(PARTS, min_size=1, max_size=6, unique=True), WEIGHTINGS)
def test_parsed_methods_keep_their_name(parts, weighting):
    method = outcome(lambda: parse_method("+".join(parts), weighting))
    if method is None:
        return
    for name in (method.name, method.key):
        again = parse_method(name, weighting)
        assert (again.key, again.technique) == (method.key, method.technique)
    assert set(method.name.split("+")) - {"vanilla"} >= set(parts) - {"vanilla"}
    technique = method.technique
    for part in set(MODIFIERS) - set(RESAMPLERS):
        assert getattr(technique, part) == (part in parts)
    assert technique.resampling == next((part for part in parts if part in RESAMPLERS), "")
    assert technique.parts == tuple(part for part in NEW_PARTS if part in parts)
    assert technique.two_stage == ("rrt" in parts or "rnc" in parts)
    assert technique.focal_r == ("focal-r" in parts)
    assert describe_method(method, "mse")
    first = first_stage(method)
    assert (first is not None) == (technique.two_stage and not technique.average)
    assert first is None or parse_method(first.name, "none").technique == technique.stage_one
    recipe = outcome(lambda: load_recipe("table", "small", method))
    assert not isinstance(recipe, TableRecipe) or math.isfinite(recipe.lr)


@given(TEXT | st.lists(PARTS | TEXT, max_size=4).map("+".join) | st.text(alphabet="+,invflds r"))
def test_unknown_method_names_are_rejected(text):
    """Case and spaces are ignored; every part must be known and occur once."""
    methods = outcome(lambda: parse_methods(text, "sts-b-dir", "inverse"))
    for name in text.lower().split(",") if methods is not None else ():
        for part in name.strip().split("+") if name.strip() not in ("", "all", "family") else ():
            assert part in (*BASES, *MODIFIERS, *NEW_PARTS), text


@given(TEXT | st.lists(st.integers(-2, 2**33), max_size=3).map(lambda n: ",".join(map(str, n))))
def test_seeds_are_numbers_or_rejected(text):
    seeds = outcome(lambda: parse_seeds(text))
    if seeds is not None:
        assert seeds
        assert len(set(seeds)) == len(seeds)
        assert all(0 <= seed < 2**32 for seed in seeds)


@given(st.lists(TEXT.map(str.strip).filter(bool), max_size=4))
def test_quoted_words_are_split_at_commas(words):
    quoted = ",".join('"' + word.replace('"', '""') + '"' for word in words)
    if not any(character in quoted for character in "\r\n"):
        assert parse_words(quoted) == tuple(words)


FIELDS = st.sampled_from([*vars(TableRecipe.from_table(preset_table("table", "small"))), "rate"])


@given(TEXT | st.builds(lambda name, value: f"{name}={value}", FIELDS, TEXT | FINITE.map(repr)))
def test_changes_of_a_recipe_are_valid_or_rejected(text):
    change = outcome(lambda: parse_change(text))
    if change is not None:
        check_recipe(dict([change]))


@given(st.dictionaries(FIELDS, TREES, max_size=3))
def test_values_of_a_recipe_are_valid_or_rejected(changes):
    check_recipe(changes)


def check_recipe(changes):
    """Assert that a changed recipe is rejected, or is within its limits and survives JSON."""
    table = preset_table("table", "small") | changes
    recipe = outcome(lambda: TableRecipe.from_table(table))
    if recipe is None:
        return
    for name, value in vars(recipe).items():
        for each in value if isinstance(value, tuple) else (value,):
            assert not isinstance(each, float) or math.isfinite(each), name
    assert TableRecipe.from_table(json.loads(json.dumps(vars(recipe)))) == recipe
    assert 0 <= recipe.dropout < 1 <= recipe.batch_size
    assert recipe.fds_min_ratio <= 1 <= recipe.fds_max_ratio


CHANGES = st.dictionaries(FIELDS, SCALARS, max_size=2)


@given(st.text(max_size=60) | st.dictionaries(PARTS | TEXT, CHANGES, max_size=2))
def test_tuned_recipes_are_valid_or_rejected(folder, content):
    if isinstance(content, dict):
        lines = []
        for method, changes in content.items():
            lines.append(f"[methods.{json.dumps(method)}]")
            for name, value in changes.items():
                is_special = isinstance(value, float) and not math.isfinite(value)
                lines.append(f"{name} = {value if is_special else json.dumps(value)}")
        content = "\n".join(lines)
    path = folder / "recipe.toml"
    path.write_text(content, encoding="utf-8")
    common = preset_table("table", "small")
    changes_by_method = outcome(lambda: read_tuned(path, common, "inverse", TableRecipe))
    if changes_by_method is not None:
        assert set(tomllib.loads(path.read_text(encoding="utf-8"))) == {"methods"}
        for key, changes in changes_by_method.items():
            assert parse_method(key, "inverse").key == key
            TableRecipe.from_table(common | changes)


@given(TREES | st.fixed_dictionaries(
    {"format": st.integers(0, 4) | TREES, "benchmark": TEXT | TREES, "runs": st.lists(TREES),
     "summary": st.lists(TREES, max_size=2)}))  # fmt: skip
def test_results_are_valid_or_rejected(folder, tree):
    path = folder / "results.json"
    path.write_text(json.dumps(tree), encoding="utf-8")
    results = outcome(lambda: read_results(path))
    if results is not None:
        assert isinstance(results["benchmark"], str)
        assert isinstance(results["runs"], list)
        assert isinstance(results["summary"], list)


DENSITY = {
    "edges": st.lists(FINITE, max_size=4),
    "train": st.lists(st.integers(-1, 9) | SCALARS, max_size=3),
    "regions": st.lists(st.sampled_from(["many", "medium", "few", "all"]), max_size=3),
    "named": st.dictionaries(TEXT, st.sampled_from(["<3", "1-2", "x", ">=1e99"]), max_size=2),
}  # fmt: skip


@given(st.fixed_dictionaries(DENSITY))
def test_stored_densities_are_restored_or_rejected(density):
    errors = (ValueError, TypeError, KeyError, OverflowError, RankSimError)
    try:
        regions = density_from_dict(density)
    except errors:
        return
    assert isinstance(regions, ShotRegions)
    masks = regions.masks([-1.0, 0.5, 1e9])
    assert (masks["many"] | masks["medium"] | masks["few"]).all()
    stored = density_to_dict(regions, many=20, few=5)
    assert density_from_dict(json.loads(json.dumps(stored))).names == regions.names
