"""Names, and sizes of src, that linters do not check; CONTRIBUTING states the rules."""

import ast
import re
from pathlib import Path

import ranksim

ROOT = Path(ranksim.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
TOP = Path(__file__).parents[1]
OTHER_FILES = sorted(
    path for name in ("tests", "benchmarks", "examples", "scripts")
    for path in (TOP / name).rglob("*.py")
)  # fmt: skip
# participles that say that something happened, never what it is
BANNED = {"told", "found", "own", "made", "said", "asked", "kept", "shown", "seen"}
HAS_BANNED = re.compile(rf"(?<![a-z])({'|'.join(BANNED)})(?![a-z])")
MAX_LINES, MAX_PARAMETERS = 80, 8
# public functions mirror the options of the method; kernels take pointers and constants one by one
PUBLIC = {
    ("functional/ranksim.py", "ranksim_loss"),
    ("losses/ranksim.py", "__init__"),
    ("imbalance/fds.py", "__init__"),
    ("integrations/sklearn/regressor.py", "__init__"),
    ("functional/_kernels/triton_term.py", "anchor_rows"),
    ("functional/_kernels/triton_term.py", "anchor_weights"),
}


def bound_names(tree):
    """Yield each name that a module binds: variables, arguments, attributes, definitions."""
    for node in ast.walk(tree):
        match node:
            case (
                ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.ClassDef(name=name)
            ):
                yield name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
            case ast.arg(arg=name) | ast.keyword(arg=str(name)) | ast.ExceptHandler(name=str(name)):
                yield name
            case ast.alias(name=name, asname=asname):
                yield asname or name.rpartition(".")[2]


def functions(tree):
    return [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


def find_banned_names(tree, path):
    """Yield one line per name that breaks the rules."""
    for name in {Path(path).stem, *bound_names(tree)}:
        if name.strip("_") in BANNED:
            yield f"{path}: binds {name}"


def find_violations(tree, path):
    """Yield one line per name or size that breaks the rules."""
    yield from find_banned_names(tree, path)
    for function in functions(tree):
        if (path, function.name) in PUBLIC:
            continue
        arguments = function.args
        parameters = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        count = sum(each.arg not in ("self", "cls") for each in parameters)
        if count > MAX_PARAMETERS:
            yield f"{path}: {function.name} has {count} parameters"
        lines = function.end_lineno - function.lineno + 1
        if lines > MAX_LINES:
            yield f"{path}: {function.name} has {lines} lines"


def test_names_are_nouns_and_functions_are_small():
    violations = [
        line
        for path in FILES
        for line in find_violations(
            ast.parse(path.read_text(encoding="utf-8")), str(path.relative_to(ROOT))
        )
    ]
    assert violations == []


def test_names_of_tests_and_scripts_are_nouns():
    violations = [
        line
        for path in OTHER_FILES
        if HAS_BANNED.search(f"{path.stem}\n{(code := path.read_text(encoding='utf-8'))}")
        for line in find_banned_names(ast.parse(code), str(path.relative_to(TOP)))
    ]
    assert violations == []


def test_violations_are_found():
    code = "import x as told\ndef f(made):\n    self._own = found = g(kept=1)\n"
    banned = {name.strip("_") for name in bound_names(ast.parse(code))} & BANNED
    assert banned == {"told", "made", "own", "found", "kept"}
    parameters = ", ".join(f"p{k}" for k in range(9))
    code = f"def f({parameters}):\n" + "    pass\n" * 80
    assert len(list(find_violations(ast.parse(code), "module.py"))) == 2
