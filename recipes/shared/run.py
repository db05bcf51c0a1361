"""A run's folder on one side: what goes in, and the callbacks that put it there while training."""

import math
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

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
        verbose: what `fit` and `loop.train` take: 0 silent, 1 progress bar, 2 a line an epoch.
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
        self.began = time.perf_counter()
        self.recorder = Recorder(self.folder, hparams, self.about)
        self.logger = TensorBoardLogger(self.folder, hparams)
        self.callbacks: list[keras.callbacks.Callback] = [self.recorder, self.logger]

    def child(self, name: str) -> "Run":
        """Return a run in the folder `name` below this one, for recipes that train more than once."""
        child = Run(self.folder / name, self.hparams, self.verbose, self.about)
        self.children.append(child)
        return child

    def finish(self, model: keras.Model, dataset: Dataset | None, metrics: dict[str, float]) -> None:
        """Write `state.npz`, `model.keras` and `report.json`.

        Args:
            model: the trained model.
            dataset: its data; the saved model starts with its preprocessing. None if the data is not from
                `shared.data`: the model is saved as it is, and the metrics are all there is.
            metrics: test loss and accuracy, as the side's own evaluation gave them. Scores that need all the logits
                (precision, recall, F1, AUC; or MSE, MAE, R2) are added here.

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
            self.metrics |= scores.score(model, dataset)
        write_json(self.folder / "report.json", self._report())
        if diverged is not None:
            raise diverged

    def close(self) -> None:
        """Write what the callbacks still hold, as after a failure. Calling it again does nothing."""
        for run in (*self.children, self):
            run.recorder.write_history()
            run.logger.close()

    def _report(self) -> dict[str, Any]:
        seconds = self.recorder.epoch_seconds
        return {
            "metrics": self.metrics,
            "first_epoch_seconds": seconds[0] if seconds else None,
            "seconds_per_epoch": float(np.median(seconds[1:])) if len(seconds) > 1 else None,
            "seconds_total": time.perf_counter() - self.began,
            "peak_memory_mib": runtime.peak_memory_mib(),
            "steps_per_execution": self.recorder.steps_per_execution,
            "jit_compile": self.recorder.jit_compile,
            "updates": self.recorder.updates,
            "weights_moved": self.recorder.weights_moved(),
        }
