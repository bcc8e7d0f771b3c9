"""Sweeps of tests write no HTML page, which takes seconds, unless their module asks for it."""

import pytest

from ranksim.experiments import sweep_request


@pytest.fixture(autouse=True)
def skip_page(request, monkeypatch):
    if not getattr(request.module, "WRITES_PAGE", False):
        monkeypatch.setattr(sweep_request, "write_page", lambda results, out: out)
