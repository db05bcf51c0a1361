"""A run's folder, and the saved model in a process that does not know this project."""

import json
import subprocess
import sys
import sysconfig

import keras
import numpy as np
import pytest
import tensorflow as tf

from recipes.shared import data, preprocessing, state
from recipes.shared.errors import TrainingDiverged, UsageError
from recipes.shared.hparams import HParams
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


def small(hparams, folder, task, rate=0.05, epochs=2, batch_size=8):
    """Train a small model as a recipe does; return the run, the model, the data and the metrics, not finished."""
    dataset = data.load(hparams, task)
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Flatten(), keras.layers.Dropout(0.2), keras.layers.Dense(dataset.num_classes or 1)]
    model = keras.Sequential([keras.Input(dataset.input_shape), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True) if dataset.num_classes else "mse"
    metrics = ["accuracy"] if dataset.num_classes else ["mae"]
    model.compile(keras.optimizers.SGD(rate), loss, metrics=metrics, jit_compile=False)
    run = Run(folder, hparams)
    model.fit(
        dataset.train.x, dataset.train.y, batch_size=batch_size, epochs=epochs, callbacks=run.callbacks, verbose=0
    )
    results = model.evaluate(dataset.test.x, dataset.test.y, verbose=0, return_dict=True)
    return run, model, dataset, results


def test_a_finished_run_leaves_everything_in_its_folder_and_nothing_else(images, tmp_path):
    run, model, dataset, results = small(images, tmp_path / "logs" / "fit", "classification")
    run.finish(model, dataset, results)
    run.close()
    names = {path.name for path in run.folder.iterdir()}
    assert names == {
        "config.json",
        "history.json",
        "report.json",
        "state.npz",
        "model.keras",
        "train",
        "validation",
    }
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
    run = Run(tmp_path / "fit", images, verbose=2, about={"recipe": "mine"})
    child = run.child("fold_1")
    assert run.children == [child]
    assert child.folder == tmp_path / "fit" / "fold_1"
    assert (child.hparams, child.verbose, child.about) == (images, 2, {"recipe": "mine"})
    assert not set(map(id, child.callbacks)) & set(map(id, run.callbacks))


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
        model.fit(np.ones((4, 1)), np.ones((4, 1)), epochs=5, callbacks=[*child.callbacks, Fail()], verbose=0)
    run.close()
    run.close()
    assert len(json.loads((child.folder / "history.json").read_text())["loss"]) == 3
    assert child.logger.files == {}


def test_a_model_that_cannot_be_saved_leaves_nothing_half_written(images, tmp_path, monkeypatch):
    run, model, dataset, results = small(images, tmp_path / "fit", "classification")

    def save(self, path):
        path.write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(keras.Model, "save", save)
    with pytest.raises(OSError, match="disk full"):
        run.finish(model, dataset, results)
    run.close()
    names = {path.name for path in run.folder.iterdir()}
    assert names == {"config.json", "history.json", "state.npz", "train", "validation"}


def test_a_process_that_was_not_configured_is_told_so(tmp_path, monkeypatch):
    monkeypatch.setattr(tf.config.optimizer, "get_experimental_options", dict)
    with pytest.raises(UsageError, match=r"constant folding is on.*call recipes\.shared\.runtime\.configure\(\)"):
        Run(tmp_path, HParams())


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
    model.fit(x, x, verbose=0, callbacks=run.callbacks)
    run.finish(model, None, {"loss": 0.5})
    run.close()
    assert json.loads((tmp_path / "run" / "report.json").read_text())["metrics"] == {"loss": 0.5}
    loaded = keras.saving.load_model(tmp_path / "run" / "model.keras")
    np.testing.assert_array_equal(loaded(x), model(x))


def test_a_loop_that_calls_the_epoch_hooks_alone_is_recorded_and_its_nan_is_seen(tmp_path):
    run = Run(tmp_path / "run", HParams())
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    hooks = keras.callbacks.CallbackList(run.callbacks, model=model)
    hooks.on_train_begin()
    for epoch, loss in enumerate([1.0, float("nan")]):
        hooks.on_epoch_begin(epoch)
        hooks.on_epoch_end(epoch, {"loss": loss})
    hooks.on_train_end()
    with pytest.raises(TrainingDiverged, match=r"became NaN .* epoch 2"):
        run.finish(model, None, {"loss": 1.0})
    run.close()
    assert json.loads((tmp_path / "run" / "history.json").read_text()) == {"loss": [1.0, None]}
