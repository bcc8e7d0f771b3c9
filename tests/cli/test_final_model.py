"""``ranksim fit`` with ``--refit``, ``--ensemble`` and ``--cross-validate``: screen and card."""

import pytest

from ranksim._utils.storage import read_verified_json
from ranksim.inference.saved_model import CARD, CONFIG, METRICS
from tests.helpers import user_data


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "title", "texts"),
    [
        ("--refit", "test, before the refit", ["before the training on all 120 samples"]),
        ("--ensemble 2", "mean of seeds 0 to 1", ["MAE of the mean and of one member"]),
        (
            "--cross-validate 3 --ensemble 2",
            "all rows in 3 folds",
            ["predicted once, by 2 members trained on the other 2 of 3 folds", "95"],
        ),
    ],
)
def test_command_says_which_model_the_scores_belong_to(
    options, title, texts, run_command, tmp_path
):
    data = user_data.write_table(tmp_path)
    words = ["fit", str(data), "--target", "price", "--method", "vanilla"]
    words += ["--set", "hidden=8", "--max-epochs", "2", "--out", str(tmp_path / "m")]
    outcome = run_command(*words, *options.split())
    assert outcome.code == 0, outcome.err
    output = " ".join(outcome.out.split())
    assert title in output
    assert all(text in output for text in texts)
    card = " ".join((tmp_path / "m" / CARD).read_text().split())
    about = read_verified_json(tmp_path / "m" / CONFIG)
    assert ("Trained on all samples" in card) == ("refit" in about)
    assert ("mean of 2 members" in card) == ("members" in about)
    if "refit" in about:
        assert "all 120 samples" in card
        assert "120 samples" in card.split("## Training labels")[0]
    assert read_verified_json(tmp_path / "m" / METRICS)["test"]["all"]["n"] > 0
