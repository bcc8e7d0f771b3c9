"""Two gloo processes for tests of distributed code, started once."""

import multiprocessing
import pickle
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist


class ProcessPair:
    """Runs a function in both processes: f(rank, *args), and returns both results."""

    def __init__(self, folder: Path) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])  # PyTorch is imported once for both
        self.pipes: list[Connection[Any, Any]] = []
        self.workers: list[Any] = []
        for rank in range(2):
            pipe, worker_pipe = context.Pipe()
            worker = context.Process(target=_serve, args=(rank, folder, worker_pipe), daemon=True)
            worker.start()
            self.pipes.append(pipe)
            self.workers.append(worker)

    def __call__(self, function: Callable[..., Any], *args: Any, fails: bool = False) -> list[Any]:
        for pipe in self.pipes:
            # plain pickle: tensors are copied, not shared through a file
            pipe.send_bytes(pickle.dumps((function, args)))
        results = []
        for pipe in self.pipes:
            assert pipe.poll(60), "a process hangs"
            results.append(pickle.loads(pipe.recv_bytes()))
        assert all(succeeded is not fails for succeeded, _ in results), results
        return [result for _, result in results]

    def close(self) -> None:
        for pipe in self.pipes:
            pipe.send_bytes(pickle.dumps(None))
        for worker in self.workers:
            worker.join(30)


@pytest.fixture(scope="session")
def process_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessPair]:
    """Two processes with a process group, shared by all tests."""
    pair = ProcessPair(tmp_path_factory.mktemp("pair"))
    yield pair
    pair.close()


def _serve(rank: int, folder: Path, pipe: "Connection[Any, Any]") -> None:
    """Execute tasks until None arrives."""
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    while task := pickle.loads(pipe.recv_bytes()):
        function, args = task
        torch.manual_seed(rank)  # PyTorch's default generators differ, as they do in training
        result: tuple[bool, Any]
        try:
            result = True, function(rank, *args)
        except Exception as error:
            result = False, f"{type(error).__name__}: {error}"
        pipe.send_bytes(pickle.dumps(result))
    dist.destroy_process_group()
