"""Trials a minute of `recipes tune` against KerasTuner as its guide teaches it, and memory over a long search.

    make search-speed

Both search learning rate and batch size of the digits MLP, with the same 24 pairs of values, each in a process of its
own, trial by trial in turn. Then 200 trials of either side in one process, with the memory after every tenth.
"""

import contextlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from recipes.commands.tuning.specification import Specification
from recipes.shared import runtime, search_space
from recipes.shared.logging_options import LoggingOptions

TRIALS, LONG, EPOCHS = 24, 200, 10
SPACE = {"learning_rate": search_space.LogRange(1e-4, 1e-1), "batch_size": search_space.Choices(16, 32, 64, 128)}


def values(trial):
    """Return the values of a trial: the batch sizes in turn, and a learning rate of its own."""
    return {"learning_rate": 10 ** (-4 + 3 * (trial * 0.618 % 1)), "batch_size": (16, 32, 64, 128)[trial % 4]}


def specification(name, folder, trials):
    from recipes.commands import catalog

    return Specification(
        recipe="mlp_classifier",
        side=name,
        path=str(catalog.find("mlp_classifier").side(name).path),
        folder=str(folder),
        command="",
        tuner="random",
        objective="val_loss",
        larger_is_better=False,
        space=SPACE,
        hparams={"epochs": EPOCHS},
        seed=0,
        trials=trials,
        epochs=EPOCHS,
        logging=LoggingOptions(level="scalars"),
    )


def recipes_tuner(name, folder, trials):
    """Return a context and a tuner: those of `recipes tune`."""
    from recipes.commands.tuning import oracle, progress, tuner
    from recipes.shared import programs

    described = specification(name, folder, trials)
    context = contextlib.ExitStack()
    context.enter_context(described.entered())
    context.enter_context(programs.kept())
    made = oracle.make(described)
    made.prepare(folder)
    made._display = progress.Progress(made, described)
    made.populate_space = lambda identifier: {"status": "RUNNING", "values": values(int(identifier))}
    return context, tuner.RecipeTuner(described, made)


def plain_tuner(folder, trials):
    """Return a tuner as https://keras.io/guides/keras_tuner/getting_started/ makes it."""
    import keras
    import keras_tuner

    class Digits(keras_tuner.HyperModel):
        def build(self, hp):
            learning_rate = hp.Float("learning_rate", 1e-4, 1e-1, sampling="log")
            hp.Choice("batch_size", [16, 32, 64, 128])
            model = keras.Sequential(
                [
                    keras.Input((8, 8)),
                    keras.layers.Flatten(),
                    keras.layers.Dense(64, activation="relu"),
                    keras.layers.Dense(64, activation="relu"),
                    keras.layers.Dense(10),
                ]
            )
            model.compile(
                optimizer=keras.optimizers.Adam(learning_rate),
                loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                metrics=["accuracy"],
            )
            return model

        def fit(self, hp, model, *args, **kwargs):
            return model.fit(*args, batch_size=hp.get("batch_size"), **kwargs)

    made = keras_tuner.RandomSearch(
        Digits(), objective="val_loss", max_trials=trials, directory=folder, project_name="plain"
    )
    made.oracle.populate_space = lambda identifier: {"status": "RUNNING", "values": values(int(identifier))}
    return made


def contestant(name, trials):
    """Run one trial for every line of stdin, and answer with its seconds, its score and the memory in MiB."""
    runtime.configure()
    answers, sys.stdout = sys.stdout, sys.stderr
    folder = Path(tempfile.mkdtemp()) / "tune-speed"
    context, arguments = contextlib.nullcontext(), {}
    if name == "plain":
        from recipes.supervised import mlp_classifier

        dataset = mlp_classifier.load_data(mlp_classifier.HParams())
        made = plain_tuner(folder, trials)
        arguments = {"x": dataset.train.x, "y": dataset.train.y, "epochs": EPOCHS, "verbose": 0}
        arguments["validation_data"] = (dataset.validation.x, dataset.validation.y)
    else:
        context, made = recipes_tuner(name, folder, trials)
    with context:
        answers.write("ready\n")
        answers.flush()
        for _ in sys.stdin:
            began = time.perf_counter()
            made.pre_create_trial()
            trial = made.oracle.create_trial(made.tuner_id)
            made.on_trial_begin(trial)
            made._try_run_and_update_trial(trial, **arguments)
            made.on_trial_end(trial)
            seconds = time.perf_counter() - began
            score = made.oracle.trials[trial.trial_id].score
            answers.write(json.dumps([seconds, score, runtime.memory_mib()]) + "\n")
            answers.flush()


class Process:
    """A contestant in a process of its own."""

    def __init__(self, name, trials):
        command = [sys.executable, "-m", "tests.search_speed", name, str(trials)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.process.stdout.readline() == "ready\n"

    def trial(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def main():
    names = ["custom_loop", "fit", "plain"]
    contestants = {name: Process(name, TRIALS) for name in names}
    seconds = {name: [] for name in names}
    for trial in range(TRIALS):
        for name in names[trial % 3 :] + names[: trial % 3]:
            seconds[name].append(contestants[name].trial()[0])
    for each in contestants.values():
        each.close()
    for name in names:
        total = sum(seconds[name])
        print(
            f"{name:12} {60 * TRIALS / total:6.1f} trials a minute, first {seconds[name][0]:.2f} s,"
            f" median {statistics.median(seconds[name]):.2f} s; {sum(seconds['plain']) / total:.2f} x plain",
            flush=True,
        )
    for name in names[:2]:
        long = Process(name, LONG)
        memory = [long.trial()[2] for _ in range(LONG)]
        long.close()
        every = " ".join(f"{mib:.0f}" for mib in itertools.islice(memory, 9, None, 10))
        print(f"{name:12} MiB after every tenth of {LONG} trials: {every}; last / 20th {memory[-1] / memory[19]:.3f}")


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if len(sys.argv) > 1:
        contestant(sys.argv[1], int(sys.argv[2]))
    else:
        main()
