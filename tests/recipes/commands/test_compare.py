"""`recipes compare`: recipes, a user's own pair, and finished runs."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from recipes.__main__ import main
from recipes.commands import boards, catalog, compare, report, side
from recipes.commands.parity import Parity
from recipes.shared import distribution
from recipes.shared.errors import UsageError
from recipes.shared.logging_options import LoggingOptions

KEYS = {
    "recipe",
    "identical",
    "within_tolerance",
    "tolerance",
    "weights_max_abs_diff",
    "history_max_abs_diff",
    "fit",
    "custom_loop",
    "speedup",
}
SIDE_KEYS = {"first_epoch_seconds", "seconds_per_epoch", "seconds_total", "peak_memory_mib", "metrics"}

# A user's own pair: a linear classifier with an L2 penalty, once with fit and once by hand.
FIT = '''"""Linear classifier with a penalty."""
from dataclasses import dataclass

import keras

from recipes.shared import data, hparams


@dataclass(frozen=True, kw_only=True)
class HParams(hparams.HParams):
    data: str = "iris"
    epochs: int = 3
    jit_compile: bool = False
    penalty: float = 0.1  # weight of the L2 term


def load_data(hparams):
    return data.load(hparams, task="classification")


def build_model(hparams, dataset):
    keras.utils.set_random_seed(hparams.seed)
    penalty = keras.regularizers.L2(hparams.penalty)
    dense = keras.layers.Dense(dataset.num_classes, kernel_regularizer=penalty)
    return keras.Sequential([keras.Input(dataset.input_shape), dense])


def train(hparams, run):
    dataset = load_data(hparams)
    model = build_model(hparams, dataset)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(hparams.learning_rate), loss, jit_compile=hparams.jit_compile)
    batches = dataset.batches(hparams)
    model.fit(
        batches.train,
        initial_epoch=run.first_epoch,
        epochs=hparams.epochs,
        shuffle=False,
        callbacks=run.callbacks(batches),
        verbose=0,
    )
    run.finish(model, dataset, model.evaluate(batches.test, return_dict=True, verbose=0))
'''
LOOP = '''"""The same by hand."""
import keras
import tensorflow as tf
from fit import HParams, build_model, load_data

from recipes.shared import losses
from recipes.shared.callbacks import Hooks


def train(hparams, run):
    dataset = load_data(hparams)
    model = build_model(hparams, dataset)
    optimizer = keras.optimizers.Adam(hparams.learning_rate)
    optimizer.build(model.trainable_variables)
    model.optimizer = optimizer
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    mean = keras.metrics.Mean()

    @tf.function
    def train_step(x, y):
        with tf.GradientTape() as tape:
            loss = losses.total(cross_entropy(y, model(x, training=True)), model.losses)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        mean.update_state(loss, sample_weight=tf.shape(x)[0])

    @tf.function
    def test_step(x, y):
        loss = losses.total(cross_entropy(y, model(x, training=False)), model.losses)
        mean.update_state(loss, sample_weight=tf.shape(x)[0])

    batches = dataset.batches(hparams)
    hooks = Hooks(model, run.callbacks(batches), epochs=hparams.epochs, steps=batches.steps)
    for _ in hooks.epochs():
        mean.reset_state()
        for x, y in hooks.steps(batches.train):
            train_step(x, y)
            hooks.logs = {"loss": float(mean.result())}
    mean.reset_state()
    for x, y in batches.test:
        test_step(x, y)
    run.finish(model, dataset, {"loss": float(mean.result())})
'''
FORGETS_THE_PENALTY = LOOP.replace(
    "loss = losses.total(cross_entropy(y, model(x, training=True)), model.losses)",
    "loss = cross_entropy(y, model(x, training=True))",
)


def recipes(cwd, *args):
    return subprocess.run(
        [sys.executable, "-m", "recipes", *args], cwd=cwd, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """One real comparison: the process, its working directory, and what `--json` wrote."""
    cwd = tmp_path_factory.mktemp("compared")
    # Through `main`, so that the parent can be asked what it imported.
    code = (
        "import sys; from recipes.__main__ import main; code = main(sys.argv[1:])\n"
        "sys.exit(99 if {'tensorflow', 'keras', 'sklearn'} & set(sys.modules) else code)"
    )
    args = ["compare", "mlp_classifier", "--epochs", "2", "--run", "mine", "--json", "new/folder/results.json"]
    process = subprocess.run([sys.executable, "-c", code, *args], cwd=cwd, capture_output=True, text=True, check=False)
    return process, cwd, json.loads((cwd / "new" / "folder" / "results.json").read_text(encoding="utf-8"))


@pytest.fixture
def finished(compared, tmp_path, monkeypatch):
    """A copy of the run of that comparison, to be broken, in the working directory."""
    shutil.copytree(compared[1] / "logs" / "mlp_classifier" / "mine", tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "mine"


@pytest.fixture
def in_process(tmp_path, monkeypatch):
    """Train the sides in this process rather than each in its own, which costs seconds; start in an empty folder."""

    def run(server, job, what):
        started.append(job)
        try:
            side.train(job)
        except UsageError as error:
            return 2, "", str(error)
        return 0, "", ""

    started = []
    monkeypatch.setattr(compare, "_run", run)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield started
    for name in ("fit", "loop"):
        sys.modules.pop(name, None)


@pytest.fixture
def no_training(tmp_path, monkeypatch):
    """Fail as soon as a side would be trained; start in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compare, "_run", lambda *args: pytest.fail("trained all the same"))


def refusal(capsys, *args):
    """Return the one line that `recipes compare` refuses `args` with."""
    assert main(["compare", *args]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    return captured.err


def test_a_recipe_holds_parity_and_the_parent_does_not_import_tensorflow(compared):
    process, _, _ = compared
    assert process.stderr == ""
    assert process.returncode == 0  # 99 if the parent had imported TensorFlow
    assert "mlp_classifier on digits: IDENTICAL" in process.stdout
    assert "the same bytes" in process.stdout


def test_the_json_of_a_comparison_has_the_promised_keys_and_plausible_numbers(compared):
    (result,) = compared[2]
    assert result.keys() >= KEYS
    assert (result["recipe"], result["data"]) == ("mlp_classifier", "digits")
    assert (result["identical"], result["within_tolerance"], result["tolerance"]) == (True, True, 0.0)
    assert (result["weights_max_abs_diff"], result["history_max_abs_diff"]) == (0.0, 0.0)
    assert result["reasons"] == []
    for name in catalog.SIDES:
        each = result[name]
        assert each.keys() >= SIDE_KEYS | {"steps_per_execution", "jit_compile", "lines_of_code"}
        assert each["seconds_total"] > each["first_epoch_seconds"] > each["seconds_per_epoch"] > 0
        assert 100 < each["peak_memory_mib"] < 10000
        assert each["metrics"].keys() >= {"loss", "accuracy", "precision", "recall", "f1", "auc"}
        assert each["jit_compile"] is True
        assert each["lines_of_code"] == catalog.find("mlp_classifier").side(name).lines_of_code
    assert result["fit"]["metrics"] == result["custom_loop"]["metrics"]
    assert result["fit"]["steps_per_execution"] == 1
    assert result["custom_loop"]["steps_per_execution"] == 36  # a whole epoch: 1149 examples in batches of 32
    speedup = result["fit"]["seconds_per_epoch"] / result["custom_loop"]["seconds_per_epoch"]
    assert result["speedup"] == pytest.approx(speedup)


def test_both_sides_leave_a_whole_run_in_one_folder(compared, names_in):
    _, cwd, (result,) = compared
    folder = cwd / "logs" / "mlp_classifier" / "mine"
    assert cwd / result["run"] == folder
    assert {path.name for path in folder.iterdir()} == {"fit", "custom_loop", boards.VERDICT}
    assert {path.name for path in (cwd / "logs").iterdir()} == {"mlp_classifier", boards.CONFIGURATION}
    for name in catalog.SIDES:
        assert names_in(folder / name) == {
            "config.json",
            "history.json",
            "model.keras",
            "report.json",
            "state.npz",
            "events",
            "train",
            "validation",
            "test",
            "embeddings.tsv",
            "labels.tsv",
            "sprite.png",
            "projector_config.pbtxt",
        }
        config = json.loads((folder / name / "config.json").read_text())
        assert config["command"].startswith("recipes compare mlp_classifier --epochs 2 --run mine --json ")
        assert (config["side"], config["hparams"]["epochs"]) == (name, 2)


def texts_in(folder):
    """Return the texts by tag of the event files in `folder`, read by TensorBoard's own reader."""
    import tensorflow as tf
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {tag: tf.make_ndarray(events.Tensors(tag)[0].tensor_proto).item() for tag in events.Tags()["tensors"]}


def test_the_verdict_is_a_text_above_the_two_sides(compared):
    _, cwd, (result,) = compared
    (text,) = texts_in(cwd / "logs" / "mlp_classifier" / "mine").values()
    assert text.decode().startswith("## mlp_classifier on digits: IDENTICAL\n\nthe same bytes: ")
    assert f"| accuracy | {result['fit']['metrics']['accuracy']:.6g} |" in text.decode()


def test_the_configuration_of_the_board_has_the_run(compared):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    _, cwd, (result,) = compared
    events = EventAccumulator(str(cwd / "logs")).Reload()
    content = events.SummaryMetadata(metadata.EXPERIMENT_TAG).plugin_data.content
    experiment = metadata.parse_experiment_plugin_data(content)
    by_name = {info.name: info for info in experiment.hparam_infos}
    assert {"hidden_units", "learning_rate", "recipe", "side"} <= by_name.keys()
    assert [value.string_value for value in by_name["side"].domain_discrete.values] == ["custom_loop", "fit"]
    found = {(info.name.group, info.name.tag) for info in experiment.metric_infos}
    assert {("test", f"final_{name}") for name in result["fit"]["metrics"]} <= found


def test_the_next_steps_name_the_run(compared):
    process, _, _ = compared
    assert "recipes board mlp_classifier\n" in process.stdout
    assert "recipes diff mlp_classifier\n" in process.stdout
    assert process.stdout.rstrip().endswith("logs/mlp_classifier/mine")


def test_a_finished_run_is_compared_by_the_real_command_in_no_time(compared):
    began = time.perf_counter()
    process = recipes(compared[1], "compare", "logs/mlp_classifier/mine")
    assert time.perf_counter() - began < 3  # no TensorFlow
    assert process.stderr == ""
    assert process.returncode == 0
    assert "IDENTICAL" in process.stdout


def test_two_finished_runs_that_differ_show_where_and_exit_with_1(finished, capsys):
    other = finished.parent / "other"
    shutil.copytree(finished / "fit", other)
    history = json.loads((other / "history.json").read_text())
    history["loss"][1] += 0.125
    (other / "history.json").write_text(json.dumps(history))
    with np.load(other / "state.npz") as archive:
        arrays = dict(archive)
    name = next(name for name in arrays if name.startswith("weights/002"))
    arrays[name].flat[3] += 2
    np.savez(other / "state.npz", **arrays)

    assert main(["compare", "mine/custom_loop", "other"]) == 1
    out = capsys.readouterr().out
    assert "mine/custom_loop and other: DIFFERENT" in out
    assert "the histories first part at loss of epoch 2" in out
    assert f"{name.partition(' ')[2]} differs by up to 2" in out
    assert main(["compare", "mine/custom_loop", "mine/fit"]) == 0
    assert main(["compare", "mine", "mine"]) == 0


def test_a_finished_run_may_be_named_like_a_recipe(finished, capsys):
    finished.rename("momentum").parent.joinpath("runs").mkdir()
    Path("momentum").rename("runs/momentum")
    assert main(["compare", "runs/momentum"]) == 0
    assert "IDENTICAL" in capsys.readouterr().out


def test_other_hyper_parameters_of_finished_runs_are_named(finished, capsys):
    config = json.loads((finished / "fit" / "config.json").read_text())
    config["hparams"]["seed"] = 5
    (finished / "fit" / "config.json").write_text(json.dumps(config))
    main(["compare", "mine"])
    assert "seed is 5 on one side and 0 on the other" in capsys.readouterr().out


# The loop of `momentum` writes the rule by hand, and states a tolerance.
HAND_WRITTEN = ["compare", "momentum", "--epochs", "3", "--run", "mine", "--no-jit-compile", "--json", "results.json"]


@pytest.mark.usefixtures("in_process")
def test_a_pair_that_states_a_tolerance_holds_within_it(capsys):
    assert main(HAND_WRITTEN) == 0
    (result,) = json.loads(Path("results.json").read_text())
    assert not result["identical"]
    assert result["within_tolerance"]
    assert result["tolerance"] == catalog.find("momentum").custom_loop.tolerance > 0
    assert result["weights_max_abs_diff"] > 0
    out = capsys.readouterr().out
    assert "WITHIN TOLERANCE" in out
    assert "only one side keeps optimizer variables" in out


@pytest.mark.usefixtures("in_process")
def test_a_finished_run_gets_the_verdict_that_it_got_when_it_was_trained():
    trained = main(HAND_WRITTEN)
    assert main(["compare", "logs/momentum/mine"]) == trained


@pytest.mark.parametrize(
    ("args", "answer"),
    [
        (["mine/fit"], "no folder mine/fit/fit"),
        (["mine", "nothing"], "no folder nothing"),
        (["mine", "mine", "mine"], "compare takes two run folders"),
        (["mine", "--epochs", "3"], "--epochs has no meaning for finished runs"),
        (["mine", "empty"], "empty holds no finished run"),
    ],
)
@pytest.mark.usefixtures("finished")
def test_finished_runs_that_cannot_be_compared_are_refused(args, answer, capsys):
    Path("empty").mkdir()
    assert answer in refusal(capsys, *args)


def test_a_run_that_did_not_finish_is_refused(finished, capsys):
    (finished / "custom_loop" / "report.json").unlink()
    assert "mine/custom_loop holds no finished run" in refusal(capsys, "mine")
    (finished / "fit" / "state.npz").unlink()
    assert "mine/fit holds no finished run" in refusal(capsys, "mine")


@pytest.mark.process
def test_a_users_own_pair_that_does_the_same_is_identical(tmp_path):
    (tmp_path / "fit.py").write_text(FIT, encoding="utf-8")
    (tmp_path / "loop.py").write_text(LOOP, encoding="utf-8")
    process = recipes(tmp_path, "compare", "fit.py", "loop.py", "--penalty", "0.2", "--json", "results.json")
    assert process.stderr == ""
    assert process.returncode == 0
    assert "fit-loop on iris: IDENTICAL" in process.stdout
    (result,) = json.loads((tmp_path / "results.json").read_text())
    assert result["identical"] is True
    assert result["recipe"] == "fit-loop"
    for name in catalog.SIDES:
        config = json.loads((tmp_path / result["run"] / name / "config.json").read_text())
        assert config["hparams"]["penalty"] == 0.2


@pytest.mark.process
def test_a_users_loop_that_forgets_the_penalty_differs_from_the_first_epoch_on(tmp_path):
    (tmp_path / "fit.py").write_text(FIT, encoding="utf-8")
    (tmp_path / "loop.py").write_text(FORGETS_THE_PENALTY, encoding="utf-8")
    process = recipes(tmp_path, "compare", "fit.py", "loop.py", "--json", "results.json")
    assert process.stderr == ""
    assert process.returncode == 1
    assert "fit-loop on iris: DIFFERENT" in process.stdout
    assert "the histories part at loss of epoch 1: " in process.stdout
    (result,) = json.loads((tmp_path / "results.json").read_text())
    assert not result["identical"]
    assert not result["within_tolerance"]
    assert result["weights_max_abs_diff"] > 1e-6
    assert result["history_max_abs_diff"] > 0.01
    assert any("loss of epoch 1" in reason for reason in result["reasons"])


def test_a_users_loop_without_train_is_refused_before_the_fit_side_leaves_anything(in_process, tmp_path, capsys):
    (tmp_path / "fit.py").write_text(FIT, encoding="utf-8")
    (tmp_path / "loop.py").write_text("from fit import HParams\n", encoding="utf-8")
    assert main(["compare", "fit.py", "loop.py", "--epochs", "1"]) == 2
    assert "loop.py has no function train(hparams, run)" in capsys.readouterr().err
    assert not Path("logs").exists()


@pytest.mark.process
def test_bad_data_is_refused_by_the_real_command_in_one_line(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    process = recipes(tmp_path, "compare", "linear_regression", "--data", "x.csv", "--target", "price")
    assert process.returncode == 2
    assert process.stderr == "recipes: x.csv has no column 'price'; its columns are a, b\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.csv"]


def test_a_side_that_breaks_is_shown_with_its_last_words_and_exits_with_1(no_training, monkeypatch, capsys):
    monkeypatch.setattr(compare, "_run", lambda *args: (1, "", "Traceback ...\nValueError: the user's mistake"))
    assert main(["compare", "mlp_classifier", "--json", "results.json"]) == 1
    assert "ValueError: the user's mistake" in capsys.readouterr().out
    (result,) = json.loads(Path("results.json").read_text())
    assert not result["identical"]
    assert any("the user's mistake" in reason for reason in result["reasons"])


@pytest.mark.process
def test_a_terminated_comparison_takes_its_child_with_it(tmp_path):
    command = [sys.executable, "-m", "recipes", "compare", "mlp_classifier", "--epochs", "1000000", "--run", "stopped"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    history = tmp_path / "logs" / "mlp_classifier" / "stopped" / "fit" / "history.json"
    deadline = time.monotonic() + 60
    while not history.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    epochs = len(json.loads(history.read_text())["loss"])
    time.sleep(2)  # a child that lived on would write more
    assert len(json.loads(history.read_text())["loss"]) == epochs


@pytest.mark.process
def test_what_is_decided_in_reading_the_data_is_said_once(in_process, tmp_path, capsys):
    rows = "".join(f"{row % 9};{row % 5};1;{row % 2}\n" for row in range(80))
    (tmp_path / "x.csv").write_text("a;b;c;y\n" + rows)
    main(["compare", "mlp_classifier", "softmax_classifier", "--data", "x.csv", "--epochs", "1", "--drop", "a"])
    captured = capsys.readouterr()
    notes = ["x.csv: fields are separated by semicolons", "x.csv: left out: 'c' (always 1)"]
    assert captured.err.splitlines() == notes
    assert not any(note in captured.out for note in notes)
    reports = [json.loads(path.read_text()) for path in Path("logs").rglob("report.json")]
    assert [report["notes"][:2] for report in reports] == [notes] * 4
    assert [job.hparams["drop"] for job in in_process] == [("a",)] * 4


@pytest.mark.slow
def test_several_recipes_share_the_flags_that_each_can_use(in_process, capsys):
    main(["compare", "linear_regression", "gradient_descent", "--batch-size", "64", "--epochs", "2"])
    assert [job.hparams.get("batch_size") for job in in_process] == [64, 64, None, None]
    assert [job.hparams["epochs"] for job in in_process] == [2, 2, 2, 2]
    assert "gradient_descent goes without --batch-size 64: it has no use for it" in capsys.readouterr().out


def test_a_recipe_for_one_device_goes_without_the_strategy_of_the_others(no_training, monkeypatch, capsys):
    jobs = []
    monkeypatch.setattr(compare, "_run", lambda server, job, what: jobs.append(job) or (1, "", "x"))
    assert main(["compare", "mlp_classifier", "momentum", "--strategy", "mirrored", "--devices", "2"]) == 1
    assert [job.distribution.strategy for job in jobs] == ["mirrored", "mirrored", "none", "none"]
    assert [job.about["tolerance"] for job in jobs[:2]] == [distribution.TOLERANCE] * 2
    assert "momentum goes without --strategy mirrored --devices 2" in capsys.readouterr().out


@pytest.mark.usefixtures("in_process")
def test_a_side_that_is_killed_is_called_stopped(monkeypatch, capsys):
    monkeypatch.setattr(compare, "_run", lambda *args: (-9, "", "killed by signal 9"))
    assert main(["compare", "mlp_classifier"]) == 1
    out = capsys.readouterr().out
    assert "STOPPED" in out
    assert "fit: killed by signal 9" in out


def test_two_files_of_ours_can_be_named_by_path(in_process):
    pair = catalog.find("gradient_descent")
    assert main(["compare", str(pair.fit.path), str(pair.custom_loop.path), "--epochs", "2", "--run", "mine"]) == 0
    assert [job.folder for job in in_process] == [f"logs/gradient_descent/mine/{name}" for name in catalog.SIDES]
    assert [job.hparams["epochs"] for job in in_process] == [2, 2]


@pytest.mark.parametrize(
    ("args", "answer"),
    [
        ([], "say what to compare"),
        (["mlp_clasifier"], "did you mean mlp_classifier?"),
        (["mlp_classifier", "linear_swm"], "did you mean linear_svm?"),
        (["mlp_classifier", "--epoch", "3"], "did you mean --epochs?"),
        (["mlp_classifier", "--epochs", "0"], "--epochs is 0"),
        (["mlp_classifier", "--run", "a/b"], "plain name"),
        (["gradient_descent", "--batch-size", "8"], "gradient_descent has no use for --batch-size"),
        (
            ["momentum", "--strategy", "mirrored"],
            "momentum trains on one device: its loop writes the update rule by hand",
        ),
        (["mlp_classifier", "--strategy", "multi_worker"], "compare trains on this machine alone"),
        (["mlp_classifier", "--devices", "2"], "add --strategy mirrored"),
        (["--all", "mlp_classifier"], "mlp_classifier"),
        (["mlp_classifier", "--all"], "give names or --all, not both"),
        (["fit.py"], "compare takes two files of yours"),
        (["fit.py", "mlp_classifier"], "compare takes two files of yours"),
        (["fit.py", "loop.py"], "no file fit.py"),
        (["nothing", "nowhere"], "no recipe named 'nothing'"),
    ],
)
@pytest.mark.usefixtures("no_training")
def test_a_mistake_is_refused_in_one_line_before_anything_is_trained(args, answer, capsys):
    assert answer in refusal(capsys, *args)
    assert not list(Path.cwd().iterdir())


@pytest.mark.usefixtures("no_training")
def test_logs_that_cannot_be_written_to_are_refused_before_anything_is_trained(capsys):
    Path("file").touch()
    assert "cannot write to file" in refusal(capsys, "mlp_classifier", "--logs", "file")


@pytest.mark.parametrize("path", ["file/results.json", "folder"])
@pytest.mark.usefixtures("no_training")
def test_a_json_file_that_cannot_be_written_is_refused_before_anything_is_trained(path, capsys):
    Path("file").touch()
    Path("folder").mkdir()
    assert path in refusal(capsys, "mlp_classifier", "--json", path)


@pytest.mark.usefixtures("no_training")
def test_a_run_that_exists_is_not_overwritten(capsys):
    Path("logs/mlp_classifier/mine/custom_loop").mkdir(parents=True)
    message = refusal(capsys, "linear_svm", "mlp_classifier", "--run", "mine")
    assert "logs/mlp_classifier/mine/custom_loop exists; choose another --run" in message


@pytest.mark.usefixtures("no_training")
def test_a_recipe_is_found_even_where_a_folder_has_its_name(capsys):
    Path("mlp_classifier").mkdir()  # as after `--logs .`
    assert "--epochs is 0" in refusal(capsys, "mlp_classifier", "--epochs", "0")


@pytest.fixture
def subjects(no_training, monkeypatch):
    """What would be trained, and where; every pair is said to be identical."""
    seen = []

    def compare_subject(server, subject, folder, hparams, command, logging):
        folder.mkdir(parents=True)
        seen.append((subject.name, folder))
        sides = {name: {} for name in catalog.SIDES}
        return report.Result(subject.name, "", folder, sides, parity=parities.get(subject.name, Parity(identical=True)))

    parities = {}
    monkeypatch.setattr(compare, "_compare_subject", compare_subject)
    return seen, parities


def test_all_compares_every_pair(subjects, capsys):
    assert main(["compare", "--all", "--epochs", "1"]) == 0
    assert [name for name, _ in subjects[0]] == list(catalog.pairs())
    assert "All pairs" in capsys.readouterr().out


@pytest.mark.parametrize(("parity", "code"), [(Parity(), 1), (Parity(within_tolerance=True, tolerance=1e-6), 0)])
def test_one_pair_that_does_not_hold_decides_the_exit_code(parity, code, subjects):
    subjects[1]["linear_svm"] = parity
    assert main(["compare", "mlp_classifier", "linear_svm", "momentum", "--json", "x.json"]) == code
    results = json.loads(Path("x.json").read_text())
    assert [result["recipe"] for result in results] == ["mlp_classifier", "linear_svm", "momentum"]
    assert [result["identical"] for result in results] == [True, False, True]


def test_a_recipe_named_twice_is_not_trained_twice_into_the_same_folder(subjects, capsys):
    main(["compare", "mlp_classifier", "mlp_classifier"])
    folders = [folder for _, folder in subjects[0]]
    assert len(folders) == len(set(folders))


def test_the_hints_for_a_users_own_pair_are_commands_that_work(subjects, tmp_path, capsys):
    (tmp_path / "fit.py").write_text(FIT, encoding="utf-8")
    (tmp_path / "loop.py").write_text(LOOP, encoding="utf-8")
    main(["compare", "fit.py", "loop.py"])
    hint = next(line for line in capsys.readouterr().out.splitlines() if "recipes diff " in line)
    assert main(["diff", *hint.partition("recipes diff ")[2].split()]) == 0
    assert "GradientTape" in capsys.readouterr().out


def test_the_hints_for_runs_elsewhere_say_where(subjects, capsys):
    main(["compare", "mlp_classifier", "--logs", "elsewhere"])
    assert "--logs elsewhere" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "logging"),
    [
        ([], LoggingOptions()),
        (["--log", "scalars"], LoggingOptions(level="scalars")),
        (["--log", "nothing"], LoggingOptions(level="nothing")),
        (["--log-every", "10", "--profile"], LoggingOptions(every=10, profile=True)),
    ],
)
def test_both_sides_of_all_recipes_log_what_the_flags_say(flags, logging, no_training, monkeypatch):
    jobs = []
    monkeypatch.setattr(compare, "_run", lambda server, job, what: jobs.append(job) or (1, "", "x"))
    assert main(["compare", "mlp_classifier", "linear_svm", *flags]) == 1
    assert [job.logging for job in jobs] == [logging] * 4


@pytest.mark.parametrize(
    ("flags", "answer"),
    [
        (["--log-every", "0"], "--log-every is 0; it must be at least 1"),
        (["--log", "scalars", "--log-every", "5"], "--log-every measures gradients, which --log scalars leaves out"),
        (["--log", "nothing", "--profile"], "--profile writes for TensorBoard, and --log nothing forbids it"),
    ],
)
@pytest.mark.usefixtures("no_training")
def test_flags_of_logging_that_contradict_each_other_are_refused_before_anything_is_trained(flags, answer, capsys):
    assert answer in refusal(capsys, "linear_svm", "mlp_classifier", *flags)
    assert not list(Path.cwd().iterdir())


@pytest.mark.parametrize(
    ("level", "written"),
    [
        ("everything", {boards.CONFIGURATION, f"mlp_classifier/mine/{boards.VERDICT}"}),
        ("scalars", {boards.CONFIGURATION}),
        ("nothing", set()),
    ],
)
def test_the_verdict_is_written_where_everything_is_logged_and_the_configuration_where_anything(
    subjects, level, written
):
    assert main(["compare", "mlp_classifier", "--run", "mine", "--log", level]) == 0
    found = {str(path.relative_to("logs")) for path in Path("logs").rglob("events.out.tfevents.*")}
    assert found == written


def test_a_verdict_that_cannot_be_written_is_shown_all_the_same(subjects, monkeypatch, capsys):
    def write(*_):
        raise OSError("disk full")

    monkeypatch.setattr(boards, "write_events", write)
    assert main(["compare", "mlp_classifier"]) == 0
    captured = capsys.readouterr()
    assert "IDENTICAL" in captured.out
    assert captured.err == ""


@pytest.mark.usefixtures("in_process")
def test_a_pair_that_logs_nothing_compares_as_well():
    assert main([*HAND_WRITTEN, "--log", "nothing"]) == 0
    assert not list(Path("logs").rglob("events.out.tfevents.*"))
