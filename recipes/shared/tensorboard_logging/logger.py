"""The callback that writes what TensorBoard shows: the same on both sides, so under the same tags."""

import itertools
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from recipes.shared import learning_rates, runtime, step_losses
from recipes.shared.batches import Batches
from recipes.shared.callbacks import Hooks, Logs, StepCallback
from recipes.shared.data import Dataset
from recipes.shared.errors import noted
from recipes.shared.hparams import HParams
from recipes.shared.learning_rates import LearningRates, Rate
from recipes.shared.logging_options import LoggingOptions
from recipes.shared.recording import losses, scalars
from recipes.shared.tasks import Kind
from recipes.shared.tensorboard_logging import (
    dashboards,
    description,
    graphs,
    hyper_parameters,
    layout,
    probe,
    projector,
    summaries,
)
from recipes.shared.tensorboard_logging.event_files import EventFiles
from recipes.shared.tensorboard_logging.profiler import Profiler

SECONDS_BETWEEN_FLUSHES = 1.0  # flushing makes a system call; epochs may take a millisecond


class TensorBoardLogger(StepCallback):
    """Writes below `folder`; `recipes.shared.tensorboard_logging` lists the tags.

    Args:
        folder: the run's on one side.
        hparams: say the learning rate where nothing else knows it, and the batch size.
        options: how much is logged.
        about: what the run says of itself besides: its recipe, its side, the command.
        source: the recipe's file.

    Attributes:
        batches: what is trained on; while it is None, gradients, the graph of the step and examples a second are not
            known, and the losses of fit's steps are recovered as if all batches were equally large.
        learning_rate: of a train step that has no optimizer (`LearningRates`).
        updates: the optimizer's, before the present epoch: the step of what is written.
        notes: what could not be shown of this model, and why, in a line each.
    """

    def __init__(
        self,
        folder: Path,
        hparams: HParams,
        options: LoggingOptions | None = None,
        about: Mapping[str, Any] | None = None,
        source: Path | None = None,
    ) -> None:
        super().__init__()
        self.hparams = hparams
        self.options = options or LoggingOptions()
        self.about = about or {}
        self.source = source
        self.batches: Batches | None = None
        self.learning_rate: Rate | None = None
        self.files = EventFiles(folder)
        self.updates = 0
        self.notes: list[str] = []
        self._everything = self.options.level == "everything"
        self._began_session = self._in_session = False
        self._has_layout = False
        self._profiler = Profiler(folder) if self.options.profile else None
        self._flushed_at = 0.0
        self._probe: probe.Probe | None = None
        self._learning_rates: dict[str, LearningRates] = {}
        self._before: tuple[int, list[np.ndarray]] | None = None  # a step to measure, and the weights before it
        self._begin_epoch(0)

    def on_train_begin(self, logs: Logs = None) -> None:
        """Find out where the learning rate comes from, and how many updates were made before; show the model."""
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is not None:  # else it is 0, or what a resumed run says
            self.updates = int(optimizer.iterations.numpy())
        self._learning_rates = {}
        by_hand = isinstance(self.loop, Hooks)
        self._steps_per_execution = (self.loop if by_hand else self.model).steps_per_execution
        if self.options.level != "nothing":
            self._begin_session(self.model)
        if self._everything:
            with noted(self.notes, "TensorBoard gets no graph of the train step", (OSError,)):
                self._write_graphs()
            loss = probe.loss_of(self.model, self.loop)
            if self.batches is not None and loss is not None:
                with noted(self.notes, "TensorBoard gets no gradients", (OSError,)):
                    metrics = [*self.model.metrics, *getattr(self.loop, "metrics", ())]
                    looking = probe.Probe(self.model, loss, self.batches.example(probe.EXAMPLES), metrics)
                    looking.gradients()  # what fails does so here
                    self._probe = looking
            self._write_histograms()

    def get_state(self) -> dict[str, Any]:
        """Return what a checkpoint saves."""
        return {"updates": self.updates, "_logged": self._logged, "_has_layout": self._has_layout}

    def set_state(self, values: dict[str, Any]) -> None:
        """Go on from what `get_state` returned."""
        for name, value in values.items():
            setattr(self, name, value)
        self._made_before = self._logged
        self._measured = self._steps_to_measure((self.params or {}).get("steps"))  # `updates` may be others than before

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Start the clock."""
        self._begin_epoch((self.params or {}).get("steps"))

    def steps_to_watch(self, steps: int) -> set[int]:
        """Return which of the coming epoch's `steps` steps this callback wants to see alone; counted from 0."""
        profiled = self._profiler.updates if self._profiler is not None else ()
        return self._steps_to_measure(steps) | ({update - self.updates for update in profiled} & set(range(steps)))

    def _steps_to_measure(self, steps: int | None) -> set[int]:
        if not self._everything or not steps:
            return set()
        measured = {steps - 1}
        if self.options.every is not None:
            # after so many updates of the run, whatever the length of its epochs
            measured |= set(range(-(self.updates + 1) % self.options.every, steps, self.options.every))
        return measured

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Look at the weights before an execution that has a watched step."""
        self._look_before(batch, self._steps_per_execution)

    def on_chunk_begin(self, first_step: int) -> None:
        """Look at the weights before a watched step."""
        self._look_before(first_step, 1)

    def on_chunk_end(self, first_step: int, values: dict[str, np.ndarray], metrics: dict[str, np.ndarray]) -> None:
        """Log every step of a chunk."""
        columns = {f"step_{name}": steps.tolist() for name, steps in values.items() if steps.ndim == 1}
        steps = len(next(iter((values | metrics).values()), ()))
        for name, rates in self._rates_of(self.updates + first_step, steps).items():
            columns[f"step_{name}"] = rates
        self.files.write_steps("train", self.updates + first_step + 1, columns)
        self._logged = first_step + steps
        self._look_after()

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Log one execution, unless its steps are logged already. `batch` is its last one."""
        self._training_ended = time.perf_counter()
        steps = self.steps_done(batch)
        if steps > self._logged:
            # Kept and written together, now and then: fit's steps are many, and this is in the way of each.
            for name, rates in self._rates_of(self.updates + self._logged, steps - self._logged).items():
                self._rates.setdefault(name, []).extend(rates)
            for name, mean in losses(logs).items():
                self._means.setdefault(name, [(0, 0.0)]).append((steps, float(mean)))
            self._logged = steps
            self._look_after()
        self._flush_now_and_then()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Log the epoch's metrics, its learning rate, its speed, and what the weights have become."""
        self._write_executions()
        self.updates += self._logged
        logs = scalars(logs)
        metrics = {name: value for name, value in logs.items() if not name.startswith("val_")}
        train = dict(metrics)
        # before callbacks change them
        train |= {name: rates[0] for name, rates in self._rates_of(self.updates, 1).items()}
        train["memory_mib"] = runtime.memory_mib()
        steps = self._logged - self._made_before
        if steps:
            seconds = self._training_ended - self._epoch_began
            train["steps_per_second"] = steps / seconds
            if self.batches is not None and not self._made_before:
                train["examples_per_second"] = self.batches.examples_in(self._logged) / seconds
        self.files.write("train", self.updates, summaries.scalars(train, "epoch_"))
        validation = {name[4:]: value for name, value in logs.items() if name.startswith("val_")}
        if validation:
            self.files.write("validation", self.updates, summaries.scalars(validation, "epoch_"))
        if self._everything:
            self._write_histograms()
            if not self._has_layout:  # only now are the names of the metrics known
                names = sorted(metrics, key=lambda name: (name != "loss", name))
                self.files.write("", self.updates, [layout.overlay(names)])
                self._has_layout = True
        self._flush_now_and_then()

    def on_train_end(self, logs: Logs = None) -> None:
        """Make everything visible."""
        if self._profiler is not None:
            self._profiler.stop()
        self.files.flush()

    def write_final(self, scores: Mapping[str, Mapping[str, float]]) -> None:
        """Add the scores of the trained model on `validation` and `test`."""
        if self.options.level == "nothing":
            return
        for part, values in scores.items():
            finite = {name: value for name, value in values.items() if math.isfinite(value)}
            self.files.write(part, self.updates, summaries.scalars(finite, "final_"))
        self._begin_session(None)  # of a run whose children have trained
        self.files.write("", self.updates, [hyper_parameters.session_end("success")])
        self._in_session = False
        self.files.flush()

    def write_dashboards(self, model: keras.Model, dataset: Dataset, outputs: Any, kind: Kind) -> None:
        """Add what shows the trained model: pictures and curves of the test part, embeddings of the validation part.

        Args:
            model: the trained model.
            dataset: its data.
            outputs: of the model on the test part, as its task predicts them; None if it has not.
            kind: what they mean.
        """
        if self._everything:
            self.files.write("test", self.updates, dashboards.values(model, dataset, outputs, kind))
            validation = dataset.validation
            # a model without a task may take something else than the examples
            if dataset.task is not None and outputs is not None and len(validation) and validation.y is not None:
                projector.write(self.files, model, validation, dataset.task)
            self.files.flush()

    def write_picture(self, name: str, png: bytes) -> None:
        """Add a picture under `name`."""
        if self._everything:
            self.files.write("", self.updates, [summaries.picture(name, png)])
            self.files.flush()

    def close(self) -> None:
        """Close the event files, the session with them. Calling it again does nothing."""
        self._write_executions()
        if self._in_session:  # nobody has called write_final: the training ended early
            self.files.write("", self.updates, [hyper_parameters.session_end("failure")])
            self._in_session = False
        self.files.close()

    def _begin_session(self, model: keras.Model | None) -> None:
        """Write what is known of the run before it trains, once."""
        if self._began_session:
            return
        self._began_session = self._in_session = True
        values = hyper_parameters.identity({**self.about, "hparams": self.hparams.used()})
        texts = description.texts(self.hparams, self.about, self.source, model) if self._everything else {}
        self.files.write(
            "",
            self.updates,
            [
                hyper_parameters.session(values, self.hparams.domains()),
                *(summaries.text(title, markdown) for title, markdown in texts.items()),
            ],
        )

    def _write_graphs(self) -> None:
        """Write the layers and, where a batch can be made up, the operations of the train step."""
        self.files.write("train", self.updates, [graphs.of_layers(self.model)])
        train_step: Callable[..., Any] | None = getattr(self.loop, "train_step", None)
        if train_step is None and getattr(self.model, "compiled", False) and not self.model.run_eagerly:

            def train_step(*batch: Any) -> Any:
                return self.model.train_step(batch)

        if train_step is not None and self.batches is not None:
            self.files.write_graph("train", graphs.of_train_step(train_step, self.batches.example(1)))

    def _begin_epoch(self, steps: int | None) -> None:
        self._logged = 0  # steps of this epoch that are logged, or wait to be written
        self._made_before = 0  # those of them that were made before the run was cut off
        self._rates: dict[str, list[float]] = {}  # of the steps that wait, by the name of the rate
        # of each loss: steps, and its mean so far, after each execution that waits
        self._means: dict[str, list[tuple[int, float]]] = {}
        self._measured = self._steps_to_measure(steps)
        self._epoch_began = self._training_ended = time.perf_counter()

    def _look_before(self, step: int, count: int) -> None:
        """Keep the weights before `count` steps, the first of which is `step`, if one of them shall be measured."""
        if self._profiler is not None:
            self._profiler.before(self.updates + step)
        if self._before is not None and self._before[0] == step:
            return  # a loop announces an execution, then its chunks
        if not self._measured.isdisjoint(range(step, step + count)):
            self._before = step, probe.copies(self.model.trainable_variables)

    def _look_after(self) -> None:
        """Log how far the weights went in the steps before which they were kept."""
        step = self.updates + self._logged
        if self._profiler is not None:
            self._profiler.after(step)
        if self._before is None:
            return
        (first, before), self._before = self._before, None
        after = probe.copies(self.model.trainable_variables)
        # fit may hide single updates in an execution: then it is the way that several went together
        tag = "update_to_weight" if self._logged - first == 1 else "execution_update_to_weight"
        ratios = {tag: probe.relative_change(before, after)}
        for variable, old, new in zip(self.model.trainable_variables, before, after, strict=True):
            ratios[f"{tag}/{variable.path}"] = probe.relative_change([old], [new])
        # against weights that were all 0 there is no ratio
        known = {name: ratio for name, ratio in ratios.items() if not math.isnan(ratio)}
        self.files.write("train", step, summaries.scalars(known))
        if self._probe is not None and self._logged != (self.params or {}).get("steps"):  # else the epoch's end says it
            self._write_norm(step, self._probe.gradients())

    def _write_histograms(self) -> None:
        variables = self.model.trainable_variables
        values = [
            summaries.histogram(f"weights/{weight.path}", keras.ops.convert_to_numpy(weight))
            for weight in self.model.weights
        ]
        if self._probe is not None:
            gradients = self._probe.gradients()
            values += [
                summaries.histogram(f"gradients/{variable.path}", gradient)
                for variable, gradient in zip(variables, gradients, strict=True)
            ]
            self._write_norm(self.updates, gradients)
        self.files.write("train", self.updates, values)

    def _write_norm(self, step: int, gradients: list[np.ndarray]) -> None:
        self.files.write("train", step, summaries.scalars({"probe_gradient_norm": probe.norm(gradients)}))

    def _write_executions(self) -> None:
        """Write the rates of the steps that wait, and their losses, taken apart from the mean over the epoch so far."""
        if not self._rates:
            return
        waiting = len(next(iter(self._rates.values())))
        first = self.updates + self._logged - waiting + 1
        columns = {f"step_{name}": rates for name, rates in self._rates.items()}
        for name, means in self._means.items():
            between = {
                self.updates + steps: step_losses.between(before, self._examples(done), mean, self._examples(steps))
                for (done, before), (steps, mean) in itertools.pairwise(means)
            }
            if self._steps_per_execution == 1 and len(between) == waiting:
                columns[f"step_{name}"] = list(between.values())
            else:
                for step, loss in between.items():
                    self.files.write("train", step, summaries.scalars({f"execution_{name}": loss}))
        self.files.write_steps("train", first, columns)
        self._rates, self._means = {}, {name: means[-1:] for name, means in self._means.items()}

    def _rates_of(self, first: int, count: int) -> dict[str, list[float]]:
        """Return the rates of `count` updates, the first of which had `first` before it, by name."""
        if not self._learning_rates:  # not before the first update: only then is it known which optimizers are used
            steps = (self.params or {}).get("steps")
            self._learning_rates = learning_rates.of_model(self.model, self.learning_rate, self.hparams, steps)
        return {name: rates.of(first, count) for name, rates in self._learning_rates.items()}

    def _examples(self, steps: int) -> int:
        """Return how many examples `steps` steps of an epoch have seen, or `steps` where that is not known."""
        known = self.batches is not None and self.batches.steps == (self.params or {}).get("steps")
        return self.batches.examples_in(steps) if self.batches is not None and known else steps

    def _flush_now_and_then(self) -> None:
        if time.perf_counter() - self._flushed_at > SECONDS_BETWEEN_FLUSHES:
            self._write_executions()
            self.files.flush()
            self._flushed_at = time.perf_counter()
