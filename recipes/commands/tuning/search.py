"""A search from its beginning, or from where it was left, to its result."""

import contextlib
import shutil
import sys
from pathlib import Path

from recipes.commands import boards, catalog, processes, side
from recipes.commands.parity import read_json
from recipes.commands.tuning import chief, oracle, progress, results, trials, tuner, worker
from recipes.commands.tuning.specification import Specification
from recipes.commands.tuning.trials import Trial
from recipes.shared.errors import UsageError


def run(specification: Specification, server: processes.Server, retrain: bool = False) -> int:
    """Search, or help to search where KerasTuner's variables make this process a worker, and return the exit code.

    It is 0 unless every trial failed, or no process was left to train.

    Args:
        specification: the search.
        server: what starts workers.
        retrain: train with the best values afterwards.

    Raises:
        UsageError: the folder holds another search, or a trial showed a mistake that all would have.
        TrainingDiverged: in the training afterwards.
        KeyboardInterrupt, SystemExit: a signal came; another call goes on.
    """
    role = worker.role()
    logs = Path(specification.folder).parent.parent
    try:
        if role == "worker":
            specification.require_same()
            worker.work(specification)
            return 0
        with specification.entered():
            winner = _search(specification, server, role)
            if winner is not None and retrain:
                _retrain(specification, winner)
        boards.refresh(logs)
    except worker.WorkersLost as error:
        print(f"recipes: {error}; the same command goes on from here", file=sys.stderr)
        return 1
    if winner is None:
        print("recipes: every trial failed; the reasons are above", file=sys.stderr)
        return 1
    print(f"look:       recipes board {specification.recipe}{side.logs_flag(logs)}")
    return 0


def _search(specification: Specification, server: processes.Server, role: str) -> Trial | None:
    """Run the trials that are missing, show the result, and return the best one; None if all have failed."""
    proposing = oracle.make(specification)
    proposing.prepare(Path(specification.folder))
    proposing._display = progress.Progress(proposing, specification)
    before = len(proposing.end_order)
    if before:
        print(f"going on with {specification.folder}: {before} trials have ended")
    try:
        if role == "chief" or specification.workers:
            address = worker.address() if role == "chief" else chief.ANY_PORT
            if role == "chief":
                print(f"waiting for workers at {address[0]}:{address[1]}", flush=True)
            chief.Chief(specification, proposing, address, server).run()
        else:
            tuner.search(specification, proposing)
    except (KeyboardInterrupt, SystemExit):
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        raise
    except OSError as error:
        raise UsageError(
            f"cannot write to {specification.folder} ({error.strerror}); make room, and the same command goes on"
        ) from error
    finally:
        found = trials.read(specification, proposing)
        with contextlib.suppress(OSError):  # another call writes them again
            results.write(specification, found)
    if before and before == len(proposing.end_order):
        print("the search was finished already; this is its result")
    results.show(specification, found)
    return trials.best(specification, found)


def _retrain(specification: Specification, winner: Trial) -> None:
    """Train with the winner's values, as many epochs as it needed, on the training and validation part.

    What an earlier call has trained with the same values is shown again.
    """
    folder = Path(specification.folder) / f"retrained_{winner.identifier}"
    hparams = winner.hparams | {"train_on_validation": True, "epochs": winner.best_epoch or specification.epochs}
    if not (folder / "report.json").is_file():
        if folder.exists():
            shutil.rmtree(folder)  # of a call that was stopped
        source = catalog.Source(Path(specification.path))
        about = side.describe(specification.recipe, specification.side, source, specification.command)
        side.train(side.Job(specification.path, str(folder), hparams, about, logging=specification.logging))
    metrics = read_json(folder / "report.json")["metrics"]
    scores = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items() if value is not None)
    print(f"retrained:  on training and validation part, {hparams['epochs']} epochs; test: {scores}")
    for path in sorted(folder.rglob("model.keras")):
        print(f"model:      {path}")
