"""A run's folder, and the saved model in a process that does not know this project."""

import dataclasses
import json
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import replace

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf
from matplotlib import image
from matplotlib.figure import Figure
from sklearn import metrics
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from custom_loops.loop import Loop
from recipes.shared import data, preprocessing, state
from recipes.shared.batches import Batches
from recipes.shared.checkpointing.options import Saving
from recipes.shared.errors import TrainingDiverged, UsageError
from recipes.shared.hparams import HParams
from recipes.shared.logging_options import LoggingOptions
from recipes.shared.run import Run

ALONE = """
import importlib.util, sys
sys.path += sys.argv[1:3]  # the packages, without what `pip install -e` put beside them
for name in ("recipes", "custom_loops"):
    assert importlib.util.find_spec(name) is None
import keras, numpy as np, tensorflow as tf
image_model, table_model = (keras.saving.load_model(path) for path in sys.argv[3:5])
images = np.load("images.npy")
assert images.dtype == np.uint8
size, colour = [[12.5], [float("nan")], [-3.0]], [["red"], ["never seen"], [""]]
rows = {"size in m": tf.constant(size), "colour": tf.constant(colour)}
np.savez(
    "predictions.npz",
    images=image_model.predict(images, verbose=0),
    table=table_model.predict(rows, verbose=0),
    table_called=table_model(rows),
)
"""


@pytest.fixture
def images(tmp_path):
    """Hyper-parameters for an .npz of byte images."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 90)
    x = rng.integers(0, 80, (90, 5, 5), dtype=np.uint8) + (70 * y[:, None, None]).astype(np.uint8)
    np.savez(tmp_path / "images.npz", x_train=x, y_train=y)
    return HParams(data=str(tmp_path / "images.npz"), batch_size=8, epochs=2)


@pytest.fixture
def table(tmp_path):
    """Hyper-parameters for a .csv with numbers, gaps and text."""
    rng = np.random.default_rng(0)
    lines = ["size in m,colour,price"]
    for row in range(90):
        size = "" if row % 7 == 0 else f"{rng.normal(20, 9):.2f}"
        lines.append(f"{size},{rng.choice(['red', 'blue', ''])},{rng.normal():.3f}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    return HParams(data=str(tmp_path / "table.csv"), batch_size=8, epochs=2)


RESULTS = {"config.json", "history.json", "report.json", "state.npz", "model.keras"}
EVERYTHING = {"events", "train", "validation", "test", "embeddings.tsv", "labels.tsv", "projector_config.pbtxt"}


def small(hparams, folder, task, rate=0.05, epochs=2, batch_size=8, logging=None):
    """Train a small model as a recipe does; return the run, the model, the data and the metrics, not finished."""
    dataset = data.load(hparams, task)
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Flatten(), keras.layers.Dropout(0.2), keras.layers.Dense(dataset.num_classes or 1)]
    model = keras.Sequential([keras.Input(dataset.input_shape), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True) if dataset.num_classes else "mse"
    metrics = ["accuracy"] if dataset.num_classes else ["mae"]
    model.compile(keras.optimizers.SGD(rate), loss, metrics=metrics, jit_compile=False)
    run = Run(folder, hparams, logging=logging)
    batches = dataset.batches(dataclasses.replace(hparams, batch_size=batch_size))
    model.fit(batches.train, shuffle=False, epochs=epochs, callbacks=run.callbacks(batches), verbose=0)
    results = model.evaluate(batches.test, verbose=0, return_dict=True)
    return run, model, dataset, results


@pytest.mark.parametrize(
    ("logging", "names"),
    [
        (None, EVERYTHING | {"sprite.png"}),
        (LoggingOptions(level="scalars"), {"events", "train", "validation", "test"}),
        (LoggingOptions(level="nothing"), set()),
    ],
    ids=["everything", "scalars", "nothing"],
)
def test_a_finished_run_leaves_everything_in_its_folder_and_nothing_else(images, tmp_path, names_in, logging, names):
    run, model, dataset, results = small(images, tmp_path / "logs" / "fit", "classification", logging=logging)
    run.finish(model, dataset, results)
    run.close()
    assert names_in(run.folder) == RESULTS | names
    assert names_in(tmp_path / "logs") == {"fit"}
    with np.load(run.folder / "state.npz", allow_pickle=False) as archive:
        for name, array in state.arrays(model).items():
            np.testing.assert_array_equal(archive[name], array)
    assert json.loads((run.folder / "history.json").read_text()) == model.history.history


def test_the_report_holds_the_sides_own_metrics_and_the_scores(images, tmp_path):
    run, model, dataset, results = small(images, tmp_path / "fit", "classification")
    run.finish(model, dataset, {"accuracy": results["accuracy"], "loss": results["loss"]})
    run.close()
    report = json.loads((tmp_path / "fit" / "report.json").read_text())
    assert list(report["metrics"]) == ["loss", "accuracy", "precision", "recall", "f1", "auc"]
    assert report["metrics"] == run.metrics
    assert (run.metrics["loss"], run.metrics["accuracy"]) == (results["loss"], results["accuracy"])
    predicted = np.argmax(model.predict(dataset.test.x, verbose=0), axis=1)
    recalls = [np.mean(predicted[dataset.test.y == k] == k) for k in range(3)]
    assert run.metrics["recall"] == pytest.approx(np.mean(recalls))
    assert report["updates"] == 2 * 8 == int(model.optimizer.iterations)  # 57 training examples
    assert report["weights_moved"] is True
    assert report["steps_per_execution"] == 1
    assert report["first_epoch_seconds"] == run.recorder.epoch_seconds[0]
    assert report["seconds_per_epoch"] == run.recorder.epoch_seconds[1]
    assert report["seconds_total"] > sum(run.recorder.epoch_seconds)
    assert 50 < report["peak_memory_mib"] < 100_000


def test_a_single_epoch_has_no_steady_time(images, tmp_path):
    run, model, dataset, results = small(images, tmp_path, "classification", epochs=1)
    run.finish(model, dataset, results)
    run.close()
    assert json.loads((tmp_path / "report.json").read_text())["seconds_per_epoch"] is None


def test_a_regression_run_reports_mse_mae_and_r2(table, tmp_path):
    run, model, dataset, results = small(table, tmp_path / "fit", "regression")
    run.finish(model, dataset, results)
    run.close()
    assert list(run.metrics) == ["loss", "mae", "mse", "r2"]
    predictions = model.predict(dataset.test.x, verbose=0)
    assert run.metrics["mse"] == pytest.approx(np.mean((predictions - dataset.test.y) ** 2))
    assert run.metrics["loss"] == pytest.approx(run.metrics["mse"], rel=1e-5)


def test_a_diverged_run_is_written_and_then_raised(images, tmp_path):
    run, model, dataset, _ = small(images, tmp_path, "classification", rate=1e38)
    with pytest.raises(TrainingDiverged, match=r"of epoch 1; try a smaller --learning-rate than 0.001\. The logs are"):
        run.finish(model, dataset, {"accuracy": 0.1, "loss": float("nan")})
    run.close()
    assert json.loads((tmp_path / "report.json").read_text())["metrics"] == {"loss": None, "accuracy": 0.1}
    assert json.loads((tmp_path / "history.json").read_text())["loss"] == [None]
    assert (tmp_path / "state.npz").exists()


@pytest.mark.parametrize("name", ["mlp_classifier", "softmax_classifier", "linear_svm", "linear_regression"])
def test_a_last_update_that_ruins_the_weights_is_a_divergence_too(train, name):
    """The loss of the only step is finite; that of the test part is not."""
    examples = {"linear_svm": 364, "linear_regression": 282}.get(name, 1149)
    with pytest.raises(TrainingDiverged):
        train(name, "fit", learning_rate=1e38, epochs=1, batch_size=examples, jit_compile=False)


def test_weights_ruined_by_the_last_update_are_a_divergence_without_validation_too(images, tmp_path):
    run, model, dataset, results = small(images, tmp_path, "classification", rate=1e38, epochs=1, batch_size=57)
    assert np.isfinite(run.recorder.history["loss"]).all()
    assert not np.isfinite(results["loss"])
    with pytest.raises(TrainingDiverged):
        run.finish(model, dataset, results)
    run.close()


def test_the_folder_is_made_when_training_begins_not_before(tmp_path):
    run = Run(tmp_path / "logs" / "fit", HParams())
    run.child("fold_1")
    run.close()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_may_be_given_as_text(tmp_path):
    assert Run(str(tmp_path), HParams()).folder == tmp_path


def test_a_child_has_a_folder_and_callbacks_of_its_own(images, tmp_path):
    logging, source = LoggingOptions(every=3), tmp_path / "mine.py"
    run = Run(tmp_path / "fit", images, verbose=2, about={"recipe": "mine"}, logging=logging, source=source)
    child = run.child("fold_1")
    assert run.children == [child]
    assert child.folder == tmp_path / "fit" / "fold_1"
    assert (child.hparams, child.verbose, child.about) == (images, 2, {"recipe": "mine"})
    assert (child.logging, child.source) == (logging, source)
    assert not set(map(id, child.callbacks())) & set(map(id, run.callbacks()))


def test_closing_writes_what_a_failed_training_left_unwritten(tmp_path):
    class Fail(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 2:
                raise RuntimeError("power cut")

    run = Run(tmp_path / "fit", HParams())
    child = run.child("fold_1")
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=False)
    with pytest.raises(RuntimeError, match="power cut"):
        model.fit(np.ones((4, 1)), np.ones((4, 1)), epochs=5, callbacks=[*child.callbacks(), Fail()], verbose=0)
    run.close()
    run.close()
    assert len(json.loads((child.folder / "history.json").read_text())["loss"]) == 3
    train = read_scalars(child.folder / "train")
    assert train["epoch_loss"][0] == train["step_loss"][0] == 3


def test_a_model_that_cannot_be_saved_leaves_nothing_half_written(images, tmp_path, monkeypatch, names_in, capsys):
    run, model, dataset, results = small(images, tmp_path / "fit", "classification")

    def save(self, path):
        path.write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(keras.Model, "save", save)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "elsewhere"))
    (tmp_path / "elsewhere").mkdir()
    run.finish(model, dataset, results)
    run.close()
    assert run.results.lost == ["model.keras"]
    before = {"sprite.png", "config.json", "history.json", "state.npz", "report.json"}
    assert names_in(run.folder) == EVERYTHING | before
    (rescue,) = (tmp_path / "elsewhere").iterdir()
    assert names_in(rescue) == set()
    assert json.loads((run.folder / "report.json").read_text())["metrics"] == run.metrics
    assert capsys.readouterr().err == f"cannot write to {run.folder}: disk full; what follows goes to {rescue}\n"


def test_results_that_find_no_room_go_elsewhere_and_the_scores_stay(images, tmp_path, monkeypatch, names_in):
    run, model, dataset, results = small(images, tmp_path / "fit", "classification")
    save = keras.Model.save

    def full(self, path):
        if path.is_relative_to(run.folder):
            raise OSError("disk full")
        save(self, path)

    monkeypatch.setattr(keras.Model, "save", full)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "elsewhere"))
    (tmp_path / "elsewhere").mkdir()
    run.finish(model, dataset, results)
    run.picture("curve", Figure(figsize=(1, 1)))
    run.close()
    (rescue,) = (tmp_path / "elsewhere").iterdir()
    assert names_in(rescue) == {"model.keras", "curve.png"}
    assert run.results.lost == []
    loaded = keras.saving.load_model(rescue / "model.keras")
    assert loaded.count_params() == model.count_params()


def test_a_model_that_refuses_to_be_saved_costs_no_score(images, tmp_path, monkeypatch):
    run, model, dataset, results = small(images, tmp_path / "fit", "classification")

    def refuse(self, path):
        raise TypeError("a lambda is not JSON\nand more")

    monkeypatch.setattr(keras.Model, "save", refuse)
    run.finish(model, dataset, results)
    run.close()
    report = json.loads((run.folder / "report.json").read_text())
    assert report["notes"][-1] == "model.keras could not be saved: a lambda is not JSON"
    assert {"loss", "precision"} <= report["metrics"].keys()
    assert not (run.folder / "model.keras").exists()


def test_a_process_that_was_not_configured_is_told_so(tmp_path, monkeypatch):
    monkeypatch.setattr(tf.config.optimizer, "get_experimental_options", dict)
    with pytest.raises(UsageError, match=r"constant folding is on.*call recipes\.shared\.runtime\.configure\(\)"):
        Run(tmp_path, HParams())


@pytest.mark.process
def test_the_saved_models_predict_on_raw_input_where_the_project_is_not_installed(images, table, tmp_path):
    expected, folders = {}, []
    for hparams, task in ((images, "classification"), (table, "regression")):
        run, model, dataset, results = small(hparams, tmp_path / task, task)
        run.finish(model, dataset, results)
        run.close()
        folders.append(run.folder)
        if task == "classification":
            with np.load(hparams.data) as archive:
                raw = archive["x_train"][:7]
            np.save(tmp_path / "images.npy", raw)
            expected["images"] = model.predict(raw.astype(np.float32) / 255, verbose=0)
        else:
            rows = {"size in m": np.float32([12.5, np.nan, -3]), "colour": np.array(["red", "never seen", ""])}
            expected["table"] = model.predict(preprocessing.apply(dataset.preprocessing, rows), verbose=0)
    packages = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    models = [str(folder / "model.keras") for folder in folders]
    command = [sys.executable, "-I", "-S", "-c", ALONE, *packages, *models]  # -S: no .pth file is read
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "predictions.npz") as predictions:
        np.testing.assert_allclose(predictions["images"], expected["images"], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(predictions["table"], expected["table"], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(predictions["table_called"], expected["table"], rtol=1e-5, atol=1e-6)
        assert np.ptp(predictions["table"]) > 0.01


def test_california_housing_trains_and_its_saved_model_takes_raw_rows(train, real_data):
    path = str(real_data / "california_housing.csv")
    options = {"data": path, "target": "median_house_value", "epochs": 2, "batch_size": 512}
    run = train("linear_regression", "fit", **options)
    model = keras.saving.load_model(run.folder / "model.keras")
    lines = [line.split(",") for line in (real_data / "california_housing.csv").read_text().splitlines()]
    names, rows = lines[0], [row for row in lines[1:] if row[4] == ""][:5] + lines[1:6]
    raw = {}
    for column, name in enumerate(names):
        if name == "ocean_proximity":
            raw[name] = tf.constant([[row[column]] for row in rows])
        elif name != "median_house_value":
            raw[name] = tf.constant([[float(row[column] or "nan")] for row in rows])
    predictions = model.predict(raw, verbose=0)
    assert np.isfinite(predictions).all()
    assert np.ptp(predictions) > 1000


def test_a_run_on_data_of_the_users_own_needs_no_dataset(tmp_path):
    run = Run(tmp_path / "run", HParams())
    model = keras.Sequential([keras.Input((4, 3)), keras.layers.Dense(3)])  # a sequence: nothing to score
    x = np.ones((8, 4, 3), np.float32)
    model.compile("sgd", "mse", jit_compile=False)
    model.fit(x, x, verbose=0, callbacks=run.callbacks())
    run.finish(model, None, {"loss": 0.5})
    run.close()
    assert json.loads((tmp_path / "run" / "report.json").read_text())["metrics"] == {"loss": 0.5}
    loaded = keras.saving.load_model(tmp_path / "run" / "model.keras")
    np.testing.assert_array_equal(loaded(x), model(x))


def test_a_loop_that_calls_the_epoch_hooks_alone_is_recorded_and_its_nan_is_seen(tmp_path):
    run = Run(tmp_path / "run", HParams())
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    hooks = keras.callbacks.CallbackList(run.callbacks(), model=model)
    hooks.on_train_begin()
    for epoch, loss in enumerate([1.0, float("nan")]):
        hooks.on_epoch_begin(epoch)
        hooks.on_epoch_end(epoch, {"loss": loss})
    hooks.on_train_end()
    with pytest.raises(TrainingDiverged, match=r"became NaN .* epoch 2"):
        run.finish(model, None, {"loss": 1.0})
    run.close()
    assert json.loads((tmp_path / "run" / "history.json").read_text()) == {"loss": [1.0, None]}


def read_scalars(folder):
    """Return {tag: (step, value)} of the last point of every tag in `folder`."""
    events = EventAccumulator(str(folder)).Reload()
    return {tag: (events.Scalars(tag)[-1].step, events.Scalars(tag)[-1].value) for tag in events.Tags()["scalars"]}


def classification_by_scikit_learn(labels, logits):
    predictions = logits.argmax(axis=1)
    probabilities = scipy.special.softmax(logits.astype(np.float64), axis=1)
    return {
        "accuracy": metrics.accuracy_score(labels, predictions),
        "precision": metrics.precision_score(labels, predictions, average="macro", zero_division=0.0),
        "recall": metrics.recall_score(labels, predictions, average="macro", zero_division=0.0),
        "f1": metrics.f1_score(labels, predictions, average="macro", zero_division=0.0),
        "auc": metrics.roc_auc_score(labels, probabilities, multi_class="ovr"),
    }


def regression_by_scikit_learn(targets, predictions):
    return {
        "mse": metrics.mean_squared_error(targets, predictions),
        "mae": metrics.mean_absolute_error(targets, predictions),
        "r2": metrics.r2_score(targets, predictions),
    }


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_final_scores_of_both_parts_are_those_of_scikit_learn(images, table, tmp_path, task):
    run, model, dataset, results = small(images if task == "classification" else table, tmp_path / "fit", task)
    updates = int(model.optimizer.iterations)
    run.finish(model, dataset, results)
    run.close()
    score = classification_by_scikit_learn if task == "classification" else regression_by_scikit_learn
    expected = {
        part: score(getattr(dataset, part).y, model.predict(getattr(dataset, part).x, verbose=0))
        for part in ("validation", "test")
    }
    report = json.loads((run.folder / "report.json").read_text())
    rounding = {"rel": 1e-5, "abs": 1e-6}  # R2 is 1 less a quotient, and may be near 0
    assert report["validation_metrics"] == run.validation_metrics == pytest.approx(expected["validation"], **rounding)
    assert report["metrics"] == pytest.approx(expected["test"] | {"loss": results["loss"]}, **rounding)
    assert expected["validation"] != expected["test"]
    for part, reported in (("validation", run.validation_metrics), ("test", run.metrics)):
        points = {tag: point for tag, point in read_scalars(run.folder / part).items() if tag.startswith("final_")}
        assert points.keys() == {f"final_{name}" for name in reported}
        assert {step for step, _ in points.values()} == {updates}
        values = {name: points[f"final_{name}"][1] for name in expected[part]}
        assert values == pytest.approx(expected[part], **rounding)


def test_what_the_side_measured_itself_is_not_overwritten_by_the_scores(images, tmp_path):
    run, model, dataset, _ = small(images, tmp_path / "fit", "classification")
    run.finish(model, dataset, {"recall": 0.25, "loss": 0.5})
    run.close()
    assert (run.metrics["recall"], run.metrics["loss"]) == (0.25, 0.5)
    assert list(run.metrics) == ["loss", "recall", "accuracy", "precision", "f1", "auc"]
    assert read_scalars(run.folder / "test")["final_recall"][1] == 0.25


def test_a_diverged_run_has_no_final_scores(images, tmp_path):
    run, model, dataset, _ = small(images, tmp_path / "fit", "classification", rate=1e38)
    with pytest.raises(TrainingDiverged):
        run.finish(model, dataset, {"accuracy": 0.1, "loss": float("nan")})
    run.close()
    assert run.validation_metrics == {}
    assert not (run.folder / "test").exists()


def test_a_run_is_called_by_its_folder_and_a_child_may_have_other_hyper_parameters(tmp_path):
    hparams, other = HParams(seed=1), HParams(seed=2, learning_rate=0.25)
    run = Run(tmp_path / "now" / "fit", hparams)
    first, second = run.child("fold_1"), run.child("fold_2", other)
    assert [each.name for each in (run, first, second)] == ["fit", "fold_1", "fold_2"]
    assert (first.hparams, second.hparams) == (hparams, other)
    train_briefly(second)
    config = json.loads((second.folder / "config.json").read_text())
    assert (config["hparams"]["seed"], config["hparams"]["learning_rate"]) == (2, 0.25)
    run.close()
    assert read_scalars(second.folder / "train").keys() >= {"epoch_loss"}  # closed, so written, with its parent


def train_briefly(run, epochs=3, examples=10, rate=0.1):
    """Train a small model, 2 examples a step, and finish the run."""
    x = np.linspace(-1, 1, examples, dtype=np.float32)[:, None]
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(rate), "mse", jit_compile=False)
    model.fit(x, 2 * x + 1, batch_size=2, epochs=epochs, callbacks=run.callbacks(), verbose=0)
    run.finish(model, None, {"loss": 0.5})


def test_a_run_of_children_alone_is_summarised_by_its_parent(tmp_path, names_in):
    run = Run(tmp_path / "now" / "fit", HParams(seed=3), about={"recipe": "mine"})
    for name, epochs, examples in (("fold_1", 3, 10), ("fold_2", 2, 7)):
        train_briefly(run.child(name), epochs, examples)
    run.summarise({"f1_mean": 0.5, "accuracy_mean": 0.75, "broken": float("nan")})
    run.close()
    report = json.loads((run.folder / "report.json").read_text())
    assert list(report["metrics"].items()) == [("f1_mean", 0.5), ("accuracy_mean", 0.75), ("broken", None)]
    assert report["children"] == ["fold_1", "fold_2"]
    assert report["validation_metrics"] == {}
    assert report["updates"] == 3 * 5 + 2 * 4
    assert report["weights_moved"] is True
    assert (report["steps_per_execution"], report["jit_compile"]) == (1, False)
    seconds = [child.recorder.epoch_seconds for child in run.children]
    assert report["first_epoch_seconds"] == seconds[0][0]
    assert report["seconds_per_epoch"] == pytest.approx((np.median(seconds[0][1:]) + np.median(seconds[1][1:])) / 2)
    assert report["seconds_total"] > sum(map(sum, seconds))
    config = json.loads((run.folder / "config.json").read_text())
    assert (config["recipe"], config["hparams"]["seed"]) == ("mine", 3)
    assert names_in(run.folder) == {"config.json", "report.json", "fold_1", "fold_2", "test", "events"}
    assert read_scalars(run.folder / "test") == {"final_f1_mean": (0, 0.5), "final_accuracy_mean": (0, 0.75)}
    assert not any((run.folder / part).exists() for part in ("train", "validation"))


@pytest.mark.parametrize("still", [0, 1])
def test_one_child_whose_weights_did_not_move_shows_in_the_parents_report(tmp_path, still):
    run = Run(tmp_path / "fit", HParams())
    for index in range(2):
        train_briefly(run.child(f"fold_{index}"), rate=0.0 if index == still else 0.1)
    run.summarise({"loss_mean": 0.5})
    run.close()
    assert json.loads((run.folder / "report.json").read_text())["weights_moved"] is False


def test_children_of_a_single_epoch_have_no_steady_time(tmp_path):
    run = Run(tmp_path / "fit", HParams())
    for index in range(2):
        train_briefly(run.child(f"fold_{index}"), epochs=1)
    run.summarise({})
    run.close()
    assert json.loads((run.folder / "report.json").read_text())["seconds_per_epoch"] is None


def test_a_run_without_children_says_so(images, tmp_path):
    run, model, dataset, results = small(images, tmp_path, "classification", epochs=1)
    run.finish(model, dataset, results)
    run.close()
    assert json.loads((tmp_path / "report.json").read_text())["children"] == []


def test_a_picture_is_a_file_in_the_folder_and_an_image_in_tensorboard(tmp_path):
    run = Run(tmp_path / "logs" / "fit", HParams())
    figure = Figure(figsize=(2, 1), dpi=100)
    figure.subplots().plot([0, 1], [1, 0])
    run.picture("curve", figure)
    path = run.folder / "curve.png"
    pixels = image.imread(path)
    assert pixels.shape == (100, 200, 4)
    assert np.ptp(pixels[..., 0]) == 1  # black on white
    events = EventAccumulator(str(run.folder)).Reload()  # visible before the run is closed
    assert events.Tags()["images"] == ["curve"]
    (shown,) = events.Images("curve")
    assert (shown.step, shown.encoded_image_string) == (0, path.read_bytes())
    run.close()


def test_a_picture_after_training_stands_at_the_updates_made(tmp_path):
    run = Run(tmp_path / "fit", HParams())
    train_briefly(run)
    for name in ("one", "other"):
        run.picture(name, Figure(figsize=(1, 1)))
    run.close()
    events = EventAccumulator(str(run.folder)).Reload()
    assert {name: events.Images(name)[0].step for name in ("one", "other")} == {"one": 15, "other": 15}
    assert "epoch_loss" in read_scalars(run.folder / "train")


@pytest.mark.parametrize("level", ["everything", "scalars", "nothing"])
def test_the_callbacks_record_and_log_unless_nothing_is_to_be_logged(tmp_path, level):
    run = Run(tmp_path, HParams(), logging=LoggingOptions(level=level))
    assert run.callbacks() == [run.recorder] + [run.logger] * (level != "nothing")
    assert [id(callback) for callback in run.callbacks()] == [id(callback) for callback in run.callbacks()]


@pytest.mark.parametrize("active", [False, True])
def test_what_sets_the_order_of_an_epoch_is_the_first_callback_and_the_users_own_are_the_last(tmp_path, active):
    batches, own = Batches((np.ones((4, 1), np.float32),), 2), keras.callbacks.Callback()
    run = Run(tmp_path, HParams(), saving=Saving(active=active))
    checkpoints = [run.checkpoints] * active
    assert run.callbacks(batches, own) == [batches, *checkpoints, run.recorder, run.logger, own]


def test_the_rate_of_a_step_without_an_optimizer_reaches_tensorboard(tmp_path):
    run = Run(tmp_path, HParams(learning_rate=0.5), logging=LoggingOptions(level="scalars"))
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    batches = Batches((np.ones((6, 1), np.float32),), 2)
    loop = Loop(model, lambda x: {"loss": tf.reduce_mean(model(x))})
    loop.train(
        batches,
        epochs=2,
        callbacks=run.callbacks(batches, learning_rate=lambda made: 1.0 / (tf.cast(made, tf.float32) + 1)),
    )
    run.close()
    points = EventAccumulator(str(tmp_path / "train")).Reload().Scalars("step_learning_rate")
    rates = [(point.step, point.value) for point in points]
    assert rates == [(step, pytest.approx(1 / step)) for step in range(1, 7)]


def test_the_callbacks_are_told_what_is_trained_on(images, tmp_path):
    with_data = small(images, tmp_path / "fit", "classification", epochs=1)[0]
    with_data.close()
    train = read_scalars(with_data.folder / "train")
    assert {"probe_gradient_norm", "epoch_examples_per_second"} <= train.keys()
    without = Run(tmp_path / "without", HParams())
    train_briefly(without)
    without.close()
    train = read_scalars(without.folder / "train")
    assert not {"probe_gradient_norm", "epoch_examples_per_second"} & train.keys()
    assert {"step_loss", "update_to_weight"} <= train.keys()


def test_a_diverged_run_has_no_pictures_of_a_ruined_model(images, tmp_path, names_in):
    run, model, dataset, _ = small(images, tmp_path / "fit", "classification", rate=1e38)
    with pytest.raises(TrainingDiverged):
        run.finish(model, dataset, {"accuracy": 0.1, "loss": float("nan")})
    run.close()
    assert names_in(run.folder) == RESULTS | {"events", "train"}


def test_the_report_counts_every_example_each_time_it_was_seen(images, tmp_path):
    run, model, dataset, results = small(images, tmp_path / "fit", "classification", epochs=3)
    run.finish(model, dataset, results)
    run.close()
    assert len(dataset.train) == 57
    assert json.loads((tmp_path / "fit" / "report.json").read_text())["examples_seen"] == 3 * 57


def test_the_report_of_children_adds_the_examples_of_each_up(images, tmp_path):
    run = Run(tmp_path / "fit", images)
    dataset = data.load(images, "classification")
    for epochs, part in ((1, dataset), (3, data.folds(images, 3)[0])):
        child = run.child(f"{epochs}_epochs")
        model = keras.Sequential([keras.Input(dataset.input_shape), keras.layers.Flatten(), keras.layers.Dense(3)])
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
        batches = part.batches(images)
        model.fit(batches.train, shuffle=False, epochs=epochs, callbacks=child.callbacks(batches), verbose=0)
        child.finish(model, None, {"loss": 0.5})
        alone = json.loads((child.folder / "report.json").read_text())
        assert alone["examples_seen"] == epochs * len(part.train)
    run.summarise({"loss_mean": 0.5})
    run.close()
    assert json.loads((run.folder / "report.json").read_text())["examples_seen"] == 57 + 3 * 60


def test_a_run_that_does_not_know_its_examples_counts_none(tmp_path):
    run = Run(tmp_path / "fit", HParams())
    train_briefly(run)
    run.close()
    assert json.loads((run.folder / "report.json").read_text())["examples_seen"] == 0


def two_classes(folder, positive):
    """Write two classes apart, the test part with as many positive examples; return hyper-parameters for them."""
    rng = np.random.default_rng(0)
    y, test_y = np.arange(90) % 2, np.arange(40) < positive
    arrays = {"x_train": rng.normal(size=(90, 3)) + y[:, None], "x_test": rng.normal(size=(40, 3)) + test_y[:, None]}
    np.savez(folder / "two.npz", **arrays, y_train=y, y_test=test_y.astype(int))
    return HParams(data=str(folder / "two.npz"), batch_size=8)


@pytest.mark.parametrize(("positive", "note"), [(20, None), (4, "(4 of class 1): "), (0, "no example of class 1: ")])
@pytest.mark.parametrize("activation", ["sigmoid", "linear"])
def test_the_scores_of_probabilities_are_scikit_learns_and_what_hides_little_is_noted(
    tmp_path, activation, positive, note
):
    hparams = two_classes(tmp_path, positive)
    dataset = data.load(hparams, "classification")
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation=activation)])
    run = Run(tmp_path / "fit", hparams, logging=LoggingOptions(level="everything" if positive == 4 else "nothing"))
    model.compile(
        keras.optimizers.SGD(0.1),
        keras.losses.BinaryCrossentropy(from_logits=activation == "linear"),
        jit_compile=False,
    )
    batches = dataset.batches(hparams)
    model.fit(batches.train, shuffle=False, verbose=0, callbacks=run.callbacks(batches))
    run.finish(model, dataset, {"loss": 0.5})
    run.close()
    report = json.loads((tmp_path / "fit" / "report.json").read_text())
    outputs = model.predict(dataset.test.x, verbose=0)[:, 0]
    predicted, labels = outputs > (0.5 if activation == "sigmoid" else 0.0), dataset.test.y
    expected = {"loss": 0.5, "accuracy": metrics.accuracy_score(labels, predicted)}
    if positive:
        average = {"average": "macro", "zero_division": 0}
        expected |= {
            "precision": metrics.precision_score(labels, predicted, **average),
            "recall": metrics.recall_score(labels, predicted, **average),
            "f1": metrics.f1_score(labels, predicted, **average),
            "auc": metrics.roc_auc_score(labels, outputs),
        }
    assert report["metrics"] == pytest.approx(expected)
    assert [note in each for each in report["notes"]] == ([] if note is None else [True])
    assert report["validation_metrics"].keys() == {"accuracy", "precision", "recall", "f1", "auc"}


def test_what_children_note_is_said_once(tmp_path):
    hparams = two_classes(tmp_path, 0)
    dataset = data.load(hparams, "classification")
    run = Run(tmp_path / "fit", hparams, logging=LoggingOptions(level="nothing"))
    for name in ("one", "two"):
        child = run.child(name)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.1), keras.losses.BinaryCrossentropy(from_logits=True), jit_compile=False)
        batches = dataset.batches(hparams)
        model.fit(batches.train, shuffle=False, verbose=0, callbacks=child.callbacks(batches))
        child.finish(model, dataset, {"loss": 0.5})
    run.summarise({"loss": 0.5})
    run.close()
    assert len(json.loads((tmp_path / "fit" / "report.json").read_text())["notes"]) == 1


def with_targets(dataset, targets):
    """The data set with other targets, the same for all parts."""
    return data.map_targets(dataset, lambda _: targets)


def finished(hparams, folder, change=lambda dataset: dataset, outputs=None, end=None):
    """Finish a run of a small classifier, with a part of its data changed; return its report."""
    run, model, dataset, results = small(hparams, folder, "classification", epochs=1)
    if end is not None:
        model = end(model)
    run.finish(model, change(dataset), {"loss": results["loss"], "mine": 0.25}, outputs=outputs)
    run.close()
    return json.loads((folder / "report.json").read_text())


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (lambda dataset: replace(dataset, task=None), None),
        (lambda dataset: with_targets(dataset, None), None),
        (lambda dataset: data.map_targets(dataset, lambda y: {"a": y, "b": y}), "the targets are a dict"),
        (lambda dataset: data.map_targets(dataset, lambda y: y / 7 + 0.1), "not the indices of 3 classes"),
        (lambda dataset: data.map_targets(dataset, lambda y: np.ones((len(y), 5, 5))), "of shape (18, 5, 5)"),
    ],
    ids=["no task", "no targets", "a dict", "fractions", "images"],
)
def test_without_targets_that_the_task_can_score_the_rest_is_there(images, tmp_path, names_in, change, note):
    report = finished(images, tmp_path / "fit", change)
    assert report["metrics"].keys() == {"loss", "mine"}
    assert report["validation_metrics"] == {}
    left_out = [each for each in report["notes"] if "left out" in each or "no pictures" in each]
    assert len(left_out) == (note is not None)
    assert all(each.startswith("scores besides those") and note in each for each in left_out)
    assert names_in(tmp_path / "fit") == RESULTS | {"events", "train", "validation", "test"}
    events = EventAccumulator(str(tmp_path / "fit" / "test")).Reload()
    assert (events.Tags()["images"], events.Scalars("final_mine")[0].value) == (["filters"], 0.25)


def test_a_part_for_validation_may_be_empty(images, tmp_path):
    report = finished(
        images, tmp_path / "fit", lambda dataset: replace(dataset, validation=dataset.validation.first(0))
    )
    assert report["validation_metrics"] == {}
    assert {"precision", "auc"} <= report["metrics"].keys()


class Hidden(keras.Model):
    """Has its activation in `call`."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def call(self, x):
        return keras.ops.softmax(self.model(x))


KNOWN = {"loss", "mine", "accuracy", "precision", "recall", "f1", "auc"}


@pytest.mark.parametrize(
    ("outputs", "end", "metrics", "note"),
    [
        (None, None, KNOWN, None),
        (
            None,
            Hidden,
            KNOWN - {"auc"},
            "auc and the pictures of probabilities are left out; say it by run.finish(..., ",
        ),
        ("probabilities", Hidden, KNOWN, None),
        ("logit", None, {"loss", "mine"}, "outputs is 'logit'; it must be one of 'logits', 'probabilities'"),
    ],
)
def test_what_the_outputs_mean_may_be_said_and_is_not_guessed(images, tmp_path, outputs, end, metrics, note):
    report = finished(images, tmp_path / "fit", outputs=outputs, end=end)
    assert report["metrics"].keys() == metrics
    found = [each for each in report["notes"] if "left out" in each]
    assert [note in each for each in found] == ([] if note is None else [True])
    curves = EventAccumulator(str(tmp_path / "fit" / "test")).Reload().Tags()["tensors"]
    assert bool(curves) == (note is None)


def test_softmax_that_is_said_has_the_scores_of_its_logits(images, tmp_path):
    shown = finished(images, tmp_path / "logits")["metrics"]
    said = finished(images, tmp_path / "softmax", outputs="probabilities", end=Hidden)["metrics"]
    assert said == pytest.approx(shown, rel=1e-6)
