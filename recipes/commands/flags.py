"""Turns hyper-parameters, as read from a recipe's source, into command-line flags."""

import dataclasses
import difflib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import tyro

# A private module of tyro's, pinned in constraints.txt: the only way to get its errors as data, so that a mistyped
# flag ends in one line rather than a box of ten. tests/recipes/commands/test_flags.py holds it to that.
import tyro._errors as tyro_errors

from recipes.commands.catalog import Source
from recipes.commands.names import require_text
from recipes.shared import constraints
from recipes.shared.errors import UsageError
from recipes.shared.files import kind_of

Options = TypeVar("Options")
TYPES = {"int": int, "float": float, "str": str, "bool": bool, "Literal": Literal, "tuple": tuple}
CONSTRAINTS = {name: value for name, value in vars(constraints).items() if name[0].isupper()}
LARGEST_FILE = 2**20  # bytes of a file for --hparams; what is longer is another kind of file
KINDS = {"INT": "a whole number", "FLOAT": "a number", "{INT INT}": "two whole numbers, such as 64 64"}


def split_names(args: list[str]) -> tuple[list[str], list[str]]:
    """Return the names that `args` begins with, and the flags after them."""
    first_flag = next((index for index, arg in enumerate(args) if arg.startswith("-")), len(args))
    return args[:first_flag], args[first_flag:]


def parse_options(options: type[Options], args: list[str], prog: str, description: str) -> Options:
    """Return the dataclass `options` filled from `args`, whose flags are named after its fields.

    Raises:
        UsageError: an unknown flag or a value of the wrong type.
        SystemExit: with 0, after `--help`.
    """
    known = {_flag(field.name) for field in dataclasses.fields(options)}  # type: ignore[arg-type]

    def complain(event: tyro_errors.ParseErrorEvent) -> None:
        raise UsageError(_explain(event, args, known, prog))

    if args and args[0].replace("_", "-").startswith("--tyro-"):  # its own, which assert instead of complaining
        raise UsageError(f"unknown flag {args[0]}; `{prog} --help` lists the flags")
    with tyro_errors.on_parse_error(complain):
        return tyro.cli(options, args=args, prog=prog, description=description)


def parse_hparams(
    source: Source, options: type[Options], args: list[str], prog: str, description: str = ""
) -> tuple[dict[str, Any], Options]:
    """Return the hyper-parameters of `source` by name, checked, and the dataclass `options`, from one list of flags.

    `description` is what `--help` says first, the file's docstring if not given.

    Raises:
        UsageError: as `parse_options`, or a flag that the recipe has no use for, or a value that no run can use.
    """
    if "hparams" in {field.name for field in dataclasses.fields(options)}:  # type: ignore[arg-type]
        args = _from_file(source, args) + args
    for name, reason in source.unused.items():
        given = {arg.partition("=")[0].replace("_", "-") for arg in args} & {_flag(name), f"--no-{_flag(name)[2:]}"}
        if given:
            raise UsageError(f"{source.path.stem} has no use for {given.pop()}: {reason}")
    hparams = fields_of(source, [name for name in source.fields if name not in source.unused])
    own = dataclasses.fields(options)  # type: ignore[arg-type]
    both = dataclasses.make_dataclass("Flags", [*hparams, *((field.name, field.type, field) for field in own)])
    flags: Any = parse_options(both, args, prog, description or source.docstring)
    values = {name: getattr(flags, name) for name, *_ in hparams}
    _check(source, values)
    return values, options(**{field.name: getattr(flags, field.name) for field in own})


def fields_of(source: Source, names: Iterable[str]) -> list[tuple[str, Any, Any]]:
    """Return some of the hyper-parameters of `source` as `dataclasses.make_dataclass` takes them."""
    return [
        (name, Annotated[_type(source, field.annotation), tyro.conf.arg(help=field.help)], field.default)
        for name, field in source.fields.items()
        if name in names
    ]


def given(args: list[str]) -> set[str]:
    """Return the names of the flags in `args`, as fields are named."""
    names = {arg.partition("=")[0].removeprefix("--").replace("-", "_") for arg in args if arg.startswith("--")}
    return names | {name.removeprefix("no_") for name in names}


def without_unused(source: Source, args: list[str], *more: str) -> list[str]:
    """Return `args` without the flags that the recipe has no use for, and those of `more`, and without their values."""
    names = [*source.unused, *more]
    unused = {_flag(name) for name in names} | {f"--no-{_flag(name)[2:]}" for name in names}
    kept: list[str] = []
    dropping = False
    for arg in args:
        if arg.startswith("--"):
            dropping = arg.partition("=")[0].replace("_", "-") in unused
        if not dropping:
            kept.append(arg)
    return kept


def _from_file(source: Source, args: list[str]) -> list[str]:
    """Return the hyper-parameters in the file that `--hparams` names as flags; what stands after them goes before.

    Raises:
        UsageError: the file cannot be used, or is of another recipe.
    """
    path = _given(args, "--hparams")
    if not path:
        return []
    try:
        if kind_of(Path(path)) != "file":  # a pipe may have no end
            raise ValueError
        with Path(path).open("rb") as file:
            content = json.loads(file.read(LARGEST_FILE))
        values = content["hparams"].items()
        if "space" in content or not values:  # search.json beside best.json has what the search began with
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UsageError(f"--hparams {path} is no best.json of a search, nor the config.json of a run") from None
    recipe = content.get("recipe", source.path.stem)
    if recipe != source.path.stem:
        raise UsageError(f"--hparams {path} is of {recipe}, and this is {source.path.stem}")
    unknown = [name for name, _ in values if name not in source.fields or name in source.unused]
    if unknown:
        raise UsageError(f"--hparams {path} has {unknown[0]}, which {source.path.stem} does not know")
    tokens: list[str] = []
    for name, value in values:
        if isinstance(value, bool):
            tokens.append(_flag(name) if value else f"--no-{_flag(name)[2:]}")
        elif isinstance(value, list) and value:  # the first one joined to its flag, for names that begin with a dash
            tokens += [f"{_flag(name)}={value[0]}", *map(str, value[1:])]
        elif isinstance(value, list):
            tokens.append(_flag(name))
        elif value is not None or source.fields[name].default is not None:  # else it is left out
            tokens.append(f"{_flag(name)}={value}")
    for token in tokens:
        require_text(token)
    return tokens


def _check(source: Source, values: dict[str, Any]) -> None:
    """Hold every value to what its field says, before any process is started."""
    from recipes.shared.hparams import HParams

    for name, value in values.items():
        condition = constraints.broken(type_of(source, name), value)
        if condition is not None:
            raise UsageError(f"{_flag(name)} is {value}; it must be {condition}")

    shared = {field.name for field in dataclasses.fields(HParams)}
    HParams(**{name: value for name, value in values.items() if name in shared})


def _type(source: Source, annotation: str) -> Any:
    try:
        # a type expression from a recipe's own source
        return eval(annotation, {"__builtins__": {}}, TYPES | CONSTRAINTS)
    except Exception as error:
        raise UsageError(
            f"{source.path}: no flag can be made of the type {annotation}; use {', '.join(TYPES)}"
        ) from error


def type_of(source: Source, name: str) -> Any:
    """Return the type of a hyper-parameter, with its constraints."""
    return _type(source, source.fields[name].annotation)


def base_type(source: Source, name: str) -> Any:
    """Return the type of a hyper-parameter without its constraints: `int` of `AtLeastOne`."""
    hint = type_of(source, name)
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _explain(event: tyro_errors.ParseErrorEvent, args: list[str], known: set[str], prog: str) -> str:
    help_hint = f"`{prog} --help` lists the flags"
    if isinstance(event, tyro_errors.UnrecognizedArgs):
        token = event.tokens[0]
        if not token.startswith("-"):
            return f"what is {token!r} for? {help_hint}"
        near = difflib.get_close_matches(token.partition("=")[0], known, n=1)
        return f"unknown flag {token}; " + (f"did you mean {near[0]}? " if near else "") + help_hint
    if isinstance(event, tyro_errors.InvalidChoice):
        flag = event.argument.lowered.name_or_flags[0]
        return f"{flag} is {event.value!r}; it must be one of {', '.join(event.choices)}"
    if isinstance(event, tyro_errors.BadValue):
        return f"{event.argument.lowered.name_or_flags[0]} needs a value; {help_hint}"
    argument = getattr(event, "argument", None)
    if argument is not None:
        flag = argument.lowered.name_or_flags[0]
        kind = (argument.lowered.metavar or "").removeprefix("{None}|")
        return f"{flag} is {_given(args, flag)!r}; it must be {KINDS.get(kind, kind)}; {help_hint}"
    message = " ".join(str(getattr(event, "message", event)).split())
    return f"{message}; {help_hint}"


def _given(args: list[str], flag: str) -> str:
    """Return the value that `args` give `flag`, as --flag value or --flag=value; the last one counts."""
    values = [after for arg, after in zip(args, [*args, ""][1:], strict=True) if arg.replace("_", "-") == flag]
    values += [arg.partition("=")[2] for arg in args if arg.partition("=")[0].replace("_", "-") == flag and "=" in arg]
    return values[-1] if values else ""
