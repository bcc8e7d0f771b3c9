"""What no source file of this project may do, found in its syntax tree."""

import ast
from collections.abc import Iterator
from pathlib import Path

FOLDERS = ("src", "tools", "benchmarks", "examples")
ATTACKS = "security_attacks.py"  # makes what no other file may read
# modules whose readers run what a file says
_UNSAFE = {"cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "shelve", "_pickle"}
_CALLS = {"eval", "exec", "__import__", "extractall", "read_pickle", "to_pickle", "unsafe_load"}
_WHOLE = {"os.system", "os.popen", "yaml.load", "yaml.full_load", "pickle.load", "pickle.loads"}
# what must be said in a call, by the name that is called
_SAID = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
    "AutoModel.from_pretrained": ("use_safetensors", True),
    "from_pretrained": ("trust_remote_code", False),
    "load_from_checkpoint": ("weights_only", True),
}
# words that may be said with one value alone
_VALUES = {"trust_remote_code": False, "weights_only": True, "allow_pickle": False, "shell": False}


def sources(root: Path) -> list[Path]:
    """The Python files of the project."""
    paths = [path for folder in FOLDERS for path in sorted((root / folder).rglob("*.py"))]
    return [path for path in paths if path.name != ATTACKS]


def faults(root: Path) -> list[str]:
    """Where a file does what none may: ``path:line: what``."""
    found = []
    for path in sources(root):
        for line, what in of_source(path.read_text(encoding="utf-8")):
            found.append(f"{path.relative_to(root)}:{line}: {what}")
    return found


def of_source(text: str) -> Iterator[tuple[int, str]]:
    """Lines and what they do, of one source.

    Example:
        >>> list(of_source("import dill"))
        [(1, 'imports dill')]
        >>> list(of_source("torch.load(path)"))
        [(1, 'torch.load without weights_only=True')]
    """
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from _imports(node)
        elif isinstance(node, ast.Call):
            yield from _call(node)


def _imports(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[int, str]]:
    module = getattr(node, "module", None)
    names = [module] if module else [each.name for each in node.names]
    for name in names:
        if name and name.partition(".")[0] in _UNSAFE:
            yield node.lineno, f"imports {name}"
    if module == "pickle":  # its errors are caught by name: import pickle
        yield node.lineno, "imports from pickle"


def _call(node: ast.Call) -> Iterator[tuple[int, str]]:
    whole = ast.unparse(node.func)
    last = whole.rpartition(".")[2]
    said = {each.arg: each.value for each in node.keywords}
    if last in _CALLS and not _is_module_eval(node, last):
        yield node.lineno, f"calls {whole}"
    if whole in _WHOLE:
        yield node.lineno, f"calls {whole}"
    if whole.startswith("pickle."):
        yield node.lineno, f"calls {whole}"
    for name, (word, value) in _SAID.items():
        if whole == name or whole.endswith(f".{name}"):
            given = said.get(word)
            if not (isinstance(given, ast.Constant) and given.value is value):
                yield node.lineno, f"{name} without {word}={value}"
    if last in ("fit", "validate", "test", "predict") and "ckpt_path" in said:
        given = said.get("weights_only")
        if not (isinstance(given, ast.Constant) and given.value is True):
            yield node.lineno, f"{whole} with ckpt_path and without weights_only=True"
    for word, value in _VALUES.items():
        given = said.get(word)
        if given is not None and not (isinstance(given, ast.Constant) and given.value is value):
            yield node.lineno, f"{whole} with another {word} than {value}"


def _is_module_eval(node: ast.Call, last: str) -> bool:
    """``network.eval()``: a module's mode, which takes no argument."""
    return last == "eval" and isinstance(node.func, ast.Attribute) and not node.args
