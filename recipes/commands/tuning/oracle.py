"""KerasTuner's oracles, with what a search that must not lose anything needs besides.

KerasTuner 1.4.8 writes its state in place, so a killed search may leave half a file; forgets where in a grid it was;
ends a search after three failed trials in a row; and tells an idle worker to go while another one's trial may still
have to be given back.
"""

import functools
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras_tuner
from keras_tuner.src import utils
from keras_tuner.src.engine import trial as kt_trial
from keras_tuner.src.engine.oracle import LOCKS, THREADS

from recipes.commands.tuning.specification import Specification
from recipes.shared.errors import UsageError
from recipes.shared.files import replace_file
from recipes.shared.search_space import Choices, LogRange, Range, SearchSpace

NEVER = 10**9  # failed trials in a row that end a search: it ends when all have failed, and says so
KILLED_TWICE = "the process was killed twice while it trained this"
TOO_LONG = "no worker ended it in time, twice"


def synchronized(method: Callable[..., Any]) -> Callable[..., Any]:
    """Let one thread at a time into the methods of an oracle.

    KerasTuner's own decorator does not let go of its lock when a method raises, and the search hangs.
    """
    theirs = keras_tuner.synchronized(method)

    @functools.wraps(method)
    def locked(self: Any, *args: Any, **kwargs: Any) -> Any:
        thread = threading.current_thread().name
        held = THREADS[self] == thread
        try:
            return theirs(self, *args, **kwargs)
        except BaseException as error:
            if not held and THREADS[self] == thread:
                THREADS[self] = None
                LOCKS[self].release()
            self.broken = error  # in a thread of gRPC's nobody else would hear of it
            raise

    return locked


class Durable(keras_tuner.Oracle):
    """Mixed into an oracle: writes whole files, forgets nothing, and takes trials back from workers.

    Attributes:
        heard_at: when a worker last asked or reported, in seconds of `time.monotonic`.
        began_at: when each ongoing trial began, by its id.
        broken: what one of its methods raised; the search cannot go on.
    """

    broken: BaseException | None = None

    heard_at: float
    began_at: dict[str, float]
    given_back: set[str]
    trials: dict[str, Any]
    ongoing_trials: dict[str, Any]
    _retry_queue: list[str]

    def prepare(self, folder: Path) -> None:
        """Set where the state is kept, and read it if there is any.

        Raises:
            UsageError: what is there cannot be read.
        """
        self.heard_at = time.monotonic()
        self.began_at = {}
        self.given_back = set()
        self._set_project_dir(str(folder.parent), folder.name)
        if not (folder / "oracle.json").is_file():
            return
        try:
            self._reload(folder)
            # A trial that was written down just before the process was killed counts, and would never be run.
            self.trials = {identifier: self.trials[identifier] for identifier in self.start_order}
            self._retry_queue = [each for each in self._retry_queue if each not in self.end_order]
            if isinstance(self, keras_tuner.oracles.GridSearchOracle):
                self._remember_grid()
        except Exception as error:  # whatever a damaged file makes KerasTuner stumble over
            raise UsageError(
                f"the search in {folder} is damaged ({type(error).__name__}: {error});"
                " choose another --run, or move the folder away"
            ) from error

    def _reload(self, folder: Path) -> None:
        """Read trials and state. KerasTuner's own `reload` takes brackets in the folder's name for a pattern."""
        found = [kt_trial.Trial.load(str(path)) for path in sorted(folder.glob("trial_*/trial.json"))]
        self.trials = {trial.trial_id: trial for trial in found}
        self.set_state(utils.load_json(self._get_oracle_fname()))
        self._retry_queue += [trial.trial_id for trial in self.ongoing_trials.values()]
        self.ongoing_trials = {}

    def _remember_grid(self) -> None:
        """Rebuild what a grid search does not save: its trials in the order of the grid, and which to go on from."""
        values: dict[str, Any] = {identifier: trial.hyperparameters.values for identifier, trial in self.trials.items()}

        def compare(a: str, b: str) -> int:
            return int(self._compare(values[a], values[b]))

        previous = None
        for identifier in sorted(values, key=functools.cmp_to_key(compare)):
            self._ordered_ids.insert(identifier, previous)
            previous = identifier
        self._populate_next = list(self.start_order)

    def save(self) -> None:
        """Write the oracle's state in one step."""
        _save(self._get_oracle_fname(), self.get_state())

    def _save_trial(self, trial: Any) -> None:
        _save(f"{self._get_trial_dir(trial.trial_id)}/trial.json", trial.get_state())

    @synchronized
    def create_trial(self, tuner_id: str) -> Any:
        """Return the next trial; an idle one instead of the end while another worker's may come back."""
        self.heard_at = time.monotonic()
        trial = super().create_trial(tuner_id)
        if trial.status == "STOPPED" and self.ongoing_trials:
            self.tuner_ids.add(tuner_id)
            trial.status = "IDLE"
        if trial.status == "RUNNING":
            self.began_at[trial.trial_id] = self.heard_at
        return trial

    @synchronized
    def update_trial(self, trial_id: str, metrics: dict[str, float], step: int = 0) -> Any:
        """Note what a worker reports of its trial, and return the trial."""
        return super().update_trial(trial_id, metrics, step)

    @synchronized
    def end_trial(self, trial: Any) -> None:
        """End a trial as its worker says; the first of two that have it counts."""
        self.heard_at = time.monotonic()
        if trial.trial_id not in self.end_order:
            self._retry_queue = [each for each in self._retry_queue if each != trial.trial_id]
            super().end_trial(trial)
        self.ongoing_trials = {
            worker: ongoing for worker, ongoing in self.ongoing_trials.items() if ongoing.trial_id != trial.trial_id
        }
        self.save()  # KerasTuner has saved while it still took the trial for an ongoing one

    @synchronized
    def take_back(self, tuner_id: str) -> None:
        """Put the trial of a worker that is gone into the queue, once; the second time it has failed."""
        self.tuner_ids.discard(tuner_id)
        trial = self.ongoing_trials.pop(tuner_id, None)
        if trial is None:
            return
        if trial.trial_id in self.given_back:
            trial.status, trial.message = "FAILED", TOO_LONG
            self.end_trial(trial)
        else:
            self.given_back.add(trial.trial_id)
            self._retry_queue.append(trial.trial_id)
            self.save()

    @synchronized
    def workers_at_work(self) -> dict[str, float]:
        """Return when the trial of each busy worker began, by the worker's id."""
        return {
            worker: self.began_at.get(trial.trial_id, self.heard_at) for worker, trial in self.ongoing_trials.items()
        }


def make(specification: Specification) -> Any:
    """Return the oracle of a search; `prepare` gives it what an earlier call has left."""
    base = {
        "bayesian": keras_tuner.oracles.BayesianOptimizationOracle,
        "hyperband": keras_tuner.oracles.HyperbandOracle,
        "random": keras_tuner.oracles.RandomSearchOracle,
        "grid": keras_tuner.oracles.GridSearchOracle,
    }[specification.tuner]
    hyperband = specification.tuner == "hyperband"
    length = {"max_epochs": specification.epochs} if hyperband else {"max_trials": specification.trials}
    return type(base.__name__, (Durable, base), {})(
        objective=keras_tuner.Objective(specification.objective, "max" if specification.larger_is_better else "min"),
        # declared before the first trial, so that it has them too
        hyperparameters=hyper_parameters(specification.space, specification.hparams),
        tune_new_entries=False,
        allow_new_entries=False,
        seed=specification.seed + 1,  # KerasTuner takes 0 for none, and draws one
        max_consecutive_failed_trials=NEVER,
        **length,
    )


def hyper_parameters(space: SearchSpace, defaults: dict[str, Any]) -> Any:
    """Return `space` in KerasTuner's terms; a grid begins with `defaults`, where the space has them."""
    declared = keras_tuner.HyperParameters()
    for name, domain in space.items():
        default = defaults.get(name)
        if isinstance(domain, Choices):
            declared.Choice(name, list(domain.values), default=default if default in domain else domain.values[0])
        else:
            declared.Float(
                name,
                domain.low,
                domain.high,
                sampling="log" if isinstance(domain, LogRange) else "linear",
                default=float(default) if default in domain else domain.low,  # type: ignore[arg-type]
            )
    return declared


def expected_trials(oracle: Any, specification: Specification) -> int | None:
    """Return how many trials the search will have if it runs to its end; None where nobody knows."""
    endless = any(isinstance(domain, Range) for domain in specification.space.values())
    trials, tuner = specification.trials, specification.tuner
    if tuner == "hyperband":
        sizes = [
            oracle._get_size(bracket, number)
            for bracket in range(oracle._get_num_brackets())
            for number in range(oracle._get_num_rounds(bracket))
        ]
        return sum(sizes) if endless else None
    if endless and tuner != "grid":
        return trials
    combinations = math.prod(len({parameter.default, *parameter.values}) for parameter in oracle.get_space().space)
    if tuner == "bayesian" and trials is not None and trials > combinations:
        return None  # some twice
    return min(combinations, trials or combinations)


def status(trial: Any) -> str:
    """Return `completed`, `failed`, or `running` for a trial that has not ended."""
    words = {kt_trial.TrialStatus.COMPLETED: "completed", kt_trial.TrialStatus.FAILED: "failed"}
    return words.get(trial.status, "running")


def _save(path: str, state: Any) -> None:
    replace_file(Path(path), lambda temporary: utils.save_json(str(temporary), state))
