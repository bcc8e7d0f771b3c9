"""Configuration of Lightning's Trainer, and communication with its processes."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch.multiprocessing.spawn import ProcessRaisedException

from ranksim import exceptions
from ranksim.exceptions import UsageError
from ranksim.training.divergence import DivergedError

ValidationCallback = Callable[[int, float], None]
"""Called with epoch and validation score."""
_MB = 2**20
_POLL_SECONDS = 0.1
_START_METHOD = "spawn"  # no other way to start processes allows GPUs
_NODE_RANK = ("NODE_RANK", "GROUP_RANK", "SLURM_NODEID")


@dataclass(frozen=True)
class TrainerConfig:
    """Hardware settings of Lightning's Trainer and of the network.

    With several nodes, run the same command on each, with the environment variables ``NODE_RANK``
    (or Slurm's), ``MASTER_ADDR`` and ``MASTER_PORT``.
    """

    accelerator: str = "auto"  # this and the next three are arguments of lightning.Trainer
    devices: str = "1"
    precision: str = "32-true"
    num_nodes: int = 1
    compile: bool = False  # compile the encoder with torch.compile
    channels_last: bool | None = None  # of images; None: on the CPU, where it is faster
    gather_across_devices: bool = False  # RankSim ranks the samples of all devices together

    @property
    def is_distributed(self) -> bool:
        """Return True if training runs in several processes."""
        return self.devices != "1" or self.num_nodes > 1

    @property
    def uses_channels_last(self) -> bool:
        """Return ``channels_last`` with its default for this machine."""
        if self.channels_last is not None:
            return self.channels_last
        on_cpu = self.accelerator == "auto" and not torch.accelerator.is_available()
        return self.accelerator == "cpu" or on_cpu

    @property
    def is_follower_node(self) -> bool:
        """Return True on every node but the first, which writes the results."""
        return self.num_nodes > 1 and node_rank() > 0

    @property
    def requires_gpu(self) -> bool:
        """Return True if the accelerator must be an NVIDIA or AMD GPU."""
        return self.accelerator in ("gpu", "cuda")

    @property
    def on_gpu(self) -> bool:
        """Return True if training runs on an NVIDIA or AMD GPU."""
        return (self.accelerator == "auto" or self.requires_gpu) and torch.cuda.is_available()


def node_rank() -> int:
    """Return the index of this node, from 0."""
    for name in _NODE_RANK:
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return 0


def check_trainer_config(config: TrainerConfig, jobs: int = 1) -> None:
    """Raise UsageError if Lightning rejects the configuration, or ``jobs`` runs at once with it."""
    if config.num_nodes > 1:
        # without these variables, nodes would wait for each other forever
        address, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT", "")
        ranked = any(os.environ.get(name, "").isdigit() for name in _NODE_RANK)
        if not (address and port.isdigit() and ranked):
            raise UsageError(
                f"--num-nodes {config.num_nodes} needs the environment variables MASTER_ADDR, "
                "MASTER_PORT and NODE_RANK: set them on each node and run the same command there."
            )
        if node_rank() >= config.num_nodes:
            raise UsageError(
                f"--num-nodes {config.num_nodes} needs a NODE_RANK from 0 to "
                f"{config.num_nodes - 1}, got {node_rank()}."
            )
    if config.gather_across_devices and not config.is_distributed:
        raise UsageError(
            "--gather-across-devices needs several devices: give --devices or --num-nodes too."
        )
    if jobs > 1 and config.is_distributed:
        raise UsageError(
            f"--jobs {jobs} trains several runs at once on one device each and cannot be combined "
            "with --devices or --num-nodes: leave one of them out."
        )
    try:
        _make_bare_trainer(config, **trainer_arguments(config))
    except (ValueError, TypeError, RuntimeError, MisconfigurationException) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise UsageError(
            f"Lightning cannot use --accelerator {config.accelerator} --devices "
            f"{config.devices} --precision {config.precision}: {reason}."
        ) from error


def trainer_arguments(config: TrainerConfig, *, unused_weights: bool = False) -> dict[str, Any]:
    """Return the arguments of a Trainer that choose devices, precision and processes.

    ``unused_weights`` allows parameters that receive no gradient, such as those of a frozen head.
    """
    devices = config.devices
    arguments: dict[str, Any] = {
        "accelerator": config.accelerator,
        "devices": int(devices) if devices.isdigit() else devices,
        "precision": config.precision,
    }
    if not config.is_distributed:
        return arguments
    # one process per node starts the others, under Slurm too
    os.environ.setdefault("NODE_RANK", str(node_rank()))
    return arguments | {
        "num_nodes": config.num_nodes,
        "strategy": f"ddp_{_START_METHOD}" + "_find_unused_parameters_true" * unused_weights,
        "plugins": [LightningEnvironment()],
    }


def world_size(config: TrainerConfig) -> int:
    """Return the number of training processes on all nodes."""
    if not config.is_distributed:
        return 1
    return _make_bare_trainer(config, **trainer_arguments(config)).world_size


def silence_lightning() -> None:
    """Hide Lightning's hints on loaders, loggers and hardware."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")


def make_eval_trainer(config: TrainerConfig) -> L.Trainer:
    """Return a Trainer for evaluation and prediction on one device."""
    return _make_bare_trainer(config, devices=1, plugins=[LightningEnvironment()])


def _make_bare_trainer(config: TrainerConfig, **arguments: Any) -> L.Trainer:
    return L.Trainer(
        **{"accelerator": config.accelerator, "precision": config.precision} | arguments,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


@contextlib.contextmanager
def translate_keyboard_interrupt() -> Iterator[None]:
    """Raise KeyboardInterrupt for the SystemExit that Lightning makes of Ctrl-C."""
    try:
        yield
    except SystemExit as error:
        raise KeyboardInterrupt from error


def reset_peak_memory(config: TrainerConfig) -> None:
    """Reset the measurement of peak memory, if the system supports it."""
    if config.on_gpu:
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory_mb(config: TrainerConfig) -> float | None:
    """Return the peak memory since the reset of the GPU or else of the process, in 2²⁰ bytes.

    ``None`` for distributed training or if the system does not report it.
    """
    if config.is_distributed:
        return None
    if config.on_gpu:
        return torch.cuda.max_memory_allocated() / _MB
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    with contextlib.suppress(ImportError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (_MB if sys.platform == "darwin" else 1024)
    return None


class ValidationForwarder:
    """Calls a function in this process with the validation scores of the training processes.

    An exception of the function, which need not be picklable, ends the training and is raised in
    this process.
    """

    def __init__(self, callback: ValidationCallback) -> None:
        self.callback = callback
        # not a queue, whose lock would stay taken if a process is killed
        self.receiver, pipe = torch.multiprocessing.Pipe(duplex=False)
        self.send: ValidationCallback = partial(_send, pipe)  # picklable
        self.finished = threading.Event()
        self.error: BaseException | None = None

    @contextlib.contextmanager
    def listening(self, trainer: L.Trainer) -> Iterator[None]:
        """Forward validation scores to the callback in a thread while the ``with`` block trains."""
        thread = threading.Thread(target=self._forward, args=(trainer,), daemon=True)
        thread.start()
        try:
            yield
        except Exception:
            if self.error is None:
                raise
        finally:
            self.finished.set()
            thread.join()
        if self.error is not None:
            raise self.error

    def _forward(self, trainer: L.Trainer) -> None:
        while self.receiver.poll(_POLL_SECONDS) or not self.finished.is_set():
            if not self.receiver.poll():
                continue
            try:
                self.callback(*self.receiver.recv())
            except BaseException as error:
                self.error = error
                # a softer signal would make Lightning send a message that may never be received
                for process in trainer.strategy.launcher.procs:  # type: ignore[union-attr]
                    process.kill()
                return


def _send(pipe: Any, epoch: int, score: float) -> None:
    pipe.send((epoch, score))


@contextlib.contextmanager
def restore_process_errors() -> Iterator[None]:
    """Raise the original error of a training process, of which torch passes on the traceback."""
    try:
        yield
    except ProcessRaisedException as error:
        lines = str(error).strip().splitlines()
        if diverged := DivergedError.from_traceback(lines):
            raise diverged from error
        kind, _, message = lines[-1].partition(": ")
        module, _, name = kind.rpartition(".")
        if module == exceptions.__name__:
            raise getattr(exceptions, name)(message) from error
        raise RuntimeError(f"{kind}: {message}") from error
