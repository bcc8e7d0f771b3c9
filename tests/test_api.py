"""docs/api.txt is what the code has, and no name goes unannounced."""

import warnings

import pytest

import ranksim
from ranksim.deprecation import deprecated
from tools.api import DEPRECATED, EXITS, FILE, HEAD, listed, lost, names, text

NOW = set(names())


def test_the_file_is_what_the_code_has():
    content = FILE.read_text(encoding="utf-8")
    assert lost(content, NOW, ranksim.__version__) == []
    assert content == text(listed(content)[1]), "run python -m tools.api --write"
    assert listed(content)[0] == NOW


def test_it_names_what_users_use():
    assert {
        "ranksim.RankSimLoss", "ranksim.load_model", "ranksim.functional.ranksim_loss",
        "ranksim.sklearn.RankSimRegressor", "ranksim.sklearn.RankSimRegressor.fit",
        "ranksim.training.FDSCallback", "ranksim.errors.DataError", "ranksim:compare",
        "ranksim:compare:--out", "ranksim:bench:sts-b-dir", "file:model", "file:results.json",
    } <= NOW  # fmt: skip
    from ranksim.cli.app import app

    assert all(f"{code} {told}" in app.info.epilog for code, told in EXITS.items())


def test_a_name_that_goes_must_have_been_deprecated():
    without = NOW - {"ranksim.LDS"}
    content = text([])
    assert lost(content, without, "0.3.0") == ["ranksim.LDS"]
    told = content.replace(
        f"{DEPRECATED}\nnone", f"{DEPRECATED}\nranksim.LDS: ranksim.density_weights, gone in 0.3"
    )
    assert content != told
    assert lost(told, without, "0.2.9") == ["ranksim.LDS"]
    assert lost(told, without, "0.3.0") == []
    assert lost(HEAD, NOW, "0.1") == []


def test_a_deprecated_name_says_what_to_use():
    def old():
        deprecated("ranksim.old", "ranksim.new", "0.3")

    with pytest.warns(
        DeprecationWarning, match=r"^ranksim\.old goes with ranksim 0\.3: use"
    ) as told:
        old()
    assert told[0].filename == __file__  # of who called it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old()
