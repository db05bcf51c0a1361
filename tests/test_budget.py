"""The budget of the tests can fail: what is too dear is, wherever the time goes."""

import tomllib
from pathlib import Path

import pytest

from tests import budget

pytest_plugins = ["pytester"]

ROOT = Path(budget.__file__).parents[1]

CONFTEST = """
import os
import subprocess
import sys
import time

import pytest

from tests import budget

BURN = "import time\\nwhile time.process_time() < 0.8: pass\\nprint(flush=True)"


def pytest_addoption(parser):
    budget.add_options(parser)


def pytest_configure(config):
    pairs, import_seconds = int(os.environ.get("PAIRS", "0")), float(os.environ.get("IMPORT", "0"))
    budget.register(config, pairs, most_seconds=0.5, import_seconds=import_seconds)


@pytest.fixture
def burn():
    def burn():
        began = time.process_time()
        while time.process_time() < began + 0.8:
            pass

    return burn


@pytest.fixture(scope="module")
def dear():
    began = time.process_time()
    while time.process_time() < began + 0.8:
        pass


@pytest.fixture
def in_a_child():
    return lambda: subprocess.run([sys.executable, "-c", BURN], check=True)


@pytest.fixture
def in_a_child_that_lives_on():
    with subprocess.Popen([sys.executable, "-c", BURN + "; input()"], stdin=-1, stdout=-1) as process:
        process.stdout.readline()
        yield lambda: None
        process.communicate(b"\\n")
"""
INI = "[pytest]\nmarkers =\n    slow: takes long\n"


@pytest.fixture
def run(pytester, monkeypatch):
    """A function that runs tests under the plugin and returns the exit code and the lines that were printed."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # for the processes of pytest-xdist

    def run(tests, *options):
        pytester.makeconftest(CONFTEST)
        pytester.makefile(".ini", pytest=INI)
        pytester.makepyfile(test_it=f"import pytest\n\n{tests}")
        result = pytester.runpytest_inprocess("-p", "no:cacheprovider", *options)
        assert result.parseoutcomes().keys() <= {"passed"}, result.outlines
        return result.ret, "\n".join(result.outlines)

    return run


@pytest.mark.parametrize("where", ["burn", "in_a_child", "in_a_child_that_lives_on"])
def test_a_test_that_is_too_dear_fails_the_run(run, where):
    code, output = run(f"def test_it({where}):\n    {where}()\n")
    assert code == 1
    assert "TOO DEAR: test_it.py::test_it: 0." in output or "TOO DEAR: test_it.py::test_it: 1." in output


def test_a_machine_on_which_all_takes_twice_as_long_may_take_twice_as_long(run, monkeypatch):
    monkeypatch.setenv("IMPORT", str(2 * budget.IMPORT_SECONDS))
    code, output = run("def test_it(burn):\n    burn()\n")
    assert code == 0
    assert "2.00 times as long" in output


def test_it_is_counted_in_the_processes_of_pytest_xdist_too(run):
    code, output = run("def test_it(burn):\n    burn()\n", "-n", "1")
    assert code == 1
    assert "TOO DEAR: test_it.py::test_it: " in output


@pytest.mark.parametrize(
    ("tests", "options"),
    [
        ("def test_it():\n    pass\n", []),
        ("@pytest.mark.slow\ndef test_it(burn):\n    burn()\n", []),
        ("def test_it(burn):\n    burn()\n", ["--no-budget"]),
        ("def test_it(dear):\n    pass\n", []),
    ],
    ids=["cheap", "marked", "no budget", "shared"],
)
def test_what_is_cheap_marked_or_shared_does_not(run, tests, options):
    code, output = run(tests, *options)
    assert code == 0
    assert "TOO DEAR" not in output


def test_what_a_shared_fixture_costs_is_shown_apart(run):
    _, output = run("def test_it(dear):\n    pass\n")
    (line,) = [line for line in output.splitlines() if "fixture tests::dear" in line]
    assert float(line.split()[0]) >= 0.7
    assert "in all: shared by many tests" in output


def test_all_tests_without_a_mark_have_a_budget_together(run, monkeypatch):
    monkeypatch.setenv("PAIRS", "-66")  # so many less than none leave nothing
    code, output = run("def test_it():\n    pass\n")
    assert code == 1
    assert "TOO DEAR: all: " in output


def test_the_budget_grows_with_the_pairs():
    assert budget.most_seconds_of_all(18) == 14 * 60
    assert budget.most_seconds_of_all(64) <= 22 * 60
    assert budget.most_seconds_of_all(19) - budget.most_seconds_of_all(18) == 10


def test_what_has_no_mark_and_what_has_one_is_run_by_a_command_each():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    assert {line.partition(":")[0] for line in settings["markers"]} == set(budget.MARKS)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (without,) = [line for line in makefile.splitlines() if '-m "not ' in line]
    assert set(without.partition('"not ')[2].rstrip('"').split(" and not ")) == set(budget.MARKS)
    (with_one,) = [line for line in makefile.splitlines() if " or " in line and '-m "' in line]
    assert set(with_one.partition('-m "')[2].rstrip('"').split(" or ")) == set(budget.MARKS)
