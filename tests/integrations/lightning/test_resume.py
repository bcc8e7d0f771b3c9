"""A training with callbacks that is stopped and resumed repeats the one that never was."""

import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from ranksim.integrations.lightning import FDSCallback, RankSimCallback
from ranksim.training.data_loader import SeededSampler
from tests.helpers.trainings import (
    BATCH,
    LIGHTNING_SAYS,
    STEPS,
    N,
    batches,
    fitted,
    make_fds,
    make_ranksim,
    same,
)

pytestmark = LIGHTNING_SAYS


class Draws(Callback):
    """Keeps torch's random state in checkpoints, as exact resume with dropout needs."""

    state = None

    def state_dict(self):
        return {"torch": torch.get_rng_state()}

    def load_state_dict(self, state_dict):
        self.state = state_dict["torch"]

    def on_train_start(self, trainer, pl_module):
        if self.state is not None:
            torch.set_rng_state(self.state)


@pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize(
    ("published", "workers"),
    [(True, 0), *(pytest.param(*case, marks=pytest.mark.slow) for case in ((False, 0), (True, 1)))],
)
def test_resumed_training_equals_uninterrupted_training(tmp_path, published, workers):
    """From checkpoints inside an epoch, at its last batch and after its end.

    With persistent workers from the latter alone, in a fixed order: as a training resumes,
    Lightning starts them before the order of samples is told the epoch.
    """
    saved = [
        ModelCheckpoint(tmp_path, "{step}", save_top_k=-1, every_n_train_steps=1),
        ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1, save_on_train_epoch_end=True),
    ]
    modules = []

    def run(path=None, start=0, keep=()):
        order = SeededSampler(N, 0)
        order.start_index = start
        fds = make_fds(paper_compat=published)
        callbacks = [
            FDSCallback(fds, "encoder"),
            RankSimCallback(make_ranksim(memory_size=25), "encoder"),
        ]
        settings = {"sampler": order}
        if workers:
            settings = {"num_workers": workers, "persistent_workers": True}
            settings["multiprocessing_context"] = "fork"
        modules.append(fds)
        return fitted(
            *callbacks, Draws(), *keep, loader=batches(**settings), path=path,
            enable_checkpointing=bool(keep),
        )  # fmt: skip

    whole = run(keep=saved)
    cases = [(f"epoch={epoch}", 0) for epoch in (0, 1)]
    cases += [(f"step={step}", step % STEPS * BATCH) for step in (1, 2, 4, 5, 7)]
    for name, start in cases[: 2 if workers else None]:
        resumed = run(tmp_path / f"{name}.ckpt", start)
        assert same(resumed, whole), name
        assert same(modules[-1], modules[0]), name
