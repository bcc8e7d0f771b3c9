"""Every file of the library is written to a temporary path and renamed when it is complete."""

import ast
from pathlib import Path

import pytest

import ranksim

SRC = Path(ranksim.__file__).parent
WRITERS = {
    *("write_text", "write_bytes", "savefig", "save", "savez", "savez_compressed", "save_file"),
    *("write_table", "to_parquet", "to_csv", "to_json", "dump", "tofile", "save_pretrained"),
}
ATOMIC = {"atomic_write", "temporary_sibling", "replace_folder", "TemporaryDirectory"}
ALLOWED = {
    ("_utils/download.py", "_append"): "parts of a download, renamed once their checksum is right",
    ("datasets/archives.py", "_write"): "writes a temporary file and renames it itself",
    ("data/images/pixel_cache.py", "_write_rows"): "rows that the index does not contain yet",
    ("evaluation/report/plotting.py", "render_picture"): "into memory",
    ("evaluation/report/plotting.py", "_render_png"): "into memory",
    ("cli/data.py", "inspect"): "calls LabelReport.save, whose files appear complete",
    ("training/fit_estimator.py", "fit_estimator"): "calls save",
    ("training/fit_estimator.py", "save"): "files with digests; the record of the run is last",
    ("inference/fit.py", "write_member"): "into a folder that is renamed once it is whole",
    ("training/handover.py", "write"): "temporary, and read only after it is whole",
    ("training/hardware.py", "reset_peak_memory"): "a switch of the kernel",
    ("training/training_log.py", "_open"): "logs that only people read, appended",
}


def find_writes(tree):
    """Return function and line of each call that writes a file outside of an atomic block."""
    writes = []

    def visit(node, function, is_atomic):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            function = node.name
        if isinstance(node, ast.With):
            for item in node.items:
                visit(item, function, is_atomic)
                is_atomic = is_atomic or bool(ATOMIC & set(find_names(item)))
            for child in node.body:
                visit(child, function, is_atomic)
            return
        if isinstance(node, ast.Call) and is_write(node) and not is_atomic:
            writes.append((function, node.lineno))
        for child in ast.iter_child_nodes(node):
            visit(child, function, is_atomic)

    visit(tree, None, False)
    return writes


def find_names(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            yield node.id if isinstance(node, ast.Name) else node.attr


def is_write(call):
    if isinstance(call.func, ast.Attribute) and call.func.attr != "open":
        return call.func.attr in WRITERS
    if next(find_names(call.func), None) != "open" and not isinstance(call.func, ast.Attribute):
        return False
    arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
    nodes = [node for argument in arguments for node in ast.walk(argument)]
    values = [node.value for node in nodes if isinstance(node, ast.Constant)]
    modes = [set(v) for v in values if isinstance(v, str) and set(v) <= set("rwaxbt+")]
    return any(mode & set("wax+") for mode in modes)


def test_every_file_is_written_atomically():
    exceptions = set()
    for path in sorted(SRC.rglob("*.py")):
        name = path.relative_to(SRC).as_posix()
        for function, line in find_writes(ast.parse(path.read_text(encoding="utf-8"))):
            exceptions.add((name, function))
            assert (name, function) in ALLOWED, f"{name}:{line} writes outside of atomic_write"
    assert exceptions == set(ALLOWED)


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("path.write_text('a')", 1),
        ("with path.open('wb') as file:\n    file.write(b'')", 1),
        ("with open(path, mode='a') as file: pass", 1),
        ("with path.open('ab' if resume else 'wb') as file: pass", 1),
        ("np.savez(file, a)", 1),
        ("write_table(path, table)", 0),  # a function of the library that writes atomically
        ("with path.open() as file, open(path, 'rb') as other: pass", 0),
        ("with atomic_write(path) as part, part.open('wb') as file:\n    np.save(file, a)", 0),
        ("with storage.atomic_write(path) as part:\n    part.write_text('a')", 0),
        ("def f():\n    with atomic_write(a) as b:\n        pass\n    c.write_text('')", 1),
    ],
)
def test_writing_calls_are_found(code, count):
    assert len(find_writes(ast.parse(code))) == count
