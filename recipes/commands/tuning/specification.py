"""What is searched: the recipe and its side, the space, the objective, the budget. No TensorFlow in here."""

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Self

from recipes.commands.parity import read_json
from recipes.shared import search_space
from recipes.shared.errors import UsageError
from recipes.shared.files import as_written, lock, write_json
from recipes.shared.logging_options import LoggingOptions
from recipes.shared.search_space import Choices, SearchSpace

TunerName = Literal["bayesian", "hyperband", "random", "grid"]
Budget = Literal["epochs", "updates"]
FILE, LOCK = "search.json", ".lock"
# What may change between two calls that go on with one search, and still mean the same search.
MAY_CHANGE = {"trials", "workers", "time_limit", "command", "path", "folder", "logging"}


@dataclass(frozen=True, kw_only=True)
class Specification:
    """A search, in a form that another process can be given.

    Args:
        recipe: its name.
        side: `fit` or `custom_loop`.
        path: the recipe's file.
        folder: `logs/<recipe>/tune-<id>`.
        command: what the user typed.
        tuner: which of KerasTuner's oracles proposes.
        objective: what is compared, a name in the history of a trial; its best epoch counts.
        space: what each hyper-parameter that is searched may be.
        hparams: the values of all; for those that are searched the recipe's own, with which a grid begins.
        larger_is_better: whether the objective is to be maximised.
        seed: of the oracle, and of every trial: of the first of its executions, the next has one more.
        executions_per_trial: how often each trial is trained, with a seed of its own; its score is their mean.
        trials: how many at most; None for what has an end of its own.
        epochs: of a trial; with Hyperband the most.
        budget: what all trials have alike: `epochs`, or `updates` whatever the batch size.
        updates: that many, with the budget `updates`.
        examples: in the training part, with the budget `updates`.
        workers: processes on this machine besides the chief; 0 for a search in one process.
        time_limit: seconds after which a worker's trial is given to another.
        logging: what each trial logs.
    """

    recipe: str
    side: str
    path: str
    folder: str
    command: str
    tuner: TunerName
    objective: str
    space: SearchSpace
    hparams: dict[str, Any]
    seed: int
    trials: int | None
    epochs: int
    executions_per_trial: int = 1
    larger_is_better: bool = False
    budget: Budget = "epochs"
    updates: int | None = None
    examples: int | None = None
    workers: int = 0
    time_limit: float = 3600.0
    logging: LoggingOptions = field(default_factory=LoggingOptions)

    def better(self, score: float, other: float) -> bool:
        """Return whether `score` beats `other`."""
        return score > other if self.larger_is_better else score < other

    def hparams_of(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return all hyper-parameters of the trial that an oracle gave `values`.

        Hyperband says how many epochs; it would go on with the weights of an earlier trial, but without the state of
        its optimizer. Training is deterministic here, so the trial begins anew and comes through the same weights.
        """
        searched = {name: self._own(name, value) for name, value in values.items() if not name.startswith("tuner/")}
        hparams = self.hparams | searched
        epochs = values.get("tuner/epochs", self.epochs)
        if self.budget == "updates" and self.examples and self.updates:
            steps = -(-self.examples // hparams["batch_size"])
            epochs = max(1, round(self.updates / steps * epochs / self.epochs))
        return hparams | {"epochs": epochs, "seed": self.seed}

    def _own(self, name: str, value: Any) -> Any:
        """Return the value as it was declared: KerasTuner makes 1 of True."""
        domain = self.space.get(name)
        return next((each for each in domain.values if each == value), value) if isinstance(domain, Choices) else value

    def to_json(self) -> dict[str, Any]:
        """Return the search as JSON values."""
        content = {each.name: getattr(self, each.name) for each in fields(self)}
        content["space"] = {name: search_space.to_json(domain) for name, domain in self.space.items()}
        return content | {"logging": asdict(self.logging)}

    @classmethod
    def of_json(cls, content: dict[str, Any]) -> Self:
        """Return the search that `to_json` wrote."""
        space = {name: search_space.of_json(domain) for name, domain in content["space"].items()}
        return cls(**content | {"space": space, "logging": LoggingOptions(**content["logging"])})

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Make the search's folder, or go on with the search that is there, and keep it for this process meanwhile.

        Raises:
            UsageError: it holds another search, or something else, or another process is in it, or it is not writable.
        """
        folder = Path(self.folder)
        new = not (folder / FILE).is_file()
        if new and folder.exists() and (not folder.is_dir() or {path.name for path in folder.iterdir()} - {LOCK}):
            raise UsageError(f"{folder} holds something else than a search; choose another --run")
        self.require_same()
        with contextlib.ExitStack() as stack:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context((folder / LOCK).open("w", encoding="utf-8"))
                lock(file, f"another process is searching in {self.folder}; choose another --run")
                self.require_same()  # another process may have come first
                write_json(folder / FILE, self.to_json())
            except OSError as error:
                raise UsageError(f"cannot write to {folder} ({error.strerror}); choose another --logs") from error
            yield

    def require_same(self) -> None:
        """Do nothing if the folder holds this search, or none yet.

        Raises:
            UsageError: it holds another one, or the description of it is damaged.
        """
        path = Path(self.folder) / FILE
        if not path.is_file():
            return
        before, now = read_json(path), as_written(self.to_json())
        defaults = {each.name: each.default for each in fields(self)}  # of what an older version did not write down
        if not isinstance(before, dict):
            raise UsageError(f"{path} is damaged: it is no description of a search; choose another --run")
        for name in (name for name in now if name not in MAY_CHANGE and now[name] != before.get(name, defaults[name])):
            what, was, wanted = name, before.get(name, defaults[name]), now[name]
            if isinstance(was, dict) and isinstance(wanted, dict):
                what = next(key for key in [*wanted, *was] if was.get(key, ...) != wanted.get(key, ...))
                was, wanted = was.get(what), wanted.get(what)
            if name == "space":
                was, wanted = (str(search_space.of_json(each)) if each else "fixed" for each in (was, wanted))
            raise UsageError(
                f"{self.folder} is a search with {what} {was}, not {wanted}; choose another --run for a new one,"
                " or delete it: scores of both would mix"
            )
