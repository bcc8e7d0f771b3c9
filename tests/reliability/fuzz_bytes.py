"""Mutations of valid content: bytes, rows and fields of tables, nodes of JSON trees."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

WORDS = (
    *("", " ", "0", "-0", "1", "-1", "31", "1e3", "1e308", "1e999", "-1e999", "5e-324", "0.1"),
    *("nan", "NaN", "-nan", "inf", "-Infinity", "NA", "null", "None", "?", "-", "true", "False"),
    *("1_000", "1,5", "0x10", "١٢", "½", "9" * 30, "9" * 5000, "1" + "0" * 400, "x" * 140_000),
    *("train", "Train ", "val", "dev", "test", "exam", "age", "path", "split", "sentence1"),
    *("a.jpg", "AgeDB/0_A_31_m.jpg", "../a.jpg", "/etc/passwd", "C:\\a.jpg", "a/../b", ".", "//"),
    *("é", "e\u0301", "\u202e", "\ufeff", "\u2028", "\x85", "\x00", "\x1b[31m", "😀", "<b>"),
    *('"', '""', '"a', 'a"b', "a\nb", "a\rb", ",", ";", "\t", "=1+1", "2024-01-01", "a b c"),
)
_SIZES = (0, 1, -1, 127, 128, 255, 256, 512, 4096, 65_535, 2**31 - 1, 2**31, 2**32 - 1, 2**40)
_BIG = (2**63 - 1, 2**64 - 1)

Mutation = Callable[[Random, bytearray], None]


def mutate(draw: Random, content: bytes, others: Sequence[bytes] = ()) -> bytes:
    """Return content with one to four mutated spans, sometimes spliced with ``others``."""
    mutant = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 3, 4))):
        if others and draw.random() < 0.1:
            other = draw.choice(others)
            mutant = mutant[: _position(draw, mutant)] + other[_position(draw, other) :]
        else:
            draw.choice(_MUTATIONS)(draw, mutant)
    return bytes(mutant)


def _position(draw: Random, content: bytes | bytearray) -> int:
    return draw.randrange(len(content) + 1)


def _span(draw: Random, content: bytearray) -> tuple[int, int]:
    start = _position(draw, content)
    return start, start + draw.choice((1, 2, 4, 8, 16, 100, 512))


def _flip(draw: Random, content: bytearray) -> None:
    for _ in range(draw.choice((1, 1, 2, 8)) if content else 0):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)


def _overwrite(draw: Random, content: bytearray) -> None:
    start, end = _span(draw, content)
    fill = draw.choice((b"\0", b"\xff", b"\x80", b" ", b'"', None))
    count = len(content[start:end])
    content[start:end] = fill * count if fill else draw.randbytes(count)


def _number(draw: Random, content: bytearray) -> None:
    order, size = draw.choice("<>"), draw.choice("HIQ")
    value = draw.choice(_SIZES + _BIG) % (1 << (8 * struct.calcsize(size)))
    start = _position(draw, content) & ~(draw.choice((0, 3)))
    packed = struct.pack(order + size, value)
    content[start : start + len(packed)] = packed


def _cut(draw: Random, content: bytearray) -> None:
    del content[_position(draw, content) :]


def _drop(draw: Random, content: bytearray) -> None:
    start, end = _span(draw, content)
    del content[start:end]


def _repeat(draw: Random, content: bytearray) -> None:
    start, end = _span(draw, content)
    content[end:end] = content[start:end] * draw.choice((1, 2, 20))


def _insert(draw: Random, content: bytearray) -> None:
    at = _position(draw, content)
    content[at:at] = draw.choice((draw.randbytes(4), draw.choice(WORDS[:80]).encode()))


_MUTATIONS: tuple[Mutation, ...] = (
    *(_flip, _flip, _overwrite, _number, _number, _cut, _drop, _repeat, _insert),
)


def text_table(
    draw: Random, rows: Sequence[Sequence[str]], separator: str, *, quoted: bool = True
) -> bytes:
    """Return a table as text with mutated rows and fields, in a random encoding.

    Args:
        draw: random generator.
        rows: header and rows.
        separator: field separator.
        quoted: whether fields with a separator are quoted.
    """
    table = [list(row) for row in rows]
    for _ in range(draw.choice((0, 1, 1, 1, 2, 3))):
        _mutate_row(draw, table)
    if draw.random() < 0.1:
        separator = draw.choice(",;\t|")
    end = draw.choice(("\n", "\n", "\n", "\r\n", "\r"))

    def field(text: str) -> str:
        plain = not quoted or draw.random() < 0.1 or not any(c in text for c in '\n\r"' + separator)
        return text if plain else '"' + text.replace('"', '""') + '"'

    text = end.join(separator.join(map(field, row)) for row in table) + end * draw.randrange(3)
    encoding = draw.choice(("utf-8",) * 12 + ("utf-8-sig", "utf-16", "utf-16-le", "latin-1"))
    content = text.encode(encoding, errors="replace")
    return mutate(draw, content) if draw.random() < 0.4 else content


def _mutate_row(draw: Random, table: list[list[str]]) -> None:
    """Mutate one row or field in place."""
    if not table:
        return
    row = draw.randrange(len(table)) if draw.random() < 0.7 else 0
    fields = table[row]
    at = draw.randrange(len(fields)) if fields else 0
    match draw.randrange(9):
        case 0 | 1 | 2 if fields:
            fields[at] = draw.choice(WORDS)
        case 3:
            fields.insert(at, draw.choice(WORDS))
        case 4 if fields:
            del fields[at]
        case 5:
            del table[row]
        case 6:
            table.insert(draw.randrange(len(table) + 1), list(fields))
        case 7:
            for each in table:
                draw.shuffle(each) if draw.random() < 0.5 else each.extend(each[at:])
        case _ if fields:
            word = draw.choice(WORDS)
            for each in table[1:]:
                each[at : at + 1] = [word]


def json_text(draw: Random, tree: Any) -> bytes:
    """Return a tree as JSON with mutated nodes, sometimes with mutated text."""
    tree = json.loads(json.dumps(tree))
    for _ in range(draw.choice((1, 1, 2, 3))):
        tree = mutate_tree(draw, tree)
    text = json.dumps(tree)  # NaN and Infinity as Python writes them
    if draw.random() < 0.02:
        depth = draw.choice((50, 900, 2_000, 100_000))
        text = text.replace("null", "[" * depth + "]" * depth, 1)
    if draw.random() < 0.02:
        text = text.replace("1", "9" * draw.choice((30, 400, 5_000)), 1)
    content = text.encode(draw.choice(("utf-8",) * 9 + ("utf-16",)))
    return mutate(draw, content) if draw.random() < 0.25 else content


def unusual_value(draw: Random) -> Any:
    """Return a value of an unexpected type or size."""
    return draw.choice(
        (
            *(None, True, False, 0, 1, -1, 3, 2**31, 2**64, -(10**400), 0.5, 1e308, 5e-324, -0.0),
            *(float("nan"), float("inf"), -float("inf"), "", [], {}, [[]], [None], {"": None}),
            *([0], [1, 2], [1.5, "x"], {"a": [1]}, "\ud800", "x" * 1000, draw.choice(WORDS)),
        )
    )


def mutate_tree(draw: Random, tree: Any) -> Any:
    """Change, remove, rename, move or repeat one node of a tree."""
    inside = isinstance(tree, dict | list) and tree
    if not inside or draw.random() < 0.06:
        return unusual_value(draw)
    keys = list(tree) if isinstance(tree, dict) else range(len(tree))
    at: Any = draw.choice(keys)
    kind = draw.random()
    if kind < 0.6:
        tree[at] = mutate_tree(draw, tree[at])
    elif kind < 0.75:
        del tree[at]
    elif isinstance(tree, list):
        tree.insert(at, tree[draw.randrange(len(tree))])
    elif kind < 0.85:
        tree[draw.choice((*WORDS[:60], at + "x"))] = tree.pop(at)
    else:
        tree[at] = tree[draw.choice(list(keys))]
    return tree
