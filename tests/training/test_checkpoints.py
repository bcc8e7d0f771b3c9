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
from ranksim.training.fit import TrainingLimits
from ranksim.training.resume import (
    BEST,
    LAST,
    AtomicCheckpointIO,
    read_resumable_checkpoint,
    read_training_checkpoint,
)
from tests.training.test_fit import run, same


@pytest.fixture
def checkpoint(tmp_path):
    drawn = torch.randn(20, 20, generator=torch.Generator().manual_seed(0))
    AtomicCheckpointIO().save_checkpoint({"w": drawn, "step": 3}, tmp_path / "a.ckpt")
    return tmp_path / "a.ckpt"


def test_a_flipped_bit_never_gives_other_weights(checkpoint):
    whole, expected = checkpoint.read_bytes(), read_training_checkpoint(checkpoint)
    draw, refused = np.random.default_rng(0), 0
    for place in draw.choice(len(whole), 300, replace=False):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(draw.integers(8))
        checkpoint.write_bytes(flipped)
        try:
            got = read_training_checkpoint(checkpoint)
        except DataError:
            refused += 1
        else:
            assert torch.equal(got["w"], expected["w"])
            assert got["step"] == 3
    assert refused > 150


def test_pytorch_alone_would_read_it(checkpoint):
    """Why checksums are looked at: without, the flipped weight is taken."""
    whole = checkpoint.read_bytes()
    weights = read_training_checkpoint(checkpoint)["w"]
    place = whole.index(weights.numpy().tobytes())
    checkpoint.write_bytes(whole[: place + 3] + bytes([whole[place + 3] ^ 1]) + whole[place + 4 :])
    assert not torch.equal(torch.load(checkpoint, weights_only=True)["w"], weights)
    with pytest.raises(DataError, match="a.ckpt is damaged: delete the folder .*, to have it tr"):
        read_training_checkpoint(checkpoint)


def test_a_missing_one_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_training_checkpoint(tmp_path / "a.ckpt")
    assert read_resumable_checkpoint(tmp_path) is None


def test_where_one_of_two_is_damaged_training_starts_afresh(tmp_path):
    whole = run(tmp_path / "whole")
    run(tmp_path / "begun", limits=TrainingLimits(epochs=2))
    assert read_resumable_checkpoint(tmp_path / "begun")["callbacks"]
    for name, damage in ((LAST, b"\xff"), (BEST, b"\xff"), (BEST, None)):
        folder = tmp_path / "damaged"
        shutil.copytree(tmp_path / "begun", folder)
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).unlink() if damage is None else (folder / name).write_bytes(content)
        assert read_resumable_checkpoint(folder) is None
        assert not (folder / LAST).exists()
        assert not (folder / BEST).exists()
        if name == BEST and damage is not None:
            assert same(run(folder), whole)
        shutil.rmtree(folder)


def test_a_full_disk_is_told_by_its_number(tmp_path, monkeypatch):
    """PyTorch tells of an archive that could not be closed, and not why."""

    @contextmanager
    def written_to_a_full_disk(path):
        with atomic_write(path):
            yield Path("/dev/full")

    monkeypatch.setattr(resume, "written_whole", written_to_a_full_disk)
    with pytest.raises(DataError, match=r"^The disk is full: .*a\.ckpt could not be") as raised:
        AtomicCheckpointIO().save_checkpoint({"w": torch.zeros(9)}, tmp_path / "a.ckpt")
    assert raised.value.__cause__.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fails_for_a_moment_costs_no_checkpoint(tmp_path, monkeypatch):
    def fail(_):
        raise OSError(errno.EIO, "Input/output error")

    for name in ("last.ckpt", "best.ckpt"):
        (tmp_path / name).touch()
    monkeypatch.setattr("zipfile.ZipFile", fail)
    with pytest.raises(OSError, match="Input/output error"):
        read_resumable_checkpoint(tmp_path)
    assert (tmp_path / "last.ckpt").exists()
