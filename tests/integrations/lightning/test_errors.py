"""What a callback refuses, in a sentence that says what to do."""

import pytest
import torch
from torch import nn

from ranksim.exceptions import DataError
from ranksim.imbalance import FDS, DensityWeights
from ranksim.integrations.lightning import (
    FDSCallback,
    RankSimCallback,
    RetrainHeadCallback,
    WeightsCallback,
)
from tests.helpers.trainings import (
    BINS,
    LIGHTNING_SAYS,
    Manual,
    Net,
    batches,
    data,
    fitted,
    make_fds,
    make_ranksim,
    network,
    to_dict,
)

pytestmark = LIGHTNING_SAYS


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


class Offset(nn.Module):
    def __init__(self):
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(1))


class WithOffset(Net):
    def __init__(self):
        super().__init__()
        self.offset_layer = Offset()


KINDS = {
    "image": Image, "age": Age, "unused": Unused, "twice": Twice, "pair": Pair,
    "manual": Manual, "offset": WithOffset,
}  # fmt: skip


ERRORS = {
    "labels of a tuple of three": (
        lambda path: [FDSCallback(make_fds(), "encoder")],
        {"loader": lambda: batches(lambda x, y: (x, x, y))},
        TypeError,
        r"^a batch must be \(x, y\) or .* label, labels, y, got a tuple of 3: pass labels_fn=",
    ),
    "labels of a dict": (
        lambda path: [RankSimCallback(make_ranksim(), "encoder")],
        {"loader": lambda: batches(lambda x, y: {"x": x, "age": y}), "kind": "age"},
        TypeError,
        r"under label, labels, y, got a dict with x, age: pass labels_fn=",
    ),
    "inputs of a dict": (
        lambda path: [FDSCallback(make_fds(), "encoder")],
        {"loader": lambda: batches(lambda x, y: {"image": x, "y": y}), "kind": "image"},
        TypeError,
        r"under inputs, input, x, got a dict with image, y: pass inputs_fn=",
    ),
    "labels that are no tensor": (
        lambda path: [FDSCallback(make_fds(), "encoder", labels_fn=lambda batch: [1, 2])],
        {},
        TypeError,
        r"^the labels of a batch must be a tensor, got a list of 2$",
    ),
    "no such layer": (
        lambda path: [FDSCallback(make_fds(), "encodr")],
        {},
        ValueError,
        r"^layer must be the dotted name of a layer of Net, got 'encodr': its layers are encoder, "
        r"encoder\.0, encoder\.1, encoder\.2, head$",
    ),
    "no layer": (
        lambda path: [RankSimCallback(make_ranksim(), "")],
        {},
        ValueError,
        r"^layer must be the dotted name of .* Net, got '': its layers are encoder, .*head$",
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
        r"^layer 'unused' must run once per batch, but ran 0 times: ",
    ),
    "RankSim where the layer runs twice": (
        lambda path: [RankSimCallback(make_ranksim(), "encoder")],
        {"kind": "twice"},
        ValueError,
        r"^layer 'encoder' must run once per batch, but ran 2 times: ",
    ),
    "an output that is a tuple": (
        lambda path: [RankSimCallback(make_ranksim(), "pair")],
        {"kind": "pair"},
        TypeError,
        r"^layer 'pair' must return features \(N, D\), got a tuple of 2$",
    ),
    "manual optimisation": (
        lambda path: [RankSimCallback(make_ranksim(), "encoder")],
        {"kind": "manual"},
        ValueError,
        r"^RankSimCallback needs automatic optimization, but Manual .* manual_backward\(\)$",
    ),
    "weights into a tuple": (
        lambda path: [WeightsCallback(DensityWeights.fit([1, 2], bins=BINS))],
        {},
        TypeError,
        r"^WeightsCallback needs a dict batch to store 'weight', got a tuple of 2: return a dict",
    ),
    "weights over what is there": (
        lambda path: [WeightsCallback(DensityWeights.fit([1, 2], bins=BINS), key="x")],
        {"loader": lambda: batches(to_dict)},
        ValueError,
        r"^the batch already has 'x': pass another key=$",
    ),
    "no checkpoint": (
        lambda path: [RetrainHeadCallback("encoder", "head", path / "none.ckpt")],
        {},
        DataError,
        r"^Checkpoint .*none\.ckpt does not exist: ",
    ),
    "a checkpoint of something else": (
        lambda path: [RetrainHeadCallback("encoder", "head", saved(path, {"m.w": torch.ones(1)}))],
        {},
        DataError,
        r"best\.pt has no weights of 'encoder', its first key is 'm\.w': ",
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
        r"best\.pt contains an object \(.*print\), and only tensors and plain values are loaded: ",
    ),
    "no such head": (
        lambda path: [RetrainHeadCallback("encoder", "fc", path / "none.ckpt")],
        {},
        ValueError,
        r"^head must be the dotted name of .* Net, got 'fc': its layers are encoder, .*head$",
    ),
    "a head that cannot be drawn anew": (
        lambda path: [
            RetrainHeadCallback("encoder", "offset_layer", saved(path, network().state_dict()))
        ],
        {"kind": "offset"},
        ValueError,
        r"^head 'offset_layer' cannot be reinitialized: its Offset .* no reset_parameters\(\)$",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_error_messages(name, tmp_path):
    make, given, error, message = ERRORS[name]
    loader = given.get("loader", batches)()
    net = network(KINDS.get(given.get("kind"), Net))
    with pytest.raises(error, match=message):
        fitted(*make(tmp_path), net=net, loader=loader)
