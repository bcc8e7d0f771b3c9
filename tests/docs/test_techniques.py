"""Diffs of the page about methods apply to its training loop and run."""

import re
from pathlib import Path

import lightning.pytorch as L
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "techniques.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^## (.*?)$|^```(\w+)\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
LIMIT = 5


def blocks(kind):
    """Code of one kind, each with the heading it stands under."""
    heading, code_blocks = "", []
    for title, language, code in BLOCKS:
        heading = title or heading
        if language == kind:
            code_blocks.append((heading, code))
    return code_blocks


LOOP = blocks("python")[0][1]
DIFFS, CALLBACKS = (
    blocks("diff"),
    [block for block in blocks("python")[1:] if "callback" in block[1]],
)


def applied(diff, text):
    """The text after the change; each line that stays or goes is looked for from where we are."""
    lines, place = text.splitlines(), 0
    for line in filter(None, diff.splitlines()):
        mark, rest = line[0], line[1:]
        assert mark in "+- ", line
        if mark == "+":
            lines.insert(place, rest)
            place += 1
        else:
            place = lines.index(rest, place)
            if mark == "-":
                del lines[place]
            else:
                place += 1
    return "\n".join(lines)


def added(diff):
    return [line for line in diff.splitlines() if line.startswith("+")]


def run(code, folder):
    torch.manual_seed(0)
    ages = torch.randint(18, 90, (32,), generator=torch.Generator().manual_seed(0)).float()
    x = torch.randn(32, 4) + ages.unsqueeze(1) / 30
    encoder = nn.Sequential(nn.Linear(4, 64), nn.BatchNorm1d(64))
    torch.save(encoder.state_dict(), folder / "encoder.pt")
    given = {
        "torch": torch, "encoder": encoder, "head": nn.Linear(64, 1), "epochs": 3,
        "loader": list(zip(x.split(16), ages.split(16), strict=True)), "ages": ages.numpy(),
    }  # fmt: skip
    exec(code, given)
    head = given["head"].weight.detach()
    return head, given


def test_the_loop_is_short_and_trains(tmp_path):
    head, given = run(LOOP, tmp_path)
    assert len(LOOP.strip().splitlines()) <= 11
    torch.manual_seed(0)
    assert float(given["loss"].detach()) > 0
    assert not torch.equal(head, run("pass", tmp_path)[0])


def test_page_covers_all_methods():
    """In the order of the issue: weights, LDS, FDS, Focal-R, Huber, RankSim, RRT."""
    words = [
        ("INV and SQINV", 1),
        ("LDS", 1),
        ("FDS", 1),
        ("Focal-R", 2),
        ("RankSim", 1),
        ("RRT", 1),
    ]
    headings = [heading for heading, _ in DIFFS]
    for word, count in words:
        assert sum(heading.startswith(word) for heading in headings) == count, word
    assert len(DIFFS) == 7
    assert len(CALLBACKS) == 5
    assert len(blocks("python")) == 8


@pytest.mark.parametrize("number", range(len(DIFFS)))
def test_diff_adds_at_most_five_lines_and_changes_training(number, tmp_path, monkeypatch):
    diff = DIFFS[number][1]
    monkeypatch.chdir(tmp_path)
    assert 1 <= len(added(diff)) <= LIMIT
    head, given = run(applied(diff, LOOP), tmp_path)
    assert torch.isfinite(head).all()
    assert not torch.equal(head, run(LOOP, tmp_path)[0])
    if "fds" in given:
        assert int(given["fds"].updates) == 3


def test_sqinv_and_textbook_kernel_by_one_argument(tmp_path):
    for heading, old, new in (
        ("INV and SQINV", '"inverse"', '"sqrt_inverse"'),
        ("LDS", '"gaussian"', '"gaussian-textbook"'),
    ):
        (diff,) = (code for title, code in DIFFS if title.startswith(heading))
        assert old in diff
        here, there = (run(applied(d, LOOP), tmp_path)[0] for d in (diff, diff.replace(old, new)))
        assert not torch.equal(here, there)


def test_stage_two_with_weights(tmp_path, monkeypatch):
    """RRT's lines and those of the weights together; the encoder stays what stage one made it."""
    monkeypatch.chdir(tmp_path)
    weights, stage_two = DIFFS[0][1], DIFFS[-1][1]
    head, given = run(applied(stage_two, applied(weights, LOOP)), tmp_path)
    saved = torch.load("encoder.pt", weights_only=True)
    assert all(torch.equal(saved[k], v) for k, v in given["encoder"].encoder.state_dict().items())
    assert not torch.equal(head, run(applied(stage_two, LOOP), tmp_path)[0])


class LitRegressor(L.LightningModule):
    """A module that knows of none of this but the weight of a sample."""

    def __init__(self):
        super().__init__()
        self.encoder, self.head = nn.Linear(4, 64), nn.Linear(64, 1)

    def forward(self, x):
        return self.head(self.encoder(x)).squeeze(1)

    def training_step(self, batch, batch_idx):
        loss = F.l1_loss(self(batch["x"]), batch["y"], reduction="none")
        return (loss * batch.get("weight", 1.0)).mean()

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


def fitted(*callbacks):
    draw = torch.Generator().manual_seed(0)
    y = torch.randint(18, 90, (32,), generator=draw).float()
    rows = [
        {"x": x, "y": age} for x, age in zip(torch.randn(32, 4, generator=draw), y, strict=True)
    ]
    torch.manual_seed(0)
    module = LitRegressor()
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=3, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=list(callbacks),
    )  # fmt: skip
    trainer.fit(module, torch.utils.data.DataLoader(rows, batch_size=16))
    return trainer, module.head.weight.detach()


@pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
@pytest.mark.parametrize("number", range(len(CALLBACKS)))
def test_callback_takes_at_most_five_lines_and_changes_training(number, tmp_path, monkeypatch):
    code = CALLBACKS[number][1]
    monkeypatch.chdir(tmp_path)
    assert len(code.strip().splitlines()) <= LIMIT
    trainer, plain = fitted()
    trainer.save_checkpoint("stage-one.ckpt")
    ages = np.random.default_rng(0).integers(18, 90, 300)
    given = {"torch": torch, "ages": ages}
    exec(code, given)
    assert not torch.equal(fitted(given["callback"])[1], plain)


def test_weights_for_any_estimator():
    ((_, code),) = (block for block in blocks("python") if "sample_weight" in block[1])
    assert len(code.strip().splitlines()) <= LIMIT

    class Estimator:
        def fit(self, table, labels, sample_weight=None):
            self.coefficients = np.polyfit(table[:, 0], labels, 1, w=np.sqrt(sample_weight))

    ages = np.random.default_rng(0).integers(18, 90, 300)
    given = {"ages": ages, "table": ages[:, None] * 2.0, "model": Estimator()}
    exec(code, given)
    assert given["weights"].mean() == pytest.approx(1)
    assert given["model"].coefficients[0] == pytest.approx(0.5)


def test_resampling_for_any_estimator():
    ((_, code),) = (block for block in blocks("python") if "make_resampler" in block[1])
    assert len(code.strip().splitlines()) <= LIMIT

    class Estimator:
        def fit(self, table, labels):
            self.labels = labels

    ages = np.r_[np.random.default_rng(0).integers(30, 50, 300), [80, 82, 85, 90]]
    given = {"ages": ages, "table": ages[:, None] * 2.0, "model": Estimator()}
    exec(code, given)
    is_rare = given["resampler"].relevance_(given["model"].labels) >= 0.8
    assert is_rare.mean() == pytest.approx(0.5, abs=0.01)
    assert given["model"].labels.max() <= 90


def test_diff_does_not_apply_to_another_loop():
    with pytest.raises(ValueError, match="is not in list"):
        applied("-        loss = mse_loss(preds, y)", LOOP)
