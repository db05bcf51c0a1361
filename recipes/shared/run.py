"""A run's folder on one side: what goes in, and the callbacks that put it there while training."""

import contextlib
import math
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
from matplotlib.figure import Figure

from recipes.shared import outputs as model_outputs
from recipes.shared import preprocessing, runtime, state
from recipes.shared.batches import Batches
from recipes.shared.checkpointing.callback import Checkpoints
from recipes.shared.checkpointing.options import Saving
from recipes.shared.data import Dataset
from recipes.shared.errors import TrainingDiverged, noted
from recipes.shared.hparams import HParams
from recipes.shared.learning_rates import Rate
from recipes.shared.logging_options import LoggingOptions
from recipes.shared.recording import Recorder, scalars
from recipes.shared.tasks import Kind
from recipes.shared.tensorboard_logging import pictures
from recipes.shared.tensorboard_logging.logger import TensorBoardLogger
from recipes.shared.tensorboard_logging.snapshots import Draw, Snapshots


class Run:
    """The folder `logs/<recipe>/<run>/<side>`. It is made when training begins, so bad input leaves nothing behind.

    Args:
        folder: where this side's files go.
        hparams: the hyper-parameters of the run.
        verbose: what `fit` and `Loop.train` take: 0 silent, 1 progress bar, 2 a line an epoch.
        about: what `config.json` says besides hyper-parameters, versions and hardware, such as the command.
        logging: what TensorBoard gets; everything if not given.
        source: the recipe's file, which TensorBoard shows.
        saving: whether and when checkpoints are saved, and whether to go on from one; none if not given.
        shared_memory_mib: what of this process' memory other processes share, for the report.

    Raises:
        UsageError: `runtime.configure()` was not called in this process.
    """

    def __init__(
        self,
        folder: Path | str,
        hparams: HParams,
        verbose: int = 0,
        about: dict[str, Any] | None = None,
        logging: LoggingOptions | None = None,
        source: Path | None = None,
        saving: Saving | None = None,
        shared_memory_mib: float = 0.0,
    ) -> None:
        runtime.require_configured()
        self.folder = Path(folder)
        self.hparams = hparams
        self.verbose = verbose
        self.about = about or {}
        self.logging = logging or LoggingOptions()
        self.source = source
        self.saving = saving or Saving()
        self.shared_memory_mib = shared_memory_mib
        self.children: list[Run] = []
        self.snapshots: list[Snapshots] = []
        self.metrics: dict[str, float] = {}
        self.validation_metrics: dict[str, float] = {}
        self.notes: list[str] = []
        self.began = time.perf_counter()
        self.training_examples = 0
        self.recorder = Recorder(self.folder, hparams, self.about)
        self.results = self.recorder.results
        self.logger = TensorBoardLogger(self.folder, hparams, self.logging, self.about, source)
        identity = {name: self.about.get(name) for name in ("recipe", "side")} | {"hparams": hparams.used()}
        self.checkpoints = Checkpoints(self.folder, identity, self.saving)

    def callbacks(
        self,
        batches: Batches | None = None,
        *others: keras.callbacks.Callback,
        learning_rate: Rate | None = None,
    ) -> list[keras.callbacks.Callback]:
        """Return what to give to `fit`, to `Loop.train`, to `Hooks`, or to a `keras.callbacks.CallbackList`.

        Args:
            batches: what is trained on, which comes first, to set the order of every epoch; without it TensorBoard gets
                no gradients.
            learning_rate: of a train step that has no optimizer, for TensorBoard: a number, or a function from the
                number of updates made before (int32) to the rate.
            others: callbacks of yours, which come last. What they remember is kept in checkpoints: that of Keras' own,
                and what a method `get_state()` returns, which `set_state(state)` gets back.
        """
        self.logger.batches = self.checkpoints.batches = batches
        self.logger.learning_rate = learning_rate
        self.training_examples = batches.examples_in(batches.steps) if batches is not None else 0
        callbacks: list[keras.callbacks.Callback] = [self.recorder]
        if self.logging.level != "nothing":
            callbacks.append(self.logger)
        callbacks += others
        if self.saving.active:
            self.checkpoints.keep(
                {f"{type(callback).__name__} {position}": callback for position, callback in enumerate(callbacks)}
            )
            callbacks.insert(0, self.checkpoints)
        return callbacks if batches is None else [batches, *callbacks]

    def keep(self, **owners: Any) -> None:
        """Let checkpoints save what a loop remembers between its epochs, outside variables and callbacks.

        Args:
            owners: objects by name; their attributes are kept, or what `get_state()` returns and `set_state` takes.
        """
        self.checkpoints.keep(owners)

    @property
    def name(self) -> str:
        """The folder's own name: that of the side or, for a child, what it was given."""
        return self.folder.name

    @property
    def first_epoch(self) -> int:
        """Where the training that comes next begins, or the present one began: at 0, or where the run was cut off."""
        return self.checkpoints.first_epoch

    def child(self, name: str, hparams: HParams | None = None, remedy: str = "") -> "Run":
        """Return a run in the folder `name` below this one, for recipes that train more than once.

        Args:
            name: of the folder, and of the child in what `compare` says.
            hparams: where they differ from this run's own.
            remedy: what to try if the loss stops being finite, where that is not a smaller --learning-rate.
        """
        folder, logging = self.folder / name, self.logging
        if self.saving.resume and (folder / "report.json").is_file():
            logging = LoggingOptions(level="nothing")  # it has ended: its end is restored, and TensorBoard has it all
        child = Run(
            folder,
            hparams or self.hparams,
            self.verbose,
            self.about,
            logging,
            self.source,
            self.saving,
            self.shared_memory_mib,
        )
        child.recorder.remedy = remedy or child.recorder.remedy
        child.recorder.parent = self.recorder
        self.children.append(child)
        return child

    def finish(
        self,
        model: keras.Model,
        dataset: Dataset | None,
        metrics: dict[str, float],
        *,
        outputs: model_outputs.Said | None = None,
    ) -> None:
        """Write `state.npz`, `report.json`, `model.keras`, and what TensorBoard shows of a trained model.

        What cannot be measured, saved or shown of this model is said in a note, and the rest is there all the same.

        Args:
            model: the trained model.
            dataset: its data; the saved model starts with its preprocessing. None if the data is not from
                `shared.data`: the model is saved as it is, and the metrics are all there is.
            metrics: test loss and accuracy, as the side's own evaluation gave them, and what else a pair measures. The
                scores of the data's task that need all outputs (precision, recall, F1, AUC; or MSE, MAE, R2) are added
                here, and those of the validation part.
            outputs: what the model gives, "logits" or "probabilities", where its last activation does not show it.

        Raises:
            TrainingDiverged: the loss stopped being finite. `report.json` is written all the same.
        """
        self.results.write("state.npz", lambda path: state.save(path, model))
        self.notes = [*(() if dataset is None else dataset.notes), *self.logger.notes]
        self.notes += [note for each in self.snapshots for note in each.notes]
        metrics = {name: float(value) for name, value in scalars(metrics).items()}
        self.metrics = {name: metrics[name] for name in sorted(metrics, key=lambda name: (name != "loss", name))}
        diverged = self.recorder.diverged
        if diverged is None and not all(map(math.isfinite, self.metrics.values())):
            diverged = TrainingDiverged(
                f"the test loss is not finite: the last update ruined the weights in {self.folder}"
            )
        test_outputs: Any = None
        kind: Kind = "unknown"
        if diverged is None and dataset is not None:
            try:
                with self._extra("scores besides those of the side itself are left out"):
                    kind = model_outputs.kind(model, outputs)
                    test_outputs = self._score(model, dataset, kind)
            except TrainingDiverged as error:
                diverged = TrainingDiverged(f"{error}: the last update ruined the weights in {self.folder}")
        self.results.write_json("report.json", self._report())  # before all that a model of its own kind may refuse
        said = len(self.notes)
        with self._extra("model.keras could not be saved"):
            whole = model if dataset is None else preprocessing.bundle(dataset.preprocessing, model)
            self.results.write("model.keras", whole.save)
        if diverged is None:
            self.logger.write_final({"validation": self.validation_metrics, "test": self.metrics})
            if dataset is not None:
                with self._extra("TensorBoard gets no pictures of the test part"):
                    self.logger.write_dashboards(model, dataset, test_outputs, kind)
        if len(self.notes) > said:
            self.results.write_json("report.json", self._report())
        if diverged is not None:
            raise diverged

    def _extra(self, lost: str) -> contextlib.AbstractContextManager[None]:
        return noted(self.notes, lost, (OSError, MemoryError, TrainingDiverged))

    def _score(self, model: keras.Model, dataset: Dataset, kind: Kind) -> Any:
        """Add the scores of the data's task, and notes on them, and return the outputs on the test part.

        Without a task, or without targets, there are none of these.
        """
        task, test, validation = dataset.task, dataset.test, dataset.validation
        if task is None or test.y is None:
            return None
        outputs = task.predict(model, test)
        found = task.scores(test.y, outputs, kind)
        notes = task.notes(test.y, outputs, kind)
        if len(validation) and validation.y is not None:
            self.validation_metrics = task.scores(validation.y, task.predict(model, validation), kind)
        for name, value in found.items():
            self.metrics.setdefault(name, value)  # what the side itself has measured stays: the sides are held to it
        self.notes += notes
        return outputs

    def summarise(self, metrics: dict[str, float]) -> None:
        """Write `report.json` for a recipe that trains in children only, each of which has finished.

        Args:
            metrics: what the children amount to together, such as the mean of a score over folds.
        """
        self.metrics = metrics
        self.results.write_json("config.json", self.recorder.config())
        self.results.write_json("report.json", self._report())
        self.logger.write_final({"test": metrics})

    def picture(self, name: str, figure: Figure) -> None:
        """Write a matplotlib figure to `<name>.png` in the folder and to TensorBoard's Images."""
        self._write_picture(name, pictures.png(figure))

    def pictures(self, name: str, draw: Draw, *, every: int = 1) -> Snapshots:
        """Return a callback that draws a picture while the model trains: `run.callbacks(batches, run.pictures(...))`.

        All pictures are in TensorBoard's Images, each at the number of updates made; the newest one is `<name>.png` in
        the folder. With `--log nothing` it is the last one alone.

        Args:
            name: of the picture.
            draw: from the model to a matplotlib figure. It leaves no trace in the model; what fails in it is a note.
            every: epochs between two pictures. The last epoch has one in any case.
        """
        nothing_logged = self.logging.level == "nothing"
        self.snapshots.append(Snapshots(name, draw, self._write_picture, every, only_last=nothing_logged))
        return self.snapshots[-1]

    def _write_picture(self, name: str, png: bytes) -> None:
        self.results.write(f"{name}.png", lambda path: path.write_bytes(png))
        self.logger.write_picture(name, png)

    def close(self) -> None:
        """Write what the callbacks still hold, as after a failure. Calling it again does nothing."""
        for run in (*self.children, self):
            run.recorder.write_history()
            run.logger.close()
            run.checkpoints.close()

    def remove_checkpoints(self) -> None:
        """Remove what nobody needs any more once all results are written."""
        for run in (*self.children, self):
            run.checkpoints.remove()

    def _report(self) -> dict[str, Any]:
        """Return what `report.json` says; for children together, their sums, and the mean of their steady epochs."""
        runs = self.children or [self]
        recorders = [run.recorder for run in runs]
        first_epochs = [recorder.epoch_seconds[0] for recorder in recorders if recorder.epoch_seconds]
        steady_epochs = [np.median(recorder.epoch_seconds[1:]) for recorder in recorders if recorder.epoch_seconds[1:]]
        return {
            "metrics": self.metrics,
            "validation_metrics": self.validation_metrics,
            "notes": list(dict.fromkeys(note for run in runs for note in run.notes)),
            "children": [child.name for child in self.children],
            "first_epoch_seconds": first_epochs[0] if first_epochs else None,
            "seconds_per_epoch": float(np.mean(steady_epochs)) if steady_epochs else None,
            "seconds_total": time.perf_counter() - self.began,
            "peak_memory_mib": runtime.peak_memory_mib() - self.shared_memory_mib,
            "shared_memory_mib": self.shared_memory_mib,
            "steps_per_execution": recorders[0].steps_per_execution,
            "jit_compile": recorders[0].jit_compile,
            "updates": sum(recorder.updates for recorder in recorders),
            "examples_seen": sum(run.training_examples * len(run.recorder.epoch_seconds) for run in runs),
            "weights_moved": all(recorder.weights_moved() for recorder in recorders),
        }
