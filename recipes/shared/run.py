"""A run's folder on one side: what goes in, and the callbacks that put it there while training."""

import io
import math
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
from matplotlib.figure import Figure

from recipes.shared import preprocessing, runtime, scores, state
from recipes.shared.data import Dataset
from recipes.shared.errors import TrainingDiverged
from recipes.shared.files import replace_file, write_json
from recipes.shared.hparams import HParams
from recipes.shared.recording import Recorder
from recipes.shared.tensorboard_logging import TensorBoardLogger


class Run:
    """The folder `logs/<recipe>/<run>/<side>`. It is made when training begins, so bad input leaves nothing behind.

    Args:
        folder: where this side's files go.
        hparams: the hyper-parameters of the run.
        verbose: what `fit` and `Loop.train` take: 0 silent, 1 progress bar, 2 a line an epoch.
        about: what `config.json` says besides hyper-parameters, versions and hardware, such as the command.

    Raises:
        UsageError: `runtime.configure()` was not called in this process.
    """

    def __init__(
        self, folder: Path | str, hparams: HParams, verbose: int = 0, about: dict[str, Any] | None = None
    ) -> None:
        runtime.require_configured()
        self.folder = Path(folder)
        self.hparams = hparams
        self.verbose = verbose
        self.about = about or {}
        self.children: list[Run] = []
        self.metrics: dict[str, float] = {}
        self.validation_metrics: dict[str, float] = {}
        self.began = time.perf_counter()
        self.recorder = Recorder(self.folder, hparams, self.about)
        self.logger = TensorBoardLogger(self.folder, hparams)
        self.callbacks: list[keras.callbacks.Callback] = [self.recorder, self.logger]

    @property
    def name(self) -> str:
        """The folder's own name: that of the side or, for a child, what it was given."""
        return self.folder.name

    def child(self, name: str, hparams: HParams | None = None, remedy: str = "") -> "Run":
        """Return a run in the folder `name` below this one, for recipes that train more than once.

        Args:
            name: of the folder, and of the child in what `compare` says.
            hparams: where they differ from this run's own.
            remedy: what to try if the loss stops being finite, where that is not a smaller --learning-rate.
        """
        child = Run(self.folder / name, hparams or self.hparams, self.verbose, self.about)
        child.recorder.remedy = remedy or child.recorder.remedy
        self.children.append(child)
        return child

    def finish(self, model: keras.Model, dataset: Dataset | None, metrics: dict[str, float]) -> None:
        """Write `state.npz`, `model.keras` and `report.json`.

        Args:
            model: the trained model.
            dataset: its data; the saved model starts with its preprocessing. None if the data is not from
                `shared.data`: the model is saved as it is, and the metrics are all there is.
            metrics: test loss and accuracy, as the side's own evaluation gave them. Scores that need all the logits
                (precision, recall, F1, AUC; or MSE, MAE, R2) are added here, and those of the validation part.

        Raises:
            TrainingDiverged: the loss stopped being finite. `report.json` is written all the same.
        """
        state.save(self.folder / "state.npz", model)
        whole = model if dataset is None else preprocessing.bundle(dataset.preprocessing, model)
        replace_file(self.folder / "model.keras", whole.save)
        self.metrics = {name: metrics[name] for name in sorted(metrics, key=lambda name: (name != "loss", name))}
        diverged = self.recorder.diverged
        if diverged is None and not all(map(math.isfinite, self.metrics.values())):
            diverged = TrainingDiverged(
                f"the test loss is not finite: the last update ruined the weights in {self.folder}"
            )
        if diverged is None and dataset is not None:
            try:
                self._score(model, dataset)
            except TrainingDiverged as error:
                diverged = TrainingDiverged(f"{error}: the last update ruined the weights in {self.folder}")
        write_json(self.folder / "report.json", self._report())
        if diverged is not None:
            raise diverged

    def _score(self, model: keras.Model, dataset: Dataset) -> None:
        self.validation_metrics = scores.score(model, dataset.validation, dataset.class_names)
        for name, value in scores.score(model, dataset.test, dataset.class_names).items():
            self.metrics.setdefault(name, value)  # what the side itself has measured stays: the sides are held to it
        self.logger.write_final("validation", self.validation_metrics)
        self.logger.write_final("test", self.metrics)

    def summarise(self, metrics: dict[str, float]) -> None:
        """Write `report.json` for a recipe that trains in children only, each of which has finished.

        Args:
            metrics: what the children amount to together, such as the mean of a score over folds.
        """
        self.metrics = metrics
        self.recorder.write_config()
        self.logger.write_final("test", {name: value for name, value in metrics.items() if math.isfinite(value)})
        write_json(self.folder / "report.json", self._report())

    def picture(self, name: str, figure: Figure) -> None:
        """Write a matplotlib figure to `<name>.png` in the folder and to TensorBoard's Images."""
        png = io.BytesIO()
        figure.savefig(png, format="png")
        self.logger.write_picture(name, png.getvalue())  # makes the folder
        (self.folder / f"{name}.png").write_bytes(png.getvalue())

    def close(self) -> None:
        """Write what the callbacks still hold, as after a failure. Calling it again does nothing."""
        for run in (*self.children, self):
            run.recorder.write_history()
            run.logger.close()

    def _report(self) -> dict[str, Any]:
        """Return what `report.json` says; for children together, their sums, and the mean of their steady epochs."""
        recorders = [child.recorder for child in self.children] or [self.recorder]
        first_epochs = [recorder.epoch_seconds[0] for recorder in recorders if recorder.epoch_seconds]
        steady_epochs = [np.median(recorder.epoch_seconds[1:]) for recorder in recorders if recorder.epoch_seconds[1:]]
        return {
            "metrics": self.metrics,
            "validation_metrics": self.validation_metrics,
            "children": [child.name for child in self.children],
            "first_epoch_seconds": first_epochs[0] if first_epochs else None,
            "seconds_per_epoch": float(np.mean(steady_epochs)) if steady_epochs else None,
            "seconds_total": time.perf_counter() - self.began,
            "peak_memory_mib": runtime.peak_memory_mib(),
            "steps_per_execution": recorders[0].steps_per_execution,
            "jit_compile": recorders[0].jit_compile,
            "updates": sum(recorder.updates for recorder in recorders),
            "weights_moved": all(recorder.weights_moved() for recorder in recorders),
        }
