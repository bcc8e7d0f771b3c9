"""Hugging Face Trainer: RankSim, FDS and weights on a regression head, without a new model.

A small BERT with random weights learns how pleased generated sentences are, from 0 to 4; most are
lukewarm. Run it with ``python examples/trainer.py``; it needs no network and takes seconds.
"""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from ranksim import FDS, DensityWeights, LabelBins, RankSimLoss
from ranksim.functional import mse_loss
from ranksim.metrics import RegionMetrics, ShotRegions

WORDS = {"awful": -2, "bad": -1, "fine": 1, "superb": 2} | dict.fromkeys(
    ("the", "a", "it", "was", "food", "room", "staff", "view", "we", "and"), 0
)
BINS = LabelBins.uniform(0.0, 4.0, 20)


class ImbalancedTrainer(Trainer):
    """A Trainer that adds to the loss of any model with a layer of features ``(N, D)``.

    Args:
        layer: dotted name of that layer, for example ``"bert.pooler"``.
        ranksim: the term; it is logged as ``train_ranksim``.
        fds: calibrates the features in training.
        weights: of the loss, by the label.
        args, kwargs: the Trainer's.
    """

    def __init__(
        self,
        *args: Any,
        layer: str,
        ranksim: RankSimLoss | None = None,
        fds: FDS | None = None,
        weights: DensityWeights | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        # the loss below is a mean over its batch: the Trainer is to divide it when it accumulates
        self.model_accepts_loss_kwargs = False
        self.ranksim, self.fds, self.weights = ranksim, fds, weights
        self.terms: list[float] = []
        if fds is not None:
            self.add_callback(EpochEnd(fds.to(self.args.device)))
        self.model.get_submodule(layer).register_forward_hook(self.seen)

    def seen(self, layer: nn.Module, inputs: Any, features: Tensor) -> Tensor | None:
        """Keep the features, and calibrate them in training."""
        self.features = features
        if self.fds is None or not layer.training:
            return None
        self.fds.accumulate(features.detach(), self.labels)
        return self.fds(features, self.labels)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The loss of a batch; in training with RankSim's term."""
        self.labels = labels = inputs["labels"]
        outputs = model(**inputs)
        weight = None
        if self.weights is not None and model.training:
            weight = torch.from_numpy(self.weights(labels.cpu().numpy())).to(labels)
        loss = mse_loss(outputs.logits.squeeze(1), labels, weight)
        if self.ranksim is not None and model.training:
            term = self.ranksim(self.features, (labels * 10).round())  # whole tenths tie exactly
            self.terms.append(term.item())
            loss = loss + term
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log what the Trainer logs, and the term since it last did."""
        if self.terms:
            logs["train_ranksim"], self.terms = float(np.mean(self.terms)), []
        super().log(logs, *args, **kwargs)


class EpochEnd(TrainerCallback):
    """Ends an epoch for FDS."""

    def __init__(self, fds: FDS) -> None:
        self.fds = fds

    def on_epoch_end(self, *args: Any, **kwargs: Any) -> None:
        self.fds.update()


def sentences(count: int, seed: int) -> Dataset:
    """Token ids of generated sentences, and how pleased they are, in tenths of 0 to 4."""
    draw, words = np.random.default_rng(seed), np.array(list(WORDS))
    rare = np.array([1 if WORDS[word] else 6 for word in words], float)
    chosen = draw.choice(len(words), (count, 12), p=rare / rare.sum())
    pleased = np.array([WORDS[word] for word in words])[chosen].sum(1)
    labels = np.clip(2 + 0.4 * pleased, 0, 4).round(1).astype(np.float32)
    return Dataset.from_dict({"input_ids": chosen.tolist(), "labels": labels.tolist()})


def train(
    train_set: Dataset, epochs: int, seed: int = 0, **techniques: Any
) -> tuple[BertForSequenceClassification, list[dict[str, float]]]:
    """A small BERT trained with these techniques, and what the Trainer logged."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=16,
        num_labels=1,
    )
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            folder,
            num_train_epochs=epochs,
            learning_rate=2e-3,
            per_device_train_batch_size=32,
            logging_strategy="epoch",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            seed=seed,
        )
        trainer = ImbalancedTrainer(
            BertForSequenceClassification(config),
            settings,
            train_dataset=train_set,
            layer="bert.pooler",
            **techniques,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return trainer.model.eval(), trainer.state.log_history


def main(samples: int = 1500, epochs: int = 6) -> None:
    """Train three times, and print what was logged and the errors by region."""
    torch.set_num_threads(1)  # so small a network is faster so
    train_set, test_set = sentences(samples, seed=0), sentences(4 * samples, seed=1)
    labels = np.array(train_set["labels"])
    regions = ShotRegions.from_counts(BINS, labels)
    tokens, target = torch.tensor(test_set["input_ids"]), torch.tensor(test_set["labels"])

    def ranksim() -> RankSimLoss:
        return RankSimLoss(1.0, weight=0.1, generator=torch.Generator().manual_seed(0))

    weights = DensityWeights.fit(labels, bins=BINS, scheme="sqrt_inverse")
    for name, techniques in {
        "vanilla": {},
        "ranksim": {"ranksim": ranksim()},
        "sqinv+fds+ranksim": {"ranksim": ranksim(), "fds": FDS(32, BINS), "weights": weights},
    }.items():
        model, logs = train(train_set, epochs, **techniques)
        for log in (logs[0], logs[-2]):
            term = f", RankSim {log['train_ranksim']:.3f}" if "train_ranksim" in log else ""
            print(f"{name}, epoch {log['epoch']:.0f}: loss {log['loss']:.3f}{term}")
        metrics = RegionMetrics(regions)
        with torch.no_grad():
            for rows in torch.arange(len(target)).split(500):
                metrics.update(model(tokens[rows]).logits.squeeze(1), target[rows])
        scores = {region: each for region, each in metrics.compute().items() if each["n"]}
        shown = (f"{region} {each['mae']:.3f}" for region, each in scores.items())
        print(f"{name}, MAE: {', '.join(shown)}")


if __name__ == "__main__":
    main()
