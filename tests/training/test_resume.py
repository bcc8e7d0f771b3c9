"""Checkpoint files: damage, full disks and failing disks."""

import errno
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from ranksim._utils.storage import atomic_write
from ranksim.exceptions import DataError
from ranksim.training import resume
from ranksim.training.direct_loop import DIRECT
from ranksim.training.limits import TrainingLimits
from ranksim.training.resume import (
    BEST,
    LAST,
    read_resumable_checkpoint,
    read_training_checkpoint,
    save_checkpoint,
)
from tests.helpers.text_training import same_result, train


@pytest.fixture
def checkpoint(tmp_path):
    weights = torch.randn(20, 20, generator=torch.Generator().manual_seed(0))
    save_checkpoint({"w": weights, "step": 3}, tmp_path / "a.ckpt")
    return tmp_path / "a.ckpt"


def test_flipped_bits_are_detected_or_harmless(checkpoint):
    content, expected = checkpoint.read_bytes(), read_training_checkpoint(checkpoint)
    draw, rejected = np.random.default_rng(0), 0
    for position in draw.choice(len(content), 300, replace=False):
        flipped = bytearray(content)
        flipped[position] ^= 1 << int(draw.integers(8))
        checkpoint.write_bytes(flipped)
        try:
            loaded = read_training_checkpoint(checkpoint)
        except DataError:
            rejected += 1
        else:
            assert torch.equal(loaded["w"], expected["w"])
            assert loaded["step"] == 3
    assert rejected > 150


def test_torch_alone_loads_flipped_weights(checkpoint):
    """The reason for verifying checksums."""
    content = checkpoint.read_bytes()
    weights = read_training_checkpoint(checkpoint)["w"]
    start = content.index(weights.numpy().tobytes()) + 3
    checkpoint.write_bytes(content[:start] + bytes([content[start] ^ 1]) + content[start + 1 :])
    assert not torch.equal(torch.load(checkpoint, weights_only=True)["w"], weights)
    with pytest.raises(DataError, match=r"a.ckpt is damaged: delete the folder"):
        read_training_checkpoint(checkpoint)


def test_missing_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_training_checkpoint(tmp_path / "a.ckpt")
    assert read_resumable_checkpoint(tmp_path, DIRECT) is None


def test_training_restarts_if_one_checkpoint_is_damaged(tmp_path):
    complete = train(tmp_path / "complete")
    train(tmp_path / "partial", limits=TrainingLimits(epochs=2))
    assert read_resumable_checkpoint(tmp_path / "partial", DIRECT)["progress"]
    for name, missing in ((LAST, False), (BEST, False), (BEST, True)):
        folder = tmp_path / "damaged"
        shutil.copytree(tmp_path / "partial", folder)
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).unlink() if missing else (folder / name).write_bytes(content)
        assert read_resumable_checkpoint(folder, DIRECT) is None
        assert not (folder / LAST).exists()
        assert not (folder / BEST).exists()
        if name == BEST and not missing:
            assert same_result(train(folder), complete)
        shutil.rmtree(folder)


def test_full_disk_is_reported_with_errno(tmp_path, monkeypatch):
    """torch raises a RuntimeError that does not name the cause."""

    @contextmanager
    def write_to_full_disk(path):
        with atomic_write(path):
            yield Path("/dev/full")

    monkeypatch.setattr(resume, "atomic_write", write_to_full_disk)
    with pytest.raises(DataError, match=r"disk is full") as raised:
        save_checkpoint({"w": torch.zeros(9)}, tmp_path / "a.ckpt")
    assert raised.value.__cause__.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_transient_read_error_keeps_checkpoint(tmp_path, monkeypatch):
    def fail(_):
        raise OSError(errno.EIO, "Input/output error")

    for name in (LAST, BEST):
        (tmp_path / name).touch()
    monkeypatch.setattr("zipfile.ZipFile", fail)
    with pytest.raises(OSError, match="Input/output error"):
        read_resumable_checkpoint(tmp_path, DIRECT)
    assert (tmp_path / LAST).exists()
