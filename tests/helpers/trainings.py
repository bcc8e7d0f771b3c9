"""A user's module on small data, trained with callbacks and by the loop that everyone has."""

from collections.abc import Callable
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from ranksim.imbalance import FDS, LabelBins
from ranksim.losses import RankSimLoss

# Lightning's advice (few workers, no validation loader), and what it does with torch 2.13
LIGHTNING_SAYS = [
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
]
N, WIDTH, BATCH, EPOCHS = 40, 8, 16, 3
STEPS = 3  # an epoch
BINS = LabelBins.integers(0, 9)


class Net(L.LightningModule):
    """A user's module, which knows of none of this."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Linear(4, WIDTH), nn.BatchNorm1d(WIDTH), nn.Dropout(0.2)]
        self.encoder, self.head = nn.Sequential(*layers), nn.Linear(WIDTH, 1)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.encoder(x)).squeeze(1)

    def loss_of(self, batch: Any) -> Any:
        if isinstance(batch, dict):
            loss = F.l1_loss(self(batch["x"]), batch["y"], reduction="none")
            return (loss * batch.get("weight", 1.0)).mean()
        x, y = batch
        return F.l1_loss(self(x), y)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.loss_of(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss_of(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.02)


class Manual(Net):
    """Two backward passes in a step, which together are the one of the others."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        loss = self.loss_of(batch)
        self.manual_backward(0.5 * loss, retain_graph=True)
        self.manual_backward(0.5 * loss)
        optimizer.step()


def data() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(7)
    x = torch.randn(N, 4, generator=draw)
    y = (2 * x[:, 0].abs() + 3 * torch.rand(N, generator=draw)).floor().clamp(0, 9)
    return x, y


def as_tuple(x: Tensor, y: Tensor) -> Any:
    return x, y


def to_dict(x: Tensor, y: Tensor) -> Any:
    return {"x": x, "y": y}


def batches(form: Callable[[Tensor, Tensor], Any] = as_tuple, **settings: Any) -> DataLoader[Any]:
    options: dict[str, Any] = {"batch_size": BATCH, "generator": torch.Generator()} | settings
    return DataLoader(
        list(zip(*data(), strict=True)),  # type: ignore[arg-type]
        collate_fn=lambda rows: form(*map(torch.stack, zip(*rows, strict=True))),
        **options,
    )


def network(kind: type[Any] = Net, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return kind()


def trainer_for(*callbacks: L.Callback, **settings: Any) -> L.Trainer:
    options: dict[str, Any] = {
        "accelerator": "cpu", "max_epochs": EPOCHS, "logger": False,
        "enable_checkpointing": False, "enable_progress_bar": False,
        "enable_model_summary": False, "num_sanity_val_steps": 0,
    } | settings  # fmt: skip
    return L.Trainer(callbacks=list(callbacks), **options)


def fitted(
    *callbacks: L.Callback,
    net: Any = None,
    loader: Any = None,
    val: Any = None,
    path: Any = None,
    **settings: Any,
) -> Any:
    net = network() if net is None else net
    torch.manual_seed(1)
    trainer = trainer_for(*callbacks, **settings)
    loader = batches() if loader is None else loader
    trainer.fit(net, loader, val, ckpt_path=path, weights_only=None if path is None else True)
    return net


def plain(
    step: Callable[[Any, Tensor, Tensor], Tensor],
    *,
    before_epoch: Callable[[int], None] = lambda epoch: None,
    net: Any = None,
    epochs: int = EPOCHS,
) -> Any:
    """The loop that everyone has: ``step`` gives the loss of a batch."""
    net = network() if net is None else net
    optimizer = net.configure_optimizers()
    torch.manual_seed(1)
    for epoch in range(epochs):
        before_epoch(epoch)
        for x, y in batches():
            optimizer.zero_grad()
            step(net, x, y).backward()
            optimizer.step()
    return net


def same(a: nn.Module, b: nn.Module) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def make_fds(**settings: Any) -> FDS:
    return FDS(WIDTH, BINS, **settings)


def make_ranksim(**settings: Any) -> RankSimLoss:
    generator = torch.Generator().manual_seed(3)
    return RankSimLoss(weight=0.05, generator=generator, **settings)


def plain_fds(fds: FDS, ranksim: RankSimLoss | None = None, smoothed: bool = False) -> Any:
    net = network()

    def update_fds(epoch: int) -> None:
        if epoch > 0:
            with torch.random.fork_rng():
                fds.fit_epoch(net.encoder, batches())

    def step(net: Any, x: Tensor, y: Tensor) -> Tensor:
        raw = net.encoder(x)
        calibrated = fds.calibrate(raw, y)
        loss = F.l1_loss(net.head(calibrated).squeeze(1), y)
        return loss if ranksim is None else loss + ranksim(calibrated if smoothed else raw, y)

    return plain(step, before_epoch=update_fds, net=net)
