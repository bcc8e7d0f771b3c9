"""Lightning's Trainer for a configuration of the hardware, and communication with its processes."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import lightning.pytorch as L
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch.multiprocessing.spawn import ProcessRaisedException

from ranksim import exceptions
from ranksim.exceptions import UsageError
from ranksim.training.divergence import DivergedError
from ranksim.training.trainer_config import TrainerConfig, ValidationCallback, node_rank

_POLL_SECONDS = 0.1
_START_METHOD = "spawn"  # no other way to start processes allows GPUs


def check_hardware(config: TrainerConfig) -> None:
    """Raise UsageError if Lightning rejects the configuration."""
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
    silence_lightning()
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
