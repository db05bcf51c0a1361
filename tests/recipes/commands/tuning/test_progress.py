"""The line that a trial prints as it ends."""

import json

import pytest

from recipes.commands.tuning import oracle as oracles
from recipes.commands.tuning import progress, trials
from recipes.commands.tuning.specification import Specification
from recipes.shared.search_space import Choices, LogRange


class Clock:
    """Takes the place of the module `time`."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


@pytest.fixture
def start(tmp_path):
    """A function that makes the oracle of a search with its display."""

    def start(**values):
        defaults = {
            "recipe": "mine",
            "side": "fit",
            "path": "mine.py",
            "folder": str(tmp_path / "tune"),
            "command": "recipes tune mine",
            "tuner": "random",
            "objective": "val_loss",
            "space": {"learning_rate": LogRange(1e-4, 1e-1), "kind": Choices("a")},
            "hparams": {"learning_rate": 0.01, "kind": "a", "batch_size": 32, "epochs": 3, "seed": 0},
            "seed": 0,
            "trials": 3,
            "epochs": 3,
        }
        specification = Specification(**defaults | values)
        oracle = oracles.make(specification)
        oracle.prepare(tmp_path / "tune")
        oracle._display = progress.Progress(oracle, specification)
        return oracle

    return start


def end(oracle, trial, tmp_path, score=None, best_epoch=None, reason=""):
    folder = tmp_path / "tune" / f"trial_{trial.trial_id}"
    objective = oracle.objective.name
    if score is not None:
        report = {"best": {objective: score}, "best_epoch": best_epoch}
        (folder / "report.json").write_text(json.dumps(report))
        oracle.update_trial(trial.trial_id, {objective: score})
    else:
        (folder / trials.FAILURE).write_text(json.dumps({"reason": reason}))
    trial.status = "COMPLETED" if score is not None else "FAILED"
    oracle.end_trial(trial)


def rate(trial):
    return f"{trial.hyperparameters.values['learning_rate']:.4g}"


def test_a_line_a_trial_says_values_score_the_best_and_the_time_left(start, clock, tmp_path, capsys):
    oracle = start()
    lines = []
    for seconds, score, epoch in ((10, 0.123456, 2), (30, 0.5, 3), (20, 0.0625, 1)):
        trial = oracle.create_trial("tuner0")
        assert capsys.readouterr().out == ""
        clock.now += seconds
        end(oracle, trial, tmp_path, score, epoch)
        line = capsys.readouterr().out
        assert line.count("\n") == 1
        lines.append(line.strip().replace(rate(trial), "RATE"))
    assert lines == [
        "trial 1/3: learning_rate RATE, kind a: val_loss 0.1235 in epoch 2; best 0.1235 (trial 1); about 20 s left",
        "trial 2/3: learning_rate RATE, kind a: val_loss 0.5 in epoch 3; best 0.1235 (trial 1); about 20 s left",
        "trial 3/3: learning_rate RATE, kind a: val_loss 0.0625 in epoch 1; best 0.0625 (trial 3)",
    ]


def test_the_best_is_the_largest_where_it_should_be(start, clock, tmp_path, capsys):
    oracle = start(objective="val_accuracy", larger_is_better=True)
    for score in (0.25, 0.75, 0.5):
        end(oracle, oracle.create_trial("tuner0"), tmp_path, score, 1)
    found = [line.partition("; best ")[2].partition(")")[0] for line in capsys.readouterr().out.splitlines()]
    assert found == ["0.25 (trial 1", "0.75 (trial 2", "0.75 (trial 2"]


def test_a_failed_trial_says_why_without_the_advice(start, clock, tmp_path, capsys):
    oracle = start(trials=2)
    trial = oracle.create_trial("tuner0")
    clock.now += 5
    end(oracle, trial, tmp_path, reason="the loss is nan; try a smaller --learning-rate")
    assert capsys.readouterr().out == (
        f"trial 1/2: learning_rate {rate(trial)}, kind a: FAILED: the loss is nan; about 5 s left\n"
    )
    trial = oracle.create_trial("tuner0")
    end(oracle, trial, tmp_path, 0.5, 1)
    assert "val_loss 0.5 in epoch 1; best 0.5 (trial 2)" in capsys.readouterr().out


def test_several_workers_share_what_is_left(start, clock, tmp_path, capsys):
    oracle = start(trials=9, workers=4)
    first, second = (oracle.create_trial(f"worker-{number}") for number in (1, 2))
    clock.now += 10
    end(oracle, second, tmp_path, 0.5, 1)
    assert capsys.readouterr().out.startswith("trial 2/9: ")
    clock.now += 20
    end(oracle, first, tmp_path, 0.25, 1)
    # the median of 10 and 30 s, seven trials, four workers
    assert capsys.readouterr().out.endswith("; best 0.25 (trial 1); about 35 s left\n")


def test_after_reloading_numbers_go_on_and_the_time_is_that_of_this_process(start, clock, tmp_path, capsys):
    oracle = start()
    trial = oracle.create_trial("tuner0")
    clock.now += 1000
    end(oracle, trial, tmp_path, 0.5, 1)
    capsys.readouterr()
    oracle = start()
    trial = oracle.create_trial("tuner0")
    clock.now += 7
    end(oracle, trial, tmp_path, 0.75, 1)
    line = capsys.readouterr().out
    assert line.startswith("trial 2/3: ")
    assert line.endswith("; best 0.5 (trial 1); about 7 s left\n")


def test_a_trial_that_began_before_reloading_takes_no_time_and_is_shown(start, clock, tmp_path, capsys):
    oracle = start()
    oracle.create_trial("tuner0")
    oracle = start()
    trial = oracle.trials["0"]
    end(oracle, trial, tmp_path, 0.5, 1)
    assert capsys.readouterr().out.endswith(" in epoch 1; best 0.5 (trial 1)\n")


def test_a_trial_that_runs_again_counts_when_it_ends_anew(start, clock, tmp_path, capsys):
    oracle = start()
    trial = oracle.create_trial("worker-1")
    (tmp_path / "tune" / "trial_0" / "report.json").write_text('{"best": {"val_loss": 0.125}, "best_epoch": 1}')
    trial.status = "COMPLETED"
    oracle._save_trial(trial)  # and the process was killed
    oracle = start()
    again, other = (oracle.create_trial(f"worker-{number}") for number in (1, 2))
    assert again.trial_id == "0"
    clock.now += 10
    end(oracle, other, tmp_path, 0.5, 1)
    assert capsys.readouterr().out.endswith("; best 0.5 (trial 2); about 20 s left\n")
    end(oracle, again, tmp_path, 0.25, 1)
    assert capsys.readouterr().out.endswith("; best 0.25 (trial 1); about 10 s left\n")


def test_the_first_of_equal_scores_is_the_best_whichever_ended_first(start, clock, tmp_path, capsys):
    oracle = start()
    first, second = (oracle.create_trial(f"worker-{number}") for number in (1, 2))
    end(oracle, second, tmp_path, 0.5, 1)
    end(oracle, first, tmp_path, 0.5, 1)
    found = [line.partition("; best ")[2].partition(";")[0] for line in capsys.readouterr().out.splitlines()]
    assert found == ["0.5 (trial 2)", "0.5 (trial 1)"]


def test_only_the_trial_that_ended_is_read_from_disk(start, clock, tmp_path, capsys):
    oracle = start()
    end(oracle, oracle.create_trial("tuner0"), tmp_path, 0.25, 1)
    (tmp_path / "tune" / "trial_0" / "report.json").write_text('{"best": {"val_loss": 0.125}}')
    end(oracle, oracle.create_trial("tuner0"), tmp_path, 0.5, 1)
    assert "; best 0.25 (trial 1)" in capsys.readouterr().out.splitlines()[1]


def test_the_display_is_kept_in_the_oracles_state(start, clock, tmp_path):
    oracle = start()
    end(oracle, oracle.create_trial("tuner0"), tmp_path, 0.5, 1)
    assert oracle.get_state()["display"] == start().get_state()["display"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.123456, "0.1235"),
        (1e-5, "1e-05"),
        (123456.0, "1.235e+05"),
        (1.0, "1"),
        (123456, "123456"),
        (True, "True"),
        ("adam", "adam"),
        (None, "None"),
    ],
)
def test_a_number_in_four_digits_and_all_else_as_it_is(value, text):
    assert progress.number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (150, "2 min"),
        (3540, "59 min"),
        (3600, "1.0 h"),
        (5400, "1.5 h"),
    ],
)
def test_a_duration_in_words(seconds, text):
    assert progress.duration(seconds) == text


def test_just_below_a_minute_or_an_hour_is_one():
    assert (progress.duration(59.9), progress.duration(3599)) == ("1 min", "1.0 h")
