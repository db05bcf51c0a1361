"""One side of a pair, trained: the verbs `fit` and `loop`, and what `compare` starts as a process for each side."""

import errno
import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from recipes.commands import boards, catalog, flags, resuming
from recipes.commands.names import require_plain
from recipes.commands.parity import finished_files, read_object
from recipes.shared import interruption, runtime
from recipes.shared.checkpointing.options import Saving
from recipes.shared.distribution import Distribution, StrategyName, explain_loss
from recipes.shared.errors import NoRoom, TrainingDiverged, UsageError, WorkerLost, in_one_line
from recipes.shared.files import UNFINISHED, kind_of, require_file
from recipes.shared.hparams import HParams
from recipes.shared.logging_options import Level, LoggingOptions

LONGEST_NAME, LONGEST_PATH = 255, 3500  # bytes; Linux takes paths of 4095, and the run's own names come after these
DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}


@dataclass(frozen=True)
class Options:
    """The flags of `fit` and `loop` that are not hyper-parameters."""

    hparams: Annotated[
        Path | None,
        tyro.conf.arg(help="take them from a search's best.json or a run's config.json; a flag given as well wins"),
    ] = None
    logs: Annotated[Path, tyro.conf.arg(help="the folder that gets the run")] = Path("logs")
    run: Annotated[str | None, tyro.conf.arg(help="the run's name; date, time and process if not given")] = None
    log: Annotated[
        Level, tyro.conf.arg(help="what TensorBoard gets: everything, losses and rates and metrics, or nothing")
    ] = "everything"
    log_every: Annotated[
        int | None, tyro.conf.arg(help="measure gradients and updates every so many steps, not only once an epoch")
    ] = None
    profile: Annotated[bool, tyro.conf.arg(help="record a profile of a few steps")] = False
    resume: Annotated[
        bool, tyro.conf.arg(help="go on with a run that was cut off: --run, or the newest; the bits are the same")
    ] = False
    checkpoint_every: Annotated[
        int | None, tyro.conf.arg(help="save after every so many executions of the loop too, not only every epoch")
    ] = None
    strategy: Annotated[
        StrategyName,
        tyro.conf.arg(
            help="train on one device, on several of this machine, or with other processes (docs/scaling.md)"
        ),
    ] = "none"
    devices: Annotated[
        int | None, tyro.conf.arg(help="how many devices of this machine; all GPUs, or 2 logical CPU devices")
    ] = None

    @property
    def distribution(self) -> Distribution:
        """What a run trains on.

        Raises:
            UsageError: the flags contradict each other.
        """
        return Distribution(strategy=self.strategy, devices=self.devices)

    @property
    def logging(self) -> LoggingOptions:
        """What a run logs.

        Raises:
            UsageError: the flags contradict each other.
        """
        return LoggingOptions(level=self.log, every=self.log_every, profile=self.profile)

    @property
    def saving(self) -> Saving:
        """When a run saves checkpoints.

        Raises:
            UsageError: a number that cannot be meant.
        """
        if self.checkpoint_every is not None and self.checkpoint_every < 1:
            raise UsageError(f"--checkpoint-every is {self.checkpoint_every}; it must be at least 1")
        return Saving(active=True, resume=self.resume, every=self.checkpoint_every)


@dataclass(frozen=True)
class Job:
    """All that one side needs to train, in a form that can be handed to another process."""

    path: str  # the recipe's file
    folder: str  # where the side's files go
    hparams: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    verbose: int = 0
    logging: LoggingOptions = field(default_factory=LoggingOptions)
    saving: Saving = field(default_factory=Saving)
    distribution: Distribution = field(default_factory=Distribution)


def main(verb: str, args: list[str]) -> int:
    """Train one side as `recipes fit` or `recipes loop` says, and return the exit code.

    Raises:
        UsageError: for any mistake of the user's.
        TrainingDiverged: the loss stopped being finite.
    """
    names, rest = flags.split_names(args)
    if len(names) != 1:
        if rest in (["--help"], ["-h"]):
            print(f"usage: recipes {verb} NAME [flags]\n")
            print(f"`recipes list` shows the names, `recipes {verb} NAME --help` the flags.")
            return 0
        raise UsageError(
            f"say which recipe, before any flag: recipes {verb} NAME [flags]; `recipes list` shows the names"
        )
    side = {"fit": "fit", "loop": "custom_loop"}[verb]
    name, source = resolve(names[0], side)
    program = f"recipes {verb} {names[0]}"
    hparams, options = flags.parse_hparams(source, Options, rest, program)
    distribution = options.distribution
    require_distributable(name, [source], distribution, rest)
    about = describe(name, side, source, shlex.join(["recipes", verb, *args]), distribution)
    worker = distribution.worker
    folder = run_folder(options.logs, name, options.run, options.resume, [side], worker.is_chief) / side
    if options.resume:
        hparams, options = flags.parse_hparams(source, Options, resuming.arguments(rest, folder), program)
        resuming.require_same(hparams, folder)
        about = resuming.describe(about, folder)
        if resuming.ended(folder):
            print(f"{folder} has ended: there is nothing to resume")
            return 0
    notes = check_data(source, hparams)
    if worker.is_chief:
        show_notes(notes)
    verbose = 1 if sys.stdout.isatty() else 2
    job = Job(str(source.path), str(folder), hparams, about, verbose, options.logging, options.saving, distribution)
    if not worker.is_chief:
        _follow(job)
        print(f"worker {worker.index} of {worker.count} is done; worker 0, the chief, has the run")
        return 0
    try:
        metrics = train(job)
    finally:
        if options.log != "nothing" and folder.exists():
            boards.refresh(options.logs)
    children = any(path.parent != folder for path in finished_files(folder, "report.json"))
    # the numbers that sum children up say themselves what they are of
    print(("gave: " if children else "test: ") + ", ".join(f"{key} {value:.4g}" for key, value in metrics.items()))
    for note in read_object(folder / "report.json").get("notes", []):
        if note not in notes:
            print(in_one_line(f"note: {note}"))
    print(f"run:  {folder}")
    if options.log != "nothing":
        print(f"look: recipes board {name}{logs_flag(options.logs)}")
    return 0


def check_data(source: catalog.Source, hparams: dict[str, Any]) -> tuple[str, ...]:
    """Return what is decided in reading a recipe's data. Mistakes in it are found before TensorFlow is imported.

    Raises:
        UsageError: the recipe cannot use the data.
    """
    if "data" in source.unused or source.task is None or hparams.get("data") in source.own_data:
        return ()  # it has data of its own
    shared = {field.name for field in fields(HParams)}
    # after the flags have been checked: pandas takes a third of a second to import
    from recipes.shared import examples

    values = HParams(**{name: value for name, value in hparams.items() if name in shared})
    return examples.check(values, source.task)


def show_notes(notes: Iterable[str]) -> None:
    """Print what was decided in reading data, each line once, where it does not mix with results."""
    for note in dict.fromkeys(notes):
        print(in_one_line(note), file=sys.stderr)


def logs_flag(logs: Path) -> str:
    """Return the flag that a hint needs to find runs in `logs`."""
    return "" if logs == Options.logs else f" --logs {shlex.quote(str(logs))}"


def resolve(target: str, side: str) -> tuple[str, catalog.Source]:
    """Return the name and the source that a recipe's name, or the path of a file, stands for on `side`."""
    if target.endswith(".py"):
        path = Path(target)
        require_file(path)
        source = catalog.Source(path)
        source.require_train()
        return path.stem, source
    return target, catalog.find(target).side(side)


def require_distributable(
    name: str, sources: Sequence[catalog.Source], distribution: Distribution, args: Sequence[str]
) -> None:
    """Raise a UsageError if a strategy is asked for that one of the sides cannot train under."""
    if distribution.strategy == "none":
        return
    for source in sources:
        if source.one_device:
            raise UsageError(f"{name} trains on one device: {source.one_device}")
    if any(arg.replace("_", "-") == "--jit-compile" for arg in args):
        raise UsageError("--jit-compile has no meaning under a strategy: XLA cannot add up over devices, and stays off")


def _follow(job: Job) -> None:
    """Train `job` as a worker that is not the chief: in a folder that is thrown away.

    It does all that the chief does, callbacks included: what is added up over the workers must be on all of them. A run
    that goes on does so from the chief's checkpoints, which nobody writes before all workers are there.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / Path(job.folder).name
        if job.saving.resume and Path(job.folder).is_dir():
            shutil.copytree(job.folder, folder, ignore=shutil.ignore_patterns("events.out.tfevents.*"))
        train(replace(job, folder=str(folder), verbose=0))


def run_folder(
    logs: Path, name: str, run: str | None, resume: bool = False, sides: Collection[str] = (), writes: bool = True
) -> Path:
    """Return `logs/<name>/<run>`; the default run is named after the time and this process, so it is new.

    Args:
        logs: the folder of all runs.
        name: the recipe's.
        run: the run's, if the user has named it.
        resume: go on with a run; the default one is the newest that has not ended on all `sides`.
        sides: which will be in it.
        writes: False for a worker that only reads what the chief has written.

    Raises:
        UsageError: `logs` cannot be written to; `run`, or `name` (of a user's file), leads elsewhere; the run of a side
            exists that is not to be resumed, or there is none to resume.
    """
    require_plain(name, "the file's name, which a folder in the logs gets as well,")
    if run is not None:
        require_plain(run, "--run")
    if writes:
        require_writable(logs, "--logs")
    if resume and run is None:
        return resuming.newest(logs / name, sides)
    folder = logs / name / (run or time.strftime("%Y-%m-%d_%H-%M-%S") + f"_{os.getpid()}")
    for existing in [folder / side for side in sides if writes and kind_of(folder / side) != "nothing" and not resume]:
        raise UsageError(f"{existing} exists; choose another --run, delete it, or let it go on with --resume")
    return folder


def require_writable(folder: Path, flag: str) -> None:
    """Raise a UsageError about `flag` unless `folder` can be written to, or made."""
    existing = next(each for each in (folder, *folder.absolute().parents) if kind_of(each) != "nothing")
    _require_short(folder, flag)
    try:
        with tempfile.TemporaryDirectory(dir=existing, prefix=UNFINISHED):  # permissions do not tell: root has them all
            pass
    except OSError as error:
        raise UsageError(
            f"cannot write to {folder}: {existing} is no folder that you can write to; choose another {flag}"
        ) from error


def require_writable_file(path: Path, flag: str) -> None:
    """Raise a UsageError unless a file can be written to `path`, the value of `flag`."""
    if kind_of(path) == "folder":
        raise UsageError(f"{flag} {path} is a folder; name a file")
    _require_short(path, f"file than {flag}")
    require_writable(path.parent, f"file than {flag} {path}")


def _require_short(path: Path, flag: str) -> None:
    # a name below a folder that is not there yet is not looked at by the system until then
    names = [*map(os.fsencode, path.parts)]
    if len(os.fsencode(path.absolute())) > LONGEST_PATH or max(map(len, names), default=0) > LONGEST_NAME:
        raise UsageError(f"cannot write to {path}: it is too long, or a name in it; choose another {flag}")


def describe(
    name: str, side: str, source: catalog.Source, command: str, distribution: Distribution | None = None
) -> dict[str, Any]:
    """Return what `config.json` says about where a run came from."""
    distribution = distribution or Distribution()
    return ({} if distribution.strategy == "none" else asdict(distribution)) | {
        "recipe": name,
        "side": side,
        "file": source.path.name,
        "tolerance": max(source.tolerance, distribution.tolerance),
        "command": command,
        "began": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def train(job: Job, shared_memory_mib: float = 0.0) -> dict[str, float]:
    """Train in this process and return the final test metrics.

    Args:
        job: what to train.
        shared_memory_mib: what this process shares with others; `report.json` keeps it apart from its own.

    Raises:
        UsageError, TrainingDiverged: as the recipe does.
        WorkerLost: another worker has ended.
    """
    strategy = job.distribution.start()
    import tensorflow as tf

    from recipes.shared.batches import Misuse
    from recipes.shared.run import Run

    module = catalog.load(Path(job.path))
    if not callable(getattr(module, "train", None)):
        raise UsageError(f"{job.path} has no function train(hparams, run)")
    hparams_class = getattr(module, "HParams", HParams)
    known = {field.name for field in fields(hparams_class)}
    hparams = hparams_class(**{name: value for name, value in job.hparams.items() if name in known})
    if strategy is not None:
        hparams = replace(hparams, jit_compile=False)  # as Keras' "auto" has it: XLA cannot add up over devices
    run = Run(
        Path(job.folder),
        hparams,
        job.verbose,
        job.about,
        job.logging,
        Path(job.path),
        job.saving,
        shared_memory_mib,
    )
    try:
        with interruption.between_batches(), job.distribution.scope(strategy):
            module.train(hparams, run)
    except Misuse as error:
        raise UsageError(str(error)) from error
    except TrainingDiverged:
        run.remove_checkpoints()  # it would diverge again
        raise
    except KeyboardInterrupt:
        print(f"\ninterrupted; what was done is in {job.folder}{_hint(job)}", file=sys.stderr)
        raise SystemExit(128 + signal.SIGINT) from None
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        raise UsageError("this machine has not enough memory; choose smaller layers, batches or data") from error
    except tf.errors.OpError as error:
        if job.distribution.strategy != "multi_worker":
            raise
        raise WorkerLost(explain_loss(error.message)) from error
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        raise NoRoom(f"cannot write to {job.folder}: {error.strerror}; make room or choose another --logs") from error
    finally:
        run.close()
    lost = [name for each in (run, *run.children) for name in each.results.lost]
    if lost:
        gave = ", ".join(f"{name} {value:.4g}" for name, value in run.metrics.items())
        raise NoRoom(
            f"no room for {', '.join(lost)}: make room or choose another --logs, and train again; it gave {gave}"
        )
    if not run.metrics:
        raise UsageError(f"{job.path}: train(hparams, run) never called run.finish(model, dataset, metrics)")
    run.remove_checkpoints()
    return run.metrics


def _hint(job: Job) -> str:
    """Return how to go on with a run that was interrupted."""
    return f"; go on with --resume --run {shlex.quote(Path(job.folder).parent.name)}" if job.saving.active else ""


def train_here(job: Job) -> None:
    """Train `job` as what a process is for (`processes.Server.start`), and exit as the command does."""
    shared = runtime.memory_mib() if "tensorflow" in sys.modules else 0.0  # of the server that was forked
    try:
        train(job, shared)
    except (UsageError, TrainingDiverged, WorkerLost) as error:
        print(in_one_line(error), file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)
