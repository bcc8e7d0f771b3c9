"""Lightning: RankSim and FDS for an unchanged module.

Run it with ``python examples/lightning_module.py``.
"""

from __future__ import annotations

import lightning.pytorch as L
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from ranksim import FDS, LabelBins, RankSimLoss
from ranksim.integrations.lightning import FDSCallback, RankSimCallback


class LitRegressor(L.LightningModule):
    """An ordinary module, without RankSim or FDS."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 32))
        self.head = nn.Linear(32, 1)

    def forward(self, x: Tensor) -> Tensor:
        preds: Tensor = self.head(self.backbone(x)).squeeze(1)
        return preds

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        loss = F.l1_loss(self(x), y)
        self.log("loss", loss, on_epoch=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=3e-3)


def main(samples: int = 1000, epochs: int = 5) -> None:
    """Train with two callbacks and print the logged losses."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(samples, 8, generator=draw)
    ages = (20 + 12 * x[:, :2].exp().sum(1)).floor().clamp(max=120)
    ranksim = RankSimLoss(gamma=1.0, weight=0.3, generator=draw)
    callbacks: list[L.Callback] = [
        RankSimCallback(ranksim, "backbone"),
        FDSCallback(FDS(32, LabelBins.integers(0, 120)), "backbone"),
    ]
    torch.manual_seed(0)
    trainer = L.Trainer(
        max_epochs=epochs,
        callbacks=callbacks,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(LitRegressor(), DataLoader(TensorDataset(x, ages), batch_size=64, shuffle=True))
    logged = trainer.callback_metrics
    print(f"loss {logged['loss_epoch']:.2f}, RankSim {logged['train_ranksim']:.2f}")


if __name__ == "__main__":
    main()
