"""A Hugging Face hub in memory, behind the transport of the client."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import huggingface_hub
from huggingface_hub.utils import _http

httpx: Any = getattr(_http, "httpx2", None) or vars(_http)["httpx"]  # by version
COMMIT = "0123456789abcdef0123456789abcdef01234567"
_FILES = "https://huggingface.co/"


class Hub:
    """Repositories by name, each with its files by path; answers the client's requests."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.requests: list[str] = []

    def answer(self, request: Any) -> Any:
        """Answer one request."""
        path = request.url.path
        self.requests.append(f"{request.method} {path}")
        if path == "/api/repos/create":
            content = json.loads(request.content)
            name = "/".join(filter(None, (content.get("organization"), content["name"])))
            self.repositories.setdefault(name, {})
            return httpx.Response(200, json={"url": f"{_FILES}{name}"})
        if path == "/api/validate-yaml":
            return httpx.Response(200, json={"warnings": [], "errors": []})
        if path.startswith("/api/models/"):
            return self._answer_model(path.removeprefix("/api/models/"), request)
        return self._answer_file(path, request)

    def _answer_model(self, path: str, request: Any) -> Any:
        name, _, rest = "/".join(path.split("/")[:2]), None, "/".join(path.split("/")[2:])
        if name not in self.repositories:
            return httpx.Response(404, headers={"X-Error-Code": "RepoNotFound"})
        files = self.repositories[name]
        if rest.startswith("preupload/"):
            wanted = json.loads(request.content)["files"]
            modes = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in wanted
            ]
            return httpx.Response(200, json={"files": modes})
        if rest.startswith("commit/"):
            for line in request.content.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            url = f"{_FILES}{name}/commit/{COMMIT}"
            return httpx.Response(200, json={"commitUrl": url, "commitOid": COMMIT})
        if rest.startswith("tree/"):
            tree = [
                {"type": "file", "path": each, "size": len(files[each]), "oid": COMMIT}
                for each in files
            ]
            return httpx.Response(200, json=tree)
        siblings = [{"rfilename": each, "size": len(files[each])} for each in files]
        return httpx.Response(200, json={"id": name, "sha": COMMIT, "siblings": siblings})

    def _answer_file(self, path: str, request: Any) -> Any:
        owner, name, _, _, *parts = path.strip("/").split("/")
        content = self.repositories[f"{owner}/{name}"]["/".join(parts)]
        headers: dict[str, Any] = {
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "X-Repo-Commit": COMMIT,
            "Content-Length": f"{len(content)}",
        }
        body = b"" if request.method == "HEAD" else content
        return httpx.Response(200, headers=headers, content=body)


@contextmanager
def open_hub() -> Iterator[Hub]:
    """Yield a hub that all requests reach instead of the network."""
    hub = Hub()

    def make_client() -> Any:
        return httpx.Client(transport=httpx.MockTransport(hub.answer), follow_redirects=True)

    huggingface_hub.set_client_factory(make_client)
    try:
        yield hub
    finally:
        huggingface_hub.set_client_factory(_http.default_client_factory)
