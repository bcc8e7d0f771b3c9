"""What a training in processes of its own says, heard in the one that started it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as L
import torch.multiprocessing as mp
from torch.multiprocessing.spawn import ProcessRaisedException

from ranksim import exceptions
from ranksim.training.divergence import DivergedError
from ranksim.training.resume import Progress

_OFTEN = 0.1  # seconds between two looks


class _Tell:
    """Stands for a function of another process."""

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe

    def __call__(self, epoch: int, score: float) -> None:
        self.pipe.send((epoch, score))


class ValidationForwarder:
    """Calls a function of this process with what the processes of a Trainer tell of validations.

    What the function raises ends the training, and is raised where that was started.

    Args:
        told: the function, which need not travel.
    """

    def __init__(self, told: Progress) -> None:
        self.told = told
        self.heard, pipe = mp.Pipe(duplex=False)  # a queue's lock would outlive a killed process
        self.tell: Progress = _Tell(pipe)
        self.ended = threading.Event()
        self.error: BaseException | None = None

    @contextmanager
    def listening(self, trainer: L.Trainer) -> Iterator[None]:
        """Listen while the Trainer trains."""
        thread = threading.Thread(target=self._listen, args=(trainer,), daemon=True)
        thread.start()
        try:
            yield
        except Exception:
            if self.error is None:
                raise
        finally:
            self.ended.set()
            thread.join()
        if self.error is not None:
            raise self.error

    def _listen(self, trainer: L.Trainer) -> None:
        while self.heard.poll(_OFTEN) or not self.ended.is_set():
            if not self.heard.poll():
                continue
            try:
                self.told(*self.heard.recv())
            except BaseException as error:
                self.error = error
                # of a gentler signal Lightning would make a message, which nobody may wait for
                for process in trainer.strategy.launcher.procs:  # type: ignore[union-attr]
                    process.kill()
                return


@contextlib.contextmanager
def raised_here() -> Iterator[None]:
    """Make again of a process's error what it was there: torch makes a traceback of it."""
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
