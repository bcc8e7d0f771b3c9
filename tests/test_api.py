"""docs/api.txt is what the code has, and no name goes unannounced."""

import ranksim
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
        "ranksim.integrations.sklearn.RankSimRegressor", "ranksim.integrations.sklearn.RankSimRegressor.fit",
        "ranksim.integrations.lightning.FDSCallback", "ranksim.exceptions.DataError", "ranksim:compare",
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
