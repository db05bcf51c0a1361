"""KerasTuner's real oracles with scores of the test's own: nothing is lost, and nothing runs twice."""

import json
import math
import shutil
import threading

import pytest
from keras_tuner.src.engine import trial as kt_trial

from recipes.commands.tuning import oracle as oracles
from recipes.commands.tuning.specification import Specification
from recipes.shared.errors import UsageError
from recipes.shared.search_space import Choices, LogRange, Range

TUNERS = ("bayesian", "random", "grid", "hyperband")
SPACE = {"learning_rate": LogRange(1e-4, 1e-1), "batch_size": Choices(16, 32, 64)}
NARROW = {"learning_rate": LogRange(1e-4, 1e-1)}  # a Bayesian search of one dimension begins with three random trials
GRID = {"kind": Choices("a", "b"), "batch_size": Choices(16, 32, 64)}
# after every file that a trial is written to, the process may be killed
WRITES = ("trial created", "search: created", "trial scored", "trial ended", "search: ended", "search: not ongoing")
EVERY_TUNER = pytest.mark.parametrize("tuner", TUNERS)


class Killed(BaseException):
    """Nothing in the process gets to see the end."""


def specify(tuner="random", **values):
    defaults = {
        "recipe": "mine",
        "side": "fit",
        "path": "mine.py",
        "folder": "tune",
        "command": "recipes tune mine",
        "tuner": tuner,
        "objective": "val_loss",
        "space": GRID if tuner == "grid" else SPACE,
        "hparams": {"kind": "b", "learning_rate": 0.01, "batch_size": 32, "epochs": 3, "seed": 0},
        "seed": 0,
        "trials": None if tuner in ("grid", "hyperband") else 4,
        "epochs": 3,
    }
    return Specification(**defaults | values)


@pytest.fixture
def start(tmp_path):
    """A function that makes an oracle as a new process would, from what is in the folder."""

    def start(specification, folder=tmp_path / "tune"):
        oracle = oracles.make(specification)
        oracle.prepare(folder)
        oracle.verbose = 0
        return oracle

    return start


def score(values):
    """Return what a trial gives: the same for the same values."""
    return float(sum(len(str(value)) / (1 + index) for index, value in enumerate(values.values()))) + 0.5


def end(oracle, trial, status="COMPLETED", value=None):
    """End a trial as KerasTuner's loop does."""
    if status == "COMPLETED" and not oracle.trials[trial.trial_id].metrics.exists("val_loss"):
        given = score(trial.hyperparameters.values) if value is None else value
        oracle.update_trial(trial.trial_id, {"val_loss": given})
    trial.status = status
    oracle.end_trial(trial)


def run(oracle, at_most=10_000, status="COMPLETED"):
    """Run trials to the end of the search, or so many; return which."""
    ran = []
    while len(ran) < at_most:
        trial = oracle.create_trial("tuner0")
        if trial.status == "STOPPED":
            break
        assert trial.status == "RUNNING"
        ran.append(trial.trial_id)
        end(oracle, trial, status)
    return ran


def proposals(oracle):
    return [oracle.trials[each].hyperparameters.values for each in oracle.start_order]


def through_protobuf(trial):
    """Return a trial as it comes back from a worker."""
    sent = trial.to_proto()
    return kt_trial.Trial.from_proto(type(sent).FromString(sent.SerializeToString()))


def known(oracle):
    """Return what an oracle knows of the trials."""
    return {
        "begun": oracle.start_order,
        "ended": oracle.end_order,
        "trials": {name: trial.get_state() for name, trial in oracle.trials.items()},
        "seed": oracle._seed_state,
        "tried": oracle._tried_so_far,
    }


@EVERY_TUNER
def test_the_first_trial_has_all_hyper_parameters_of_the_space(start, tuner):
    specification = specify(tuner)
    values = start(specification).create_trial("tuner0").hyperparameters.values
    assert {name for name in values if not name.startswith("tuner/")} == set(specification.space)
    assert all(values[name] in domain for name, domain in specification.space.items())


@EVERY_TUNER
def test_all_trials_lie_in_the_space_and_differ(start, tuner):
    specification = specify(tuner, epochs=9, trials=6 if tuner in ("bayesian", "random") else None)
    oracle = start(specification)
    run(oracle)
    found = proposals(oracle)
    for values in found:
        assert all(values[name] in domain for name, domain in specification.space.items())
    own = {tuple(values[name] for name in specification.space) for values in found if not values.get("tuner/round")}
    assert len(own) == sum(not values.get("tuner/round") for values in found)


@EVERY_TUNER
def test_a_seed_proposes_the_same_twice_even_0(start, tuner, tmp_path):
    specification = specify(tuner, **({"space": NARROW, "trials": 5} if tuner == "bayesian" else {}))
    first, second = (start(specification, tmp_path / name) for name in ("first", "second"))
    assert run(first) == run(second)
    assert proposals(first) == proposals(second)


@pytest.mark.parametrize("tuner", ["bayesian", "random", "hyperband"])
def test_another_seed_proposes_others(start, tuner, tmp_path):
    first, second = (start(specify(tuner, seed=seed), tmp_path / str(seed)) for seed in (0, 1))
    assert first.create_trial("tuner0").hyperparameters.values != second.create_trial("tuner0").hyperparameters.values


def test_a_grid_begins_with_the_recipes_defaults_and_takes_every_combination_once(start):
    oracle = start(specify("grid"))
    run(oracle)
    found = [(values["kind"], values["batch_size"]) for values in proposals(oracle)]
    assert found[0] == ("b", 32)
    assert sorted(found) == [(kind, size) for kind in "ab" for size in (16, 32, 64)]


def test_a_default_that_is_not_in_the_space_is_replaced_by_its_first_value():
    declared = oracles.hyper_parameters(
        {"a": Choices(3, 4), "b": Range(0.5, 1.0), "c": LogRange(0.5, 1.0), "d": Choices("x", "y")},
        {"a": 5, "b": 2.0, "c": None},
    )
    assert [each.default for each in declared.space] == [3, 0.5, 0.5, "x"]


def test_a_default_in_the_space_is_kept():
    declared = oracles.hyper_parameters(
        {"a": Choices(3, 4), "b": Range(0, 1), "c": LogRange(0.5, 1.0)}, {"a": 4, "b": 1, "c": 0.75}
    )
    assert [each.default for each in declared.space] == [4, 1.0, 0.75]
    assert [each.get_config().get("sampling") for each in declared.space] == [None, "linear", "log"]
    assert [each.name for each in declared.space] == ["a", "b", "c"]


@pytest.mark.parametrize(("objective", "direction", "best"), [("val_loss", "min", 0.25), ("val_accuracy", "max", 0.75)])
def test_the_objective_goes_the_way_it_should(start, objective, direction, best):
    oracle = start(specify("random", objective=objective, larger_is_better=direction == "max", trials=3))
    assert oracle.objective.direction == direction
    for value in (0.5, 0.25, 0.75):
        trial = oracle.create_trial("tuner0")
        oracle.update_trial(trial.trial_id, {objective: value})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    assert oracle.get_best_trials()[0].score == best


@EVERY_TUNER
def test_after_every_call_a_new_process_knows_what_the_old_one_did(start, tuner):
    specification = specify(tuner)
    oracle = start(specification)
    for _ in range(3):
        trial = oracle.create_trial("tuner0")
        assert known(start(specification)) == known(oracle)
        assert start(specification)._retry_queue == [trial.trial_id]
        oracle.update_trial(trial.trial_id, {"val_loss": 0.5})
        assert known(start(specification)) == known(oracle)
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
        assert known(start(specification)) == known(oracle)
        assert start(specification)._retry_queue == []


@EVERY_TUNER
def test_a_search_in_a_process_a_trial_ends_as_one_in_a_single_process(start, tuner, tmp_path):
    specification = specify(tuner)
    whole = start(specification, tmp_path / "whole")
    run(whole)
    ran = []
    while now := run(start(specification), at_most=1):
        ran += now
    oracle = start(specification)
    assert ran == oracle.start_order == oracle.end_order == whole.end_order
    assert proposals(oracle) == proposals(whole)


def test_a_bayesian_search_goes_on_after_its_random_trials_too(start):
    specification = specify("bayesian", trials=6, space=NARROW)
    run(start(specification), at_most=4)
    oracle = start(specification)
    assert len(run(oracle)) == 2
    assert all(trial.status == "COMPLETED" for trial in oracle.trials.values())
    assert run(start(specification)) == []


@EVERY_TUNER
def test_an_ongoing_trial_is_run_first_after_reloading_and_a_finished_one_never(start, tuner):
    specification = specify(tuner)
    oracle = start(specification)
    done = run(oracle, at_most=2)
    ongoing = oracle.create_trial("tuner0")
    after = start(specification)
    again = after.create_trial("tuner0")
    assert (again.trial_id, again.status) == (ongoing.trial_id, "RUNNING")
    assert again.hyperparameters.values == ongoing.hyperparameters.values
    end(after, again)
    assert not set(run(after)) & {*done, ongoing.trial_id}
    assert len(after.end_order) == len(set(after.end_order)) == oracles.expected_trials(after, specification)


@pytest.mark.parametrize("write", range(len(WRITES)), ids=WRITES)
@pytest.mark.parametrize("tuner", TUNERS)
def test_a_process_that_is_killed_between_two_files_loses_no_trial(start, tuner, write, tmp_path, monkeypatch):
    specification = specify(tuner)
    whole = start(specification, tmp_path / "whole")
    run(whole)
    save = oracles._save
    written = []

    def killed_after(number):
        def save_and_die(path, state):
            save(path, state)
            written.append(path)
            if len(written) == number:
                raise Killed

        return save_and_die

    for trial in (0, 1, len(whole.trials) - 1):
        folder = tmp_path / f"killed {trial}"
        written.clear()
        monkeypatch.setattr(oracles, "_save", killed_after(trial * len(WRITES) + write + 1))
        with pytest.raises(Killed):
            run(start(specification, folder))
        monkeypatch.setattr(oracles, "_save", save)
        assert written[-1].endswith("trial.json") is WRITES[write].startswith("trial")
        oracle = start(specification, folder)
        done = list(oracle.end_order)
        assert not set(run(oracle)) & set(done)
        assert oracle.start_order == whole.start_order
        assert sorted(oracle.end_order) == sorted(whole.end_order)
        assert oracle.trials.keys() == set(oracle.start_order)
        assert proposals(oracle) == proposals(whole)
        for name, each in whole.trials.items():
            assert oracle.trials[name].score == each.score
        assert {each.status for each in oracle.trials.values()} == {"COMPLETED"}


@pytest.mark.parametrize("name", ["oracle.json", "trial.json"])
def test_a_file_is_replaced_when_the_new_one_is_whole(start, name, tmp_path, monkeypatch):
    specification = specify()
    oracle = start(specification)
    run(oracle, at_most=2)
    trial = oracle.create_trial("tuner0")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    save = oracles.utils.save_json

    def half(path, state):
        if path.endswith(name):
            with open(path, "w") as file:  # noqa: PTH123
                file.write('{"half')
            raise Killed
        return save(path, state)

    monkeypatch.setattr(oracles.utils, "save_json", half)
    with pytest.raises(Killed):
        end(oracle, trial)
    for path in before:
        json.loads(path.read_text())
    changed = {path.name for path, content in before.items() if path.read_bytes() != content}
    assert name not in changed
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == before.keys()
    monkeypatch.undo()
    assert start(specification).create_trial("tuner0").trial_id == trial.trial_id


@pytest.mark.parametrize("file", ["oracle.json", "trial_0/trial.json"])
@pytest.mark.parametrize("damaged", ["", '{"half', "[]", "3", "null", "{}", b"\xff\xfe"], ids=str)
def test_damaged_files_are_refused_in_one_line(start, file, damaged, tmp_path):
    specification = specify()
    run(start(specification), at_most=2)
    path = tmp_path / "tune" / file
    path.write_bytes(damaged if isinstance(damaged, bytes) else damaged.encode())
    with pytest.raises(UsageError) as error:
        start(specification)
    assert str(error.value).startswith(f"the search in {tmp_path / 'tune'} is damaged (")
    assert str(error.value).endswith("; choose another --run, or move the folder away")
    assert "\n" not in str(error.value)


def test_a_trial_whose_folder_was_deleted_is_noticed_at_the_start(start, tmp_path):
    specification = specify()
    run(start(specification), at_most=2)
    shutil.rmtree(tmp_path / "tune" / "trial_0")
    with pytest.raises(UsageError, match="is damaged"):
        start(specification)


def test_a_folder_without_a_search_is_a_new_search(start, tmp_path):
    (tmp_path / "tune").mkdir()
    oracle = start(specify())
    assert oracle.trials == {}
    assert oracle.workers_at_work() == {}


@EVERY_TUNER
def test_failed_trials_never_end_the_search(start, tuner):
    specification = specify(tuner, trials=30 if tuner in ("bayesian", "random") else None)
    oracle = start(specification)
    ran = run(oracle, status="FAILED")
    # Hyperband's later rounds have nothing to go on with
    expected = {"grid": 6, "hyperband": 5}.get(tuner, 30)
    assert len(ran) == len(oracle.end_order) == expected
    assert {oracles.status(trial) for trial in oracle.trials.values()} == {"failed"}


@pytest.mark.filterwarnings("ignore:All-NaN:RuntimeWarning")
def test_a_score_that_is_no_number_is_a_failure(start):
    oracle = start(specify(trials=2))
    trial = oracle.create_trial("tuner0")
    end(oracle, trial, value=math.nan)
    assert oracles.status(oracle.trials[trial.trial_id]) == "failed"
    assert len(run(oracle)) == 1


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ("COMPLETED", "completed"),
        ("FAILED", "failed"),
        ("RUNNING", "running"),
        ("INVALID", "running"),
        (None, "running"),
    ],
)
def test_a_status_in_a_word(status, word):
    assert oracles.status(kt_trial.Trial(None, "0", status)) == word


def test_a_trial_that_is_taken_back_goes_to_the_next_worker_and_the_second_time_it_has_failed(start):
    specification = specify(trials=2)
    oracle = start(specification)
    lost = oracle.create_trial("worker-1")
    oracle.take_back("worker-1")
    assert oracle.workers_at_work() == {}
    assert "worker-1" not in oracle.tuner_ids
    assert start(specification).create_trial("other").trial_id == lost.trial_id
    again = oracle.create_trial("worker-2")
    assert (again.trial_id, again.status) == (lost.trial_id, "RUNNING")
    assert again.hyperparameters.values == lost.hyperparameters.values
    oracle.take_back("worker-2")
    failed = oracle.trials[lost.trial_id]
    assert (oracles.status(failed), failed.message) == ("failed", oracles.TOO_LONG)
    assert oracle.end_order == [lost.trial_id]
    assert run(oracle) == [oracle.start_order[1]]
    assert oracles.status(start(specification).trials[lost.trial_id]) == "failed"


def test_taking_back_from_a_worker_without_a_trial_changes_nothing(start):
    oracle = start(specify())
    run(oracle, at_most=1)
    before = known(oracle)
    oracle.take_back("worker-1")
    oracle.take_back("tuner0")
    assert known(oracle) == before
    assert oracle._retry_queue == []


def test_trials_of_two_workers_are_taken_back_apart(start):
    oracle = start(specify())
    first, second = (oracle.create_trial(f"worker-{number}") for number in (1, 2))
    oracle.take_back("worker-1")
    assert oracle.workers_at_work().keys() == {"worker-2"}
    assert oracle.create_trial("worker-3").trial_id == first.trial_id
    oracle.take_back("worker-2")
    assert oracle.create_trial("worker-4").trial_id == second.trial_id
    assert oracle.end_order == []


def test_a_worker_that_asks_again_has_its_own_trial_again(start):
    oracle = start(specify())
    assert oracle.create_trial("worker-1") is oracle.create_trial("worker-1")
    assert len(oracle.trials) == 1


@EVERY_TUNER
def test_a_worker_waits_while_the_trial_of_another_may_come_back(start, tuner):
    specification = specify(tuner, trials=1 if tuner != "hyperband" else None, epochs=1)
    oracle = start(specification)
    while len(oracle.end_order) < oracles.expected_trials(oracle, specification) - 1:
        run(oracle, at_most=1)
    last = oracle.create_trial("worker-1")
    assert last.status == "RUNNING"
    assert oracle.create_trial("worker-2").status == "IDLE"
    assert oracle.tuner_ids >= {"worker-1", "worker-2"}
    oracle.take_back("worker-1")
    again = oracle.create_trial("worker-2")
    assert (again.trial_id, again.status) == (last.trial_id, "RUNNING")
    end(oracle, again)
    assert oracle.create_trial("worker-2").status == "STOPPED"
    assert "worker-2" not in oracle.tuner_ids


def test_it_is_known_when_a_worker_was_heard_and_since_when_it_is_at_work(start, monkeypatch):
    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(oracles, "time", clock)
    oracle = start(specify())
    assert oracle.heard_at == 100
    clock.now = 200
    first = oracle.create_trial("worker-1")
    clock.now = 300
    oracle.create_trial("worker-2")
    assert oracle.heard_at == 300
    assert oracle.workers_at_work() == {"worker-1": 200, "worker-2": 300}
    clock.now = 400
    end(oracle, first)
    assert oracle.heard_at == 400
    assert oracle.workers_at_work() == {"worker-2": 300}


@pytest.mark.parametrize("epochs", range(1, 31))
def test_hyperband_makes_as_many_trials_as_expected(start, epochs, monkeypatch):
    monkeypatch.setattr(oracles, "_save", lambda path, state: None)
    specification = specify("hyperband", epochs=epochs)
    oracle = start(specification)
    expected = oracles.expected_trials(oracle, specification)
    assert len(run(oracle)) == expected
    assert max(values["tuner/epochs"] for values in proposals(oracle)) == epochs


@pytest.mark.parametrize(("tuner", "trials"), [("bayesian", 1), ("bayesian", 4), ("random", 1), ("random", 12)])
def test_random_and_bayesian_searches_make_the_trials_that_were_asked_for(start, tuner, trials):
    specification = specify(tuner, trials=trials, space=NARROW)
    oracle = start(specification)
    assert len(run(oracle)) == oracles.expected_trials(oracle, specification) == trials


@pytest.mark.parametrize(
    ("space", "trials", "expected"),
    [
        (GRID, None, 6),
        (GRID, 4, 4),
        (GRID, 6, 6),
        (GRID, 100, 6),
        ({"batch_size": Choices(7)}, None, 1),
        ({"learning_rate": LogRange(1e-4, 1e-1)}, None, None),  # KerasTuner picks the points, and the default is one
        ({"learning_rate": LogRange(0.1, 1.0), "kind": Choices("a", "b")}, None, None),
        ({"momentum": Range(0.0, 0.9), "learning_rate": Range(0.01, 1.0)}, 300, None),
    ],
)
def test_a_grid_makes_as_many_trials_as_expected(start, space, trials, expected, monkeypatch):
    monkeypatch.setattr(oracles, "_save", lambda path, state: None)
    specification = specify("grid", space=space, trials=trials)
    oracle = start(specification)
    found = oracles.expected_trials(oracle, specification)
    assert expected in (None, found)
    assert len(run(oracle)) == found


@pytest.mark.parametrize("tuner", ["random", "bayesian", "hyperband"])
def test_a_small_space_has_no_more_trials_than_combinations(start, tuner):
    specification = specify(
        tuner, space={"batch_size": Choices(16, 32)}, trials=None if tuner == "hyperband" else 10, epochs=9
    )
    oracle = start(specification)
    expected = oracles.expected_trials(oracle, specification)
    ran = len(run(oracle))
    assert expected is None or expected == ran


def test_an_oracle_that_breaks_lets_go_of_its_lock_and_says_what_broke_it(start, monkeypatch):
    oracle = start(specify("random"))
    monkeypatch.setattr(oracle, "save", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        oracle.create_trial("a")
    assert isinstance(oracle.broken, ZeroDivisionError)
    asked = threading.Thread(target=oracle.workers_at_work, daemon=True)
    asked.start()
    asked.join(timeout=10)
    assert not asked.is_alive()


def test_a_folder_whose_name_looks_like_a_pattern_is_read_again(start, tmp_path):
    folder = tmp_path / "l[1]*" / "tune"
    folder.mkdir(parents=True)
    oracle = start(specify("random"), folder)
    trial = oracle.create_trial("a")
    assert list(start(specify("random"), folder).trials) == [trial.trial_id]


def elsewhere(trial):
    return kt_trial.Trial.from_proto(trial.to_proto())


def test_of_two_workers_that_end_a_trial_the_first_counts(start):
    oracle = start(specify("random"))
    trial = elsewhere(oracle.create_trial("slow"))
    oracle.take_back("slow")
    again = elsewhere(oracle.create_trial("other"))
    assert again.trial_id == trial.trial_id
    oracle.update_trial(trial.trial_id, {oracle.objective.name: 0.5})
    trial.status = "COMPLETED"
    oracle.end_trial(trial)
    assert not oracle.ongoing_trials
    again.status = "FAILED"
    oracle.end_trial(again)
    assert oracle.end_order == [trial.trial_id]
    assert oracle.trials[trial.trial_id].status == "COMPLETED"
    assert oracle.create_trial("other").trial_id != trial.trial_id
