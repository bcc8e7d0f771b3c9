"""Keys of samples: equal for samples that a network reads as equal."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.arrays import copy_to_numpy
from ranksim._utils.progress import progress_counter
from ranksim.data.arrow_cells import ArrowCells, EncodedCells, take_cells
from ranksim.data.cells import is_missing, parse_seconds, to_canonical_text
from ranksim.data.images.decode import decode, examine, read_file
from ranksim.data.images.table import image_paths
from ranksim.data.number_format import PLAIN, NumberFormat
from ranksim.data.row_hashes import format_numbers, hash_contents, hash_rows, repeat_texts
from ranksim.data.row_numbers import encode_keys, encode_numbers, number_rows
from ranksim.data.spec import ImageSpec, TableSpec, TextSpec, UserDataSpec
from ranksim.data.splitting import factorize
from ranksim.data.table import Floats, Ints, Table, parse_numbers
from ranksim.exceptions import RankSimError, require_optional

_THUMBNAIL = 16  # side in pixels; only images with equal thumbnails are compared
_MISSING = "missing"
CellFormatter = Callable[[Sequence[Any]], Any]
_HASHED_ROWS = 50_000  # whose keys are in memory at a time
_FEW_ROWS = 5_000  # for which importing Arrow takes longer than it saves


def make_sample_keys(
    table: Table, options: UserDataSpec, inputs: Sequence[str]
) -> list[tuple[Hashable, ...]]:
    """Return a key for each row; rows that a network reads as equal have equal keys.

    Missing values are equal, and so are numbers and dates of the same value, however they are
    written, texts of the same words in lower case, and images of the same pixels. Keys of texts and
    images can be compared within one table only.
    """
    columns = _make_keys_by_column(table, options, inputs, make_text_keys, make_image_keys)
    return list(zip(*columns, strict=True))


def number_samples(table: Table, options: UserDataSpec, inputs: Sequence[str]) -> Ints:
    """Number rows from 0 in order of occurrence ``(N,)``, equal ones of :func:`make_sample_keys`.

    A table is read column by column, without a Python object for each number.
    """
    if not isinstance(options, TableSpec) or not inputs:
        return factorize(make_sample_keys(table, options, inputs))
    columns = []
    for name in inputs:
        is_category = name in options.categories
        form = PLAIN if is_category else table.number_format(name) or PLAIN
        encode = partial(_encode_cells, number_format=form, is_category=is_category)
        columns.append((partial(table.column, name), encode))
    return number_rows(columns)


def _encode_cells(
    values: Sequence[Any], *, number_format: NumberFormat, is_category: bool
) -> NDArray[np.int64]:
    """Return codes of cells ``(N,)`` that are equal where :func:`make_cell_keys` are."""
    if isinstance(values, ArrowCells) and values.is_number and not is_category:
        return encode_numbers(values.to_numbers())
    if is_category:
        return _encode_keys(values, partial(make_cell_keys, is_category=True))
    numbers = parse_numbers(values, number_format).values
    codes, others = encode_numbers(numbers), np.flatnonzero(np.isnan(numbers))
    make_keys = partial(make_cell_keys, number_format=number_format)
    codes[others] = _encode_keys(take_cells(values, others), make_keys)
    return codes


def _encode_keys(
    values: Sequence[Any], make_keys: Callable[[Sequence[Any]], Sequence[Hashable]]
) -> NDArray[np.int64]:
    """Return codes of cells ``(N,)`` that are equal where their keys are."""
    if isinstance(values, EncodedCells):
        return encode_keys(make_keys(values.distinct))[values.codes]
    return encode_keys(make_keys(values))


def hash_samples(
    table: Table, options: UserDataSpec, inputs: Sequence[str], rows: Ints | None = None
) -> NDArray[np.uint64]:
    """Return a hash of the inputs of each row ``(N,)``, to recognize rows in another table.

    Unlike :func:`make_sample_keys`, this compares texts without spaces, thumbnails of images, and
    numbers in float32, which some files have. ``rows`` selects some rows, in their order.
    """
    rows = np.arange(table.n_rows) if rows is None else rows
    if isinstance(options, TableSpec):
        formatters = [_choose_formatter(table, options, name) for name in inputs]
        columns = [table.column(name) for name in inputs]
        return _hash_blocks(rows, partial(_hash_table_rows, columns, formatters))

    def hash_block(block: Ints) -> NDArray[np.uint64]:
        make_text, make_image = _make_plain_text_keys, _make_thumbnail_keys
        part = table.take(block)
        return _hash_columns(_make_keys_by_column(part, options, inputs, make_text, make_image))

    return hash_block(rows) if isinstance(options, ImageSpec) else _hash_blocks(rows, hash_block)


def hash_cells(columns: Sequence[Sequence[Any]]) -> NDArray[np.uint64]:
    """Return a hash of the cells of each row ``(N,)``, the same in every form of their values."""
    rows = np.arange(max(map(len, columns), default=0))
    formatters = [_format_cells] * len(columns)
    return _hash_blocks(rows, partial(_hash_table_rows, columns, formatters))


def _hash_blocks(
    rows: Ints, hash_block: Callable[[Ints], NDArray[np.uint64]]
) -> NDArray[np.uint64]:
    """Return the hashes of rows ``(N,)``, the texts of some of which are in memory at a time."""
    hashes = np.empty(len(rows), dtype=np.uint64)
    with progress_counter("hashing rows") as progress:
        for start in range(0, len(rows), _HASHED_ROWS):
            block = rows[start : start + _HASHED_ROWS]
            hashes[start : start + len(block)] = hash_block(block)
            progress(start + len(block))
    return hashes


def _hash_table_rows(
    columns: Sequence[Sequence[Any]], formatters: Sequence[CellFormatter], rows: Ints
) -> NDArray[np.uint64]:
    pairs = zip(formatters, columns, strict=True)
    return hash_rows([format_cells(take_cells(values, rows)) for format_cells, values in pairs])


def _choose_formatter(table: Table, options: TableSpec, name: str) -> CellFormatter:
    is_category = name in options.categories
    form = PLAIN if is_category else table.number_format(name) or PLAIN
    return partial(_format_cells, number_format=form, is_category=is_category)


def _format_cells(
    values: Sequence[Any], number_format: NumberFormat = PLAIN, *, is_category: bool = False
) -> Any:
    """Return the text of the key of each cell, whose numbers are rounded to float32.

    Those of numbers and names in Arrow are an Arrow array, others a list.
    """
    if isinstance(values, ArrowCells) and values.is_number and not is_category:
        return format_numbers(_round_decimals(values.to_numbers()), repr(_MISSING))
    if isinstance(values, EncodedCells) and len(values) <= _FEW_ROWS:
        keys = make_cell_keys(values.distinct, number_format, is_category=is_category)
        texts = list(map(repr, _round_keys(keys)))
        return [texts[code] for code in values.codes.tolist()]
    if isinstance(values, EncodedCells):
        parsed = parse_numbers(values, number_format)
        if not is_category and not (parsed.text | parsed.infinite).any():
            return format_numbers(_round_decimals(parsed.values), repr(_MISSING))
        keys = make_cell_keys(values.distinct, number_format, is_category=is_category)
        return repeat_texts(list(map(repr, _round_keys(keys))), values.codes)
    if (
        is_category
        or number_format != PLAIN
        or any(isinstance(v, list | dict | np.ndarray) for v in values)
    ):
        keys = make_cell_keys(values, number_format, is_category=is_category)
    else:
        keys = _make_distinct_keys(values)
    return list(map(repr, _round_keys(keys)))


def _make_distinct_keys(values: Sequence[Any]) -> list[Hashable]:
    """Return the keys of cells without lists, each made once."""
    typed = list(zip(map(type, values), values, strict=True))  # True is no 1
    distinct = list(dict.fromkeys(typed))
    keys = dict(zip(distinct, make_cell_keys([value for _, value in distinct]), strict=True))
    return [keys[each] for each in typed]


def _hash_columns(columns: Sequence[Sequence[Hashable]]) -> NDArray[np.uint64]:
    """Return a hash of the keys of each row ``(N,)``, whose numbers are rounded to float32."""
    return hash_keys(list(zip(*map(_round_keys, columns), strict=True)))


def _round_keys(keys: Sequence[Hashable]) -> list[Hashable]:
    """Return keys with their numbers rounded to float32; those without decimals are kept."""
    numbers = np.array([key if isinstance(key, float) else np.nan for key in keys])
    rounded = _round_decimals(numbers).tolist()
    return [
        number if isinstance(key, float) else _round_key(key)
        for key, number in zip(keys, rounded, strict=True)
    ]


def _round_key(key: Hashable) -> Hashable:
    """Return a key, which may be that of a list, with its numbers rounded to float32."""
    if isinstance(key, tuple):
        return tuple(map(_round_key, key))
    return float(_round_decimals(np.float64(key))) if isinstance(key, float) else key


def _round_decimals(values: Floats | np.float64) -> Floats:
    """Return values rounded to float32; those without decimals, such as long numbers, are kept."""
    with np.errstate(over="ignore"):
        return np.where(np.rint(values) == values, values, np.float32(values)) + 0.0


def hash_windows(
    values: Floats, times: Floats | None, ends: Ints, window: int
) -> NDArray[np.uint64]:
    """Return a hash of the readings ``(T, C)`` and times ``(T,)`` of each window, ``(N,)``."""
    rounded = _round_decimals(values)  # makes -0.0 equal to 0.0
    columns = [rounded] if times is None else [rounded, times[:, None]]
    readings = np.concatenate(columns, axis=1)
    return hash_contents(readings[end - window + 1 : end + 1].tobytes() for end in ends.tolist())


def _make_keys_by_column(
    table: Table,
    options: UserDataSpec,
    inputs: Sequence[str],
    make_text: Callable[[Sequence[Any]], list[Hashable]],
    make_image: Callable[[Table, str], list[Hashable]],
) -> list[Sequence[Hashable]]:
    categories = options.categories if isinstance(options, TableSpec) else ()
    columns: list[Sequence[Hashable]] = []
    for name in inputs:
        if isinstance(options, ImageSpec):
            columns.append(make_image(table, name))
        elif isinstance(options, TextSpec):
            columns.append(make_text(table.column(name)))
        else:
            is_category = name in categories
            form = PLAIN if is_category else table.number_format(name) or PLAIN
            columns.append(make_cell_keys(table.column(name), form, is_category=is_category))
    return columns


def hash_keys(keys: Sequence[Hashable]) -> NDArray[np.uint64]:
    """Return a hash of each key that is the same in each process, ``(N,)``."""
    return hash_contents(repr(key).encode() for key in keys)


def make_cell_keys(
    values: Sequence[Any], number_format: NumberFormat = PLAIN, *, is_category: bool = False
) -> list[Hashable]:
    """Return keys for cells: numbers, dates, words, lists; ``categories`` are compared as words."""
    if is_category:
        return [_MISSING if is_missing(value) else to_canonical_text(value) for value in values]
    parsed = parse_numbers(values, number_format)
    return [
        (_MISSING if value is None or missing else _make_cell_key(value))
        if np.isnan(number)
        else float(number) + 0.0  # makes -0.0 equal to 0.0
        for value, number, missing in zip(values, parsed.values, parsed.missing, strict=True)
    ]


def _make_cell_key(value: Any) -> Hashable:
    """Return a key for a cell that is not a finite number."""
    if isinstance(value, Mapping):
        return tuple((name, _make_cell_key(value[name])) for name in sorted(value))
    if isinstance(value, list | tuple | np.ndarray):
        return tuple(map(_make_cell_key, value))
    if is_missing(value):
        return _MISSING
    if isinstance(value, Real) and not isinstance(value, bool):
        return float(value) + 0.0
    seconds = parse_seconds(value)
    return to_canonical_text(value) if seconds is None else ("time", seconds)


def make_text_keys(texts: Sequence[Any]) -> list[Hashable]:
    """Return the words of each text in lower case, as the tokenizer splits them, as its key.

    Only texts that share their letters and digits with another one are tokenized.
    """
    normalized = _normalize_texts(texts)
    letters = ["".join(filter(str.isalnum, text)) for text in normalized]
    counts = Counter(letters)
    tokenize = require_optional("nltk.tokenize", "train").NLTKWordTokenizer().tokenize
    return [
        key if counts[key] == 1 else tuple(tokenize(text))
        for text, key in zip(normalized, letters, strict=True)
    ]


def _make_plain_text_keys(texts: Sequence[Any]) -> list[Hashable]:
    return ["".join(text.split()) for text in _normalize_texts(texts)]


def _normalize_texts(texts: Sequence[Any]) -> list[str]:
    """Return texts in one form of Unicode, in lower case, without zero-width characters."""
    return ["" if is_missing(text) else _drop_zero_width(str(text)).lower() for text in texts]


def _drop_zero_width(text: str) -> str:
    if text.isascii():
        return text
    letters = unicodedata.normalize("NFKC", text)
    return "".join(letter for letter in letters if unicodedata.category(letter) != "Cf")


def make_image_keys(table: Table, column: str) -> list[Hashable]:
    """Return a digest of the decoded pixels of each image; the path of an unreadable image.

    Pixels are compared if thumbnails, which are cached, are equal; otherwise the thumbnail is the
    key.
    """
    paths = image_paths(table, column)
    if table.root is None or not table.root.is_dir():
        return list(paths)  # the adapter reports the missing folder
    thumbnails = _read_thumbnails(table.root, paths)
    files: dict[bytes, set[str]] = {}
    for path, thumbnail in zip(paths, thumbnails, strict=True):
        if thumbnail is not None:
            files.setdefault(thumbnail, set()).add(path)
    keys: dict[str, Hashable] = {}
    for thumbnail, equal in files.items():
        digest = hashlib.blake2b(thumbnail, digest_size=16).hexdigest()
        for path in equal:
            pixels = _digest_pixels(table.root / path) if len(equal) > 1 else ""
            keys[path] = f"{digest} {pixels}"
    return [keys.get(path, path) for path in paths]


def _make_thumbnail_keys(table: Table, column: str) -> list[Hashable]:
    paths = image_paths(table, column)
    if table.root is None or not table.root.is_dir():
        return list(paths)
    thumbnails = _read_thumbnails(table.root, paths)
    return [each or path for each, path in zip(thumbnails, paths, strict=True)]


def _read_thumbnails(root: Path, paths: Sequence[str]) -> list[bytes | None]:
    import torch

    from ranksim.data.images.pixel_cache import PixelCache

    cache = PixelCache(_THUMBNAIL)
    with progress_counter("comparing images") as progress:
        rows, _ = cache.add_images(root, paths, on_progress=progress)
    thumbnails = copy_to_numpy(cache.map_pixels()[torch.from_numpy(rows[rows >= 0])])
    pixels = iter(thumbnails)
    return [next(pixels).tobytes() if row >= 0 else None for row in rows]


def _digest_pixels(path: Path) -> str:
    """Return a digest of the size, the decoded pixels and their range in an image file."""
    try:
        content = read_file(path)
        image, facts = decode(content), examine(content)
    except RankSimError:
        return str(path)
    # pixels of more than 8 bits are decoded relative to the range of the image
    identity = repr((image.size, facts.low, facts.high))
    digest = hashlib.blake2b(identity.encode(), digest_size=16)
    digest.update(image.tobytes())
    return digest.hexdigest()
