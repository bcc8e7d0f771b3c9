"""Source archives that tests make."""

import io
import tarfile

import numpy as np


def tar_gz(members):
    """An archive of ``{name: bytes or TarInfo}``."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return made.getvalue()


def sentiment_lines(count, seed):
    draw = np.random.default_rng(seed)
    return "".join(
        f"{i}\t{draw.normal() * 1.2:.4f}\tsentence &amp; number {i}\n" for i in range(count)
    ).encode()
