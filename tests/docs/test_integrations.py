"""Code of the page about integrations runs, and shows the output of the examples."""

import re
from pathlib import Path
from types import SimpleNamespace

import lightning.pytorch as L
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ranksim import LabelBins
from ranksim.metrics import RegionMetrics, ShotRegions
from tests.helpers.examples import decimals, load_example

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "integrations.md").read_text(
    encoding="utf-8"
)
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, flags=re.MULTILINE | re.DOTALL))


def code(section):
    (code_block,) = re.findall(r"^```python\n(?!>>>)(.*?)^```$", SECTIONS[section], re.M | re.S)
    return code_block


def loader():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(64, 4, generator=draw)
    return list(zip(x.split(16), (10 * x[:, 0].exp()).round().split(16), strict=True))


class LitRegressor(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.backbone, self.head = nn.Linear(4, 8), nn.Linear(8, 1)

    def training_step(self, batch, batch_idx):
        return F.l1_loss(self.head(self.backbone(batch[0])).squeeze(1), batch[1])

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())


@pytest.mark.slow
def test_scikit_learn(capsys):
    """The figures are those shown, up to the last bits of another processor."""
    text, given = SECTIONS["scikit-learn"], {}
    for block in re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S):
        exec(block, given)
    output = re.findall(r"^    (.*\d)$", re.sub(r"```.*?```", "", text, flags=re.S), re.M)
    printed = capsys.readouterr().out.splitlines()
    assert [decimals(line) for line in printed] == [
        pytest.approx(decimals(line), rel=0.05) for line in output
    ]
    assert [line.split()[0] for line in printed] == [line.split()[0] for line in output]


def test_plain_pytorch():
    torch.manual_seed(0)
    encoder, head = nn.Linear(4, 8), nn.Linear(8, 1)
    optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()])
    before = encoder.weight.detach().clone()
    text = code("Plain PyTorch")
    assert len(text.strip().splitlines()) <= 12
    exec(text, {"encoder": encoder, "head": head, "optimizer": optimizer, "loader": loader()})
    assert not torch.equal(before, encoder.weight)


@pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
def test_lightning(capsys):
    quiet = {
        "accelerator": "cpu", "logger": False, "enable_checkpointing": False,
        "enable_progress_bar": False, "enable_model_summary": False,
    }  # fmt: skip
    batches = torch.utils.data.DataLoader(loader(), batch_size=None)
    exec(code("Lightning"), {"module": LitRegressor(), "loader": batches, "quiet": quiet})
    assert re.search(r"tensor\(\d+\.\d+\)", capsys.readouterr().out)


@pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
def test_metrics_by_region():
    class Regressor(LitRegressor):
        def forward(self, x):
            return self.head(self.backbone(x))

    labels = np.concatenate([y for _, y in loader()])
    regions = ShotRegions.from_counts(LabelBins.integers(0, 200), labels)
    given = {"Regressor": Regressor, "regions": regions, "RegionMetrics": RegionMetrics}
    section = SECTIONS["Metrics by region"]
    for block in re.findall(r"^```python\n(?!>>>)(.*?)^```$", section, re.M | re.S):
        exec(block, given)
    batches = torch.utils.data.DataLoader(loader(), batch_size=None)
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    (logged,) = trainer.validate(given["ScoredRegressor"](), batches, verbose=False)
    assert logged["few_n"] == 64
    result = SimpleNamespace(predictions=labels[:, None] + 1, label_ids=labels)
    assert given["compute_metrics"](result)["few_mae"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2])
def test_trainer(tmp_path, accumulate):
    from transformers import BertConfig, BertForSequenceClassification, TrainingArguments

    module = load_example("trainer")
    train_set = module.sentences(16, seed=0)
    config = BertConfig(
        vocab_size=len(module.WORDS), hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=8, num_labels=1, hidden_dropout_prob=0.0,
    )  # fmt: skip
    settings = TrainingArguments(
        tmp_path, max_steps=1, per_device_train_batch_size=16 // accumulate, report_to="none",
        gradient_accumulation_steps=accumulate, disable_tqdm=True, use_cpu=True,
        save_strategy="no", logging_strategy="no", train_sampling_strategy="sequential",
    )  # fmt: skip
    torch.manual_seed(0)
    model, recorded = BertForSequenceClassification(config), []
    # what is logged is the loss that the step saw
    torch.manual_seed(0)
    plain = BertForSequenceClassification(config)
    tokens, labels = torch.tensor(train_set["input_ids"]), torch.tensor(train_set["labels"])
    for rows in torch.arange(16).split(16 // accumulate):
        preds = plain(tokens[rows]).logits.squeeze(1)
        recorded.append(F.mse_loss(preds, labels[rows]).item() + 7)
    given = {"model": model, "settings": settings, "train_set": train_set}
    given["ranksim"] = lambda features, labels: features.sum() * 0 + 7
    exec(code("Hugging Face Trainer"), given)
    logged = given["trainer"].state.log_history[-1]["train_loss"]
    assert logged == pytest.approx(np.mean(recorded), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("section", "name"), [("Hugging Face Trainer", "trainer"), ("Dense targets", "dense")]
)
def test_shown_output_has_the_format_of_the_scripts(section, name, capsys):
    """In small: the words stand, the figures differ."""
    *_, output = re.findall(r"((?:^    [^\n]*\n)+)", SECTIONS[section], flags=re.MULTILINE)
    load_example(name).main(160 if name == "trainer" else 30, 1)
    words = [
        [re.split(r"[ :,]", line.strip())[0] for line in text.splitlines()]
        for text in (output, capsys.readouterr().out)
    ]
    assert words[0] == words[1]
