"""A name becomes a task, and a later task is one file: here a segmentation of images, from the file to the report."""

import json
import subprocess
import sys
from dataclasses import dataclass

import keras
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from recipes.shared import data, examples, sources, tasks
from recipes.shared.errors import UsageError
from recipes.shared.hparams import HParams
from recipes.shared.run import Run
from recipes.shared.tensorboard_logging import summaries


@pytest.mark.parametrize("name", tasks.NAMES)
def test_a_task_is_called_by_the_name_of_its_file(name):
    task = tasks.named(name)
    assert task.name == name
    assert task.predicts
    assert type(task).__module__ == f"recipes.shared.tasks.{name}"


def test_the_embedded_sets_are_for_tasks_that_there_are():
    assert {*sources.EMBEDDED.values(), *sources.DOWNLOADED.values()} <= {*tasks.NAMES}


def test_a_name_that_is_no_tasks_is_refused():
    with pytest.raises(UsageError, match="no task named 'regresion'; use one of classification, regression"):
        data.load(HParams(), "regresion")


@pytest.mark.parametrize("task", tasks.NAMES)
def test_targets_are_checked_without_importing_what_takes_long(tmp_path, task):
    rows = "".join(f"{row % 13},{row % 2 if task == 'classification' else row / 3}\n" for row in range(200))
    (tmp_path / "x.csv").write_text("a,y\n" + rows)
    code = f"""
import sys
from recipes.commands import describe_data
from recipes.shared import examples
from recipes.shared.hparams import HParams
examples.check(HParams(data="x.csv"), {task!r})
describe_data.main(["x.csv"])
print({{"tensorflow", "keras", "sklearn.metrics", "scipy.special", "matplotlib", "tensorboard"}} & {{*sys.modules}})
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n")


@dataclass(frozen=True)
class Segmentation(tasks.Task):
    """What a later task would be: 0 or 1 for each pixel."""

    name = "segmentation"
    predicts = "masks"
    one_value = False

    def of(self, targets, data):
        if not all(np.isin(masks, (0, 1)).all() for masks in targets):
            raise UsageError(f"{data}: masks are 0 and 1")
        return self

    def encode(self, targets, data):
        return targets.astype(np.float32)

    def predict(self, model, split):
        return np.asarray(model(split.x, training=False))

    def scores(self, targets, outputs, kind):
        assert kind == "logits"
        return {"pixels": float(np.mean((outputs > 0) == targets))}

    def notes(self, targets, outputs, kind):
        return [f"{targets.mean():.0%} of the pixels are set"]

    def pictures(self, split, outputs, kind):
        yield summaries.text("masks", f"{outputs.shape}")

    def labels(self, targets):
        return [str(mask.sum()) for mask in targets]


@pytest.fixture
def masks(tmp_path, monkeypatch):
    """Hyper-parameters for images with masks, and the task among the others."""
    module = type(sys)("recipes.shared.tasks.segmentation")
    module.TASK = Segmentation()
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(tasks, "NAMES", (*tasks.NAMES, "segmentation"))
    x = np.random.default_rng(0).random((50, 6, 6, 1)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x_train=x, y_train=(x > 0.5).astype(np.uint8))
    return HParams(data=str(tmp_path / "x.npz"), batch_size=8)


def test_a_later_task_is_one_file_and_its_name(masks, tmp_path):
    assert examples.check(masks, "segmentation") == ()
    dataset = data.load(masks, "segmentation")
    assert dataset.train.y.shape == (32, 6, 6, 1)
    assert (dataset.num_classes, dataset.class_names) == (0, ())
    model = keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Conv2D(1, 1)])
    model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True), jit_compile=False)
    run, batches = Run(tmp_path / "fit", masks), dataset.batches(masks)
    model.fit(batches.train, shuffle=False, callbacks=run.callbacks(batches), verbose=0)
    run.finish(model, dataset, {"loss": 0.5})
    run.close()
    report = json.loads((tmp_path / "fit" / "report.json").read_text())
    assert report["metrics"].keys() == {"loss", "pixels"}
    assert report["validation_metrics"].keys() == {"pixels"}
    assert [note for note in report["notes"] if "pixels" in note or "left out" in note] == [
        f"{dataset.test.y.mean():.0%} of the pixels are set"
    ]
    assert "masks" in EventAccumulator(str(tmp_path / "fit" / "test")).Reload().Tags()["tensors"]
    labels = (tmp_path / "fit" / "labels.tsv").read_text().split()
    assert labels == [str(mask.sum()) for mask in dataset.validation.y]


def test_a_later_task_refuses_targets_of_its_own(masks, tmp_path):
    np.savez(tmp_path / "y.npz", x_train=np.ones((50, 6, 6)), y_train=np.full((50, 6, 6), 2))
    for read in (examples.check, data.load):
        with pytest.raises(UsageError, match="masks are 0 and 1"):
            read(HParams(data=str(tmp_path / "y.npz")), "segmentation")
        with pytest.raises(UsageError, match="it needs one value an example"):
            read(HParams(data=str(tmp_path / "y.npz")), "classification")
