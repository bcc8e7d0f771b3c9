"""Communication with training processes: validation scores and errors."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import lightning.pytorch as L
import torch.multiprocessing as mp
from torch.multiprocessing.spawn import ProcessRaisedException

from ranksim import exceptions
from ranksim.training.divergence import DivergedError
from ranksim.training.resume import ValidationCallback

_POLL_SECONDS = 0.1


def _send(pipe: Any, epoch: int, score: float) -> None:
    pipe.send((epoch, score))


class ValidationForwarder:
    """Calls a function in this process with the validation scores of the training processes.

    An exception of the function ends the training and is raised in this process.

    Args:
        callback: called with epoch and validation score; it need not be picklable.
    """

    def __init__(self, callback: ValidationCallback) -> None:
        self.callback = callback
        # not a queue, whose lock would stay taken if a process is killed
        self.receiver, pipe = mp.Pipe(duplex=False)
        self.send: ValidationCallback = partial(_send, pipe)  # picklable
        self.finished = threading.Event()
        self.error: BaseException | None = None

    @contextmanager
    def listening(self, trainer: L.Trainer) -> Iterator[None]:
        """Forward scores while the Trainer trains."""
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


@contextmanager
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
