#!/usr/bin/env bash
# Lightning 2.6.6: Ctrl-C during Trainer.fit arrives as SystemExit(1), not as KeyboardInterrupt.
#
# Code around Trainer.fit that catches KeyboardInterrupt, to save something or to skip to the next run of a
# sweep, never runs: the trainer catches the interrupt, shuts down and raises SystemExit with code 1. A shell
# therefore sees a failure (1) instead of an interrupt (130), and `except Exception` does not catch it either.
# Source: behavior of lightning.pytorch.Trainer.fit with a callback that raises the interrupt, run below.
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
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Interrupt(L.Callback):
    def on_train_batch_end(self, *args):
        raise KeyboardInterrupt


quiet = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False)
trainer = L.Trainer(max_epochs=1, accelerator="cpu", callbacks=[Interrupt()], **quiet)
try:
    trainer.fit(Module(), DataLoader(TensorDataset(torch.zeros(4, 1))))
    raised = None
except BaseException as error:
    raised = error
print(f"lightning {lightning.__version__}: Trainer.fit raised {raised!r}")
assert isinstance(raised, SystemExit) and raised.code == 1, "the behavior changed"
PY
