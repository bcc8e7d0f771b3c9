"""The public API in one file, made of the code.

Usage: ``python -m tools.api`` says whether ``docs/api.txt`` is what the code has; ``--write``
writes it, unless a name went that is not under *Deprecated* with a version that is reached.
"""

import argparse
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ranksim

FILE = Path(__file__).parents[1] / "docs/api.txt"
MODULES = (
    "ranksim",
    "ranksim.functional",
    "ranksim.losses",
    "ranksim.imbalance",
    "ranksim.metrics",
    "ranksim.models",
    "ranksim.data",
    "ranksim.training",
    "ranksim.integrations.sklearn",
    "ranksim.inference",
    "ranksim.exceptions",
)
HEAD = """\
The public API of ranksim: what is listed here can be relied on, and nothing else.

Made by `python -m tools.api --write`; a test holds it against the code. A name that goes is kept
for two minor versions. It then raises a DeprecationWarning that names what to use instead
(ranksim.deprecation), and stands under "Deprecated" below, as "NAME: INSTEAD, gone in VERSION". A
new argument has a default; an argument, an option or a default that changes is treated like a
name that goes. A file written by a version is read by all later ones of the same major version,
or refused in one sentence that names the version which wrote it.
"""
EXITS = {
    0: "done",
    1: "the data or a training failed",
    2: "a command that cannot be carried out as asked",
    130: "Ctrl-C",
}
DEPRECATED = "Deprecated"
_LINE = re.compile(r"(?P<name>\S+): .+, gone in (?P<version>\d+\.\d+)")


def names() -> dict[str, str]:
    """Every public name, and what follows it on its line."""
    found: dict[str, str] = {}
    for module in MODULES:
        found |= dict(_of_module(module))
    return found | dict(_commands()) | _formats()


def _of_module(name: str) -> Iterator[tuple[str, str]]:
    module = importlib.import_module(name)
    own = [each for each, value in vars(module).items() if _defined_in(value, name)]
    for each in sorted(getattr(module, "__all__", own)):
        value = getattr(module, each)
        yield f"{name}.{each}", _signature(value)
        # a class is told whole where it is defined or first exported
        if inspect.isclass(value) and not issubclass(value, BaseException):
            yield from _members(f"{name}.{each}", value)


def _defined_in(value: Any, module: str) -> bool:
    public = inspect.isclass(value) or inspect.isfunction(value)
    return public and value.__module__ == module and not value.__name__.startswith("_")


def _members(name: str, owner: type) -> Iterator[tuple[str, str]]:
    for each, value in sorted(vars(owner).items()):
        if each.startswith("_"):
            continue
        if isinstance(value, property):
            yield f"{name}.{each}", ""
        elif isinstance(value, classmethod | staticmethod):
            yield f"{name}.{each}", _signature(value.__func__)
        elif inspect.isfunction(value):
            yield f"{name}.{each}", _signature(value)


def _signature(value: Any) -> str:
    """Arguments and defaults; a value that is no function has none."""
    if not callable(value) or (inspect.isclass(value) and issubclass(value, BaseException)):
        return ""
    arguments = inspect.signature(value).parameters.values()
    bare = [each.replace(annotation=inspect.Parameter.empty) for each in arguments]
    told = str(inspect.Signature([each for each in bare if each.name != "self"]))
    return re.sub(r"<function (\w+) at 0x\w+>", r"\1", told)


def _commands() -> Iterator[tuple[str, str]]:
    from typer.main import get_command

    from ranksim.cli.app import app

    yield from _of_command("ranksim", get_command(app))
    for code, told in EXITS.items():
        yield f"exit-code:{code}", f" {told}"


def _of_command(name: str, command: Any) -> Iterator[tuple[str, str]]:
    subcommands = getattr(command, "commands", None)
    if subcommands:
        for each, sub in sorted(subcommands.items()):
            yield from _of_command(f"{name}:{each}", sub)
        return
    arguments = [each.name.upper() for each in command.params if each.param_type_name != "option"]
    yield name, "".join(f" {each}" for each in arguments)
    options = [each for each in command.params if each.param_type_name == "option"]
    for option in sorted(options, key=lambda each: each.opts[0]):
        yield f"{name}:{option.opts[0]}", "" if option.is_flag else " VALUE"


def _formats() -> dict[str, str]:
    """Versions of the files that are written and read again."""
    from ranksim.evaluation.report.results_page import FORMAT as RESULTS
    from ranksim.experiments.tune.study import RECIPE, STORAGE
    from ranksim.inference.files import FILES, FORMAT

    return {
        "file:results.json": f" format {RESULTS}",
        "file:model": f" format {FORMAT}: {', '.join(FILES)}",
        "file:study": f" {STORAGE} (Optuna), {RECIPE}",
    }


def text(deprecated: list[str]) -> str:
    """The file."""
    lines = [f"{name}{told}" for name, told in names().items()]
    return "\n".join([HEAD, *lines, "", DEPRECATED, *(deprecated or ["none"]), ""])


def listed(content: str) -> tuple[set[str], list[str]]:
    """Names that a file lists, and its lines under *Deprecated*."""
    told, _, deprecated = content.removeprefix(HEAD).partition(f"\n{DEPRECATED}\n")
    found = {re.split(r"[ (]", line)[0] for line in told.splitlines() if line}
    return found, [line for line in deprecated.splitlines() if line and line != "none"]


def lost(content: str, now: set[str], version: str) -> list[str]:
    """Names of a file that the code has no more, and that may not be gone yet."""
    before, deprecated = listed(content)
    due = {found["name"]: found["version"] for found in map(_LINE.fullmatch, deprecated) if found}
    return sorted(
        name for name in before - now if name not in due or _number(due[name]) > _number(version)
    )


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])


def main() -> None:
    """Carry out the command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="write docs/api.txt")
    content = FILE.read_text(encoding="utf-8") if FILE.is_file() else HEAD
    if gone := lost(content, set(names()), ranksim.__version__):
        sys.exit(f"These names went and are not deprecated: {', '.join(gone)}.")
    made = text(listed(content)[1])
    if parser.parse_args().write:
        FILE.write_text(made, encoding="utf-8")
    elif made != content:
        sys.exit(f"{FILE.name} is not what the code has: run python -m tools.api --write.")


if __name__ == "__main__":
    main()
