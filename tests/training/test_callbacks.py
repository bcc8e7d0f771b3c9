"""Each callback trains exactly as the same technique written out in plain PyTorch."""

import contextlib
import subprocess
import sys

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.plugins import MixedPrecision
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from ranksim.balance import DensityWeights, LabelBins
from ranksim.balance.fds import FDS
from ranksim.errors import DataError
from ranksim.losses import RankSimLoss
from ranksim.training import (
    FDSCallback,
    RankSimCallback,
    RetrainHeadCallback,
    WeightsCallback,
)
from ranksim.training.callbacks import inputs_of, labels_of
from ranksim.training.loading import SeededOrder

# Lightning's advice (few workers, no validation loader), and what it does with torch 2.13
pytestmark = [
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
]
N, WIDTH, BATCH, EPOCHS = 40, 8, 16, 3
STEPS = 3  # an epoch
BINS = LabelBins.integers(0, 9)


class Net(L.LightningModule):
    """A user's module, which knows of none of this."""

    def __init__(self):
        super().__init__()
        layers = [nn.Linear(4, WIDTH), nn.BatchNorm1d(WIDTH), nn.Dropout(0.2)]
        self.encoder, self.head = nn.Sequential(*layers), nn.Linear(WIDTH, 1)

    def forward(self, x):
        return self.head(self.encoder(x)).squeeze(1)

    def loss_of(self, batch):
        if isinstance(batch, dict):
            loss = F.l1_loss(self(batch["x"]), batch["y"], reduction="none")
            return (loss * batch.get("weight", 1.0)).mean()
        x, y = batch
        return F.l1_loss(self(x), y)

    def training_step(self, batch, batch_idx):
        return self.loss_of(batch)

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.loss_of(batch))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.02)


def data():
    draw = torch.Generator().manual_seed(7)
    x = torch.randn(N, 4, generator=draw)
    y = (2 * x[:, 0].abs() + 3 * torch.rand(N, generator=draw)).floor().clamp(0, 9)
    return x, y


def as_tuple(x, y):
    return x, y


def as_dict(x, y):
    return {"x": x, "y": y}


def batches(form=as_tuple, **settings):
    settings = {"batch_size": BATCH, "generator": torch.Generator()} | settings
    return DataLoader(
        list(zip(*data(), strict=True)),
        collate_fn=lambda rows: form(*map(torch.stack, zip(*rows, strict=True))),
        **settings,
    )


def network(kind=Net, seed=0):
    torch.manual_seed(seed)
    return kind()


def trainer_for(*callbacks, **settings):
    settings = {
        "accelerator": "cpu", "max_epochs": EPOCHS, "logger": False,
        "enable_checkpointing": False, "enable_progress_bar": False,
        "enable_model_summary": False, "num_sanity_val_steps": 0,
    } | settings  # fmt: skip
    return L.Trainer(callbacks=list(callbacks), **settings)


def fitted(*callbacks, net=None, loader=None, val=None, path=None, **settings):
    net = network() if net is None else net
    torch.manual_seed(1)
    trainer = trainer_for(*callbacks, **settings)
    loader = batches() if loader is None else loader
    trainer.fit(net, loader, val, ckpt_path=path, weights_only=None if path is None else True)
    return net


def plain(step, *, before_epoch=lambda epoch: None, net=None, epochs=EPOCHS):
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


def same(a, b):
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def make_fds(**settings):
    return FDS(WIDTH, BINS, **settings)


def make_ranksim(**settings):
    generator = torch.Generator().manual_seed(3)
    return RankSimLoss(strength=0.05, generator=generator, **settings)


def plain_fds(fds, ranksim=None, smoothed=False):
    net = network()

    def refresh(epoch):
        if epoch > 0:
            with torch.random.fork_rng():
                fds.refresh(net.encoder, batches())

    def step(net, x, y):
        raw = net.encoder(x)
        calibrated = fds.smooth(raw, y)
        loss = F.l1_loss(net.head(calibrated).squeeze(1), y)
        return loss if ranksim is None else loss + ranksim(calibrated if smoothed else raw, y)

    return plain(step, before_epoch=refresh, net=net)


def test_the_comparison_tells_trainings_apart():
    base = plain(lambda net, x, y: F.l1_loss(net(x), y))
    assert same(base, fitted())
    assert not same(base, plain(lambda net, x, y: 1.001 * F.l1_loss(net(x), y)))


@pytest.mark.parametrize("published", [False, True])
def test_fds_is_the_plain_one(published):
    ours, theirs = make_fds(published=published), make_fds(published=published)
    trained = fitted(FDSCallback(ours, "encoder"), val=batches(), num_sanity_val_steps=1)
    assert same(trained, plain_fds(theirs))
    assert same(ours, theirs)
    assert int(ours.updates) == EPOCHS - 1
    assert not same(trained, fitted())


@pytest.mark.parametrize("form", [as_tuple, as_dict])
def test_ranksim_is_the_plain_one(form):
    callback = RankSimCallback(make_ranksim(), "encoder")
    ranksim = make_ranksim()

    def step(net, x, y):
        features = net.encoder(x)
        return F.l1_loss(net.head(features).squeeze(1), y) + ranksim(features, y)

    assert same(fitted(callback, loader=batches(form)), plain(step))


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("ranksim_first", [False, True])
def test_fds_and_ranksim_whatever_their_order(published, ranksim_first):
    """RankSim sees features before FDS, or with ``published`` after it."""
    ours, theirs = make_fds(published=published), make_fds(published=published)
    callbacks = [FDSCallback(ours, "encoder"), RankSimCallback(make_ranksim(), "encoder")]
    trained = fitted(*callbacks[:: -1 if ranksim_first else 1])
    assert same(trained, plain_fds(theirs, make_ranksim(), smoothed=published))
    assert not same(trained, plain_fds(make_fds(), make_ranksim(), smoothed=not published))


def test_ranksim_on_another_layer_than_fds():
    callbacks = [FDSCallback(make_fds(), "encoder"), RankSimCallback(make_ranksim(), "encoder.0")]
    net, fds, ranksim = network(), make_fds(), make_ranksim()

    def refresh(epoch):
        if epoch > 0:
            fds.refresh(net.encoder, batches())

    def step(net, x, y):
        first = net.encoder[0](x)
        features = net.encoder[1:](first)
        return F.l1_loss(net.head(fds(features, y)).squeeze(1), y) + ranksim(first, y)

    assert same(fitted(*callbacks), plain(step, before_epoch=refresh, net=net))


def test_two_ranksim_terms():
    callbacks = [RankSimCallback(make_ranksim(), name) for name in ("encoder.0", "encoder")]
    first, second = make_ranksim(), make_ranksim()

    def step(net, x, y):
        early = net.encoder[0](x)
        late = net.encoder[1:](early)
        return F.l1_loss(net.head(late).squeeze(1), y) + first(early, y) + second(late, y)

    net = fitted(*callbacks)
    assert same(net, plain(step))
    assert "training_step" not in vars(net)


@pytest.mark.parametrize("column", [False, True])
def test_weights_are_the_plain_ones(column):
    weights = DensityWeights.fit(data()[1], bins=BINS)

    class Own(Net):
        def loss_of(self, batch):
            assert batch["weight"].dtype == torch.float32
            assert batch["weight"].shape == batch["y"].shape
            y, weight = batch["y"].flatten(), batch["weight"].flatten()
            return (F.l1_loss(self(batch["x"]), y, reduction="none") * weight).mean()

    def form(x, y):
        return {"x": x, "y": y.unsqueeze(1) if column else y}

    def step(net, x, y):
        weight = torch.from_numpy(weights(y)).float()
        return (F.l1_loss(net(x), y, reduction="none") * weight).mean()

    trained = fitted(WeightsCallback(weights), net=network(Own), loader=batches(form))
    assert same(trained, plain(step))


def test_weights_under_another_key_and_never_in_validation():
    seen = {"training": [], "validation": []}

    class Own(Net):
        def training_step(self, batch, batch_idx):
            seen["training"].append("w" in batch)
            return super().training_step(batch, batch_idx)

        def validation_step(self, batch, batch_idx):
            seen["validation"].append("w" in batch)

    weights = DensityWeights.fit(data()[1], bins=BINS)
    fitted(
        WeightsCallback(weights, key="w", labels=lambda batch: batch["y"]),
        net=network(Own), loader=batches(as_dict), val=batches(as_dict), num_sanity_val_steps=1,
    )  # fmt: skip
    assert seen == {"training": [True] * 9, "validation": [False] * 10}


@pytest.fixture
def stage_one(tmp_path):
    net = fitted()
    torch.save(net.state_dict(), tmp_path / "best.pt")
    return net, tmp_path / "best.pt"


@pytest.mark.parametrize("published", [False, True])
def test_retraining_the_head_is_the_plain_one(stage_one, published):
    first, path = stage_one

    class Restless(Net):
        def on_train_epoch_start(self):
            self.train()  # as other callbacks and older versions of Lightning do

    second = network()
    second.encoder.load_state_dict(first.encoder.state_dict())
    torch.manual_seed(5)
    second.head.reset_parameters()
    second.encoder.requires_grad_(False).train(published)
    second = plain(lambda net, x, y: F.l1_loss(net(x), y), net=second)

    trained = network(Restless, seed=9)
    torch.manual_seed(5)
    trainer = trainer_for(
        RetrainHeadCallback("encoder", "head", path, published=published), SeedAfterSetup()
    )
    trainer.fit(trained, batches(), batches())
    assert same(trained, second)
    assert torch.equal(trained.encoder[0].weight, first.encoder[0].weight)
    moved = not torch.equal(trained.encoder[1].running_mean, first.encoder[1].running_mean)
    assert moved == published
    assert not torch.equal(trained.head.weight, first.head.weight)


class SeedAfterSetup(Callback):
    def on_fit_start(self, trainer, pl_module):
        torch.manual_seed(1)


def test_a_head_inside_the_encoder(tmp_path):
    class Nested(Net):
        def __init__(self):
            super().__init__()
            self.model = nn.Sequential()
            self.model.add_module("body", self.encoder)
            self.model.add_module("fc", self.head)
            del self.encoder, self.head

        def forward(self, x):
            return self.model(x).squeeze(1)

    trainer = trainer_for()
    first = network(Nested)
    trainer.fit(first, batches())
    trainer.save_checkpoint(tmp_path / "best.ckpt", weights_only=True)
    second = fitted(
        RetrainHeadCallback("model", "model.fc", tmp_path / "best.ckpt"), net=network(Nested, 5)
    )
    assert same(first.model.body, second.model.body)
    assert second.model.fc.weight.requires_grad
    assert not torch.equal(first.model.fc.weight, second.model.fc.weight)


def test_stage_two_keeps_statistics_where_asked(stage_one):
    fds = make_fds()
    fds.refresh(stage_one[0].encoder, batches())
    before = {name: value.clone() for name, value in fds.state_dict().items()}
    fitted(
        FDSCallback(fds, "encoder", refresh=False),
        RetrainHeadCallback("encoder", "head", stage_one[1]),
    )
    assert all(torch.equal(value, before[name]) for name, value in fds.state_dict().items())


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
@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_resumed_training_repeats_the_uninterrupted_one(tmp_path, published, workers):
    """From checkpoints inside an epoch, at its last batch and after its end.

    With persistent workers from the latter alone, in a fixed order: as a training resumes,
    Lightning starts them before the order of samples is told the epoch.
    """
    saved = [
        ModelCheckpoint(tmp_path, "{step}", save_top_k=-1, every_n_train_steps=1),
        ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1, save_on_train_epoch_end=True),
    ]
    made = []

    def run(path=None, start=0, keep=()):
        order = SeededOrder(N, 0)
        order.start = start
        fds = make_fds(published=published)
        callbacks = [FDSCallback(fds, "encoder"), RankSimCallback(make_ranksim(), "encoder")]
        settings = {"sampler": order}
        if workers:
            settings = {"num_workers": workers, "persistent_workers": True}
            settings["multiprocessing_context"] = "fork"
        made.append(fds)
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
        assert same(made[-1], made[0]), name


def test_the_pass_for_statistics_is_in_evaluation_mode_and_draws_nothing():
    modes = []

    class Watching(Net):
        def forward(self, x):
            modes.append((self.training, self.encoder[1].training, torch.is_grad_enabled()))
            return super().forward(x)

    fds = make_fds(clip=(1.0, 1.0))
    fitted(FDSCallback(fds, "encoder"), net=network(Watching), max_epochs=2)
    training, statistics = [(True, True, True)] * STEPS, [(False, False, False)] * STEPS
    assert modes == training + statistics + training


def test_statistics_where_the_module_has_no_forward_or_wants_keywords():
    class Without(Net):
        forward = L.LightningModule.forward

        def training_step(self, batch, batch_idx):
            x, y = batch
            return F.l1_loss(self.head(self.encoder(x)).squeeze(1), y)

    class Keywords(Net):
        def forward(self, *, x, scale):
            return super().forward(x * scale)

        def training_step(self, batch, batch_idx):
            return F.l1_loss(self(x=batch[0], scale=1), batch[1])

    class Two(Net):
        def forward(self, x, scale):
            return super().forward(x * scale)

        def training_step(self, batch, batch_idx):
            return F.l1_loss(self(batch[0], 1), batch[1])

    plainly = plain_fds(make_fds())
    assert same(plainly, fitted(FDSCallback(make_fds(), "encoder"), net=network(Without)))
    for kind, inputs in (
        (Keywords, lambda batch: {"x": batch[0], "scale": 1}),
        (Two, lambda batch: (batch[0], 1)),
    ):
        callback = FDSCallback(make_fds(), "encoder", inputs=inputs)
        assert same(plainly, fitted(callback, net=network(kind)))


def test_statistics_of_several_loaders_and_of_part_of_one():
    class Both(Net):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch["a"], batch_idx)

    callback = FDSCallback(
        make_fds(), "encoder",
        labels=lambda batch: batch["a"][1], inputs=lambda batch: batch["a"][0],
    )  # fmt: skip
    trained = fitted(callback, net=network(Both), loader={"a": batches(), "b": batches()})
    assert same(trained, plain_fds(make_fds()))
    fds, expected = make_fds(), make_fds()
    net = fitted(FDSCallback(fds, "encoder"), limit_train_batches=2, max_epochs=1)
    fds = make_fds()
    torch.manual_seed(1)
    trainer = trainer_for(
        FDSCallback(fds, "encoder"), SetRate(0.0), limit_train_batches=2, max_epochs=2
    )
    trainer.fit(net, batches())
    assert int(fds.updates) == 1
    with torch.no_grad():
        for x, y in list(batches())[:2]:
            expected.collect(net.eval().encoder(x), y)
    expected.update()
    assert torch.equal(fds.seen, expected.seen)


class SetRate(Callback):
    def __init__(self, rate):
        self.rate = rate

    def on_train_start(self, trainer, pl_module):
        trainer.optimizers[0].param_groups[0]["lr"] = self.rate


def test_features_with_positions_of_one():
    class Pooled(Net):
        def __init__(self):
            super().__init__()
            self.pool = nn.Unflatten(1, (WIDTH, 1, 1))

        def forward(self, x):
            return self.head(self.pool(self.encoder(x)).flatten(1)).squeeze(1)

    trained = fitted(FDSCallback(make_fds(), "pool"), net=network(Pooled))
    assert same(trained, plain_fds(make_fds()))


def test_validation_and_test_are_untouched():
    """They see no hook and no term, and batches of any form."""

    class Other(Net):
        def validation_step(self, batch, batch_idx):
            x, _, y = batch
            self.log("val_loss", F.l1_loss(self(x), y), batch_size=len(y))

        test_step = validation_step

    val = batches(lambda x, y: (x, None, y), batch_size=N)
    x, y = data()
    fds = make_fds()
    net = network(Other)
    callbacks = [FDSCallback(fds, "encoder"), RankSimCallback(make_ranksim(), "encoder")]
    trainer = trainer_for(*callbacks, num_sanity_val_steps=1)
    trainer.fit(net, batches(), val)
    expected = float(F.l1_loss(net.eval()(x), y).detach())
    assert float(trainer.callback_metrics["val_loss"]) == expected
    (scores,) = trainer.test(net, val, verbose=False)
    assert scores["val_loss"] == expected
    assert int(fds.updates) == EPOCHS - 1


@pytest.mark.filterwarnings("ignore:.*returned `None`")
def test_the_term_is_logged_and_reaches_a_loss_in_a_dict():
    class InDict(Net):
        def training_step(self, batch, batch_idx):
            return {"loss": super().training_step(batch, batch_idx), "extra": 1}

    class Skipping(Net):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return None if batch_idx == 1 else loss

    plainly = fitted(RankSimCallback(make_ranksim(), "encoder"))
    trainer = trainer_for(RankSimCallback(make_ranksim(), "encoder"))
    net = network(InDict)
    torch.manual_seed(1)
    trainer.fit(net, batches())
    assert same(net, plainly)
    assert trainer.callback_metrics["train_ranksim"] > 0
    fitted(RankSimCallback(make_ranksim(), "encoder"), net=network(Skipping))


def test_a_training_step_set_on_the_instance_comes_back():
    net = network()
    own = net.training_step = lambda batch, batch_idx: 2 * net.loss_of(batch)
    fitted(RankSimCallback(make_ranksim(), "encoder"), net=net)
    assert net.training_step is own


@pytest.mark.parametrize("failing", [False, True])
def test_what_was_put_in_is_taken_out(failing):
    class FailingError(Exception):
        pass

    class Failing(Net):
        def training_step(self, batch, batch_idx):
            if failing and batch_idx == 2:
                raise FailingError
            return super().training_step(batch, batch_idx)

    net = network(Failing)
    callbacks = [FDSCallback(make_fds(), "encoder"), RankSimCallback(make_ranksim(), "encoder")]
    with pytest.raises(FailingError) if failing else contextlib.nullcontext():
        fitted(*callbacks, net=net, val=batches())
    assert not any(part._forward_hooks for part in net.modules())
    assert "training_step" not in vars(net)


def precision_of(name):
    """Trainer's settings; on a CPU it would take bf16 in place of fp16 and its loss scaler."""
    if name != "16-mixed":
        return {"precision": name}
    return {"plugins": [MixedPrecision(name, "cpu", torch.amp.GradScaler("cpu"))]}


@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed", "bf16-true", "64-true"])
def test_other_precisions_train(precision):
    """To a loss within a tenth of that in float32, and not to the same one."""

    def trained(fds, **settings):
        net = fitted(
            FDSCallback(fds, "encoder"),
            RankSimCallback(make_ranksim(), "encoder"),
            WeightsCallback(DensityWeights.fit(data()[1], bins=BINS)),
            loader=batches(as_dict),
            **settings,
        )
        x, y = data()
        with torch.no_grad():
            return float(F.l1_loss(net.float().eval()(x), y))

    fds = make_fds()
    other, exact = trained(fds, **precision_of(precision)), trained(make_fds())
    assert fds.mean.dtype == (torch.float64 if precision == "64-true" else torch.float32)
    assert int(fds.updates) == EPOCHS - 1
    assert other == pytest.approx(exact, rel=0.1)
    assert other != exact


def test_batches_that_the_callbacks_understand():
    x, y = data()
    for key in ("label", "labels", "y"):
        assert labels_of({"x": x, key: y}) is y
    for key in ("inputs", "input", "x"):
        assert inputs_of({key: x, "y": y}) is x
    assert labels_of([x, y]) is y
    assert inputs_of((x, y)) is x


def saved(path, content):
    torch.save(content, path / "best.pt")
    return path / "best.pt"


class Image(Net):
    def training_step(self, batch, batch_idx):
        return super().training_step((batch["image"], batch["y"]), batch_idx)


class Age(Net):
    def training_step(self, batch, batch_idx):
        return super().training_step((batch["x"], batch["age"]), batch_idx)


class Unused(Net):
    def __init__(self):
        super().__init__()
        self.unused = nn.Linear(1, 1)


class Twice(Net):
    def training_step(self, batch, batch_idx):
        self(batch[0])
        return super().training_step(batch, batch_idx)


class Both(nn.Module):
    def forward(self, x):
        return x, x


class Pair(Net):
    def __init__(self):
        super().__init__()
        self.pair = Both()

    def forward(self, x):
        self.pair(x)
        return super().forward(x)


class Manual(Net):
    """Two backward passes in a step, which together are the one of the others."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        loss = self.loss_of(batch)
        self.manual_backward(0.5 * loss, retain_graph=True)
        self.manual_backward(0.5 * loss)
        optimizer.step()


class Offset(nn.Module):
    def __init__(self):
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(1))


class Own(Net):
    def __init__(self):
        super().__init__()
        self.own = Offset()


KINDS = {
    "image": Image, "age": Age, "unused": Unused, "twice": Twice, "pair": Pair,
    "manual": Manual, "own": Own,
}  # fmt: skip


ERRORS = {
    "labels of a tuple of three": (
        lambda path: [FDSCallback(make_fds(), "encoder")],
        {"loader": lambda: batches(lambda x, y: (x, x, y))},
        TypeError,
        r"^the labels of a batch are found in \(x, y\) or in a dict under label, labels, y, got a "
        r"tuple of 3: pass labels=, a function from the batch to its labels$",
    ),
    "labels of a dict": (
        lambda path: [RankSimCallback(make_ranksim(), "encoder")],
        {"loader": lambda: batches(lambda x, y: {"x": x, "age": y}), "kind": "age"},
        TypeError,
        r"^the labels of a batch are found in .* y, got a dict with x, age: pass labels=, .*$",
    ),
    "inputs of a dict": (
        lambda path: [FDSCallback(make_fds(), "encoder")],
        {"loader": lambda: batches(lambda x, y: {"image": x, "y": y}), "kind": "image"},
        TypeError,
        r"^the inputs of a batch are found in \(x, y\) or in a dict under inputs, input, x, got a "
        r"dict with image, y: pass inputs=, a function from the batch to its inputs$",
    ),
    "labels that are no tensor": (
        lambda path: [FDSCallback(make_fds(), "encoder", labels=lambda batch: [1, 2])],
        {},
        TypeError,
        r"^the labels of a batch must be a tensor, got a list of 2$",
    ),
    "no such layer": (
        lambda path: [FDSCallback(make_fds(), "encodr")],
        {},
        ValueError,
        r"^layer must be the dotted name of a layer of Net, got 'encodr': it has encoder, "
        r"encoder\.0, encoder\.1, encoder\.2, head$",
    ),
    "no layer": (
        lambda path: [RankSimCallback(make_ranksim(), "")],
        {},
        ValueError,
        r"^layer must be the dotted name of a layer of Net, got '': it has encoder, .*head$",
    ),
    "a width that does not fit": (
        lambda path: [FDSCallback(FDS(3, BINS), "encoder")],
        {},
        ValueError,
        r"^features must have shape \(N, 3\), got \(16, 8\)$",
    ),
    "FDS where the layer does not run": (
        lambda path: [FDSCallback(make_fds(), "unused")],
        {"kind": "unused"},
        ValueError,
        r"^layer 'unused' must run once for a batch, it ran 0 times: name one that is called "
        r"once, as a module and not by its forward\(\)$",
    ),
    "RankSim where the layer runs twice": (
        lambda path: [RankSimCallback(make_ranksim(), "encoder")],
        {"kind": "twice"},
        ValueError,
        r"^layer 'encoder' must run once for a batch, it ran 2 times: name one that is called "
        r"once, as a module and not by its forward\(\)$",
    ),
    "an output that is a tuple": (
        lambda path: [RankSimCallback(make_ranksim(), "pair")],
        {"kind": "pair"},
        TypeError,
        r"^layer 'pair' must give a tensor of features \(N, D\), got a tuple of 2$",
    ),
    "manual optimisation": (
        lambda path: [RankSimCallback(make_ranksim(), "encoder")],
        {"kind": "manual"},
        ValueError,
        r"^RankSimCallback adds to the loss that training_step returns, but Manual optimises "
        r"manually: add RankSimLoss to its own loss before manual_backward\(\) instead$",
    ),
    "weights into a tuple": (
        lambda path: [WeightsCallback(DensityWeights.fit([1, 2], bins=BINS))],
        {},
        TypeError,
        r"^WeightsCallback needs a dict batch to put 'weight' into, got a tuple of 2: have the "
        r"data set return a dict, or call the DensityWeights in training_step$",
    ),
    "weights over what is there": (
        lambda path: [WeightsCallback(DensityWeights.fit([1, 2], bins=BINS), key="x")],
        {"loader": lambda: batches(as_dict)},
        ValueError,
        r"^the batch has 'x' already: give WeightsCallback another key=$",
    ),
    "no checkpoint": (
        lambda path: [RetrainHeadCallback("encoder", "head", path / "none.ckpt")],
        {},
        DataError,
        r"^There is no checkpoint .*none\.ckpt: give the best one of stage one\.$",
    ),
    "a checkpoint of something else": (
        lambda path: [RetrainHeadCallback("encoder", "head", saved(path, {"m.w": torch.ones(1)}))],
        {},
        DataError,
        r"^.*best\.pt holds no weights of 'encoder', its first is 'm\.w': name the encoder as "
        r"stage one did\.$",
    ),
    "a checkpoint of other shapes": (
        lambda path: [
            RetrainHeadCallback("encoder", "head", saved(path, {"encoder.0.weight": data()[0]}))
        ],
        {},
        DataError,
        r"^.*best\.pt does not fit the encoder 'encoder': Error\(s\) in loading state_dict .*$",
    ),
    "a pickle": (
        lambda path: [RetrainHeadCallback("encoder", "head", saved(path, {"a": print}))],
        {},
        DataError,
        r"^.*best\.pt cannot be read as weights alone: give a Lightning checkpoint without objects "
        r"of your own, or what torch\.save\(module\.state_dict\(\), path\) writes\.$",
    ),
    "no such head": (
        lambda path: [RetrainHeadCallback("encoder", "fc", path / "none.ckpt")],
        {},
        ValueError,
        r"^head must be the dotted name of a layer of Net, got 'fc': it has encoder, .*head$",
    ),
    "a head that cannot be drawn anew": (
        lambda path: [
            RetrainHeadCallback("encoder", "own", saved(path, network().state_dict()))
        ],
        {"kind": "own"},
        ValueError,
        r"^head 'own' must have parameters that can be drawn anew, but its Offset has no "
        r"reset_parameters\(\)$",
    ),
}  # fmt: skip


def test_fds_under_manual_optimisation():
    trained = fitted(FDSCallback(make_fds(), "encoder"), net=network(Manual))
    for ours, theirs in zip(trained.parameters(), plain_fds(make_fds()).parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", ERRORS)
def test_errors_say_what_to_do(name, tmp_path):
    make, given, error, message = ERRORS[name]
    loader = given.get("loader", batches)()
    net = network(KINDS.get(given.get("kind"), Net))
    with pytest.raises(error, match=message):
        fitted(*make(tmp_path), net=net, loader=loader)


def test_the_package_is_light_and_says_what_is_missing():
    code = """
import sys
import ranksim.training
from ranksim.training import technique
assert not {"lightning", "torchmetrics"} & set(sys.modules)
assert "FDSCallback" in dir(ranksim.training)
sys.modules["lightning"] = None
try:
    ranksim.training.FDSCallback
except ImportError as error:
    print(type(error).__name__, error)
try:
    ranksim.training.Nothing
except AttributeError as error:
    print(error)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.splitlines() == [
        "MissingExtraError lightning is not installed: run pip install 'ranksim[bench]'.",
        "module 'ranksim.training' has no attribute 'Nothing'",
    ]
