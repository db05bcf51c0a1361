"""The real command, with real processes, on a few examples."""

import json
import subprocess
import sys

import pytest

from recipes.__main__ import main
from recipes.commands import bench
from recipes.commands.benchmark import rounds, tables
from recipes.commands.benchmark.cases import CASES
from recipes.commands.benchmark.measurement import Measurement
from recipes.shared.errors import UsageError


def recipes(*args):
    return subprocess.run([sys.executable, "-m", "recipes", *args], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def benched(tmp_path_factory):
    path = tmp_path_factory.mktemp("bench") / "new" / "results.json"
    done = recipes("bench", "linear", "--rounds", "5", "--examples", "650", "--peers", "--json", str(path))
    assert done.returncode == 0, done.stderr
    return done.stdout, path


@pytest.mark.process
def test_all_contestants_are_measured_and_our_fit_side_has_our_bits(benched):
    _, path = benched
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["rounds"] == 5
    assert content["versions"]["tensorflow"].startswith("2.21")
    (case,) = content["cases"]
    assert case["steps"] == 650 // 32
    rows = {row["name"]: row for row in case["measurements"]}
    assert list(rows) == [each.name for each in rounds.contestants(CASES["linear"], peers=True)]
    for row in rows.values():
        if not row["failure"]:
            assert len(row["seconds"]) == 5
            assert 0 < min(row["seconds"]) <= row["median"] <= max(row["seconds"])
            assert row["ratio"] == rows["custom_loop"]["median"] / row["median"]
            assert row["peak_memory_mib"] > 10
    assert rows["fit"]["same_bits"]
    assert rows["fit_best"]["same_bits"]
    assert not rows["fit_documented"]["same_bits"]  # it shuffles by itself
    assert rows["custom_loop"]["score"] > 0.5
    assert rows["scikit_learn"]["seconds"]


@pytest.mark.process
def test_the_table_on_the_screen_is_that_of_the_file(benched, capsys):
    output, path = benched
    (result,) = bench.read(path)
    tables.show(result)
    assert capsys.readouterr().out == output


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["mpl"], "no case 'mpl'; did you mean mlp? there are softmax, mlp, "),
        (["--rounds", "4"], "--rounds is 4; it must be at least 5"),
        (["--threads", "0"], "--threads is 0; it must be between 1 and"),
        (["--threads", "100000"], "--threads is 100000; it must be between 1 and"),
        (["mlp", "--examples", "31"], "--examples is 31; it must be at least a batch, 32"),
        (["mlp", "--json", "."], "--json . is a folder; name a file"),
        (["mlp", "--json", "/proc/none/file"], "choose another file than --json"),
        pytest.param(["mlp", "--data", "none.npz"], "no file none.npz", marks=pytest.mark.process),
        pytest.param(["mlp", "--data", "iris"], "the benchmark needs images of 28 x 28", marks=pytest.mark.process),
        pytest.param(
            ["mlp", "--data", "digits", "--examples", "1000000"],
            "has 60000 examples, and this case needs 1000000",
            marks=pytest.mark.process,
        ),
        (["--roundz", "7"], "unknown flag --roundz; did you mean --rounds?"),
    ],
)
def test_mistakes_end_in_one_line(args, says, capsys):
    assert main(["bench", *args]) == 2
    captured = capsys.readouterr()
    assert says in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "other.json"
    for content in ("{}", "[]", "no json", '{"cases": [{"name": 1}]}'):
        path.write_text(content)
        with pytest.raises(UsageError, match="no file that"):
            bench.read(path)


def test_a_contestant_that_fails_is_out_with_its_last_words(tmp_path):
    failing = "import sys; print('{\"import_seconds\": 1}', flush=True); input(); sys.exit('no more memory')"
    measurement = Measurement("pytorch", "PyTorch")
    process = rounds.Process([sys.executable, "-c", failing], 1, measurement, tmp_path / "errors")
    assert not measurement.failure
    process.turn()
    process.turn()
    process.finish(10)
    assert measurement.failure == "no more memory"
    assert measurement.seconds == []
    process.process.wait()
    for pipe in (process.process.stdin, process.process.stdout):
        pipe.close()


def test_a_contestant_may_use_as_many_cores_as_it_is_given():
    code = "import os; print(len(os.sched_getaffinity(0)), os.environ['OMP_NUM_THREADS'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=rounds.environment(1),
        preexec_fn=lambda: rounds.pin(1),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["1", "1"]
