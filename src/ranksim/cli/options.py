"""Options as parameters of commands, and the command line that is recorded."""

from __future__ import annotations

import functools
import inspect
import operator
import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

import typer

from ranksim.api.options import (
    OWNERS,
    CommandOptions,
    Values,
    find_declaration,
    make_sweep_request,
    portable_command,
    to_json,
)
from ranksim.data import spec

if TYPE_CHECKING:
    from ranksim.experiments.sweep_settings import SweepRequest

_METAVARS: dict[Any, str] = {int: "N", float: "X", Path: "PATH", str: "TEXT", bool: ""}
_DATA = "CSV, TSV or Parquet file, folder with such a table, or Hugging Face data set."

Data = Annotated[str, typer.Argument(metavar="DATA", help=_DATA, show_default=False)]
Out = Annotated[
    Path, typer.Option(help="Folder for results; finished runs in it are kept.", metavar="PATH")
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Write one JSON document to stdout, all else to stderr.")
]


def print_json(content: Any, as_json: bool) -> None:
    """Print the result of a command as JSON if ``as_json``, else print nothing."""
    if as_json:
        typer.echo(to_json(content))


def with_options(
    first: str,
    *panels: tuple[str, str],
    owner: type = CommandOptions,
    **changes: Mapping[str, Any],
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a command with the named options; it receives their parsed values as a dictionary.

    The command takes the dictionary, and the options that it declares itself by keyword.

    Args:
        first: names of the options that the help lists first, under no heading.
        panels: headings, and names of the options below each.
        owner: class whose fields take precedence over those of the other classes.
        changes: settings of an option that differ from its declaration, such as ``default``.
    """
    owners = (owner, *OWNERS)

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True).parameters.values()
        direct = {param.name: param for param in signature if param.kind is param.KEYWORD_ONLY}
        params: dict[str, inspect.Parameter] = {}
        parsers: dict[str, Callable[[Any], Any]] = {}
        for panel, names in ((None, first), *panels):
            for name in names.split():
                if name in direct:
                    params[name] = direct[name]
                else:
                    params[name], parsers[name] = _parameter(
                        name, panel, owners, changes.get(name, {})
                    )
        order = sorted(
            (params | direct).values(), key=lambda param: param.default is not param.empty
        )

        @functools.wraps(command)
        def filled(**values: Any) -> None:
            parsed = {name: parse(values[name]) for name, parse in parsers.items()}
            command(parsed, **{name: values[name] for name in direct})

        filled.__signature__ = inspect.Signature(order)  # type: ignore[attr-defined]
        filled.__annotations__ = {param.name: param.annotation for param in order}
        del filled.__wrapped__
        return filled

    return decorate


@functools.cache  # commands share their options
def _type_hints(owner: type) -> dict[str, Any]:
    return get_type_hints(owner)


def _parameter(
    name: str, panel: str | None, owners: tuple[type, ...], change: Mapping[str, Any]
) -> tuple[inspect.Parameter, Callable[[Any], Any]]:
    """Return the typer parameter of an option, and the function that parses its value.

    Types are shortened to one word, as typer would list all choices in a column of the help.
    """
    owner, item = find_declaration(name, owners)
    hint: Any = _type_hints(owner)[name]
    settings = {"default": item.default, **item.metadata, **change}
    default, parse = settings.get("cli_default", settings["default"]), settings.get("parse")
    if settings.get("repeat"):
        hint, parse = list[get_args(hint)[0]] | None, tuple  # type: ignore[misc]
    elif get_origin(hint) is tuple or parse:
        hint, parse = str | None, parse or spec.parse_words
    option_name = settings.get("name", spec.option_name(name))
    if default is True:
        option_name, default, parse = spec.option_name(f"no_{name}"), False, operator.not_
    words = [_METAVARS[kind] for kind in (hint, *get_args(hint)) if kind in _METAVARS]
    declaration = typer.Option(
        option_name,
        help=settings["help"],
        metavar=(words or ["WORD"])[0] if settings["metavar"] is None else settings["metavar"],
        rich_help_panel=panel,
        min=settings.get("min"),
        max=settings.get("max"),
    )
    param = inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default={MISSING: inspect.Parameter.empty, (): None}.get(default, default),
        annotation=Annotated[hint, declaration],
    )

    def read(value: Any) -> Any:
        if value is None:
            return default
        return value if parse is None else parse(value)

    return param, read


def sweep_request(
    data: str,
    out: Path,
    values: Values,
    *,
    user_data: bool = True,
    check: Callable[[SweepRequest], None] | None = None,
) -> SweepRequest:
    """Build the request of this command line, see :func:`make_sweep_request`."""
    command = portable_command(sys.argv[1:])
    return make_sweep_request(
        *(data, out, values), command=command, user_data=user_data, check=check
    )
