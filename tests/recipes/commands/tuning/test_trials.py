"""One trial, around a training of the test's own that is over at once."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import keras_tuner
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from recipes.commands import side
from recipes.commands.tuning import oracle as oracles
from recipes.commands.tuning import trials
from recipes.commands.tuning.specification import FILE, Specification
from recipes.shared.errors import NoRoom, TrainingDiverged, UsageError
from recipes.shared.logging_options import LoggingOptions
from recipes.shared.search_space import Choices, LogRange

FailedTrialError = keras_tuner.errors.FailedTrialError
HISTORY = {"loss": [1.0, 0.5, 0.25], "val_loss": [0.9, 0.4, 0.6], "val_accuracy": [0.1, 0.8, 0.7]}
LARGER = {"val_accuracy", "val_auc"}
REPORT = {"metrics": {"loss": 0.5}, "updates": 12, "examples_seen": 384, "seconds_total": 1.5}


class Killed(BaseException):
    """Nothing in the process gets to see the end."""


def write(folder, history=None, report=None):
    """Write what a finished run leaves."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "history.json").write_text(json.dumps(HISTORY if history is None else history))
    (folder / "report.json").write_text(json.dumps(REPORT if report is None else report))


class Training:
    """Takes the place of `side.train`.

    Attributes:
        jobs: what was to be trained, in order.
        act: what is done with the folder instead.
        seen: the names in the folder as a training began.
    """

    def __init__(self, folder):
        self.folder = folder
        self.jobs = []
        self.seen = []
        self.act = write

    def __call__(self, job):
        self.jobs.append(job)
        self.seen.append({path.name for path in self.folder.iterdir()})
        self.act(self.folder)
        return {"loss": 0.5}

    def fails(self, error):
        def act(folder):
            (folder / "left.txt").write_text("half a training")
            raise error

        self.act = act


@pytest.fixture
def search(tmp_path):
    (tmp_path / "mine.py").write_text("TOLERANCE = 0.5\ndef train(hparams, run): ...\n")
    search = Specification(
        recipe="mine",
        side="custom_loop",
        path=str(tmp_path / "mine.py"),
        folder=str(tmp_path / "tune"),
        command="recipes tune mine",
        tuner="random",
        objective="val_loss",
        space={"learning_rate": LogRange(1e-4, 1.0), "batch_size": Choices(16, 32)},
        hparams={"learning_rate": 0.1, "batch_size": 32, "width": 5, "epochs": 3, "seed": 7},
        seed=7,
        trials=3,
        epochs=3,
        logging=LoggingOptions(level="nothing"),
    )
    enter(search)
    return search


def enter(search):
    """Write down what is searched, as a search does at its beginning."""
    Path(search.folder).mkdir(exist_ok=True)
    (Path(search.folder) / FILE).write_text(json.dumps(search.to_json()))


@pytest.fixture
def place(tmp_path):
    return tmp_path / "tune" / "trial_0"


@pytest.fixture
def training(place, monkeypatch):
    training = Training(place)
    monkeypatch.setattr(side, "train", training)
    return training


def changed(search, **values):
    search = Specification(**{name: getattr(search, name) for name in search.to_json()} | values)
    enter(search)
    return search


def content(path):
    return json.loads(path.read_text())


def run(search, **values):
    return trials.run(search, "0", {"learning_rate": 0.5, "batch_size": 16} | values)


def failure(search, place):
    """Return why a trial fails: what the error, and the file, say."""
    with pytest.raises(FailedTrialError) as error:
        run(search)
    written = content(place / trials.FAILURE)
    assert written["reason"] == str(error.value)
    assert "\n" not in written["reason"]
    return written


def test_a_trial_is_a_training_of_the_recipe_in_a_folder_of_its_own(search, training, place, tmp_path):
    run(search)
    (job,) = training.jobs
    assert (job.path, job.folder, job.verbose) == (str(tmp_path / "mine.py"), str(place), 0)
    assert job.hparams == {"learning_rate": 0.5, "batch_size": 16, "width": 5, "epochs": 3, "seed": 7}
    assert job.logging == search.logging
    about = {name: value for name, value in job.about.items() if name != "began"}
    assert about == {
        "recipe": "mine",
        "side": "custom_loop",
        "file": "mine.py",
        "tolerance": 0.5,
        "command": "recipes tune mine",
        "trial": "0",
    }


@pytest.mark.parametrize(
    ("objective", "score", "epoch"),
    [("val_loss", 0.4, 2), ("loss", 0.25, 3), ("val_accuracy", 0.8, 2), ("val_auc", 0.9, 1), ("val_mse", 0.2, 3)],
)
def test_the_score_is_that_of_the_best_epoch_the_first_of_several(search, training, place, objective, score, epoch):
    history = HISTORY | {"val_auc": [0.9, 0.5, 0.9], "val_mse": [0.9, 0.5, 0.2]}
    training.act = lambda folder: write(folder, history)
    assert run(changed(search, objective=objective, larger_is_better=objective in LARGER)) == {objective: score}
    report = content(place / "report.json")
    assert report == REPORT | {"best": {objective: score}, "best_epoch": epoch}
    assert not (place / trials.ATTEMPTS).exists()
    assert not (place / trials.FAILURE).exists()


def children(folder, histories):
    for number, history in enumerate(histories, start=1):
        write(folder / f"fold_{number}", history)
    (folder / "report.json").write_text(json.dumps(REPORT))


def test_the_score_of_several_trainings_is_the_best_epoch_of_their_mean(search, training, place):
    # each is best in another epoch than their mean: (3 + 9) / 2, (5 + 4) / 2, (9 + 3) / 2
    training.act = lambda folder: children(folder, [{"val_loss": [3, 5, 9]}, {"val_loss": [9, 4, 3]}])
    assert run(search) == {"val_loss": 4.5}
    assert content(place / "report.json")["best_epoch"] == 2


def test_trainings_of_several_lengths_are_compared_as_far_as_all_go_by_what_all_have(tmp_path):
    children(tmp_path, [{"a": [1, 2, 3], "b": [1, 1, 1]}, {"a": [3, 6], "c": [0, 0]}])
    assert trials.history(tmp_path) == {"a": [2.0, 4.0]}


def test_the_history_of_a_single_training_is_as_it_was_written(tmp_path):
    write(tmp_path)
    assert trials.history(tmp_path) == HISTORY


def test_what_a_killed_process_had_not_finished_writing_is_no_history(tmp_path):
    write(tmp_path)
    write(tmp_path / ".writing-abc", {"val_loss": [0.0]})
    assert trials.history(tmp_path) == HISTORY


def test_no_training_has_no_history(tmp_path):
    assert trials.history(tmp_path) == {}


@pytest.mark.parametrize(
    ("error", "reason", "details"),
    [
        (TrainingDiverged("the loss is nan; try less"), "the loss is nan; try less", ""),
        (UsageError("no such data"), "no such data", ""),
        (ValueError("bad shape\nand much more"), "ValueError: bad shape", "Traceback"),
        (ValueError(), "ValueError: ", "Traceback"),
        (MemoryError("out of memory"), "MemoryError: out of memory", "Traceback"),
    ],
    ids=repr,
)
def test_a_training_that_fails_is_a_failed_trial_with_the_reason_in_a_file(
    search, training, place, error, reason, details
):
    training.fails(error)
    written = failure(search, place)
    assert written["reason"] == reason
    assert written["details"].startswith(details)
    assert bool(written["details"]) is bool(details)
    assert not (place / trials.ATTEMPTS).exists()


def test_a_training_without_any_epoch_is_a_failed_trial(search, training, place):
    training.act = lambda folder: write(folder, {"val_loss": []})
    assert failure(search, place)["reason"]


def test_some_epochs_without_a_finite_score_are_a_failed_trial_or_left_out(search, training, place):
    training.act = lambda folder: write(folder, {"val_loss": [None, 0.5, 0.25]})  # JSON has no word for nan
    try:
        assert run(search) == {"val_loss": 0.25}
    except FailedTrialError as error:
        assert content(place / trials.FAILURE)["reason"] == str(error)  # noqa: PT017


@pytest.mark.parametrize(
    "level",
    [
        "nothing",
        "scalars",
    ],
)
def test_a_single_epoch_without_a_finite_score_is_a_failed_trial(search, training, place, level):
    training.act = lambda folder: write(folder, {"val_loss": [None]})
    failure(changed(search, logging=LoggingOptions(level=level)), place)


def test_an_objective_that_no_trial_can_have_ends_the_search(search, training, place):
    with pytest.raises(UsageError) as error:
        run(changed(search, objective="val_auc"))
    assert isinstance(error.value, keras_tuner.errors.FatalError)
    assert not isinstance(error.value, FailedTrialError)
    assert str(error.value) == "no objective 'val_auc' in the history; it has loss, val_accuracy, val_loss"
    assert not (place / trials.FAILURE).exists()


def test_an_unknown_objective_is_said_however_often_one_tries(search, training):
    for _ in range(4):
        with pytest.raises(trials.SearchStopped):
            run(changed(search, objective="val_auc"))


def test_a_trial_is_attempted_twice_and_no_third_time(search, training, place):
    training.fails(Killed())
    for attempt in (1, 2):
        with pytest.raises(Killed):
            run(search)
        assert content(place / trials.ATTEMPTS) == {"count": attempt, "process": os.getpid()}
    assert failure(search, place)["reason"] == oracles.KILLED_TWICE
    assert len(training.jobs) == 2
    assert not (place / trials.ATTEMPTS).exists()


def test_a_second_attempt_that_succeeds_counts(search, training, place):
    training.fails(Killed())
    with pytest.raises(Killed):
        run(search)
    training.act = write
    assert run(search) == {"val_loss": 0.4}
    assert not (place / trials.ATTEMPTS).exists()


@pytest.mark.parametrize("stop", [SystemExit(143), KeyboardInterrupt()], ids=repr)
def test_to_be_stopped_is_no_attempt(search, training, place, stop):
    training.fails(stop)
    for _ in range(3):
        with pytest.raises(type(stop)):
            run(search)
        assert not (place / trials.ATTEMPTS).exists()
        assert not (place / trials.FAILURE).exists()
    assert len(training.jobs) == 3


def test_to_be_stopped_does_not_wipe_what_others_see_as_success(search, training, place):
    training.fails(Killed())
    with pytest.raises(Killed):
        run(search)
    training.fails(SystemExit(143))
    with pytest.raises(SystemExit):
        run(search)
    training.act = write
    assert run(search) == {"val_loss": 0.4}


@pytest.mark.parametrize("damaged", ["", "{", "[]", '{"other": 1}'])
def test_a_damaged_count_of_attempts_counts_from_the_start(search, training, place, damaged):
    place.mkdir(parents=True)
    (place / trials.ATTEMPTS).write_text(damaged)
    training.fails(Killed())
    with pytest.raises(Killed):
        run(search)
    assert content(place / trials.ATTEMPTS) == {"count": 1, "process": os.getpid()}


def test_the_folder_is_cleared_before_an_attempt_but_for_kerastuners_file(search, training, place):
    write(place / "fold_1", {"val_loss": [-1.0]})
    write(place, {"val_loss": [-2.0]})
    (place / trials.KERAS_TUNERS).write_text("its own")
    (place / trials.FAILURE).write_text('{"reason": "of before"}')
    (place / "train").mkdir()
    (place / "train" / "events.out.tfevents.1").write_text("old")
    assert run(search) == {"val_loss": 0.4}
    assert training.seen == [{trials.KERAS_TUNERS, trials.ATTEMPTS}]
    assert (place / trials.KERAS_TUNERS).read_text() == "its own"
    assert {path.name for path in place.iterdir()} == {trials.KERAS_TUNERS, "history.json", "report.json"}


@pytest.mark.parametrize(
    ("objective", "part", "tag", "score"),
    [("val_loss", "validation", "best_loss", 0.4), ("loss", "train", "best_loss", 0.25)],
)
def test_the_score_stands_in_tensorboard_at_the_last_update(search, training, place, objective, part, tag, score):
    run(changed(search, objective=objective, logging=LoggingOptions(level="scalars")))
    accumulator = EventAccumulator(str(place / part)).Reload()
    assert accumulator.Tags()["scalars"] == [tag]
    ((step, value),) = ((event.step, event.value) for event in accumulator.Scalars(tag))
    assert (step, value) == (12, pytest.approx(score))


def test_where_nothing_is_logged_the_score_is_not(search, training, place):
    run(search)
    assert not list(place.rglob("events*"))


def test_layers_are_named_as_in_a_process_of_their_own(search, training, place):
    import keras

    names = []

    def act(folder):
        names.append(keras.layers.Dense(1).name)
        write(folder)

    training.act = act
    run(search)
    run(search)
    assert names == ["dense", "dense"]


@pytest.fixture
def oracle(search, tmp_path):
    oracle = oracles.make(search)
    oracle.prepare(tmp_path / "tune")
    oracle.verbose = 0
    return oracle


def end(oracle, trial, status="COMPLETED", score=0.5):
    if status == "COMPLETED":
        oracle.update_trial(trial.trial_id, {"val_loss": score})
    trial.status = status
    oracle.end_trial(trial)


def test_trials_are_read_in_the_order_in_which_they_began(search, oracle, training, tmp_path):
    done, failed, running = (oracle.create_trial(f"worker-{number}") for number in (1, 2, 3))
    write(tmp_path / "tune" / "trial_0", report=REPORT | {"best": {"val_loss": 0.4}, "best_epoch": 2})
    (tmp_path / "tune" / "trial_1" / trials.FAILURE).write_text('{"reason": "it burned"}')
    write(tmp_path / "tune" / "trial_2")  # not ended, whatever lies there
    end(oracle, failed, "FAILED")
    end(oracle, done, score=0.4000001)  # as float32 it came from a worker
    found = trials.read(search, oracle)
    values = [each.hyperparameters.values for each in (done, failed, running)]
    assert [(each.number, each.identifier, each.status, each.reason, each.score) for each in found] == [
        (1, "0", "completed", "", 0.4),
        (2, "1", "failed", "it burned", None),
        (3, "2", "running", "", None),
    ]
    assert [each.hparams for each in found] == [search.hparams_of(each) for each in values]
    assert all(each.values.keys() == search.space.keys() for each in found)
    assert found[0].values["batch_size"] == values[0]["batch_size"]
    first = found[0]
    assert (first.best_epoch, first.updates, first.examples, first.seconds) == (2, 12, 384, 1.5)
    assert [(each.best_epoch, each.updates, each.examples, each.seconds) for each in found[1:]] == [(None, 0, 0, 0)] * 2
    assert [trials.read_one(search, oracle, each) for each in "012"] == found


def test_a_failed_trial_without_a_file_has_kerastuners_reason_or_none(search, oracle):
    first, second = (oracle.create_trial(f"worker-{number}") for number in (1, 2))
    first.message = "no worker ended it"
    end(oracle, first, "FAILED")
    end(oracle, second, "FAILED")
    assert [each.reason for each in trials.read(search, oracle)] == ["no worker ended it", "it gave no reason"]


@pytest.mark.parametrize("damaged", [None, "", "{", "[]", "{}", '{"updates": null, "seconds_total": null}'])
def test_a_completed_trial_whose_report_is_damaged_keeps_the_oracles_score(search, oracle, tmp_path, damaged):
    end(oracle, oracle.create_trial("tuner0"), score=0.25)
    if damaged is not None:
        (tmp_path / "tune" / "trial_0" / "report.json").write_text(damaged)
    (found,) = trials.read(search, oracle)
    assert (found.status, found.score, found.best_epoch, found.updates, found.seconds) == (
        "completed",
        0.25,
        None,
        0,
        0,
    )


def test_a_failed_trial_has_no_score_and_is_never_the_best(search, oracle):
    first = oracle.create_trial("tuner0")
    oracle.update_trial("0", {"val_loss": 0.125})  # killed here, and in the next attempt it fails
    oracle.score_trial(first)
    end(oracle, first, "FAILED")
    end(oracle, oracle.create_trial("tuner0"), score=0.5)
    found = trials.read(search, oracle)
    assert [each.score for each in found] == [None, 0.5]
    assert trials.best(search, found).number == 2


def trial(number, score):
    status = "completed" if score is not None else "failed"
    return trials.Trial(number, str(number), {}, {}, status, score=score)


@pytest.mark.parametrize(
    ("objective", "scores", "number"),
    [
        ("val_loss", [0.5, 0.25, 0.75], 2),
        ("val_accuracy", [0.5, 0.25, 0.75], 3),
        ("val_loss", [0.5, 0.25, 0.25], 2),
        ("val_accuracy", [0.75, 0.25, 0.75], 1),
        ("val_loss", [None, 0.5, None], 2),
        ("val_loss", [None, 0.0, 0.5], 2),
        ("val_loss", [None, None], None),
        ("val_loss", [], None),
    ],
)
def test_the_best_is_the_first_with_the_best_score(search, objective, scores, number):
    found = trials.best(
        changed(search, objective=objective, larger_is_better=objective in LARGER),
        [trial(index, score) for index, score in enumerate(scores, start=1)],
    )
    assert (found and found.number) == number


def test_a_trial_is_read_with_hyperbands_epochs_and_without_its_values(search):
    values = {"learning_rate": 0.5, "batch_size": 16, "tuner/epochs": 2, "tuner/round": 1}
    state = SimpleNamespace(
        trial_id="0", status="RUNNING", message=None, score=None, hyperparameters=SimpleNamespace(values=values)
    )
    found = trials.read_one(search, SimpleNamespace(start_order=["0"], trials={"0": state}), "0")
    assert found.hparams["epochs"] == 2
    assert found.values == {"learning_rate": 0.5, "batch_size": 16}


def test_the_folder_of_a_trial_is_kerastuners(search, oracle):
    assert str(trials.folder(search, "0")) == oracle._get_trial_dir("0")


def test_a_folder_without_the_chiefs_search_stops_the_worker_and_is_no_failed_trial(search, training, place):
    (place.parent / FILE).unlink()
    with pytest.raises(trials.SearchStopped, match="must be a folder that the chief and all workers share"):
        run(search)
    assert not training.jobs
    assert not place.exists()


def test_a_worker_of_another_search_is_stopped(search, training, place):
    changed(search, objective="val_mse")  # what the chief has written down
    with pytest.raises(trials.SearchStopped, match="is a search with objective val_mse, not val_loss"):
        run(search)
    assert not training.jobs


@pytest.mark.parametrize("error", [NoRoom("no room for model.keras"), OSError(28, "No space left on device")])
def test_a_full_disk_stops_the_search_and_is_no_failed_trial(search, training, place, error):
    training.fails(error)
    with pytest.raises(trials.SearchStopped, match=r"no room|No space left"):
        run(search)
    assert not (place / trials.ATTEMPTS).exists()
    assert not (place / trials.FAILURE).exists()


@pytest.fixture
def several(search, monkeypatch):
    """A search of three executions a trial, and a function that trains with other scores for every seed."""
    search = changed(search, executions_per_trial=3)
    seeds = []

    def train(job):
        seeds.append(job.hparams["seed"])
        best = {7: 0.5, 8: 0.25, 9: 0.75}[job.hparams["seed"]]
        # best in epochs 1, 2 and 3
        history = [1.0] * (len(seeds) - 1) + [best] + [1.0] * (3 - len(seeds))
        write(Path(job.folder), {"val_loss": history})

    monkeypatch.setattr(side, "train", train)
    return search, seeds


def test_several_executions_have_a_folder_and_a_seed_each_and_their_mean_is_the_score(several, place):
    search, seeds = several
    assert run(search) == {"val_loss": 0.5}
    assert seeds == [7, 8, 9]
    sums = {"updates": 36, "examples_seen": 1152, "seconds_total": 4.5}
    assert content(place / "report.json") == sums | {
        "best": {"val_loss": 0.5},
        "scores": [0.5, 0.25, 0.75],
        "best_epoch": 2,
    }
    reports = [content(place / f"execution_{number}" / "report.json") for number in (1, 2, 3)]
    assert [(report["best"]["val_loss"], report["best_epoch"]) for report in reports] == [
        (0.5, 1),
        (0.25, 2),
        (0.75, 3),
    ]
    assert not (place / trials.ATTEMPTS).exists()


def test_the_scores_of_several_executions_are_read_with_their_spread(several, tmp_path):
    search, _ = several
    oracle = oracles.make(search)
    oracle.prepare(tmp_path / "tune")
    oracle.verbose = 0
    trial = oracle.create_trial("tuner0")
    trials.run(search, trial.trial_id, trial.hyperparameters.values)
    end(oracle, trial, score=0.5)
    (found,) = trials.read(search, oracle)
    assert (found.score, found.scores, found.spread, found.updates) == (0.5, [0.5, 0.25, 0.75], 0.25, 36)


def test_a_single_execution_has_no_spread():
    assert trial(1, 0.5).spread is None


def test_an_execution_that_fails_fails_the_trial_and_a_killed_one_has_all_begin_again(several, place, monkeypatch):
    search, seeds = several
    train = side.train

    def killed(job):
        if job.hparams["seed"] == 8:
            raise Killed
        train(job)

    monkeypatch.setattr(side, "train", killed)
    with pytest.raises(Killed):
        run(search)
    assert (place / "execution_1" / "history.json").is_file()
    monkeypatch.setattr(side, "train", train)
    seeds.clear()
    assert run(search) == {"val_loss": 0.5}
    assert seeds == [7, 8, 9]

    def diverges(job):
        raise TrainingDiverged(f"the loss became NaN; the logs are in {job.folder}")

    monkeypatch.setattr(side, "train", diverges)
    assert "execution_1" in failure(search, place)["reason"]
