import numpy as np
import torch

from ranksim.training.trainer_config import TrainerConfig, peak_memory_mb, reset_peak_memory


def test_peak_memory_since_reset():
    hardware = TrainerConfig("cpu")
    reset_peak_memory(hardware)
    before = peak_memory_mb(hardware)
    assert before is None or 10 < before < 1e5
    block = np.ones(50 << 17)  # 50 MB
    if before is not None:
        assert peak_memory_mb(hardware) >= before + 40
    assert peak_memory_mb(TrainerConfig("cpu", "2")) is None
    assert block.sum() == 50 << 17


def test_peak_memory_of_gpu(monkeypatch):
    hardware = TrainerConfig("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 3 << 20)
    assert peak_memory_mb(hardware) == 3.0
