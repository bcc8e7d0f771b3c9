"""Models on the Hugging Face hub: upload a folder with its card, and download it."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from ranksim._utils.formatting import format_value, single_line
from ranksim.exceptions import DataError, UsageError, require_optional
from ranksim.inference.saved_intervals import INTERVALS
from ranksim.inference.saved_model import CARD

_FILES = (
    "config.json", "metrics.json", "model.safetensors", "samples.npz", INTERVALS, CARD,
    "estimator/**", "members/**",
)  # fmt: skip
_REPOSITORY = re.compile(r"(?:[\w][\w.-]*/)?[\w][\w.-]*")
_TASKS = {"table": "tabular-regression", "series": "time-series-forecasting"}
_USAGE = re.compile(r"ranksim\.Model\.load\(\"[^\"]*\"")


def upload_model(
    folder: Path, repo_id: Any, kind: str, *, private: bool | None, token: str | None
) -> str:
    """Upload the files of a model to a repository, which is created; return its address.

    The split of the training data and the distributions of its columns stay here.
    """
    hub = require_optional("huggingface_hub", "hub")
    _check_name(repo_id)
    with tempfile.TemporaryDirectory(prefix="ranksim-") as temporary:
        copy = Path(temporary) / "model"
        shutil.copytree(folder, copy)
        card = (copy / CARD).read_text(encoding="utf-8")
        (copy / CARD).write_text(make_hub_card(card, repo_id, kind), encoding="utf-8")
        try:
            api = hub.HfApi(token=token)
            address = str(api.create_repo(repo_id, private=private, exist_ok=True))
            api.upload_folder(
                repo_id=repo_id,
                folder_path=copy,
                allow_patterns=list(_FILES),
                commit_message="Add the model",
            )
        except Exception as error:  # of the network or the hub
            raise DataError(
                f"The model could not be uploaded to {repo_id} ({single_line(error)}): check name, "
                "token and connection."
            ) from error
    return address


def download_model(repo_id: str, *, revision: str | None, token: str | None) -> Path:
    """Download the files of a model, unless they are in the cache; return their folder."""
    hub = require_optional("huggingface_hub", "hub")
    _check_name(repo_id)
    try:
        folder = hub.snapshot_download(
            repo_id, revision=revision, token=token, allow_patterns=list(_FILES)
        )
    except Exception as error:  # of the network or the hub
        raise DataError(
            f"{repo_id} is not a folder and could not be read from the Hugging Face hub "
            f"({single_line(error)}): check name, token and connection."
        ) from error
    return Path(folder)


def make_hub_card(card: str, repo_id: str, kind: str) -> str:
    """Return a model card with the metadata of the hub, and with the call that downloads it."""
    lines = ["---", "library_name: ranksim", "tags:", "- imbalanced-regression", "- regression"]
    if kind in _TASKS:
        lines.append(f"pipeline_tag: {_TASKS[kind]}")
    usage = _USAGE.sub(f'ranksim.Model.from_pretrained("{repo_id}"', card)
    return "\n".join([*lines, "---", "", usage])


def _check_name(repo_id: Any) -> None:
    if not isinstance(repo_id, str) or not _REPOSITORY.fullmatch(repo_id):
        raise UsageError(
            f"A repository of the hub is called owner/name, got {format_value(repo_id)}."
        )
