"""`recipes compare`: trains a pair both ways, each in a process of its own, and holds the runs against each other."""

import contextlib
import dataclasses
import re
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import tyro

from recipes.commands import boards, catalog, flags, parity, processes, report, resuming, side
from recipes.shared.errors import UsageError
from recipes.shared.files import kind_of, write_json

USAGE = """usage: recipes compare NAME... [flags]      both sides of one or more recipes
       recipes compare --all [flags]        of every recipe
       recipes compare FIT.py LOOP.py [flags]
                                            your own two files, each with a function train(hparams, run)
       recipes compare RUN_A RUN_B          two finished runs: folders that hold a report.json
       recipes compare RUN                  the two sides of a finished run

Each side trains in a process of its own. Exit code 0: parity holds for all; 1: it does not; 2: bad usage.
Flags: --json PATH, --logs DIR, --run NAME, --resume, and the hyper-parameters, as in `recipes fit NAME --help`."""


@dataclasses.dataclass(frozen=True)
class Options(side.Options):
    """The flags of `compare` that are not hyper-parameters."""

    json: Annotated[Path | None, tyro.conf.arg(help="write the results to this file, a list of objects")] = None


@dataclasses.dataclass(frozen=True)
class Subject:
    """Two files to hold against each other."""

    name: str
    fit: catalog.Source
    custom_loop: catalog.Source

    @property
    def files(self) -> str:
        """What `recipes diff` takes to show the two files."""
        ours = self.name in catalog.pairs() and catalog.find(self.name).fit == self.fit
        return self.name if ours else f"{self.fit.path} {self.custom_loop.path}"

    @property
    def sources(self) -> dict[str, catalog.Source]:
        """The two files by side."""
        return {"fit": self.fit, "custom_loop": self.custom_loop}


def main(args: list[str]) -> int:
    """Compare what `args` name and return the exit code.

    Raises:
        UsageError: for any mistake of the user's; nothing has been trained then.
    """
    names, rest = flags.split_names(args)
    every = "--all" in rest
    if not names and not every:
        if set(rest) & {"--help", "-h"}:
            print(USAGE)
            return 0
        raise UsageError("say what to compare, before any flag: NAME, --all, FIT.py LOOP.py, or two run folders")
    if names and every:
        raise UsageError("give names or --all, not both")
    if any(kind_of(Path(name)) == "folder" and name not in catalog.pairs() for name in names):
        return _compare_finished([Path(name) for name in names], rest)

    subjects = _subjects(names)
    rest = [arg for arg in rest if arg != "--all"]
    command = shlex.join(["recipes", "compare", *args])
    # Every flag of every recipe is checked before the first one trains.
    parsed: list[tuple[dict[str, Any], Options]] = []
    folders: list[Path] = []
    notes: list[str] = []
    for subject in subjects:
        # One recipe refuses a flag that it has no use for; several share the flags that each can use.
        used = rest
        if len(subjects) > 1:
            one_device = any(source.one_device for source in subject.sources.values())
            used = flags.without_unused(subject.fit, rest, *(("strategy", "devices") if one_device else ()))
        if used != rest:
            print(
                f"{subject.name} goes without {' '.join(arg for arg in rest if arg not in used)}: it has no use for it"
            )
        program = f"recipes compare {subject.name}"
        hparams, options = flags.parse_hparams(subject.fit, Options, used, program)
        if options.strategy == "multi_worker":
            raise UsageError(
                "compare trains on this machine alone; give --strategy multi_worker to fit and to loop, with the same"
                " --run, and compare the finished runs"
            )
        side.require_distributable(subject.name, list(subject.sources.values()), options.distribution, used)
        folder = side.run_folder(options.logs, subject.name, options.run, options.resume, list(subject.sources))
        folders.append(folder)
        if options.resume:
            begun = [folder / name for name in subject.sources if resuming.config(folder / name)]
            for each in begun[:1]:
                hparams, options = flags.parse_hparams(subject.fit, Options, resuming.arguments(used, each), program)
            for each in begun:
                resuming.require_same(hparams, each)
        parsed.append((hparams, options))
        notes += side.check_data(subject.fit, hparams)

    path = parsed[0][1].json
    if path is not None:
        side.require_writable_file(path, "--json")
    side.show_notes(notes)

    server = processes.Server(fork=not parsed[0][1].profile)  # a profiler wants a process of its own from the start
    results: list[report.Result] = []
    try:
        for subject, folder, (hparams, options) in zip(subjects, folders, parsed, strict=True):
            results.append(_compare_subject(server, subject, folder, hparams, command, options))
            results[-1].said = notes
            if options.log == "everything":
                with contextlib.suppress(OSError):  # a full disk: the verdict goes to the screen
                    boards.write_verdict(folder, report.as_markdown(results[-1]))
            if options.log != "nothing":
                boards.refresh(options.logs)
            report.show(results[-1])
    finally:  # what the first pairs gave is not lost when a later one stops
        if path is not None and results:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path.absolute(), [result.to_json() for result in results])
    if len(results) > 1:
        report.summarise(results)
    report.show_next_steps(results, subjects[0].files, side.logs_flag(parsed[0][1].logs))
    return 0 if all(result.holds for result in results) else 1


def _subjects(names: list[str]) -> list[Subject]:
    if any(name.endswith(".py") for name in names):
        if len(names) != 2 or not all(name.endswith(".py") for name in names):
            raise UsageError("compare takes two files of yours, FIT.py and LOOP.py")
        (fit_name, fit), (loop_name, custom_loop) = (side.resolve(name, "fit") for name in names)
        name = fit_name if fit_name == loop_name else f"{fit_name}-{loop_name}"
        return [Subject(name, fit, custom_loop)]
    found = [catalog.find(name) for name in dict.fromkeys(names)] if names else list(catalog.pairs().values())
    return [Subject(pair.name, pair.fit, pair.custom_loop) for pair in found]


def _compare_subject(
    server: processes.Server, subject: Subject, folder: Path, hparams: dict[str, Any], command: str, options: Options
) -> report.Result:
    """Train both sides, one after the other so that neither takes the other's cores, and compare them.

    Raises:
        UsageError: a side stopped for a mistake of the user's.
    """
    values = {name: field.default for name, field in subject.fit.fields.items()} | hparams  # --data may be unused
    result = report.Result(subject.name, str(values.get("data", "")), folder)
    for name, source in subject.sources.items():
        if options.resume and resuming.ended(folder / name):
            result.sides[name] = _read_side(folder / name, source)
            continue
        about = side.describe(subject.name, name, source, command, options.distribution)
        if options.resume:
            about = resuming.describe(about, folder / name)
        job = side.Job(
            str(source.path),
            str(folder / name),
            hparams,
            about,
            logging=options.logging,
            saving=options.saving,
            distribution=options.distribution,
        )
        code, output, error = _run(server, job, f"{subject.name}: training the {name.replace('_', ' ')} side")
        if subject.name not in catalog.pairs():  # a user who prints wants to see it
            print(output, end="")
        if code == 2 and error:
            raise UsageError(error.splitlines()[-1])
        result.warnings += [line for line in _warnings(error) if line not in result.warnings]
        if code != 0:
            result.failures.append(f"{name.replace('_', ' ')}: {error}")
        result.sides[name] = _read_side(folder / name, source)
    if all(result.sides.values()):
        tolerance = max(subject.custom_loop.tolerance, options.distribution.tolerance)
        result.parity = parity.compare(folder / "fit", folder / "custom_loop", tolerance)
    return result


def _warnings(error: str) -> list[str]:
    """Return what was warned of in a process that wrote `error`: the first line of each, without its place."""
    return [match[1] for line in error.splitlines() if (match := re.fullmatch(r".*?:\d+: \w*Warning: (.*)", line))]


def _run(server: processes.Server, job: side.Job, what: str) -> tuple[int, str, str]:
    """Train `job`, say so, and return the exit code, the output, and the errors or else how the process ended.

    The process does not outlive this one.
    """
    if not server.is_ready:
        with report.status("importing TensorFlow"):
            server.wait_until_ready()
    with processes.sigterm_exits(), report.status(what):
        child = server.start(side.train_here, job)
        try:
            code = child.wait()
        finally:
            if child.returncode is None:
                processes.end([child])  # it writes down what it has done
    output, error = child.written()
    ended = child.last_words()
    child.close()
    return code, output, error.strip() or ended


def _read_side(folder: Path, source: catalog.Source) -> dict[str, Any]:
    """Return what a side reported; empty if it did not get that far."""
    path = folder / "report.json"
    return parity.read_json(path) | {"lines_of_code": source.lines_of_code} if path.is_file() else {}


def _compare_finished(folders: list[Path], rest: list[str]) -> int:
    if rest:
        raise UsageError(f"{rest[0]} has no meaning for finished runs")
    if len(folders) == 1:
        folders = [folders[0] / "fit", folders[0] / "custom_loop"]
    if len(folders) != 2:
        raise UsageError("compare takes two run folders, or one that holds fit and custom_loop")
    for folder in folders:
        if kind_of(folder) != "folder":
            raise UsageError(f"no folder {folder}")
    configs = [parity.read_object(path) for folder in folders for path in parity.finished_files(folder, "config.json")]
    stated = [config.get("tolerance") for config in configs]
    tolerance = max((each for each in stated if isinstance(each, int | float)), default=0.0)
    result = parity.compare(folders[0], folders[1], tolerance)
    report.show_finished(folders, result)
    sys.stdout.flush()
    return 0 if result.holds else 1
