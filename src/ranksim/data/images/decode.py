"""Decode image files to RGB, resize them to square arrays, and detect broken files."""

from __future__ import annotations

import contextlib
import importlib
import io
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
_DEEP = {"I;16", "I;16L", "I;16B", "I;16N", "I", "F"}  # Pillow's modes of more than 8 bits
_UNSIGNED, _SAMPLE_FORMAT = 1, 339  # a value and the tag of TIFF files
# formats that need a plugin: bytes that identify them, and module, function and package
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_JPEG_XL = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")
_PLUGINS = {
    "HEIC": ("pillow_heif", "register_heif_opener", "pillow-heif"),
    "AVIF": ("pillow_avif", None, "pillow-avif-plugin"),
    "JPEG XL": ("pillow_jxl", None, "pillow-jxl-plugin"),
}

ValueRange = tuple[float, float]


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


def decode(content: bytes, value_range: ValueRange | None = None) -> Image:
    """Decode an image to upright RGB with 8 bits per channel.

    EXIF orientation is applied, grayscale becomes three equal channels, transparent pixels become
    white, and the first of several frames is used. Content that is not a complete image is a
    BrokenImageError.

    Grayscale pixels of more than 8 bits (16-bit and 32-bit integers, floating-point numbers) are
    scaled from ``value_range`` to 0..255 and clipped; by default from the least and greatest pixel
    of the image. Pixels that are NaN become black.
    """
    with _read_image(content) as (pil, image):
        with contextlib.suppress(Exception):  # pixels are usable despite damaged EXIF data
            require_optional("PIL.ImageOps", "images").exif_transpose(image, in_place=True)
        return _convert_to_rgb(pil, image, value_range)


@dataclass(frozen=True)
class PixelFacts:
    """What an image file contains, before it is converted to 8 bits and resized.

    Args:
        width, height: in pixels, as stored.
        low, high: least and greatest pixel of grayscale of more than 8 bits; else NaN.
        upper: value that 99 % of these pixels do not exceed.
        brightest: greatest channel value after Pillow reduces 16-bit colors to 8 bits; else NaN.
        second_low, second_high: the next pixel values after ``low`` and before ``high``.
        has_frames: whether the file has several frames or pages, of which the first is read.
    """

    width: int
    height: int
    low: float = math.nan
    high: float = math.nan
    upper: float = math.nan
    brightest: float = math.nan
    second_low: float = math.nan
    second_high: float = math.nan
    has_frames: bool = False


def examine(content: bytes) -> PixelFacts:
    """Return the facts about an image; pixels are decoded only if they have more than 8 bits."""
    with _read_image(content, load=False) as (_, image):
        size: tuple[int, int] = image.size
        has_frames = bool(getattr(image, "is_animated", False))
        # the raw modes of 16-bit colors are such as RGB;16B
        raw_modes = [str(tile[3]) for tile in getattr(image, "tile", ())]
        if image.mode in _DEEP:
            image.load()
            values, is_clear = _read_deep_pixels(image)
            known = values[np.isfinite(values) & ~is_clear]
            if len(known):
                upper = float(np.quantile(known, 0.99, method="inverted_cdf"))
                low, high = float(known.min()), float(known.max())
                second_low = float(known.min(where=known > low, initial=high))
                second_high = float(known.max(where=known < high, initial=low))
                seconds = (second_low, second_high)
                return PixelFacts(*size, low, high, upper, math.nan, *seconds, has_frames)
        elif any(";16" in mode for mode in raw_modes):
            brightest = float(np.asarray(image.convert("RGB")).max())
            return PixelFacts(*size, brightest=brightest, has_frames=has_frames)
        return PixelFacts(*size, has_frames=has_frames)


@contextlib.contextmanager
def _read_image(content: bytes, *, load: bool = True) -> Iterator[tuple[Any, Image]]:
    """Open an image and yield it with Pillow's module; raise a BrokenImageError if damaged."""
    pil = require_optional("PIL.Image", "images")
    try:
        with _open_image(pil, content) as image:
            if load:
                image.load()
            yield pil, image
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


def _open_image(pil: Any, content: bytes) -> Image:
    """Open an image, with a plugin of Pillow if the format needs one."""
    try:
        image: Image = pil.open(io.BytesIO(content))
    except pil.UnidentifiedImageError:
        name = _recognize_format(content)
        if name is None or (name == "AVIF" and _has_avif()):
            raise
        module, function, package = _PLUGINS[name]
        try:
            plugin = importlib.import_module(module)  # registers its format
        except ImportError:
            raise BrokenImageError(
                f"Pillow needs the package {package} to read this {name} image"
            ) from None
        if function is not None:
            getattr(plugin, function)()
        image = pil.open(io.BytesIO(content))
    return image


def _has_avif() -> bool:
    """Return True if Pillow itself reads AVIF."""
    features = require_optional("PIL.features", "images")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # earlier versions do not know the name
        return bool(features.check("avif"))


def _recognize_format(content: bytes) -> str | None:
    """Return the name of a format that needs a plugin, from the first bytes of a file."""
    if content.startswith(_JPEG_XL):
        return "JPEG XL"
    if content[4:8] != b"ftyp":
        return None
    brand = content[8:12]
    return "HEIC" if brand in _HEIF_BRANDS else "AVIF" if brand in (b"avif", b"avis") else None


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


def _convert_to_rgb(pil: Any, image: Image, value_range: ValueRange | None) -> Image:
    if image.mode in _DEEP:
        values, is_clear = _read_deep_pixels(image)
        known = values[np.isfinite(values) & ~is_clear]
        if value_range is None and len(known):
            value_range = float(known.min()), float(known.max())
        low, high = value_range or (0.0, 1.0)
        with np.errstate(invalid="ignore"):
            scaled = (values - low) / ((high - low) or 1.0)
        levels = np.rint(255 * np.nan_to_num(scaled, nan=0.0).clip(0, 1)).astype(np.uint8)
        image = pil.fromarray(np.where(is_clear, np.uint8(255), levels))
    if image.has_transparency_data:
        white = pil.new("RGBA", image.size, (255, 255, 255, 255))
        image = pil.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


def _read_deep_pixels(image: Image) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the pixels of deep grayscale, and which of them are transparent."""
    values = np.asarray(image)
    if image.mode == "I" and _UNSIGNED in getattr(image, "tag_v2", {}).get(_SAMPLE_FORMAT, ()):
        values = values.view(np.uint32)  # Pillow reads unsigned integers as signed
    is_clear = values == image.info.get("transparency", np.nan)
    return values.astype(np.float64), is_clear
