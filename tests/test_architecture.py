"""The structure of src: layers, no import circles, light imports, sizes."""

import ast
import functools
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import ranksim

ROOT = Path(ranksim.__file__).parent
# lowest layer first; a package imports from lower layers alone
LAYERS = (
    ("exceptions",),
    ("_utils",),
    ("functional", "imbalance", "losses", "metrics", "models", "uncertainty"),
    ("data",),
    ("datasets", "user_data"),
    ("training",),
    ("evaluation",),
    ("experiments",),
    ("inference",),
    ("integrations",),
    ("api",),
    ("sklearn", "cli"),
)
WITHIN_LAYER = {
    "losses": {"functional"},
    "metrics": {"functional", "imbalance"},
    "models": {"functional"},
    "uncertainty": {"imbalance"},
}
PACKAGES = sorted(name for layer in LAYERS for name in layer)
CORE = ("functional", "imbalance", "losses", "models", "uncertainty")  # need torch and numpy only
# an array of Tensor.numpy() is left with freed memory if the tensor is sent to another process
VIEWS = {"functional", "imbalance", "metrics"}  # within a step, of tensors that are never sent
VIEW_FILES = {
    "_utils/arrays.py",  # copies at once
    "data/images/pixel_cache.py",  # a file that is mapped to memory and checked
    "training/handover.py",  # written at once
}


def find_modules(root):
    """Map dotted module names to paths of all Python files below a package's folder."""
    modules = {}
    for path in root.rglob("*.py"):
        parts = (root.name, *path.relative_to(root).with_suffix("").parts)
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


def imported_names(path):
    """Return the dotted names that a file imports, in functions and under TYPE_CHECKING too."""
    return list_imports(path.read_text(encoding="utf-8"))


@functools.cache
def list_imports(code):
    names = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def import_graph(root):
    """Map each module of a package to the modules of the package that it imports.

    A package counts as importing what its ``__init__`` names; ``from package import module``
    imports the module alone.
    """
    modules = find_modules(root)
    graph = {}
    for name, path in modules.items():
        targets = set()
        for imported in imported_names(path):
            while imported and imported not in modules:
                imported = imported.rpartition(".")[0]
            if imported and imported != name:
                targets.add(imported)
        graph[name] = targets
    return graph


def find_circle(graph):
    """Return the modules of an import circle, or None."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return None


def allowed_packages(package):
    """Return the packages that a package may import."""
    place = next(k for k, layer in enumerate(LAYERS) if package in layer)
    lower = {name for layer in LAYERS[:place] for name in layer}
    return lower | {package} | WITHIN_LAYER.get(package, set())


def package_files(package):
    return list((ROOT / package).rglob("*.py")) or [ROOT / f"{package}.py"]


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_lower_layers_only(package):
    for path in package_files(package):
        names = [name.split(".") for name in imported_names(path) if name.startswith("ranksim.")]
        imported = {parts[1] for parts in names} & set(PACKAGES)
        assert imported <= allowed_packages(package), path


def test_each_package_has_a_layer():
    names = {path.stem for path in ROOT.iterdir() if not path.stem.startswith("__")}
    assert sorted(names - {"py"}) == PACKAGES


def test_no_import_circles():
    assert find_circle(import_graph(ROOT)) is None


@pytest.mark.parametrize(
    "hidden",
    [
        "import made_up.a",
        "def f():\n    from made_up import a",
        "if TYPE_CHECKING:\n    import made_up.a",
    ],
)
def test_circles_are_found(tmp_path, hidden):
    root = tmp_path / "made_up"
    root.mkdir()
    (root / "__init__.py").write_text("")
    (root / "a.py").write_text("from made_up.b import value\n")
    (root / "b.py").write_text(f"from typing import TYPE_CHECKING\nvalue = 1\n{hidden}\n")
    assert set(find_circle(import_graph(root))) == {"made_up.a", "made_up.b"}
    (root / "b.py").write_text("value = 1\n")
    assert find_circle(import_graph(root)) is None


@pytest.mark.parametrize("package", CORE)
def test_core_packages_need_torch_and_numpy_only(package):
    for path in package_files(package):
        names = {name.split(".")[0] for name in imported_names(path)}
        names -= set(sys.stdlib_module_names)
        if path.name == "triton_term.py":
            names -= {"triton"}
        assert names <= {"torch", "numpy", "ranksim"}, path


def test_no_package_holds_more_than_a_fifth():
    lines = {
        package: sum(len(path.read_text().splitlines()) for path in package_files(package))
        for package in PACKAGES
    }
    assert max(lines.values()) <= sum(lines.values()) / 5, lines


def numpy_views(tree):
    """Yield the line of each call that returns a NumPy array of a tensor's memory."""
    names = ("numpy", "__array__", "__dlpack__", "from_dlpack")
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in names:
            yield node.lineno


def test_arrays_are_copies_of_tensors():
    lines = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in ROOT.rglob("*.py")
        if path.relative_to(ROOT).parts[0] not in VIEWS
        and path.relative_to(ROOT).as_posix() not in VIEW_FILES
        for line in numpy_views(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert lines == [], "call ranksim._utils.arrays.copy_to_numpy"


def test_views_are_found():
    code = "a = t.cpu().numpy()\nb = map(Tensor.numpy, ts)\nc = np.from_dlpack(t)\nd = t.to_numpy()"
    assert list(numpy_views(ast.parse(code))) == [1, 2, 3]
