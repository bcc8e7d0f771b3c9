"""Hugging Face Trainer: RankSim, FDS and weights for a regression head, with an unchanged model.

A small BERT with random weights predicts the sentiment of generated sentences, from 0 to 4; most
are lukewarm. Run it with ``python examples/trainer.py``; it works offline and takes seconds.
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
    """Trainer that adds RankSim, FDS and weights to a model with a layer of features ``(N, D)``.

    Args:
        layer: dotted name of the layer, for example ``"bert.pooler"``.
        ranksim: added to the loss and logged as ``train_ranksim``.
        fds: calibrates the features during training.
        weights: weights of the loss.
        *args: arguments of the Trainer.
        **kwargs: keyword arguments of the Trainer.
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
        # the loss below is a mean over the batch: the Trainer must divide it when it accumulates
        self.model_accepts_loss_kwargs = False
        self.ranksim, self.fds, self.weights = ranksim, fds, weights
        self.terms: list[float] = []
        if fds is not None:
            self.add_callback(EpochEnd(fds.to(self.args.device)))
        assert isinstance(self.model, nn.Module)
        self.model.get_submodule(layer).register_forward_hook(self.store_features)

    def store_features(self, layer: nn.Module, inputs: Any, features: Tensor) -> Tensor | None:
        """Store the features, and calibrate them during training."""
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
        """Return the loss of a batch, in training with RankSim."""
        self.labels = labels = inputs["labels"]
        outputs = model(**inputs)
        weight = None
        if self.weights is not None and model.training:
            weight = torch.from_numpy(self.weights(labels.cpu().numpy())).to(labels)
        loss = mse_loss(outputs.logits.squeeze(1), labels, weight)
        if self.ranksim is not None and model.training:
            term = self.ranksim(self.features, (labels * 10).round())  # integers tie exactly
            self.terms.append(term.item())
            loss = loss + term
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log the mean RankSim loss since the last call."""
        if self.terms:
            logs["train_ranksim"], self.terms = float(np.mean(self.terms)), []
        super().log(logs, *args, **kwargs)


class EpochEnd(TrainerCallback):
    """Updates FDS at the end of an epoch."""

    def __init__(self, fds: FDS) -> None:
        self.fds = fds

    def on_epoch_end(self, *args: Any, **kwargs: Any) -> None:
        self.fds.update()


def sentences(count: int, seed: int) -> Dataset:
    """Generate token ids of sentences and their sentiment, 0 to 4 in tenths."""
    draw, words = np.random.default_rng(seed), np.array(list(WORDS))
    rare = np.array([1 if WORDS[word] else 6 for word in words], float)
    tokens = draw.choice(len(words), (count, 12), p=rare / rare.sum())
    sentiment = np.array([WORDS[word] for word in words])[tokens].sum(1)
    labels = np.clip(2 + 0.4 * sentiment, 0, 4).round(1).astype(np.float32)
    return Dataset.from_dict({"input_ids": tokens.tolist(), "labels": labels.tolist()})


def train(
    train_set: Dataset, epochs: int, seed: int = 0, **options: Any
) -> tuple[BertForSequenceClassification, list[dict[str, float]]]:
    """Train a small BERT with these methods; return it and the Trainer's log."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=16,
    )
    config.num_labels = 1
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
        model = BertForSequenceClassification(config)
        trainer = ImbalancedTrainer(
            model,
            settings,
            train_dataset=train_set,
            layer="bert.pooler",
            **options,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return model.eval(), trainer.state.log_history


def main(samples: int = 1500, epochs: int = 6) -> None:
    """Train three models, and print the logged losses and the errors per region."""
    torch.set_num_threads(1)  # faster for a small network
    train_set, test_set = sentences(samples, seed=0), sentences(4 * samples, seed=1)
    labels = np.array(train_set["labels"])
    regions = ShotRegions.from_counts(BINS, labels)
    tokens, target = torch.tensor(test_set["input_ids"]), torch.tensor(test_set["labels"])

    def ranksim() -> RankSimLoss:
        return RankSimLoss(1.0, weight=0.1, generator=torch.Generator().manual_seed(0))

    weights = DensityWeights.fit(labels, bins=BINS, scheme="sqrt_inverse")
    methods: dict[str, dict[str, Any]] = {
        "vanilla": {},
        "ranksim": {"ranksim": ranksim()},
        "sqinv+fds+ranksim": {"ranksim": ranksim(), "fds": FDS(32, BINS), "weights": weights},
    }
    for name, options in methods.items():
        model, logs = train(train_set, epochs, **options)
        for log in (logs[0], logs[-2]):
            term = f", RankSim {log['train_ranksim']:.3f}" if "train_ranksim" in log else ""
            print(f"{name}, epoch {log['epoch']:.0f}: loss {log['loss']:.3f}{term}")
        metrics = RegionMetrics(regions)
        with torch.no_grad():
            for rows in torch.arange(len(target)).split(500):
                metrics.update(model(tokens[rows]).logits.squeeze(1), target[rows])
        scores = {region: s for region, s in metrics.compute().items() if s["n"]}
        errors = (f"{region} {s['mae']:.3f}" for region, s in scores.items())
        print(f"{name}, MAE: {', '.join(errors)}")


if __name__ == "__main__":
    main()
