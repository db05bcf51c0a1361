import numpy as np
import pytest
from sklearn.metrics import accuracy_score, r2_score

from recipes.commands.benchmark import whole_runs
from recipes.commands.benchmark.cases import CASES, Case, Problem
from recipes.commands.benchmark.contestants import CONTESTANTS


def problem(case, examples=64):
    random = np.random.default_rng(0)
    shape = (28, 28) if case.classifies else (10,)
    y = random.integers(0, 10, 40).astype(np.int32) if case.classifies else random.normal(size=(40, 1))
    x = random.normal(size=(examples, *shape)).astype(np.float32)
    orders = np.stack([random.permutation(examples) for _ in range(2)]).astype(np.int32)
    weights = tuple(np.full((index,), index, np.float32) for index in range(12))
    return Problem(case, x, y[: len(x)], x[:40], y, orders, weights)


@pytest.mark.parametrize("case", CASES.values(), ids=str)
def test_every_batch_is_full_and_every_target_is_of_a_contestant(case):
    assert case.examples % case.batch_size == 0
    assert case.steps * case.batch_size == case.examples
    known = {each.name for each in CONTESTANTS if not each.cases or case.builder in each.cases}
    assert set(case.targets) <= known


def test_the_issues_targets_are_all_there():
    targets = {name: case.targets for name, case in CASES.items()} | {whole_runs.NAME: whole_runs.TARGETS}
    assert sum(map(len, targets.values())) == 5 + 2 + 3 + 2 + 2 + 2 + 2 + 1


def test_a_problem_comes_back_as_it_was_saved(tmp_path):
    saved = problem(CASES["mlp"])
    saved.save(tmp_path / "problem.npz")
    loaded = Problem.load(CASES["mlp"], tmp_path / "problem.npz")
    for name in ("x_train", "y_train", "x_test", "y_test", "orders"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(saved, name))
    assert [weight.tolist() for weight in loaded.weights] == [weight.tolist() for weight in saved.weights]
    assert loaded.case.examples == 64
    assert loaded.case.steps == 2


def test_the_rows_of_an_epoch_are_its_order_in_batches():
    given = problem(CASES["mlp"])
    given = Problem(Case("mlp", "", 32, 64), *(getattr(given, name) for name in list(vars(given))[1:]))
    assert given.rows(1).shape == (2, 32)
    assert given.rows(1).ravel().tolist() == given.orders[1].tolist()


def test_scores_are_those_of_scikit_learn():
    random = np.random.default_rng(1)
    classes, numbers = problem(CASES["mlp"]), problem(CASES["linear"])
    logits = random.normal(size=(40, 10))
    assert classes.score(logits) == accuracy_score(classes.y_test, logits.argmax(1))
    outputs = numbers.y_test + random.normal(size=(40, 1))
    assert numbers.score(outputs) == pytest.approx(r2_score(numbers.y_test, outputs))
