"""Small archives and data files of benchmarks."""

import io
import tarfile

import numpy as np


def tar_gz(members):
    """Return a .tar.gz archive with members ``{name: bytes or TarInfo}``."""
    content_file = io.BytesIO()
    with tarfile.open(fileobj=content_file, mode="w:gz") as tar:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return content_file.getvalue()


def sentiment_lines(count, seed):
    """Return lines of a sentiment data set: id, score and sentence."""
    rng = np.random.default_rng(seed)
    return "".join(
        f"{i}\t{rng.normal() * 1.2:.4f}\tsentence &amp; number {i}\n" for i in range(count)
    ).encode()
