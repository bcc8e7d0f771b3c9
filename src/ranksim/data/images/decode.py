"""Image files to square arrays of pixels, whatever their format; nothing broken passes."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ranksim.exceptions import RankSimError, require_optional

if TYPE_CHECKING:
    from PIL.Image import Image

ProgressCallback = Callable[[int], None]
_DEEP = {"I;16", "I;16L", "I;16B", "I;16N", "I"}  # grey of 16 bits a pixel


class BrokenImageError(RankSimError):
    """A file that is no whole image; the message is the reason alone."""


def read_file(path: Path) -> bytes:
    """The content of an image file.

    Raises:
        BrokenImageError: it is missing, empty, or cannot be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise BrokenImageError("is missing") from None
    except (OSError, ValueError) as error:  # a name may hold what no name of a file can
        raise BrokenImageError(describe_read_error(error)) from None
    if not content:
        raise BrokenImageError("is empty")
    return content


def describe_read_error(error: OSError | ValueError) -> str:
    """The reason, as the system gives it."""
    return f"cannot be read: {getattr(error, 'strerror', None) or error}"


def decode(content: bytes) -> Image:
    """An image in RGB, upright, of 8 bits a channel.

    EXIF orientation is applied, grey becomes three equal channels, 16 bits become 8, what is
    transparent shows white, and of several frames the first is taken.

    Raises:
        BrokenImageError: the content is no image, or not all of one.
    """
    pil = require_optional("PIL.Image", "images")
    try:
        with pil.open(io.BytesIO(content)) as image:
            image.load()
            with contextlib.suppress(Exception):  # a damaged EXIF block does not spoil the image
                require_optional("PIL.ImageOps", "images").exif_transpose(image, in_place=True)
            return _rgb(pil, image)
    except BrokenImageError:
        raise
    except pil.UnidentifiedImageError:
        raise BrokenImageError("is not an image") from None
    except pil.DecompressionBombError:
        most = 2 * pil.MAX_IMAGE_PIXELS
        raise BrokenImageError(f"has more than {most:,} pixels: make it smaller") from None
    except Exception as error:  # decoders of thirty formats raise whatever they like
        why = str(error).strip().rstrip(".") or type(error).__name__
        raise BrokenImageError(f"is damaged: {why}") from None


def resize(image: Image, size: int) -> NDArray[np.uint8]:
    """Pixels ``(size, size, 3)``: bilinear with antialiasing, as published; sides are not kept."""
    bilinear = require_optional("PIL.Image", "images").Resampling.BILINEAR
    return np.asarray(image.resize((size, size), bilinear))


def check_images(
    root: Path, paths: Sequence[str], *, told: ProgressCallback | None = None
) -> dict[str, str]:
    """Decode every image: those that cannot be used, and why.

    Args:
        root: folder that the paths are relative to.
        paths: the images.
        told: called with the number of images that are done, now and then.

    Returns:
        A reason for each broken image, in the order of the paths.
    """

    def reason(path: str) -> str | None:
        try:
            decode(read_file(root / path))
        except BrokenImageError as error:
            return str(error)
        return None

    require_optional("PIL.Image", "images")
    reasons = map_in_threads(reason, paths, told)
    return {path: why for path, why in zip(paths, reasons, strict=True) if why}


def map_in_threads(
    work: Callable[[Any], Any], items: Sequence[Any], told: ProgressCallback | None
) -> list[Any]:
    """The results of ``work`` in order; decoders and checksums leave Python free meanwhile.

    Warnings are not shown: an image is whole or it is not.
    """
    done = []
    pool = ThreadPoolExecutor()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for result in pool.map(work, items):
                done.append(result)
                if told is not None and (len(done) % 64 == 0 or len(done) == len(items)):
                    told(len(done))
        finally:
            pool.shutdown(cancel_futures=True)
    return done


def _rgb(pil: Any, image: Image) -> Image:
    if image.mode in _DEEP:
        deep = np.asarray(image).astype(np.int64).clip(0, 65_535)
        deep[deep == image.info.get("transparency", -1)] = 65_535
        image = pil.fromarray((deep // 257).astype(np.uint8))
    if image.mode == "F":
        raise BrokenImageError("has floating-point pixels: save it with 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = pil.new("RGBA", image.size, (255, 255, 255, 255))
        image = pil.alpha_composite(white, image)
    return image.convert("RGB")
