"""One side trained by `fit` or `loop`: what it leaves, and how bad input ends."""

import errno
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from recipes.__main__ import main
from recipes.commands import boards, catalog, side
from recipes.shared.errors import UsageError, WorkerLost
from recipes.shared.logging_options import LoggingOptions
from tests.trainings import slow

pytestmark = pytest.mark.usefixtures("cwd")

RESULTS = {"config.json", "history.json", "model.keras", "report.json", "state.npz"}
PARTS = {"train", "validation", "test"}
EMBEDDINGS = {"embeddings.tsv", "labels.tsv", "projector_config.pbtxt"}
FILES = RESULTS | PARTS | EMBEDDINGS | {"events"}


@pytest.fixture
def refused(cwd, capfd):
    """A function that runs the command in this process and returns the one line that it is refused with."""

    def refused(*args):
        before = sorted(cwd.rglob("*"))
        assert main(list(args)) == 2
        captured = capfd.readouterr()  # of the file descriptors: TensorFlow's C++ side must be silent as well
        assert captured.out == ""
        assert len(captured.err.splitlines()) == 1
        assert captured.err.startswith("recipes: ")
        assert sorted(cwd.rglob("*")) == before
        return captured.err

    return refused


def examples(number=100, features=3, seed=0):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(number, features)), generator.integers(0, 3, number)


def with_value(array, value):
    array = array.astype(float)
    array.flat[4] = value
    return array


def npz(**arrays):
    np.savez("x.npz", **arrays)
    return "x.npz"


def csv(text):
    Path("x.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return "x.csv"


def table(*extra_rows):
    x, y = examples()
    rows = [f"{a:.3f},{b:.3f},{label}" for (a, b, _), label in zip(x, y, strict=True)]
    return csv("\n".join(["a,b,label", *rows, *extra_rows]))


@pytest.mark.parametrize(("verb", "name"), [("fit", "fit"), ("loop", "custom_loop")])
@pytest.mark.process
def test_the_real_command_trains_one_side_and_says_where_the_run_is(verb, name, cwd, names_in):
    process = subprocess.run(
        [sys.executable, "-m", "recipes", verb, "mlp_classifier", "--data", "iris", "--epochs", "2", "--seed", "3"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.stderr == ""
    assert process.returncode == 0
    (folder,) = (cwd / "logs" / "mlp_classifier").glob(f"*/{name}")
    assert names_in(folder) == FILES
    assert {path.name for path in (cwd / "logs").iterdir()} == {"mlp_classifier", boards.CONFIGURATION}
    report = json.loads((folder / "report.json").read_text())
    last_lines = process.stdout.splitlines()[-3:]
    assert last_lines[0].startswith(f"test: loss {report['metrics']['loss']:.4g}, accuracy ")
    assert last_lines[1:] == [f"run:  {folder.relative_to(cwd)}", "look: recipes board mlp_classifier"]
    assert "Epoch 2/2" in process.stdout
    config = json.loads((folder / "config.json").read_text())
    assert config["recipe"] == "mlp_classifier"
    assert config["side"] == name
    assert config["command"] == f"recipes {verb} mlp_classifier --data iris --epochs 2 --seed 3"
    assert (config["hparams"]["epochs"], config["hparams"]["seed"], config["hparams"]["data"]) == (2, 3, "iris")
    assert len(json.loads((folder / "history.json").read_text())["loss"]) == 2


@pytest.mark.process
def test_the_real_command_stops_at_nan_names_the_step_and_keeps_the_logs(cwd, names_in):
    process = subprocess.run(
        [sys.executable, "-m", "recipes", "fit", "mlp_classifier", "--data", "iris", "--learning-rate", "1e30"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1
    (folder,) = (cwd / "logs" / "mlp_classifier").glob("*/fit")
    assert process.stderr == (
        "recipes: the loss became NaN at step 2 of epoch 1; try a smaller --learning-rate than 1e+30."
        f" The logs are in {folder.relative_to(cwd)}\n"
    )
    assert names_in(folder) == FILES - EMBEDDINGS - {"test"}
    assert len(json.loads((folder / "history.json").read_text())["loss"]) == 1


# The range test goes up to where the loss diverges, on purpose.
@pytest.mark.parametrize("name", [name for name in catalog.pairs() if name != "learning_rate_range_test"])
@pytest.mark.parametrize(("verb", "folder"), [slow("fit", "fit"), ("loop", "custom_loop")])
@pytest.mark.parametrize("log", ["nothing", slow("everything")])
def test_every_recipe_stops_at_a_loss_that_is_not_finite(name, verb, folder, log, cwd, capsys):
    args = ["--epochs", "5", "--learning-rate", "3e38", "--run", "mine", "--log", log]
    args += [] if "jit_compile" in catalog.find(name).fit.unused else ["--no-jit-compile"]
    assert main([verb, name, *args]) == 1
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert re.search(
        r"the (\w+ )?loss became (NaN|infinite) (at|at or before|in validation, after) step \d+ of epoch \d+;", error
    )
    assert str(Path("logs") / name / "mine" / folder) in error
    assert list((cwd / "logs" / name / "mine" / folder).rglob("history.json"))


def test_both_sides_name_the_same_step(capsys):
    steps = []
    for verb in ("fit", "loop"):
        assert main([verb, "mlp_classifier", "--data", "iris", "--learning-rate", "1e10", "--no-jit-compile"]) == 1
        steps.append(capsys.readouterr().err.partition(";")[0])
    assert steps[0] == steps[1]


@pytest.mark.parametrize("verb", ["fit", "loop"])
@pytest.mark.parametrize(
    ("flags", "answer"),
    [
        (["--batch-size", "0"], "--batch-size is 0; it must be at least 1"),
        (["--epochs", "0"], "--epochs is 0; it must be at least 1"),
        (["--epochs", "-2"], "--epochs is -2; it must be at least 1"),
        (["--learning-rate", "0"], "must be greater than 0"),
        (["--learning-rate", "-0.1"], "must be greater than 0"),
        (["--learning-rate", "nan"], "must be greater than 0"),
        (["--epoch", "3"], "unknown flag --epoch; did you mean --epochs?"),
        (["--epochs", "many"], "'many'"),
        (["--run", "a/b"], "--run is 'a/b'; it must be a plain name"),
        (["--run", ".."], "it must be a plain name"),
        (["--run", ""], "it must be a plain name"),
        (["--batch-size", "100000"], "more than the 1149 training examples of digits"),
        (["--data", "nothing.npz"], "no file nothing.npz"),
        (["--data", "nothing.csv"], "no file nothing.csv"),
        (["--data", "nothing"], "no data set named 'nothing'; use one of digits, "),
        (["--data", "diabetes"], "diabetes holds numbers to predict; this recipe predicts classes"),
        (["--target", "label"], "--target describes a table (.csv, .tsv, "),
        (["--log-every", "0"], "--log-every is 0; it must be at least 1"),
        (["--log-every", "-3"], "--log-every is -3; it must be at least 1"),
        (["--log-every", "often"], "'often'"),
        (["--log", "scalars", "--log-every", "5"], "--log-every measures gradients, which --log scalars leaves out"),
        (["--log", "nothing", "--profile"], "--profile writes for TensorBoard, and --log nothing forbids it"),
        (["--log", "much"], "--log is 'much'; it must be one of everything, scalars, nothing"),
    ],
)
def test_bad_flags_are_refused_on_both_sides(verb, flags, answer, refused):
    assert answer in refused(verb, "mlp_classifier", *flags)


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--hidden-units", "0"), ("--hidden-units", "-3"), ("--C", "0"), ("--C", "-1"), ("--momentum", "2")],
)
def test_a_recipes_own_flag_with_a_value_that_cannot_work_is_refused(flag, value, refused):
    name = "mlp_classifier" if flag == "--hidden-units" else "linear_svm"
    assert flag in refused("fit", name, flag, value, "--epochs", "1")


@pytest.mark.parametrize("recipe", ["linear_regression", "gradient_descent"])
def test_a_regression_recipe_given_classes_is_refused(recipe, refused):
    assert "digits holds classes to predict; this recipe predicts numbers" in refused("fit", recipe, "--data", "digits")
    small = ["--batch-size", "8"] if recipe == "linear_regression" else []
    x, y = examples()
    assert "the target looks like 3 classes" in refused("fit", recipe, "--data", npz(x_train=x, y_train=y), *small)
    assert "the target looks like 3 classes" in refused("fit", recipe, "--data", table(), *small)
    text = csv("a,b\n" + "1,yes\n2,no\n" * 50)
    assert "the target holds text" in refused("fit", recipe, "--data", text, *small)


@pytest.mark.parametrize("verb", ["fit", "loop"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_in_an_npz_are_refused(verb, value, refused):
    x, y = examples()
    bad_x = npz(x_train=with_value(x, value), y_train=y)
    assert "x_train has NaN or infinite values" in refused(verb, "mlp_classifier", "--data", bad_x)
    bad_test = npz(x_train=x, y_train=y, x_test=with_value(x, value), y_test=y)
    assert "x_test has NaN or infinite values" in refused(verb, "mlp_classifier", "--data", bad_test)
    bad_y = npz(x_train=x, y_train=with_value(y, value))
    assert "the target has NaN or infinite values" in refused(verb, "mlp_classifier", "--data", bad_y)
    numbers = npz(x_train=x, y_train=with_value(x[:, 0], value))
    flags = ["--data", numbers, "--batch-size", "8"]
    assert "the target has NaN or infinite values" in refused(verb, "linear_regression", *flags)


def test_infinity_in_a_table_and_an_empty_target_are_refused(refused):
    args = ["fit", "mlp_classifier", "--data"]
    assert "the column 'b' has infinite values" in refused(*args, table("1.0,inf,2"))
    assert "the target column 'label' is empty in data row 101" in refused(*args, table("1.0,2.0,"))
    assert "the target has NaN or infinite values" in refused(*args, table("1.0,2.0,inf"))


def test_labels_that_do_not_fit_the_loss_are_refused(refused):
    x, y = examples()
    args = ["fit", "mlp_classifier", "--data"]
    assert "the target holds fractions" in refused(*args, npz(x_train=x, y_train=x[:, 0]))
    assert "not one-hot" in refused(*args, npz(x_train=x, y_train=np.eye(3)[y]))
    assert "there is nothing to tell apart" in refused(*args, npz(x_train=x, y_train=y * 0))
    x_test, y_test = x[:3], np.array([0, 1, 7])
    assert "the test part has the class 7" in refused(*args, npz(x_train=x, y_train=y, x_test=x_test, y_test=y_test))
    assert "cannot be split" in refused(*args, npz(x_train=x, y_train=np.append(y[1:], 9)))
    many = npz(x_train=np.zeros((300, 1)), y_train=np.arange(300))
    assert "the target has 300 distinct values" in refused(*args, many)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # NumPy leaves a truncated .npz open
def test_a_corrupt_npz_is_refused(refused):
    x, y = examples()
    whole = Path(npz(x_train=x, y_train=y)).read_bytes()
    args = ["fit", "mlp_classifier", "--data", "broken.npz"]
    changed = bytearray(whole)
    changed[500] ^= 255
    for content in (b"", b"hello", whole[:400], bytes(changed)):
        Path("broken.npz").write_bytes(content)
        assert "cannot read broken.npz" in refused(*args)
    Path("broken.npz").unlink()
    Path("broken.npz").mkdir()
    assert "the folder broken.npz has no train-*.npz" in refused(*args)


def test_an_npz_that_lacks_something_is_refused(refused):
    x, y = examples()
    args = ["fit", "mlp_classifier", "--data"]
    assert "it needs x_train and y_train" in refused(*args, npz(x_train=x))
    assert "only one of x_test and y_test" in refused(*args, npz(x_train=x, y_train=y, x_test=x))
    assert "x_train has 100 examples, y_train 50" in refused(*args, npz(x_train=x, y_train=y[:50]))


def test_an_npz_is_never_unpickled(refused):
    class Bomb:
        def __reduce__(self):
            return (Path("exploded").touch, ())

    labels = np.array([Bomb()] * 100, dtype=object)
    assert "plain arrays" in refused("fit", "mlp_classifier", "--data", npz(x_train=examples()[0], y_train=labels))
    assert not Path("exploded").exists()


@pytest.mark.parametrize(
    "text",
    [b"", b'a,b\n"1,2\n3,4\n', b"a,b\n1,2\n1,2,3,4\n", bytes(range(256)) * 8, b"a,b\n", b"a\n1\n2\n", b"\xff\xfe\xff"],
)
def test_a_corrupt_csv_is_refused(text, refused):
    assert "x.csv" in refused("fit", "mlp_classifier", "--data", csv(text))


def test_a_missing_target_column_is_refused_and_the_columns_named(refused):
    message = refused("fit", "mlp_classifier", "--data", table(), "--target", "price")
    assert "x.csv has no column 'price'; its columns are a, b, label" in message


def test_a_text_column_that_is_no_category_is_refused_by_name(refused):
    text = csv("words,label\n" + "\n".join(f"word{index},{index % 2}" for index in range(200)))
    assert "the text column 'words' (200 distinct values, more than 100)" in refused(
        "fit", "mlp_classifier", "--data", text
    )


def test_a_data_set_that_cannot_be_downloaded_names_an_embedded_one(refused, monkeypatch):
    import keras

    def fail():
        raise Exception("URL fetch failure on https://nowhere:\n None -- name resolution")

    monkeypatch.setattr(keras.datasets.mnist, "load_data", fail)
    monkeypatch.setattr(keras.datasets.boston_housing, "load_data", fail)
    message = refused("fit", "mlp_classifier", "--data", "mnist")
    assert "could not download mnist (URL fetch failure" in message
    assert "--data digits" in message
    assert "--data diabetes" in refused("fit", "linear_regression", "--data", "boston_housing")


def test_logs_that_cannot_be_written_to_are_refused_before_anything_is_trained(refused, monkeypatch, cwd):
    (cwd / "file").write_text("in the way")
    monkeypatch.setattr(side, "train", lambda job: pytest.fail("trained all the same"))
    for logs in ("file", "file/below", str(cwd / "file" / "deep" / "below")):
        message = refused("fit", "mlp_classifier", "--logs", logs)
        assert f"cannot write to {logs}" in message
        assert "choose another --logs" in message


def test_logs_without_write_permission_are_refused(refused, monkeypatch, cwd):
    asked = []

    def refuse(**settings):  # root may write anywhere
        asked.append(settings["dir"])
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(side.tempfile, "TemporaryDirectory", refuse)
    assert "cannot write to logs" in refused("fit", "mlp_classifier", "--epochs", "1")
    assert [path.resolve() for path in asked] == [cwd]


@pytest.mark.parametrize("verb", ["fit", "loop"])
def test_a_run_folder_that_cannot_be_made_is_refused_when_training_begins(verb, refused, cwd):
    (cwd / "logs").mkdir()
    (cwd / "logs" / "mlp_classifier").write_text("in the way")
    message = refused(verb, "mlp_classifier", "--data", "iris", "--epochs", "1", "--no-jit-compile")
    assert "cannot write to logs/mlp_classifier/" in message


def test_a_run_that_exists_is_not_overwritten(refused, cwd, monkeypatch):
    folder = cwd / "logs" / "mlp_classifier" / "mine" / "fit"
    folder.mkdir(parents=True)
    monkeypatch.setattr(side, "train", lambda job: pytest.fail("trained all the same"))
    message = refused("fit", "mlp_classifier", "--run", "mine")
    assert "logs/mlp_classifier/mine/fit exists; choose another --run" in message


@pytest.mark.parametrize(
    ("args", "answer"),
    [
        ([], "say which recipe"),
        (["mlp_classifier", "linear_svm"], "say which recipe"),
        (["--epochs", "3"], "say which recipe"),
        (["nothing.py"], "no file nothing.py"),
        (["mlp_clasifier"], "did you mean mlp_classifier?"),
        (["mlp_classifier", "--epochs", "3", "more"], "what is 'more' for?"),
    ],
)
@pytest.mark.parametrize("verb", ["fit", "loop"])
def test_anything_but_one_known_recipe_is_refused(verb, args, answer, refused):
    assert answer in refused(verb, *args)


@pytest.mark.parametrize("lines", ["x = 1\n", "train = 3\n"])
def test_a_users_file_without_train_is_refused(lines, refused, cwd, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (cwd / "without_train.py").write_text(lines)
    monkeypatch.delitem(sys.modules, "without_train", raising=False)
    message = refused("fit", "without_train.py")
    assert "without_train.py has no function train(hparams, run)" in message


@pytest.mark.parametrize(
    "line", ["train = partial(dict.update, {})", "from json import dumps as train", "if True:\n    def train(*_): pass"]
)
def test_train_may_be_anything_that_can_be_called(line, cwd, monkeypatch):
    (cwd / "own_train.py").write_text(f"from functools import partial\n{line}\n")
    monkeypatch.setattr(side, "train", lambda job: {"loss": 1.0})
    assert main(["fit", "own_train.py"]) == 0


def test_a_users_file_that_never_finishes_its_run_is_told_so(refused, cwd, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (cwd / "unfinished.py").write_text("def train(hparams, run): pass\n")
    assert "never called run.finish(model, dataset, metrics)" in refused("fit", "unfinished.py")


def test_a_users_file_gets_its_flags_from_its_own_hyper_parameters(cwd, monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (cwd / "users_file.py").write_text(
        "from dataclasses import dataclass\n"
        "from recipes.shared import hparams\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class HParams(hparams.HParams):\n"
        "    penalty: float = 0.5  # mine\n"
        "def train(hparams, run):\n"
        "    run.metrics = {'loss': hparams.penalty, 'epochs': hparams.epochs}\n"
    )
    assert main(["loop", "users_file.py", "--penalty", "0.25", "--epochs", "4", "--run", "mine"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "test: loss 0.25, epochs 4",
        "run:  logs/users_file/mine/custom_loop",
        "look: recipes board users_file",
    ]


def test_the_hint_at_the_end_finds_the_run_that_was_just_made_elsewhere(cwd, monkeypatch, capsys):
    monkeypatch.setattr(side, "train", lambda job: {"loss": 1.0})
    main(["fit", "mlp_classifier", "--logs", "elsewhere", "--run", "mine"])
    hint = capsys.readouterr().out.splitlines()[-1]
    assert "--logs elsewhere" in hint


@pytest.mark.parametrize(("logs", "flag"), [("logs", ""), ("elsewhere", " --logs elsewhere"), ("a b", " --logs 'a b'")])
def test_a_hint_names_the_logs_folder_only_where_it_is_not_the_default(logs, flag):
    assert side.logs_flag(Path(logs)) == flag


def test_a_run_without_a_name_is_named_after_the_time_and_is_new(monkeypatch):
    folder = side.run_folder(Path("logs"), "x", None)
    assert folder.parts[:2] == ("logs", "x")
    date, _, rest = folder.name.partition("_")
    assert len(date.split("-")) == 3
    assert rest.endswith(f"_{os.getpid()}")
    assert side.run_folder(Path("logs"), "x", "mine") == Path("logs/x/mine")


@pytest.mark.parametrize("run", ["", ".", "..", "a/b", "/a", "a/", "../a"])
def test_a_run_name_that_leads_elsewhere_is_refused(run):
    with pytest.raises(UsageError, match="plain name"):
        side.run_folder(Path("logs"), "x", run)


def test_a_name_resolves_to_the_file_of_the_side(cwd):
    pair = catalog.find("mlp_classifier")
    assert side.resolve("mlp_classifier", "fit") == ("mlp_classifier", pair.fit)
    assert side.resolve("mlp_classifier", "custom_loop") == ("mlp_classifier", pair.custom_loop)
    (cwd / "own.py").write_text("def train(hparams, run): ...\n")
    assert side.resolve("own.py", "fit") == ("own", catalog.Source(Path("own.py")))


@pytest.mark.parametrize(
    ("flags", "logging"),
    [
        ([], LoggingOptions()),
        (["--log", "everything"], LoggingOptions()),
        (["--log", "scalars"], LoggingOptions(level="scalars")),
        (["--log", "nothing"], LoggingOptions(level="nothing")),
        (["--log-every", "10"], LoggingOptions(every=10)),
        (["--profile"], LoggingOptions(profile=True)),
        (["--log", "scalars", "--profile"], LoggingOptions(level="scalars", profile=True)),
    ],
)
@pytest.mark.parametrize("verb", ["fit", "loop"])
def test_the_flags_say_how_much_is_logged(verb, flags, logging, monkeypatch):
    jobs = []
    monkeypatch.setattr(side, "train", lambda job: jobs.append(job) or {"loss": 1.0})
    assert main([verb, "mlp_classifier", *flags]) == 0
    assert jobs[0].logging == logging


LOGGING_USER = """
import numpy as np
from recipes.shared.batches import Batches

def train(hparams, run):
    import keras
    x = np.linspace(-1, 1, 16, dtype=np.float32)[:, None]
    batches = Batches((x, x), 1)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=False)
    model.fit(batches.train, shuffle=False, epochs=1, callbacks=run.callbacks(batches), verbose=0)
    run.finish(model, None, {"loss": 0.5})
"""


@pytest.mark.parametrize(
    ("flags", "names", "look"),
    [
        ([], {"events", "train", "validation", "test"}, True),
        (["--log", "scalars"], {"events", "train", "validation", "test"}, True),
        (["--log", "nothing"], set(), False),
    ],
)
def test_what_the_flags_leave_out_is_not_written(cwd, monkeypatch, capsys, names_in, flags, names, look):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (cwd / "logging_user.py").write_text(LOGGING_USER)
    monkeypatch.delitem(sys.modules, "logging_user", raising=False)
    assert main(["fit", "logging_user.py", "--run", "mine", *flags]) == 0
    assert names_in(cwd / "logs" / "logging_user" / "mine" / "fit") == RESULTS | names
    configuration = {boards.CONFIGURATION} if "events" in names else set()
    assert {path.name for path in (cwd / "logs").iterdir()} == {"logging_user"} | configuration
    assert ("look: recipes board logging_user" in capsys.readouterr().out) == look


def test_a_step_is_measured_every_so_often_and_a_few_are_profiled(cwd, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setattr(sys, "path", list(sys.path))
    (cwd / "logging_user.py").write_text(LOGGING_USER)
    monkeypatch.delitem(sys.modules, "logging_user", raising=False)
    assert main(["fit", "logging_user.py", "--run", "mine", "--log-every", "6", "--profile"]) == 0
    folder = cwd / "logs" / "logging_user" / "mine" / "fit"
    points = EventAccumulator(str(folder / "train")).Reload().Scalars("update_to_weight")
    assert [point.step for point in points] == [6, 12, 16]
    assert list((folder / "plugins" / "profile").rglob("*.xplane.pb"))


def test_a_board_knows_the_hyper_parameters_of_a_run_that_was_interrupted(cwd, monkeypatch):
    def stop(job):
        Path(job.folder).mkdir(parents=True)
        raise SystemExit(130)

    monkeypatch.setattr(side, "train", stop)
    with pytest.raises(SystemExit):
        main(["fit", "mlp_classifier"])
    assert (cwd / "logs" / boards.CONFIGURATION).is_file()


def test_hyper_parameters_that_only_the_twin_knows_are_left_out(cwd, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (cwd / "knows_less.py").write_text("def train(hparams, run):\n    run.metrics = {'loss': hparams.epochs}\n")
    job = side.Job("knows_less.py", "logs/x", {"epochs": 3, "penalty": 0.5})
    assert side.train(job) == {"loss": 3}


@pytest.mark.parametrize("stop", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.process)])
def test_an_interrupted_run_keeps_what_it_has_done(cwd, stop):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    command = [sys.executable, "-m", "recipes", "loop", "mlp_classifier", "--epochs", "100000", "--run", "stopped"]
    command += ["--log", "scalars", "--no-jit-compile"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    folder = cwd / "logs" / "mlp_classifier" / "stopped" / "custom_loop"
    deadline = time.monotonic() + 60
    while not (folder / "history.json").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.5)  # some epochs that history.json does not have yet
    process.send_signal(stop)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 128 + stop
    assert "Traceback" not in error
    epochs = len(json.loads((folder / "history.json").read_text())["loss"])
    accumulator = EventAccumulator(str(folder / "train")).Reload()
    assert epochs > 1
    # One epoch less where the signal came between the callback that records the history and the one that logs it.
    assert accumulator.Scalars("epoch_loss")[-1].step >= 36 * (epochs - 1)
    steps = [point.step for point in accumulator.Scalars("step_loss")]
    assert steps[-1] >= 36 * (epochs - 1)
    assert steps == list(range(steps[0], steps[0] + len(steps)))
    assert not list(folder.glob(".writing-*"))


ONE_DEVICE = [name for name, pair in catalog.pairs().items() if pair.fit.one_device or pair.custom_loop.one_device]


def test_what_trains_on_one_device_only():
    by_hand = {name for name, pair in catalog.pairs().items() if pair.custom_loop.tolerance}
    assert set(ONE_DEVICE) == by_hand | {
        "stochastic_gradient_descent",
        "cross_validation",
        "compiled_chunks",
        "gan",
        "variational_autoencoder",
        "class_weights",
        "multi_task",
    }


@pytest.mark.parametrize("name", ONE_DEVICE)
def test_a_recipe_that_cannot_train_under_a_strategy_says_why(name, refused):
    message = refused("loop", name, "--strategy", "mirrored")
    assert "has no use for --strategy: " in message or "trains on one device: its loop writes" in message


@pytest.mark.parametrize("verb", ["fit", "loop"])
@pytest.mark.parametrize(
    ("flags", "answer"),
    [
        (["--strategy", "both"], "--strategy is 'both'; it must be one of none, mirrored, multi_worker"),
        (["--devices", "2"], "--devices says how many devices a strategy takes; add --strategy mirrored"),
        (["--strategy", "mirrored", "--devices", "0"], "--devices is 0; it must be at least 1"),
        (["--strategy", "mirrored", "--jit-compile"], "--jit-compile has no meaning under a strategy"),
        (["--strategy", "multi_worker"], "set TF_CONFIG, or start it with srun"),
    ],
)
def test_a_strategy_that_cannot_be_is_refused(verb, flags, answer, refused, monkeypatch):
    for name in ("TF_CONFIG", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    assert answer in refused(verb, "mlp_classifier", *flags)


def test_a_lost_worker_ends_in_one_line(monkeypatch, capsys):
    def train(job):
        raise WorkerLost("another worker has ended")

    monkeypatch.setattr(side, "train", train)
    assert main(["loop", "mlp_classifier"]) == 1
    assert capsys.readouterr().err == "recipes: another worker has ended\n"


def test_a_worker_that_is_not_the_chief_writes_nothing_below_the_logs(cwd, monkeypatch, capsys):
    config = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    (cwd / "logs" / "mlp_classifier" / "mine" / "fit" / "checkpoints").mkdir(parents=True)
    before = sorted(cwd.rglob("*"))
    found = []
    monkeypatch.setattr(side, "train", lambda job: found.append((job.folder, Path(job.folder, "checkpoints").exists())))
    flags = ["--strategy", "multi_worker", "--run", "mine"]
    assert main(["fit", "mlp_classifier", *flags]) == 0
    assert main(["fit", "mlp_classifier", *flags, "--resume"]) == 0
    assert sorted(cwd.rglob("*")) == before
    assert [copied for _, copied in found] == [False, True]
    assert not any(Path(folder).is_relative_to(cwd) or Path(folder).exists() for folder, _ in found)
    assert capsys.readouterr().out == "worker 1 of 2 is done; worker 0, the chief, has the run\n" * 2


def test_a_test_part_without_a_class_is_said_with_the_score_and_no_mean_hides_it(cwd, capsys):
    rows = "".join(f"{index},{index % 7},{int(index < 4)}\n" for index in range(200))
    Path("fraud.csv").write_text("a,b,fraud\n" + rows)  # one of the four is for testing
    flags = ["--data", "fraud.csv", "--target", "fraud", "--epochs", "1", "--log", "nothing", "--batch-size", "16"]
    assert main(["fit", "logistic_regression", *flags]) == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    assert len(notes) == 1
    assert "fewer than 10 examples of a class (1 of class 1): precision, recall, f1 and auc rest on little" in notes[0]
    Path("fraud.csv").write_text("a,b,fraud\n" + rows.replace(",1\n", ",0\n", 2))  # two are too few for three parts
    assert main(["loop", "logistic_regression", *flags]) == 0
    test, *notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("test: ", "note: "))]
    assert "precision" not in test
    assert "no example of class 1: precision, recall, f1 and auc" in notes[0]


def passengers(count=300):
    """Write a table like that of a well-known competition: text of many values, gaps, categories."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "PassengerId": np.arange(1, count + 1),
            "Survived": random.integers(0, 2, count),
            "Pclass": random.integers(1, 4, count),
            "Name": [f"Doe, Mr. {row}" for row in range(count)],
            "Sex": random.choice(["male", "female"], count),
            "Age": np.where(random.random(count) < 0.2, np.nan, random.uniform(1, 80, count).round(1)),
            "Ticket": [f"A/5 {row // 2}" for row in range(count)],
            "Fare": random.uniform(5, 500, count).round(4),
            "Cabin": [f"C{row // 2}" if row % 3 else None for row in range(count)],
            "Embarked": random.choice(["S", "C", "Q", None], count),
        }
    )
    frame.to_csv("passengers.csv", index=False)
    return frame


def test_a_table_with_names_and_gaps_trains_in_the_command_that_its_refusal_names(refused, cwd, capfd):
    import keras

    frame = passengers()
    args = ["mlp_classifier", "--data", "passengers.csv", "--target", "Survived", "--epochs", "1", "--log", "nothing"]
    message = refused("fit", *args, "--drop", "PassengerId")
    command = shlex.split(message.rpartition("with ")[2])
    assert command == ["--drop", "PassengerId", "Name", "Ticket", "Cabin"]
    assert main(["fit", *args, "--run", "one", *command, "--categorical", "Pclass"]) == 0
    assert capfd.readouterr().err == ""
    config = cwd / "logs" / "mlp_classifier" / "one" / "fit" / "config.json"
    hparams = json.loads(config.read_text())["hparams"]
    assert (hparams["drop"], hparams["categorical"]) == (command[1:], ["Pclass"])

    model = keras.saving.load_model(config.with_name("model.keras"))
    assert {each.name for each in model.inputs} == {"Pclass", "Sex", "Age", "Fare", "Embarked"}
    raw = {
        name: keras.ops.convert_to_tensor(frame[[name]].fillna("").astype(str).to_numpy().tolist())
        for name in ("Pclass", "Sex", "Embarked")
    } | {name: keras.ops.convert_to_tensor(frame[[name]].to_numpy(np.float32)) for name in ("Age", "Fare")}
    assert np.isfinite(model(raw)).all()

    assert main(["loop", "mlp_classifier", "--run", "one", "--hparams", str(config)]) == 0
    again = config.parents[1] / "custom_loop" / "config.json"
    assert json.loads(again.read_text())["hparams"] == hparams


def test_what_is_decided_about_a_table_is_said_on_stderr(cwd, capsys):
    rows = "".join(f"{row},2024-01-{row % 28 + 1:02},1,{row % 2}\n" for row in range(100))
    csv(",when,one,y\n" + rows)
    args = ["mlp_classifier", "--data", "x.csv", "--epochs", "1", "--log", "nothing"]
    assert main(["fit", *args]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "x.csv: the column 'when' holds dates: their seconds since 1970, shifted before they become float32",
        "x.csv: left out: column 1 (it has no name and counts the rows), 'one' (always 1)",
    ]


@pytest.mark.parametrize(
    ("verb", "flags", "says"),
    [
        ("fit", ["--data", "nowhere.csv"], "no file nowhere.csv"),
        ("loop", ["--data", "nowhere"], "no data set named 'nowhere'"),
        ("fit", ["--data", "x.csv", "--target", "z"], "no column 'z'"),
        ("compare", ["--data", "x.csv", "--drop", "z"], "no column 'z' for --drop"),
        ("tune", ["--data", "x.csv", "--keep", "z"], "no column 'z' for --keep"),
        ("loop", ["--data", "x.csv", "--batch-size", "200"], "more than the 64 training examples"),
        ("compare", ["--data", "diabetes"], "holds numbers to predict"),
        ("compare", ["--data", "images"], "are of 2 sizes, from 4 x 5 to 5 x 5"),
        ("tune", ["--data", "x.npz"], "add --channels-first"),
    ],
)
def test_mistakes_in_the_data_are_told_without_tensorflow(verb, flags, says, cwd):
    table("1,2,2")
    np.savez("x.npz", x_train=np.zeros((60, 3, 8, 7), np.uint8), y_train=np.arange(60) % 2)
    for name, size in (("cat", (4, 5)), ("dog", (5, 5))):
        (cwd / "images" / name).mkdir(parents=True)
        Image.fromarray(np.zeros(size, np.uint8)).save(cwd / "images" / name / "0.png")
    code = (
        "import sys; sys.modules['tensorflow'] = None; from recipes.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, verb, "mlp_classifier", *flags]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 2, process.stderr
    assert says in process.stderr
    assert len(process.stderr.splitlines()) == 1
    assert not (cwd / "logs").exists()
