"""One trial: the recipe's own training in a folder of its own, and what it came to."""

import contextlib
import os
import shutil
import statistics
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
from keras.src.utils import naming  # Keras exports it in no other form

from recipes.commands import catalog, side
from recipes.commands.parity import finished_files, read_json, read_object
from recipes.commands.tuning.oracle import KILLED_TWICE, status
from recipes.commands.tuning.specification import FILE, Specification
from recipes.shared.errors import NoRoom, TrainingDiverged, UsageError
from recipes.shared.files import write_json
from recipes.shared.tensorboard_logging import summaries
from recipes.shared.tensorboard_logging.event_files import EventFiles

KERAS_TUNERS = "trial.json"  # KerasTuner's own file in a trial's folder; all others are the run's
FAILURE, ATTEMPTS = "failure.json", "attempts.json"
EXECUTION = "execution_"  # and its number: the folder of one of several trainings of a trial
MOST_ATTEMPTS = 2


@dataclass(frozen=True)
class Trial:
    """One trial as it lies on disk.

    Attributes:
        number: in the order in which they began, from 1.
        identifier: KerasTuner's; the folder is `trial_<identifier>`.
        hparams: all hyper-parameters that it trained with.
        values: those of them that were searched.
        status: `completed`, `failed` or `running`.
        reason: why it failed.
        score: the objective at its best epoch, of several executions the mean; None unless completed.
        best_epoch: counted from 1; of several executions the median.
        updates: that the optimizer made, in all executions.
        examples: that it saw, counting each as often as it was seen.
        seconds: from the first line of the recipe to the last.
        scores: those of the executions, in the order of their seeds, where there are several.
    """

    number: int
    identifier: str
    hparams: dict[str, Any]
    values: dict[str, Any]
    status: str
    reason: str = ""
    score: float | None = None
    best_epoch: int | None = None
    updates: int = 0
    examples: int = 0
    seconds: float = 0.0
    scores: list[float] = field(default_factory=list)

    @property
    def spread(self) -> float | None:
        """The standard deviation of the scores, as of a sample; None where there are not several."""
        return statistics.stdev(self.scores) if len(self.scores) > 1 else None


def folder(specification: Specification, identifier: str) -> Path:
    """Return the folder of a trial."""
    return Path(specification.folder) / f"trial_{identifier}"


class SearchStopped(UsageError, keras_tuner.errors.FatalError):
    """What stops a trial would stop every other one too; the trial counts as not begun."""


def run(specification: Specification, identifier: str, values: dict[str, Any]) -> dict[str, float]:
    """Train one trial and return its score under the objective's name.

    Raises:
        keras_tuner.errors.FailedTrialError: the training failed; why is in the folder, and in the message.
        SearchStopped: the history has no such objective, there is no room, or the folder is not that of this search.
        KeyboardInterrupt, SystemExit: the user, or somebody, stopped the process; the trial counts as not begun.
    """
    place = folder(specification, identifier)
    try:
        _require_search(specification)
        _begin_attempt(place)
        score = _train(specification, identifier, values)
    except keras_tuner.errors.FailedTrialError:
        raise
    except (SearchStopped, NoRoom) as error:
        _forget_attempt(place)
        raise SearchStopped(str(error)) from error
    except (TrainingDiverged, UsageError) as error:
        raise _failed(place, str(error)) from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno in side.DISK_ERRORS:
            _forget_attempt(place)
            raise SearchStopped(f"cannot write to {place}: {error.strerror}; the same command goes on") from error
        reason = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
        raise _failed(place, reason, traceback.format_exc()) from error
    except (KeyboardInterrupt, SystemExit):
        _forget_attempt(place)
        raise
    _forget_attempt(place)
    return {specification.objective: score}


def _require_search(specification: Specification) -> None:
    """Raise SearchStopped unless the folder is that of this search, as a worker elsewhere may have another."""
    if not (Path(specification.folder) / FILE).is_file():
        raise SearchStopped(
            f"no search in {specification.folder}: --logs must be a folder that the chief and all workers share"
        )
    try:
        specification.require_same()
    except UsageError as error:
        raise SearchStopped(str(error)) from error


def _train(specification: Specification, identifier: str, values: dict[str, Any]) -> float:
    """Train in the trial's folder, once or once a seed, and return the score or the mean of all."""
    place = folder(specification, identifier)
    hparams = specification.hparams_of(values)
    if specification.executions_per_trial == 1:
        return _execute(specification, identifier, place, hparams)
    scores = []
    for number in range(specification.executions_per_trial):
        execution = place / f"{EXECUTION}{number + 1}"
        scores.append(_execute(specification, identifier, execution, hparams | {"seed": hparams["seed"] + number}))
    score = statistics.fmean(scores)
    reports = [read_json(place / f"{EXECUTION}{number + 1}" / "report.json") for number in range(len(scores))]
    sums = {name: sum(report[name] for report in reports) for name in ("updates", "examples_seen", "seconds_total")}
    best_epoch = round(statistics.median(report["best_epoch"] for report in reports))
    write_json(
        place / "report.json",
        {"best": {specification.objective: score}, "scores": scores, "best_epoch": best_epoch, **sums},
    )
    return score


def _execute(specification: Specification, identifier: str, place: Path, hparams: dict[str, Any]) -> float:
    """Train in the folder `place`, add the score to its report and to TensorBoard, and return it."""
    source = catalog.Source(Path(specification.path))
    about = side.describe(specification.recipe, specification.side, source, specification.command)
    # Layers are named as in a process of their own; `clear_session` would also throw away the kernels of kept programs.
    naming.reset_uids()
    side.train(
        side.Job(
            specification.path,
            str(place),
            hparams,
            about | {"trial": identifier},
            logging=specification.logging,
        )
    )
    score, best_epoch = _score(specification, history(place))
    report = read_json(place / "report.json")
    write_json(place / "report.json", report | {"best": {specification.objective: score}, "best_epoch": best_epoch})
    _log_best(specification, place, score, report["updates"])
    return score


def history(place: Path) -> dict[str, list[float]]:
    """Return the logs of every epoch, NaN where they were not finite; of several trainings the mean over them."""
    found = [read_json(path) for path in sorted(finished_files(place, "history.json"))]
    names = set.intersection(*(set(each) for each in found)) if found else set()
    epochs = min((len(values) for each in found for values in each.values()), default=0)
    logs = {name: np.array([each[name][:epochs] for each in found], dtype=float) for name in sorted(names)}
    return {name: values.mean(axis=0).tolist() for name, values in logs.items()}


def read(specification: Specification, oracle: Any) -> list[Trial]:
    """Return all trials that have begun, in their order."""
    return [
        _read(specification, number, oracle.trials[identifier])
        for number, identifier in enumerate(oracle.start_order, start=1)
    ]


def read_one(specification: Specification, oracle: Any, identifier: str) -> Trial:
    """Return one trial."""
    return _read(specification, oracle.start_order.index(identifier) + 1, oracle.trials[identifier])


def best(specification: Specification, trials: Sequence[Trial]) -> Trial | None:
    """Return the completed trial with the best score, the first of several; None if there is none."""
    winner: Trial | None = None
    for trial in trials:
        if trial.score is not None and (
            winner is None or winner.score is None or specification.better(trial.score, winner.score)
        ):
            winner = trial
    return winner


def _read(specification: Specification, number: int, trial: Any) -> Trial:
    place = folder(specification, trial.trial_id)
    hparams = specification.hparams_of(trial.hyperparameters.values)
    searched = {name: hparams[name] for name in specification.space}
    ended = status(trial)
    reason = ""
    if ended == "failed":
        reason = str(read_object(place / FAILURE).get("reason") or trial.message or "it gave no reason")
    report = read_object(place / "report.json") if ended == "completed" else {}
    return Trial(
        number,
        trial.trial_id,
        hparams,
        searched,
        ended,
        reason,
        report.get("best", {}).get(specification.objective, trial.score) if ended == "completed" else None,
        report.get("best_epoch"),
        int(report.get("updates") or 0),
        int(report.get("examples_seen") or 0),
        float(report.get("seconds_total") or 0.0),
        report.get("scores") or [],
    )


def _begin_attempt(place: Path) -> None:
    """Clear what an earlier attempt left in the folder, and count this one.

    Raises:
        keras_tuner.errors.FailedTrialError: too many attempts did not come to an end.
    """
    place.mkdir(parents=True, exist_ok=True)
    attempts = int(read_object(place / ATTEMPTS).get("count", 0))
    if attempts >= MOST_ATTEMPTS:
        raise _failed(place, KILLED_TWICE)
    for path in place.iterdir():
        if path.name != KERAS_TUNERS:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    write_json(place / ATTEMPTS, {"count": attempts + 1, "process": os.getpid()})


def _forget_attempt(place: Path) -> None:
    with contextlib.suppress(OSError):
        (place / ATTEMPTS).unlink(missing_ok=True)


def _score(specification: Specification, logs: dict[str, list[float]]) -> tuple[float, int]:
    """Return the best value of the objective and its epoch, counted from 1: as KerasTuner takes it from a History."""
    values = logs.get(specification.objective)
    if values is None:
        raise SearchStopped(f"no objective {specification.objective!r} in the history; it has {', '.join(logs)}")
    if np.isnan(values).all():
        raise UsageError(f"{specification.objective} was never finite")
    index = int(np.nanargmax(values) if specification.larger_is_better else np.nanargmin(values))
    return values[index], index + 1


def _failed(place: Path, reason: str, details: str = "") -> Exception:
    """Write down why the trial failed, which KerasTuner does not send from a worker to the chief."""
    with contextlib.suppress(OSError):
        write_json(place / FAILURE, {"reason": reason, "details": details})
    _forget_attempt(place)
    return keras_tuner.errors.FailedTrialError(reason)


def _log_best(specification: Specification, place: Path, score: float, updates: int) -> None:
    """Add the score to the trial's row in HParams."""
    if specification.logging.level == "nothing":
        return
    part = "validation" if specification.objective.startswith("val_") else "train"
    files = EventFiles(place)
    files.write(part, updates, summaries.scalars({specification.objective.removeprefix("val_"): score}, "best_"))
    files.close()
