"""Every file is written aside and renamed: whatever opens one to write does so for the part."""

import ast
from pathlib import Path

import pytest

import ranksim

SRC = Path(ranksim.__file__).parent
WRITERS = {
    *("write_text", "write_bytes", "savefig", "save", "savez", "savez_compressed", "save_file"),
    *("write_table", "to_parquet", "to_csv", "to_json", "dump", "tofile", "save_pretrained"),
}
WHOLE = {"written_whole", "written_folder", "TemporaryDirectory"}
ALLOWED = {
    ("data/download.py", "_receive"): "parts of a download, renamed once their checksum is right",
    ("datasets/archives.py", "_write"): "writes aside and renames itself",
    ("data/images/pixel_cache.py", "_write_rows"): "rows that the index does not know yet",
    ("evaluation/report/plotting.py", "render_picture"): "into memory",
    ("training/memory.py", "forget_peak"): "a switch of the kernel, no file",
}


def writes(tree):
    """Calls that write a file, each with its function, outside of blocks that rename it."""
    found = []

    def visit(node, function, whole):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            function = node.name
        if isinstance(node, ast.With):
            for item in node.items:
                visit(item, function, whole)
                whole = whole or bool(WHOLE & set(names(item)))
            for each in node.body:
                visit(each, function, whole)
            return
        if isinstance(node, ast.Call) and is_write(node) and not whole:
            found.append((function, node.lineno))
        for each in ast.iter_child_nodes(node):
            visit(each, function, whole)

    visit(tree, None, False)
    return found


def names(node):
    for each in ast.walk(node):
        if isinstance(each, ast.Name | ast.Attribute):
            yield each.id if isinstance(each, ast.Name) else each.attr


def is_write(call):
    if isinstance(call.func, ast.Attribute) and call.func.attr != "open":
        return call.func.attr in WRITERS
    if next(names(call.func), None) != "open" and not isinstance(call.func, ast.Attribute):
        return False
    given = [*call.args, *(key.value for key in call.keywords)]
    said = [node.value for arg in given for node in ast.walk(arg) if isinstance(node, ast.Constant)]
    return any(
        isinstance(v, str) and set(v) <= set("rwaxbt+") and set(v) & set("wax+") for v in said
    )


def test_every_file_is_written_aside_and_renamed():
    used = set()
    for path in sorted(SRC.rglob("*.py")):
        name = path.relative_to(SRC).as_posix()
        for function, line in writes(ast.parse(path.read_text(encoding="utf-8"))):
            used.add((name, function))
            assert (name, function) in ALLOWED, f"{name}:{line} writes outside of written_whole"
    assert set(ALLOWED) == used  # none is left over


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("path.write_text('a')", 1),
        ("with path.open('wb') as file:\n    file.write(b'')", 1),
        ("with open(path, mode='a') as file: pass", 1),
        ("with path.open('ab' if goes_on else 'wb') as file: pass", 1),
        ("np.savez(file, a)", 1),
        ("write_table(path, table)", 0),  # our own, which does it right
        ("with path.open() as file, open(path, 'rb') as other: pass", 0),
        ("with written_whole(path) as aside, aside.open('wb') as file:\n    np.save(file, a)", 0),
        ("with cache.written_whole(path) as aside:\n    aside.write_text('a')", 0),
        ("def f():\n    with written_whole(a) as b:\n        pass\n    c.write_text('')", 1),
    ],
)
def test_what_counts_as_writing(code, found):
    assert len(writes(ast.parse(code))) == found
