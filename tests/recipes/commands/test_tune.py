"""`recipes tune`, through the real command: what a search finds, how it goes on, and how bad input ends."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recipes.__main__ import main
from recipes.commands import catalog, side
from recipes.commands.tuning import trials
from tests.trainings import slow

pytestmark = pytest.mark.usefixtures("cwd")

SIDES = {"fit": "fit", "custom_loop": "loop"}
SHORT = ("--epochs", "2", "--tuner", "random", "--no-jit-compile")  # compiling takes most of a short search
COMPLETED = r"trial (\d+)/\d+: .*: val_loss [\d.]+ in epoch \d+; best [\d.]+ \(trial \d+\)"


@pytest.fixture
def tune(capfd):
    """A function that searches in this process, by the custom loop, and returns the exit code and what was printed."""

    def tune(*args, recipe="mlp_classifier"):
        code = main(["tune", recipe, "--side", "custom_loop", *args])
        captured = capfd.readouterr()
        return code, captured.out + captured.err

    return tune


@pytest.fixture
def trained(monkeypatch):
    """A list that gets every job that is trained in this process."""
    jobs = []
    train = side.train

    def counted(job):
        jobs.append(job)
        return train(job)

    monkeypatch.setattr(side, "train", counted)
    return jobs


def started(*args, recipe="mlp_classifier", side="custom_loop", **options):
    """Start a search in a process of its own."""
    command = [sys.executable, "-m", "recipes", "tune", recipe, "--side", side, *args]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, **pipes, **options)


def read(name, recipe="mlp_classifier"):
    """Return a search's trials and its best.json."""
    folder = Path("logs", recipe, f"tune-{name}")
    return json.loads((folder / "trials.json").read_text()), json.loads((folder / "best.json").read_text())


def scores(name, recipe="mlp_classifier"):
    return [trial["score"] for trial in read(name, recipe)[0]]


@pytest.fixture(scope="module")
def searches(tmp_path_factory):
    """A folder with a whole search of eight trials on each side, by the real command, and what the commands printed."""
    folder = tmp_path_factory.mktemp("searches")
    printed = {}
    for name in SIDES:
        process = started("--trials", "8", "--epochs", "3", side=name, cwd=folder)
        output, error = process.communicate(timeout=200)
        assert process.returncode == 0, output + error
        assert error == ""
        printed[name] = output
    return folder, printed


@pytest.mark.process
def test_both_sides_score_every_trial_the_same_and_find_the_same_winner(searches, monkeypatch):
    monkeypatch.chdir(searches[0])
    fit, loop = read("fit-bayesian"), read("custom_loop-bayesian")
    assert len(fit[0]) == len({json.dumps(trial["values"]) for trial in fit[0]}) == 8
    for a, b in zip(fit[0], loop[0], strict=True):
        assert (a["values"], a["score"], a["best_epoch"]) == (b["values"], b["score"], b["best_epoch"])
        assert a["status"] == "completed"
        histories = [
            json.loads(
                Path(
                    "logs", "mlp_classifier", f"tune-{name}-bayesian", f"trial_{a['identifier']}", "history.json"
                ).read_text()
            )
            for name in SIDES
        ]
        assert histories[0] == histories[1]
        assert a["score"] == min(histories[0]["val_loss"])
        assert a["best_epoch"] == 1 + int(np.argmin(histories[0]["val_loss"]))
    assert fit[1]["trial"] == loop[1]["trial"]
    assert fit[1]["score"] == loop[1]["score"] == min(trial["score"] for trial in fit[0])
    assert fit[1]["values"] == loop[1]["values"]


@pytest.mark.process
def test_the_first_trial_has_every_hyper_parameter_of_the_space(searches, monkeypatch):
    monkeypatch.chdir(searches[0])
    for name in SIDES:
        first = read(f"{name}-bayesian")[0][0]
        assert set(first["values"]) == {"learning_rate", "batch_size"}
        folder = Path("logs", "mlp_classifier", f"tune-{name}-bayesian", "trial_0")
        config = json.loads((folder / "config.json").read_text())
        assert config["hparams"].items() >= first["values"].items()
        kerastuners = json.loads((folder / "trial.json").read_text())["hyperparameters"]["values"]
        assert set(kerastuners) == {"learning_rate", "batch_size"}


@pytest.mark.process
def test_a_line_a_trial_and_a_row_a_batch_size(searches, monkeypatch):
    monkeypatch.chdir(searches[0])
    for name, output in searches[1].items():
        lines = output.splitlines()
        assert [re.match(COMPLETED, line)[1] for line in lines[:8]] == [str(number) for number in range(1, 9)]
        assert all("left" in line for line in lines[:7])
        found, best = read(f"{name}-bayesian")
        assert "held fixed: 3 epochs" in output
        for size in {trial["values"]["batch_size"] for trial in found}:
            group = [trial for trial in found if trial["values"]["batch_size"] == size]
            winner = min(group, key=lambda trial: trial["score"])
            (row,) = (line.split() for line in lines if re.match(rf" +{size} ", line))
            assert row[1] == f"{winner['values']['learning_rate']:.4g}"
            assert row[2] == f"{winner['score']:.4g}"
            steps = -(-1149 // size)  # digits: 1149 examples to train on
            assert row[3:6] == [str(winner["best_epoch"]), f"{3 * steps:,}", f"{3 * 1149:,}"]
            assert row[7] == str(len(group))
        assert f"best: trial {int(best['trial']) + 1}, val_loss {best['score']:.4g}" in output


@pytest.mark.parametrize("name", SIDES)
@pytest.mark.process
def test_a_run_with_the_best_hyper_parameters_repeats_the_score_to_the_last_bit(name, searches, cwd):
    best = searches[0] / "logs" / "mlp_classifier" / f"tune-{name}-bayesian" / "best.json"
    content = json.loads(best.read_text())
    assert content["repeat"] == f"recipes {SIDES[name]} mlp_classifier --hparams " + str(best.relative_to(searches[0]))
    command = [sys.executable, "-m", "recipes", SIDES[name], "mlp_classifier", "--hparams", str(best), "--run", "again"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    history = json.loads((cwd / "logs" / "mlp_classifier" / "again" / name / "history.json").read_text())
    assert min(history["val_loss"]) == content["score"]
    assert history["val_loss"].index(content["score"]) + 1 == content["best_epoch"]


def test_a_finished_search_says_so_and_a_longer_one_goes_on(tune, trained):
    code, first = tune(*SHORT, "--trials", "3", "--run", "x")
    assert code == 0
    assert len(trained) == 3
    code, again = tune(*SHORT, "--trials", "3", "--run", "x")
    assert code == 0
    assert len(trained) == 3
    assert "finished already" in again
    assert first[first.index("mlp_classifier, custom loop: 3 trials") :] in again
    before = scores("x")
    code, output = tune(*SHORT, "--trials", "5", "--run", "x")
    assert code == 0
    assert len(trained) == 5
    assert [match[1] for match in re.finditer(COMPLETED, output)] == ["4", "5"]
    assert scores("x")[:3] == before
    tune(*SHORT, "--trials", "5", "--run", "at-once")
    assert scores("at-once") == scores("x")


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
@pytest.mark.process
def test_a_stopped_search_keeps_what_is_done_and_the_same_command_ends_it(how, code, tune, trained, cwd, wait_for):
    process = started(*SHORT, "--trials", "4", "--run", "x")
    folder = cwd / "logs" / "mlp_classifier" / "tune-x"
    wait_for((folder / "trial_1" / trials.ATTEMPTS).exists)
    process.send_signal(how)
    _, error = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in error
    assert (how == signal.SIGKILL) == (folder / "trial_1" / trials.ATTEMPTS).exists()
    assert how == signal.SIGKILL or "the same command goes on from here" in error

    exit_code, output = tune(*SHORT, "--trials", "4", "--run", "x")
    assert exit_code == 0
    assert "going on with" in output
    assert [Path(job.folder).name for job in trained] == ["trial_1", "trial_2", "trial_3"]
    assert not list(folder.rglob(trials.ATTEMPTS))
    tune(*SHORT, "--trials", "4", "--run", "uninterrupted")
    assert scores("x") == scores("uninterrupted")


@pytest.mark.process
def test_a_trial_that_kills_its_process_is_run_again_once(tune, trained, cwd, wait_for):
    folder = cwd / "logs" / "mlp_classifier" / "tune-x" / "trial_0"
    for _ in range(2):
        process = started(*SHORT, "--trials", "2", "--run", "x")
        attempts = json.loads((folder / trials.ATTEMPTS).read_text()) if folder.exists() else {"count": 0}

        def again(count=attempts["count"] + 1):
            path = folder / trials.ATTEMPTS
            return path.exists() and json.loads(path.read_text())["count"] == count

        wait_for(again)
        process.kill()
        process.communicate()
    code, output = tune(*SHORT, "--trials", "2", "--run", "x")
    assert code == 0
    assert "FAILED: the process was killed twice" in output
    assert [Path(job.folder).name for job in trained] == ["trial_1"]
    assert [trial["status"] for trial in read("x")[0]] == ["failed", "completed"]


def test_a_failed_trial_is_shown_with_its_reason_and_does_not_end_the_search(tune):
    grid = (
        "--no-jit-compile",
        "--tuner",
        "grid",
        "--epochs",
        "2",
        "--search",
        "learning_rate=0.01,1e30",
        "batch_size=64,1000000",
    )
    code, output = tune(*grid, "--run", "x")
    assert code == 0
    found, best = read("x")
    assert [trial["status"] for trial in found] == ["completed", "failed", "failed", "failed"]
    reasons = [trial["reason"] for trial in found]
    assert "--batch-size is 1000000, more than the 1149 training examples" in reasons[1]
    assert "the loss became NaN at step 2 of epoch 1" in reasons[2]
    for trial in found[1:]:
        (line,) = (line for line in output.splitlines() if line.startswith(f"trial {trial['number']}/4: "))
        assert f"FAILED: {trial['reason'].partition(';')[0]}; best" in line
    assert "4 trials by grid, 3 of them failed" in output
    assert "Traceback" not in output
    assert best["trial"] == found[0]["identifier"]


def test_a_search_in_which_all_trials_fail_says_so_by_its_exit_code(tune):
    code, output = tune(*SHORT, "--trials", "4", "--search", "learning_rate=1e20..1e30", "--run", "x")
    assert code == 1
    assert output.count("FAILED: the loss became NaN") == 4
    assert output.splitlines()[-1] == "recipes: every trial failed; the reasons are above"
    assert not Path("logs/mlp_classifier/tune-x/best.json").exists()


def test_any_error_of_a_recipe_is_a_failed_trial_and_its_traceback_is_kept(tune, monkeypatch):
    def broken(job):
        raise RuntimeError("the layer\nis broken")

    monkeypatch.setattr(side, "train", broken)
    code, output = tune(*SHORT, "--trials", "2", "--run", "x")
    assert code == 1
    assert output.count("FAILED: RuntimeError: the layer;") + output.count("FAILED: RuntimeError: the layer\n") == 2
    failure = json.loads(Path("logs/mlp_classifier/tune-x/trial_0/failure.json").read_text())
    assert "raise RuntimeError" in failure["details"]


@pytest.mark.slow
def test_with_a_budget_of_updates_all_batch_sizes_make_about_as_many(tune):
    grid = (
        "--no-jit-compile",
        "--tuner",
        "grid",
        "--epochs",
        "4",
        "--learning-rate",
        "0.01",
        "--search",
        "batch_size=32,16,64,100",
    )
    code, output = tune(*grid, "--budget", "updates", "--run", "x")
    assert code == 0
    steps = {size: -(-1149 // size) for size in (16, 32, 64, 100)}  # of an epoch
    target = 4 * steps[32]  # 32 is the recipe's own batch size
    assert f"held fixed: about {target} updates" in output
    for trial in read("x")[0]:
        size = trial["values"]["batch_size"]
        assert trial["updates"] % steps[size] == 0
        assert abs(trial["updates"] - target) <= steps[size] / 2
        assert trial["examples"] == trial["updates"] // steps[size] * 1149


@pytest.mark.slow
def test_hyperband_gives_few_trials_many_epochs_and_trains_them_from_the_start(tune):
    code, output = tune("--no-jit-compile", "--tuner", "hyperband", "--epochs", "4", "--run", "x")
    assert code == 0
    found, _ = read("x")
    assert {trial["hparams"]["epochs"] for trial in found} == {2, 4}
    promoted = [trial for trial in found if trial["values"] in [other["values"] for other in found if other != trial]]
    assert promoted
    for trial in promoted:
        history = json.loads(Path(f"logs/mlp_classifier/tune-x/trial_{trial['identifier']}/history.json").read_text())
        assert len(history["val_loss"]) == trial["hparams"]["epochs"]
    same = {}
    for trial in promoted:
        path = Path(f"logs/mlp_classifier/tune-x/trial_{trial['identifier']}/history.json")
        same.setdefault(json.dumps(trial["values"]), []).append(json.loads(path.read_text())["val_loss"])
    for short, long in same.values():
        assert long[: len(short)] == short
    assert f"trial {len(found)}/{len(found)}: " in output


@pytest.mark.slow
def test_retrain_takes_the_validation_part_along_and_the_epochs_that_were_best(tune):
    code, output = tune(*SHORT, "--trials", "2", "--run", "x", "--retrain")
    assert code == 0
    (folder,) = Path("logs/mlp_classifier/tune-x").glob("retrained_*")
    config, report = (json.loads((folder / name).read_text()) for name in ("config.json", "report.json"))
    best = read("x")[1]
    assert config["hparams"] == best["hparams"] | {"train_on_validation": True, "epochs": best["best_epoch"]} | {
        name: value for name, value in config["hparams"].items() if value is None
    }
    assert report["examples_seen"] == best["best_epoch"] * 1437  # 80 % of 1797
    assert f"accuracy {report['metrics']['accuracy']:.4g}" in output
    assert (folder / "model.keras").is_file()
    before = (folder / "model.keras").read_bytes()
    code, again = tune(*SHORT, "--trials", "2", "--run", "x", "--retrain")
    assert code == 0
    assert (folder / "model.keras").read_bytes() == before
    assert again.splitlines()[-3:] == output.splitlines()[-3:]


@pytest.mark.process
def test_two_processes_do_not_search_in_one_folder(tune, cwd, wait_for):
    process = started(*SHORT, "--trials", "3", "--run", "x")
    wait_for((cwd / "logs" / "mlp_classifier" / "tune-x" / "trial_0" / trials.ATTEMPTS).exists)
    code, output = tune(*SHORT, "--trials", "3", "--run", "x")
    assert code == 2
    assert output == ("recipes: another process is searching in logs/mlp_classifier/tune-x; choose another --run\n")
    _, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    assert len(scores("x")) == 3


@pytest.mark.process
def test_a_script_searches_its_own_side(cwd):
    done = subprocess.run(
        [sys.executable, str(catalog.find("mlp_classifier").custom_loop.path), "--tune", *SHORT, "--trials", "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert read("custom_loop-random")[1]["side"] == "custom_loop"


@pytest.mark.slow
def test_a_file_of_the_users_own_is_searched_in_the_shared_space(cwd, tune):
    source = catalog.find("softmax_classifier").fit.text
    source = re.sub(r"    search_space: ClassVar.*\n", "", source)
    Path("mine.py").write_text(source)
    assert main(["tune", "mine.py", *SHORT, "--trials", "2"]) == 0
    found, best = read("fit-random", "mine")
    assert set(found[0]["values"]) == {"learning_rate", "batch_size"}
    assert best["recipe"] == "mine"
    assert main(["fit", "mine.py", "--hparams", "logs/mine/tune-fit-random/best.json", "--run", "again"]) == 0
    assert min(json.loads(Path("logs/mine/again/fit/history.json").read_text())["val_loss"]) == best["score"]


@pytest.mark.slow
def test_what_a_larger_value_of_means_is_known_or_asked(cwd, capfd):
    source = catalog.find("mlp_classifier").fit.text
    Path("mine.py").write_text(
        source.replace('SparseCategoricalAccuracy(name="accuracy")', "SparseCategoricalAccuracy()")
    )
    grid = ("--no-jit-compile", "--epochs", "1", "--tuner", "grid", "--batch-size", "64", "--run", "x")
    rates = ("--search", "learning_rate=0.0001,0.003,0.01")
    assert main(["tune", "mine.py", *grid, *rates, "--objective", "val_sparse_categorical_accuracy"]) == 0
    found, best = read("x", "mine")
    assert best["score"] == max(trial["score"] for trial in found) > min(trial["score"] for trial in found)
    capfd.readouterr()
    assert main(["tune", "mine.py", *grid[:-1], "y", *rates, "--objective", "val_goodness"]) == 2
    says = "whether a larger or a smaller val_goodness is better is not known; say --objective val_goodness:max or"
    assert says in capfd.readouterr().err


@pytest.mark.parametrize(("direction", "best_of"), [("min", min), ("max", max)])
def test_the_user_may_say_what_is_better(direction, best_of, cwd, capfd):
    source = catalog.find("mlp_classifier").fit.text
    Path("mine.py").write_text(source.replace('Accuracy(name="accuracy")', 'Accuracy(name="goodness")'))
    grid = ("--no-jit-compile", "--epochs", "1", "--tuner", "grid", "--batch-size", "64", "--run", "x")
    rates = ("--search", "learning_rate=0.0001,0.01", "--log", "nothing")
    assert main(["tune", "mine.py", *grid, *rates, "--objective", f"val_goodness:{direction}"]) == 0
    found, best = read("x", "mine")
    assert best["objective"] == "val_goodness"
    assert best["score"] == best_of(trial["score"] for trial in found)
    assert found[0]["score"] != found[1]["score"]
    other = {"min": "max", "max": "min"}[direction]
    capfd.readouterr()
    assert main(["tune", "mine.py", *grid, *rates, "--objective", f"val_goodness:{other}"]) == 2
    assert "is a search with larger_is_better" in capfd.readouterr().err


@pytest.mark.slow
def test_a_trial_of_several_executions_is_the_mean_over_seeds_and_each_can_be_repeated(tune, trained, cwd):
    flags = (
        *SHORT,
        "--run",
        "x",
        "--log",
        "nothing",
        "--data",
        "iris",
        "--batch-size",
        "32",
        "--seed",
        "5",
        "--executions-per-trial",
        "2",
    )
    code, output = tune(*flags, "--trials", "1", recipe="softmax_classifier")
    assert code == 0
    place = cwd / "logs" / "softmax_classifier" / "tune-x" / "trial_0"
    executions = [place / f"execution_{number}" for number in (1, 2)]
    configs = [json.loads((each / "config.json").read_text())["hparams"] for each in executions]
    assert [config.pop("seed") for config in configs] == [5, 6]
    assert configs[0] == configs[1]
    scores = [min(json.loads((each / "history.json").read_text())["val_loss"]) for each in executions]
    assert scores[0] != scores[1]
    ((trial,), best) = read("x", "softmax_classifier")
    assert (trial["score"], trial["scores"]) == (np.mean(scores), scores)
    assert (best["score"], best["scores"], best["spread"]) == (np.mean(scores), scores, np.std(scores, ddof=1))
    assert trial["updates"] == 2 * 2 * 3  # 96 examples in batches of 32
    shown = f"val_loss {np.mean(scores):.4g} +- {np.std(scores, ddof=1):.4g} in epoch"
    assert output.count(shown) == 2  # the trial's line, and the winner's
    assert f"the first of 2 seeds: --seed 5 gives {scores[0]:.4g}, --seed 6 gives {scores[1]:.4g}" in output
    assert "each trial trained with 2 seeds" in output
    hparams = ["--hparams", str(place.parent / "best.json"), "--run", "again", "--log", "nothing"]
    assert main(["loop", "softmax_classifier", *hparams]) == 0
    history = Path("logs/softmax_classifier/again/custom_loop/history.json")
    assert min(json.loads(history.read_text())["val_loss"]) == scores[0]
    before = len(trained)
    code, output = tune(*flags, "--trials", "2", recipe="softmax_classifier")  # it goes on, and trains no trial again
    assert (code, len(trained)) == (0, before + 2)
    assert read("x", "softmax_classifier")[0][0] == trial
    code, output = tune(*flags[:-1], "3", recipe="softmax_classifier")
    assert code == 2
    assert "is a search with executions_per_trial 2, not 3; choose another --run" in output
    assert len(output.splitlines()) == 1


@pytest.mark.slow
def test_a_file_that_draws_from_tensorflows_own_generator_scores_as_outside_of_a_search(cwd):
    source = catalog.find("softmax_classifier").fit.text
    line = "    model = programs.reuse(model, hparams)  # in a search; else it stays as it is\n"
    noise = "    model.layers[-1].kernel.assign_add(0.1 * tf.random.normal(model.layers[-1].kernel.shape))\n"
    assert line not in source or source.count(line) == 1
    source = source.replace(line, "").replace("    model.compile(", noise + "    model.compile(")
    Path("mine.py").write_text(source.replace("import keras\n", "import keras\nimport tensorflow as tf\n", 1))
    assert main(["tune", "mine.py", *SHORT, "--trials", "3", "--run", "x"]) == 0
    for trial in read("x", "mine")[0]:
        values = [f"--{name.replace('_', '-')}={value}" for name, value in trial["values"].items()]
        run = f"again-{trial['number']}"
        assert main(["fit", "mine.py", "--epochs", "2", "--no-jit-compile", *values, "--run", run]) == 0
        history = json.loads(Path(f"logs/mine/{run}/fit/history.json").read_text())
        assert min(history["val_loss"]) == trial["score"]


def test_a_mistake_in_the_data_is_told_before_any_trial(tune, cwd):
    code, output = tune("--data", "nope.csv", "--trials", "2")
    assert code == 2
    assert "nope.csv" in output
    assert len(output.splitlines()) == 1
    assert not list(cwd.iterdir())


def test_an_objective_that_a_file_of_the_users_own_has_not_ends_the_search(cwd, tune, capfd):
    Path("mine.py").write_text(catalog.find("mlp_classifier").fit.text)
    assert main(["tune", "mine.py", *SHORT, "--objective", "val_acc"]) == 2
    assert capfd.readouterr().err == (
        "recipes: no objective 'val_acc' in the history; it has accuracy, loss, val_accuracy, val_loss\n"
    )


def recipes_to_search():
    """Return a recipe and flags: each that can be searched without XLA and, where that is its default, with it."""
    for name, pair in catalog.pairs().items():
        if "search_space: ClassVar[SearchSpace] = {}" in pair.fit.text:
            continue
        yield name, [] if "jit_compile" in pair.fit.unused else ["--no-jit-compile"]
        if "jit_compile" not in pair.fit.unused and pair.fit.fields["jit_compile"].default:
            yield slow(name, [])


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "flags"), list(recipes_to_search()))
def test_every_recipe_can_be_searched(recipe, flags, tune):
    flags = [*(flag for flag in SHORT if flag != "--no-jit-compile"), *flags]
    code, output = tune(*flags, "--trials", "1", "--epochs", "1", recipe=recipe)
    assert code == 0, output
    found, best = read("custom_loop-random", recipe)
    assert np.isfinite(best["score"])
    assert set(found[0]["values"]) == set(catalog.load(catalog.find(recipe).fit.path).HParams.search_space)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("--objective val_f1", "no objective 'val_f1'; mlp_classifier has val_loss, val_accuracy, loss, accuracy"),
        ("--objective val_f1:max", "no objective 'val_f1'; mlp_classifier has val_loss, val_accuracy"),
        ("--objective val_loss:up", "--objective is 'val_loss:up'; write NAME, NAME:min or NAME:max"),
        ("--objective :max", "--objective is ':max'; write NAME, NAME:min or NAME:max"),
        ("--executions-per-trial 0", "--executions-per-trial is 0; it must be at least 1"),
        ("--executions-per-trial 3 --seed 4294967294", "seeds from 4294967294 on would pass 4294967295"),
        ("--trials 0", "--trials is 0; it must be at least 1"),
        ("--tuner hyperband --trials 3", "--trials has no meaning for Hyperband"),
        ("--tuner best", "--tuner is 'best'; it must be one of bayesian, hyperband, random, grid"),
        ("--search batch_size=", "batch_size has no values to choose from"),
        ("--search batch_size=16,16", "batch_size has the same value twice"),
        ("--search learning_rate=0..1", "on a logarithmic scale it must be above 0"),
        ("--search learning_rate=1..0.1", "it must go up"),
        ("--search hidden_layers=1,2", "mlp_classifier has nothing of that name to search"),
        ("--search batch_size=16..128", "batch_size is no number with a fraction; list the values"),
        ("--search batch_size=0,16", "the search space of batch_size: --batch-size is 0; it must be at least 1"),
        ("--search batch_size=a,b", "batch_size cannot be 'a': it is of type int"),
        ("--search learning_rate=0.1,high", "the values of learning_rate are of several types"),
        ("--search seed=1,2", "mlp_classifier has nothing of that name to search"),
        ("--search learning_rate", "write NAME=LOW..HIGH or NAME=VALUE,VALUE,..."),
        ("--search batch_size=16,32 --batch-size 32", "batch_size is searched by --search and fixed by its own flag"),
        ("--learning-rate 0.1 --batch-size 8", "there is nothing to search"),
        ("--batch-size 8 --budget updates", "--budget updates is for searches over the batch size"),
        ("--retrain", "--retrain has no meaning for cross_validation: every fold is held out in turn"),
        ("--train-on-validation", "--train-on-validation leaves nothing to choose by"),
        ("--search train_on_validation=true,false", "has nothing of that name to search"),
        ("--workers -1", "--workers is -1; it must be at least 0"),
        ("--time-limit 0", "--time-limit is 0.0; it must be greater than 0"),
        ("--learning-rate -1", "--learning-rate is -1.0; it must be greater than 0"),
        ("--trails 3", "did you mean --trials?"),
        ("--run a/b", "--run is 'a/b'; it must be a plain name"),
        ("--run=", "--run is ''; it must be a plain name"),
    ],
)
def test_bad_input_ends_in_one_line_and_leaves_nothing(args, message, cwd, capfd):
    recipe = "cross_validation" if args == "--retrain" else "mlp_classifier"
    assert main(["tune", recipe, *args.split()]) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert len(captured.err.splitlines()) == 1
    assert not list(cwd.iterdir())


def test_another_search_in_the_same_folder_is_refused_and_nothing_is_lost(tune, cwd):
    options = (*SHORT, "--trials", "2", "--run", "x")
    tune(*options)
    kept = {path: path.read_bytes() for path in cwd.rglob("*.json")}
    for args, message in (
        (("--objective", "val_accuracy"), "is a search with objective val_loss, not val_accuracy"),
        (("--search", "batch_size=16,32"), "is a search with batch_size 16, 32, 64, 128, not 16, 32"),
        (("--batch-size", "32"), "is a search with batch_size 16, 32, 64, 128, not fixed"),
        (("--hidden-units", "8"), "is a search with hidden_units 64, not 8"),
        (("--seed", "1"), "is a search with"),
        (("--executions-per-trial", "2"), "is a search with executions_per_trial 1, not 2"),
        (("--side", "fit"), "is a search with side custom_loop, not fit"),
    ):
        code, output = tune(*options, *args)
        assert code == 2
        assert message in output
        assert len(output.splitlines()) == 1
    assert {path: path.read_bytes() for path in cwd.rglob("*.json")} == kept


@pytest.mark.parametrize("name", ["oracle.json", "search.json", "trial_0/trial.json"])
def test_a_damaged_search_is_refused_and_kept(name, tune, cwd):
    tune(*SHORT, "--trials", "1", "--run", "x")
    path = cwd / "logs" / "mlp_classifier" / "tune-x" / name
    path.write_text(path.read_text()[:40])
    code, output = tune(*SHORT, "--trials", "1", "--run", "x")
    assert code == 2
    assert len(output.splitlines()) == 1
    assert str(path.parent.name if name == "search.json" else "tune-x") in output
    assert path.stat().st_size == 40


def test_a_folder_of_something_else_is_refused(tune, cwd):
    folder = cwd / "logs" / "mlp_classifier" / "tune-x"
    folder.mkdir(parents=True)
    (folder / "thesis.txt").write_text("irreplaceable")
    code, output = tune(*SHORT, "--run", "x")
    assert code == 2
    assert "holds something else than a search" in output
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]


def test_help_names_the_tuners_without_loading_tensorflow():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "recipes", "tune", "mlp_classifier", "--help"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"COLUMNS": "200"},
    )
    assert done.returncode == 0
    assert "{bayesian,hyperband,random,grid}" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "recipes.commands.tune" in imported
    assert not imported & {"tensorflow", "keras", "keras_tuner"}
