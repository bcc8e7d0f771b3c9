"""Arguments of the Python interface, converted to the values of the command's options."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING
from pathlib import Path
from types import UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from ranksim._utils.arrays import unwrap_scalar
from ranksim._utils.checks import describe_value
from ranksim._utils.formatting import join_names
from ranksim.api.options import (
    OWNERS,
    UserDataOptions,
    Values,
    find_declaration,
    portable_command,
)
from ranksim.data.spec import join_words, option_name, parse_words
from ranksim.data.table import find_near_name
from ranksim.exceptions import RankSimError, UsageError

P = ParamSpec("P")
T = TypeVar("T")
_OWNERS = (UserDataOptions, *OWNERS)
_OPTION = re.compile(
    r"""--(?P<name>[a-z]+(?:-[a-z]+)*)(?: (?P<word>'[^']*'|"[^"]*"|[\w-]+))?""",
)
_FLAGS = {"skip-missing", "skip-broken", "drop-shared", "strict", "refit", "compile"}
_PHRASES = {"the same command": "the same call", "this command": "this call"}
_VALUES = {
    "split-by": "random group identity time day",
    "engine": "ray processes",
    "encoding": "cp1252 utf-16 utf-8",
    "repeated-times": "error mean",
}
_LAYOUTS = {True: "yes", False: "no"}


def name_arguments(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a public function, so that its errors name arguments instead of options."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except RankSimError as error:
            if error.args and isinstance(error.args[0], str):
                error.args = (to_python_names(error.args[0]), *error.args[1:])
            raise

    return call


def to_python_names(message: str) -> str:
    """Return a message of a command with its options as arguments of a function.

    Example:
        >>> to_python_names("--split-by has no effect: remove it, or add --skip-missing.")
        'split_by= has no effect: remove it, or add skip_missing=True.'
    """

    def name(match: re.Match[str]) -> str:
        option, word = match["name"], match["word"] or ""
        text = option.replace("-", "_") + "="
        rest = f" {word}" if word else ""
        if option == "no-balanced":
            return "balanced=False" + rest
        if word[:1] in ("'", '"'):
            return text + word
        if option == "jobs" and word.isdigit():
            return text + word
        if word in _VALUES.get(option, "").split():
            return f"{text}{word!r}"
        is_advice = message[: match.start()].endswith("add ")
        return text + "True" * (is_advice and option in _FLAGS) + rest

    for phrase, replacement in _PHRASES.items():
        message = message.replace(phrase, replacement)
    return _OPTION.sub(name, message)


def read_arguments(function: str, names: str, given: Mapping[str, Any]) -> Values:
    """Return the values of all options of a function, as a command parses them.

    Args:
        function: its name, for messages.
        names: of its options.
        given: arguments by the names of Python; None: the default.

    Raises:
        UsageError: an argument is unknown or of a wrong type.
    """
    declared = {_python_name(name): name for name in names.split()}
    for name in given:
        if name not in declared:
            near = find_near_name(name, declared)
            advice = f"did you mean {near}?" if near else f"it has {join_names(declared, 60)}."
            raise UsageError(f"{function}() has no argument {name!r}: {advice}")
    values: Values = {}
    for python_name, name in declared.items():
        owner, item = find_declaration(name, _OWNERS)
        settings = {"default": item.default, **item.metadata}
        value = given.get(python_name)
        if value is None:
            values[name] = settings.get("cli_default", settings["default"])
            if values[name] is MISSING:
                raise UsageError(f"{function}() needs {_option(name)}: give it.")
        else:
            hint: Any = get_type_hints(owner)[name]
            values[name] = _convert(name, hint, settings, value)
    return values


def describe_call(function: str, data: str, names: str, given: Mapping[str, Any]) -> str:
    """Return the command line that does the same as a call with some arguments."""
    declared = {_python_name(name): name for name in names.split()}
    values = read_arguments(function, names, given)
    words = [function, data]
    for python_name, value in given.items():
        name = declared[python_name]
        option, settings = _option(name), find_declaration(name, _OWNERS)[1].metadata
        value = values[name] if value is not None else None
        if value is None or value == () or (value is False and name != "balanced"):
            continue
        if isinstance(value, bool):
            words += [option] if value and name != "balanced" else []
            words += ["--no-balanced"] if name == "balanced" and not value else []
        elif settings.get("repeat"):
            words += [word for each in value for word in (option, str(each))]
        elif isinstance(value, tuple):
            texts = [f"{v:.15g}" if isinstance(v, float) else str(v) for v in value]
            words += [option, join_words(texts)]
        else:
            words += [option, f"{value:.15g}" if isinstance(value, float) else str(value)]
            words[-1] += "s" * (name == "budget")
    return portable_command(words)


def _option(name: str) -> str:
    item = find_declaration(name, _OWNERS)[1]
    return str(item.metadata.get("name", option_name(name)))


def _python_name(name: str) -> str:
    """Return the argument of an option: ``set`` for ``--set``, whose field is ``changes``."""
    return _option(name).removeprefix("--").replace("-", "_")


def _convert(name: str, hint: Any, settings: Mapping[str, Any], value: Any) -> Any:
    """Convert an argument to the value that a command parses, or raise a UsageError."""
    value, kinds = unwrap_scalar(value), _list_types(hint)
    if name == "channels_last" and isinstance(value, bool):
        return _LAYOUTS[value]
    if name in _CONVERTERS:
        return _CONVERTERS[name](value)
    if any(get_origin(kind) is tuple for kind in kinds):
        return _convert_words(name, settings, value)
    choices = [choice for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
    if choices and value not in choices:
        raise _wrong(name, f"one of {', '.join(choices)}", value)
    if choices:
        return value
    if settings.get("parse") and isinstance(value, str):
        return settings["parse"](value)
    if Path in kinds and isinstance(value, str | Path):
        return Path(value)
    if bool in kinds:
        if not isinstance(value, bool):
            raise _wrong(name, "True or False", value)
        return value
    return _check_number(name, kinds, settings, value)


def _list_types(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _check_number(name: str, kinds: Iterable[Any], settings: Mapping[str, Any], value: Any) -> Any:
    """Return a number or a text, or raise a UsageError for another type or a number off limits."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if float in kinds and is_number:
        value = float(value)
        if not np.isfinite(value):
            raise _wrong(name, "a finite number", value)
    elif int in kinds and is_number and isinstance(value, int):
        pass
    elif str in kinds and isinstance(value, str | Path):
        return str(value)
    else:
        titles = {int: "a whole number", float: "a number", str: "a text", Path: "a path"}
        raise _wrong(name, " or ".join(titles[kind] for kind in kinds if kind in titles), value)
    low, high = settings.get("min"), settings.get("max")
    if low is not None and value < low:
        raise _wrong(name, f"a number of at least {low}", value)
    if high is not None and value > high:
        raise _wrong(name, f"a number of at most {high}", value)
    return value


def _convert_words(name: str, settings: Mapping[str, Any], value: Any) -> tuple[Any, ...]:
    """Convert a text or a sequence to a tuple of words, parsed as the option is."""
    if isinstance(value, str | Path):
        if settings.get("repeat"):
            return (str(value),)
        parse: Callable[[str], tuple[Any, ...]] = settings.get("parse") or parse_words
        return parse(str(value))
    if isinstance(value, Mapping) and name == "region":
        return tuple(f"{key}={text}" for key, text in value.items())
    if isinstance(value, int | float) and not isinstance(value, bool) and settings.get("parse"):
        value = [value]
    is_sequence = isinstance(value, Sequence | np.ndarray | set | frozenset)
    if not is_sequence or any(isinstance(each, bool | dict | list | tuple) for each in value):
        raise _wrong(name, "a text or a list of texts", value)
    words = [
        repr(each) if isinstance(each, float) else str(each) for each in map(unwrap_scalar, value)
    ]
    if settings.get("parse"):
        return tuple(settings["parse"](join_words(words)))
    return tuple(words)


def _convert_methods(value: Any) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, Sequence) or not all(isinstance(each, str) for each in value):
        raise _wrong("methods", "names such as ['vanilla', 'inv+ranksim']", value)
    return ",".join(value)


def _convert_seeds(value: Any) -> str:
    """Return a number of seeds, or a list of them, as the option has it."""
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return str(value)
    is_sequence = isinstance(value, Sequence | np.ndarray | range)
    seeds = [unwrap_scalar(each) for each in value] if is_sequence else [None]
    if not all(isinstance(each, int) and not isinstance(each, bool) for each in seeds):
        raise _wrong("seeds", "a number of seeds, or a list such as [3, 5, 8]", value)
    return "".join(f"{seed}," for seed in seeds)


def _convert_budget(value: Any) -> float:
    """Return a duration in seconds, given so or as a text such as ``10m``."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not isinstance(value, str) and not is_number:
        raise _wrong("budget", "a time such as '10m', or seconds", value)
    item = find_declaration("budget", _OWNERS)[1]
    seconds: float = item.metadata["parse"](value if isinstance(value, str) else f"{value!r}s")
    return seconds


def _convert_changes(value: Any) -> tuple[str, ...]:
    """Return changes of a recipe, a dictionary or texts, as texts ``FIELD=VALUE``."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, Mapping):
        texts = {name: _to_toml(unwrap_scalar(each)) for name, each in value.items()}
        if all(isinstance(name, str) for name in texts):
            return tuple(f"{name}={text}" for name, text in texts.items())
    elif isinstance(value, Sequence) and all(isinstance(each, str) for each in value):
        return tuple(value)
    raise _wrong("changes", "recipe fields such as {'lr': 5e-4}", value)


def _to_toml(value: Any) -> str:
    try:
        return json.dumps(list(value) if isinstance(value, tuple) else value)
    except TypeError as error:
        raise _wrong("changes", "numbers, texts, booleans or lists", value) from error


_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "methods": _convert_methods,
    "seeds": _convert_seeds,
    "budget": _convert_budget,
    "changes": _convert_changes,
    "devices": lambda value: str(value),
}


def _wrong(name: str, expected: str, value: Any) -> UsageError:
    return UsageError(f"{_option(name)} takes {expected}, got {describe_value(value)}.")
