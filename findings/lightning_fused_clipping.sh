#!/usr/bin/env bash
# Lightning 2.6.6: gradient clipping refuses a fused Adam under bf16-mixed, where nothing is unscaled.
#
# A fused optimizer unscales gradients inside its step, so a loss scaler (float16) cannot clip before it. bfloat16
# has no loss scaler, and PyTorch clips and steps in float32 or bf16 autocast alike; Lightning's mixed-precision
# plugin still raises for every fused optimizer with gradient_clip_val, while the same training in float32 works.
# Source: behavior of lightning.pytorch.Trainer with precision="bf16-mixed" and "32-true", run below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "torch==2.13.0" "lightning==2.6.6" "numpy==2.4.6"
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY' 2> /dev/null
import lightning
import lightning.pytorch as L
import torch
from torch.utils.data import DataLoader, TensorDataset


class Module(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, batch_idx):
        return self.layer(batch[0]).mean()

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.1, fused=True)


def outcome(precision):
    trainer = L.Trainer(
        max_steps=1, accelerator="cpu", precision=precision, gradient_clip_val=1.0, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )
    try:
        trainer.fit(Module(), DataLoader(TensorDataset(torch.ones(4, 1))))
    except RuntimeError as error:
        return f"RuntimeError: {str(error)[:70]}…"
    return "trains"


for precision in ("32-true", "bf16-mixed"):
    print(f"lightning {lightning.__version__}, {precision}: {outcome(precision)}")
assert outcome("32-true") == "trains", "the behavior changed"
assert outcome("bf16-mixed").startswith("RuntimeError"), "the behavior changed"
PY
