import subprocess
import sys

import pytest
import torch

from ranksim.training.hardware import peak_memory_mb
from ranksim.training.trainer_config import TrainerConfig

MEASURE = """
import numpy as np
from ranksim.training.trainer_config import TrainerConfig
from ranksim.training.hardware import peak_memory_mb, reset_peak_memory
config = TrainerConfig("cpu")
block = np.ones(200 << 17)
del block
reset_peak_memory(config)
before = peak_memory_mb(config)
block = np.ones(50 << 17)
print(before, peak_memory_mb(config))
"""


@pytest.mark.slow
def test_peak_memory_since_reset():
    """In a fresh process, whose heap has no freed memory to reuse."""
    out = subprocess.run(
        [sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True
    )
    if "None" in out.stdout:
        pytest.skip("the system does not report peak memory")
    before, after = map(float, out.stdout.split())
    assert before + 40 <= after < before + 150


def test_peak_memory_is_unknown_with_several_devices():
    assert peak_memory_mb(TrainerConfig("cpu", "2")) is None


def test_peak_memory_of_gpu(monkeypatch):
    hardware = TrainerConfig("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 3 << 20)
    assert peak_memory_mb(hardware) == 3.0
