"""`recipes bench`: what a step costs, by our two sides, by Keras as documented, and by other frameworks, in turn."""

import dataclasses
import difflib
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import tyro

from recipes.commands import flags, side
from recipes.shared.errors import UsageError
from recipes.shared.files import write_json

LEAST_ROUNDS = 5


@dataclasses.dataclass(frozen=True)
class Options:
    """The flags of `bench`."""

    peers: Annotated[bool, tyro.conf.arg(help="let PyTorch, JAX and scikit-learn take part (extra `bench`)")] = False
    json: Annotated[Path | None, tyro.conf.arg(help="write the results to this file")] = None
    data: Annotated[str, tyro.conf.arg(help="28 x 28 images: mnist, an .npz file, or digits, enlarged")] = "digits"
    rounds: Annotated[
        int, tyro.conf.arg(help="turns of each contestant, two epochs, of which one counts; at least 5")
    ] = 7
    threads: Annotated[int | None, tyro.conf.arg(help="threads of each contestant; all cores if not given")] = None
    examples: Annotated[int | None, tyro.conf.arg(help="in an epoch; each case's own number if not given")] = None


def main(args: list[str]) -> int:
    """Measure the cases that `args` name, all if none, print tables and return the exit code: 0, whatever was found.

    Raises:
        UsageError: for any mistake of the user's.
    """
    from recipes.commands.benchmark import rounds, tables, whole_runs
    from recipes.commands.benchmark.cases import CASES
    from recipes.commands.benchmark.measurement import CaseResult

    every = [*CASES, whole_runs.NAME]
    names, rest = flags.split_names(args)
    description = "What a step costs, in turn with others. Cases: " + ", ".join(every)
    options = flags.parse_options(Options, rest, "recipes bench [CASE...]", description)
    for name in names:
        if name not in every:
            near = difflib.get_close_matches(name, every, n=1, cutoff=0.4)
            suggestion = f"did you mean {near[0]}? " if near else ""
            raise UsageError(f"no case {name!r}; {suggestion}there are {', '.join(every)}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = cores if options.threads is None else options.threads
    _check(options, threads, cores, [CASES[name].batch_size for name in names or CASES if name in CASES])

    results: list[CaseResult] = []
    try:
        for name in names or every:
            if name == whole_runs.NAME:
                result = whole_runs.measure(options.rounds, threads, _say)
            else:
                case = CASES[name]
                examples = options.examples or case.examples
                examples -= examples % case.batch_size
                result = rounds.measure(case, options.peers, options.data, options.rounds, threads, examples, _say)
            results.append(result)
            tables.show(result)
            sys.stdout.flush()  # a file that somebody follows
    finally:  # what the first cases gave is not lost when a later one stops
        if options.json is not None and results:
            _write(options.json, results, options, threads)
    return 0


def _check(options: Options, threads: int, cores: int, batch_sizes: Iterable[int]) -> None:
    """Raise a UsageError if `options` cannot be used."""
    if options.rounds < LEAST_ROUNDS:
        raise UsageError(f"--rounds is {options.rounds}; it must be at least {LEAST_ROUNDS}, or a median says little")
    if not 1 <= threads <= cores:
        raise UsageError(f"--threads is {threads}; it must be between 1 and {cores}, the cores of this machine")
    if options.examples is not None and options.examples < max(batch_sizes, default=0):
        raise UsageError(f"--examples is {options.examples}; it must be at least a batch, {max(batch_sizes)}")
    if options.json is not None:
        side.require_writable_file(options.json, "--json")


def _write(path: Path, results: list[Any], options: Options, threads: int) -> None:
    from recipes.shared import runtime

    about = {"data": Path(options.data).name, "rounds": options.rounds, "threads": threads, **runtime.describe()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path.absolute(), about | {"cases": [result.to_json() for result in results]})


def _say(text: str) -> None:
    """Show progress where somebody looks; a file gets the tables alone."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="\r", file=sys.stderr, flush=True)


def read(path: Path) -> list[Any]:
    """Return the cases of a file that `--json` wrote.

    Raises:
        UsageError: the file is of another kind.
    """
    from recipes.commands.benchmark.measurement import CaseResult

    try:
        return [CaseResult.of_json(values) for values in json.loads(path.read_text(encoding="utf-8"))["cases"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is no file that `recipes bench --json` wrote") from error
