from pathlib import Path

import pytest

from recipes.commands import bench
from recipes.commands.benchmark import tables
from recipes.commands.benchmark.measurement import CaseResult, Measurement

ROOT = Path(__file__).parents[4]


@pytest.fixture
def results():
    ours = Measurement("custom_loop", "our custom loop", [1e-4] * 5, 1.0, 2.0, 100.0, 0.97, "ab")
    fit = Measurement("fit", "our fit side", [1e-3] * 5, 1.0, 2.0, 100.0, 0.97, "ab")
    jax = Measurement("jax_scan", "JAX", [2e-4] * 5, 1.0, 2.0, 100.0, 0.90, "cd")
    absent = Measurement("pytorch", "PyTorch", failure="torch is not installed")
    return [
        CaseResult("mlp", "an MLP", "step", 100, [ours, fit, jax, absent], {"fit": 0.2, "jax_scan": 0.4}),
        CaseResult("digits", "a run", "run", 1, [Measurement("custom_loop", "our custom loop", [5.0] * 5)], {}),
    ]


def test_the_table_of_a_case_has_everything_that_was_measured(results, capsys):
    tables.show(results[0])
    lines = capsys.readouterr().out.splitlines()
    fit = next(line for line in lines if "our fit side" in line).split()
    assert " ".join(fit[3:]) == "1 ms 1 ms 1 ms 0.10 0.2 met 1 s 2 s 100 0.9700 same bits"
    jax = next(line for line in lines if "JAX" in line)
    assert "0.50" in jax
    assert "0.4 missed" in jax
    assert "other accuracy" in jax
    assert "torch is not installed" in next(line for line in lines if "PyTorch" in line)


def test_the_readmes_table_has_a_row_a_case_and_a_column_a_contestant(results):
    assert tables.markdown(results).splitlines() == [
        "| | our loop | our fit side | JAX, scan over the epoch |",
        "|---|---|---|---|",
        "| an MLP | 100 us | 0.10 ✓ | 0.50 ✗* |",
        "| a run | 5 s |  |  |",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(12.34, "12.3 s"), (1.0, "1 s"), (0.0456, "45.6 ms"), (1.5e-3, "1.5 ms"), (123e-6, "123 us"), (2e-7, "0.2 us")],
)
def test_times_are_shown_in_the_unit_that_a_reader_wants(seconds, text):
    assert tables.time_of(seconds) == text


def test_the_readmes_table_comes_from_the_benchmarks_file():
    table = tables.markdown(bench.read(ROOT / "docs" / "benchmark.json"))
    assert table in (ROOT / "README.md").read_text(encoding="utf-8")
