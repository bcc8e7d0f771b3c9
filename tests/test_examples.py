"""The examples run as they stand, in small, and do what they say."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from ranksim import RankSimLoss
from tests.helpers.examples import FOLDER, decimals, load_example

SAYS = "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_every_example_is_tested():
    run = {
        *("dense", "images", "lightning_module", "own_model", "reading", "series"),
        *("sklearn_regressor", "sklearn_weights", "tables", "trainer"),
    }
    assert {path.stem for path in FOLDER.glob("*.py")} == run


@pytest.mark.slow
def test_own_model(capsys):
    load_example("own_model").main(count=800, epochs=20)
    errors = [decimals(line) for line in capsys.readouterr().out.splitlines()]
    assert len(errors) == 2
    assert errors[1][1] < errors[0][1]


def test_reading(capsys, tmp_path):
    pytest.importorskip("pandas")
    load_example("reading").main(str(tmp_path / "errors.png"))
    lines = capsys.readouterr().out
    assert "lowers MAE by 27.8\u202f% for rare labels" in " ".join(lines.split(" "))
    assert "5. To use: vanilla" in lines
    assert (tmp_path / "errors.png").stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "rows"),
    [
        ("tables", {"count": 300, "epochs": 2}, ["vanilla", "sqinv", "trees", "trees+sqinv"]),
        ("series", {"hours": 500, "epochs": 1}, ["vanilla", "sqinv", "trees", "last-value"]),
        ("images", {"count": 60, "epochs": 1}, ["vanilla", "sqinv", "trees+sqinv"]),
    ],
)
def test_comparisons(name, options, rows, capsys):
    pytest.importorskip("pandas")
    load_example(name).main(**options)
    output = capsys.readouterr().out
    assert [line.split()[0] for line in output.splitlines() if line[:12].strip() in rows] == rows
    assert output.rstrip().endswith(".")


def test_dense(capsys):
    module = load_example("dense")
    pictures, depths = module.scenes(5, seed=0)
    assert pictures.shape == depths.shape == (5, 1, module.SIZE, module.SIZE)
    assert depths[:, :, : module.SKY].isnan().all()
    assert depths[:, :, module.SKY :].min() >= 1
    module.main(count=40, epochs=2)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["vanilla", "sqinv", "ranksim"]
    assert len({line.split("MAE:")[1] for line in lines}) == 3
    assert all(0 < error < 20 for line in lines for error in decimals(line))


@pytest.mark.filterwarnings(SAYS)
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
def test_lightning(capsys):
    load_example("lightning_module").main(samples=200, epochs=2)
    loss, term = decimals(capsys.readouterr().out.splitlines()[-1])
    assert loss > term > 0


@pytest.mark.slow
def test_regressor(capsys):
    load_example("sklearn_regressor").main(samples=400, epochs=2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert "on the test samples" in lines[-1]


def test_weights(capsys):
    load_example("sklearn_weights").main(samples=2000)
    errors = {line[:18].strip(): decimals(line) for line in capsys.readouterr().out.splitlines()}
    for model in ("trees", "line"):
        assert errors[f"{model}, weighted"][1] < errors[model][1]
    assert errors["line, routed"] == errors["line, weighted"]


@pytest.mark.slow
def test_trainer_with_all_methods(capsys):
    load_example("trainer").main(samples=160, epochs=2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 9
    for k, name in enumerate(["vanilla", "ranksim", "sqinv+fds+ranksim"]):
        first, last, errors = lines[3 * k : 3 * k + 3]
        assert all(line.startswith(name) for line in (first, last, errors))
        assert decimals(last)[0] < decimals(first)[0]  # the loss falls
        assert ("RankSim" in first) == (k > 0)
        assert decimals(errors)[0] < 4
    assert len({line.split("MAE")[1] for line in lines[2::3]}) == 3


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 4])
def test_trainer_gradient_accumulation(tmp_path, accumulate):
    """One step of SGD is the mean over the batches of their loss and their own RankSim."""
    from transformers import BertConfig, BertForSequenceClassification, TrainingArguments

    module = load_example("trainer")
    train_set = module.sentences(8 * accumulate, seed=0)
    config = BertConfig(
        vocab_size=len(module.WORDS), hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=8, num_labels=1, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0, classifier_dropout=0.0,
    )  # fmt: skip
    torch.manual_seed(0)
    model = BertForSequenceClassification(config)
    plain = BertForSequenceClassification(config)
    plain.load_state_dict(model.state_dict())
    settings = TrainingArguments(
        tmp_path, max_steps=1, learning_rate=0.5, lr_scheduler_type="constant", optim="sgd",
        max_grad_norm=0.0, per_device_train_batch_size=8, train_sampling_strategy="sequential",
        gradient_accumulation_steps=accumulate, report_to="none", disable_tqdm=True, use_cpu=True,
        save_strategy="no", logging_strategy="no",
    )  # fmt: skip
    ranksim = RankSimLoss(1.0, unique_labels=False)
    trainer = module.ImbalancedTrainer(
        model, settings, train_dataset=train_set, layer="bert.pooler", ranksim=ranksim
    )
    trainer.train()
    tokens, labels = torch.tensor(train_set["input_ids"]), torch.tensor(train_set["labels"])
    loss, terms = 0.0, []
    for rows in torch.arange(len(labels)).split(8):
        features = plain.bert(tokens[rows])[1]
        error = (plain.classifier(features).squeeze(1) - labels[rows]).square().mean()
        term = ranksim(features, (labels[rows] * 10).round())
        terms.append(term.item())
        loss = loss + (error + term) / accumulate
    loss.backward()
    with torch.no_grad():
        for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
            moved = theirs if theirs.grad is None else theirs - 0.5 * theirs.grad
            torch.testing.assert_close(ours, moved, rtol=1e-4, atol=1e-6)
    assert min(terms) > 0.01
    assert trainer.state.log_history[-1]["train_ranksim"] == pytest.approx(np.mean(terms))


@pytest.mark.slow
def test_example_runs_as_script():
    path = FOLDER / "sklearn_weights.py"
    out = subprocess.run([sys.executable, path], capture_output=True, text=True, check=True)
    assert out.stdout.startswith("trees ")
