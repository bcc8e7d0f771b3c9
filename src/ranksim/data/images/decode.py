"""Decode image files to RGB, resize them to square arrays, and detect broken files."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ranksim.exceptions import RankSimError, require_optional

if TYPE_CHECKING:
    from PIL.Image import Image

ProgressCallback = Callable[[int], None]
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_MAX_LISTED = 5  # broken images in a message
_16_BIT = {"I;16", "I;16L", "I;16B", "I;16N", "I"}  # Pillow's modes of 16-bit grayscale


class BrokenImageError(RankSimError):
    """An error for a file that is not a complete image; the message does not contain the path."""


def read_file(path: Path) -> bytes:
    """Return the bytes of an image file; raise a BrokenImageError if it is empty or unreadable."""
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: NUL in the name
        raise BrokenImageError(describe_read_error(error)) from None
    if not content:
        raise BrokenImageError("the file is empty")
    return content


def describe_read_error(error: Exception) -> str:
    """Return the reason why a file could not be read, as given by the operating system."""
    if isinstance(error, BrokenImageError):
        return str(error)
    if isinstance(error, FileNotFoundError):
        return "the file does not exist"
    return f"the file cannot be read: {getattr(error, 'strerror', None) or error}"


def decode(content: bytes) -> Image:
    """Decode an image to upright RGB with 8 bits per channel.

    EXIF orientation is applied, grayscale becomes three equal channels, 16 bits become 8,
    transparent pixels become white, and the first of several frames is used. Content that is not
    a complete image is a BrokenImageError.
    """
    pil = require_optional("PIL.Image", "images")
    try:
        with pil.open(io.BytesIO(content)) as image:
            image.load()
            with contextlib.suppress(Exception):  # pixels are usable despite damaged EXIF data
                require_optional("PIL.ImageOps", "images").exif_transpose(image, in_place=True)
            return _convert_to_rgb(pil, image)
    except BrokenImageError:
        raise
    except pil.UnidentifiedImageError:
        raise BrokenImageError("the file is not an image of a known format") from None
    except pil.DecompressionBombError:
        limit = 2 * pil.MAX_IMAGE_PIXELS
        raise BrokenImageError(f"the image has more than {limit:,} pixels") from None
    except Exception as error:  # Pillow's decoders raise many types
        reason = str(error).strip().rstrip(".") or type(error).__name__
        raise BrokenImageError(f"the image is damaged: {reason}") from None


def resize(image: Image, size: int) -> NDArray[np.uint8]:
    """Resize to uint8 ``(size, size, 3)``: bilinear, antialiased, ignoring the aspect ratio."""
    bilinear = require_optional("PIL.Image", "images").Resampling.BILINEAR
    return np.asarray(image.resize((size, size), bilinear))


def check_images(
    root: Path, paths: Sequence[str], *, on_progress: ProgressCallback | None = None
) -> dict[str, str]:
    """Decode the images ``paths`` below ``root``; return ``{path: reason}`` for broken ones."""

    def find_problem(path: str) -> str | None:
        try:
            decode(read_file(root / path))
        except BrokenImageError as error:
            return str(error)
        return None

    require_optional("PIL.Image", "images")
    reasons = map_in_threads(find_problem, paths, on_progress)
    return {path: reason for path, reason in zip(paths, reasons, strict=True) if reason}


def describe_broken(broken: dict[str, str], total: int) -> str:
    """Describe broken images in words: their number, and path and reason of the first five."""
    first = ", ".join(f"{path} ({reason})" for path, reason in list(broken.items())[:_MAX_LISTED])
    more = ", …" if len(broken) > _MAX_LISTED else ""
    return f"{len(broken):,} of {total:,} images cannot be used: {first}{more}"


def map_in_threads(
    function: Callable[[_Item], _Result],
    items: Sequence[_Item],
    on_progress: ProgressCallback | None = None,
) -> list[_Result]:
    """Apply a function to all items in a thread pool and return the results in order.

    Warnings are suppressed: an image is either complete or broken.
    """
    results: list[_Result] = []
    pool = ThreadPoolExecutor()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for result in pool.map(function, items):
                results.append(result)
                count = len(results)
                if on_progress is not None and (count % 64 == 0 or count == len(items)):
                    on_progress(count)
        finally:
            pool.shutdown(cancel_futures=True)
    return results


def _convert_to_rgb(pil: Any, image: Image) -> Image:
    if image.mode in _16_BIT:
        values = np.asarray(image).astype(np.int64).clip(0, 65_535)
        values[values == image.info.get("transparency", -1)] = 65_535
        image = pil.fromarray((values // 257).astype(np.uint8))
    if image.mode == "F":
        raise BrokenImageError("the image has floating-point pixels; use 8 or 16 bits")
    if image.has_transparency_data:
        white = pil.new("RGBA", image.size, (255, 255, 255, 255))
        image = pil.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")
