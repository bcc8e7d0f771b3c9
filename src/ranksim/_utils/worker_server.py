"""The server from which worker processes are forked, after it has imported the libraries once."""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import BaseContext


def get_context() -> BaseContext:
    """Return a context that starts workers from the server.

    The server is a fresh process without GPUs in use. Windows has none and spawns each worker.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ranksim.experiments.sweep"])
    return context


def start_worker_server() -> None:
    """Start the server unless it runs; it imports PyTorch while this process reads data."""
    if get_context().get_start_method() == "forkserver":
        from multiprocessing.forkserver import ensure_running

        ensure_running()
