import json

import pytest

from recipes.commands.benchmark.measurement import CaseResult, Measurement


@pytest.fixture
def result():
    return CaseResult(
        "mlp",
        "an MLP",
        "step",
        100,
        [
            Measurement("custom_loop", "ours", [3.0, 1.0, 2.0], 1.0, 2.0, 100.0, 0.97, "ab"),
            Measurement("fit", "fit", [10.0, 8.0, 12.0], 1.0, 2.0, 100.0, 0.97, "ab"),
            Measurement("jax_scan", "JAX", [4.0, 4.0, 5.0], 1.0, 2.0, 100.0, 0.96, "cd"),
            Measurement("floor", "floor", [1.0], 0.0, 0.0, 10.0),
            Measurement("pytorch", "PyTorch", failure="torch is not installed"),
        ],
        {"fit": 0.2, "jax_scan": 0.49, "pytorch": 1.0},
    )


def test_medians_ratios_and_targets(result):
    ours, fit, jax, floor, pytorch = result.measurements
    assert ours.median == 2
    assert [result.ratio(each) for each in (fit, jax, floor, pytorch)] == [0.2, 0.5, 2.0, None]
    assert [result.met(each) for each in (fit, jax, floor, pytorch)] == [True, False, None, None]


def test_the_same_bits_and_another_score_are_told(result):
    _, fit, jax, floor, pytorch = result.measurements
    assert [result.same_bits(each) for each in (fit, jax, floor, pytorch)] == [True, False, False, False]
    assert [result.other_score(each) for each in (fit, jax, floor, pytorch)] == [False, True, False, False]
    jax.score = 0.9651
    assert not result.other_score(jax)
    jax.score = float("nan")
    assert result.other_score(jax)


def test_what_is_written_can_be_read_again(result):
    written = json.loads(json.dumps(result.to_json()))
    assert CaseResult.of_json(written) == result
    assert [row["ratio"] for row in written["measurements"]] == [1.0, 0.2, 0.5, 2.0, None]
    assert [row["met"] for row in written["measurements"]] == [None, True, False, None, None]


def test_nothing_is_a_multiple_of_a_loop_that_failed(result):
    result.ours.seconds = []
    assert result.ratio(result.measurements[1]) is None
    assert result.met(result.measurements[1]) is None
