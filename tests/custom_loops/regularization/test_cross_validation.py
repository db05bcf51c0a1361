import json

import numpy as np
import pytest

from custom_loops.regularization import cross_validation
from recipes.commands import parity
from recipes.shared import data, sources
from recipes.shared.errors import UsageError
from tests.trainings import slow

SIDES = ("fit", "custom_loop")


def test_the_folds_partition_the_data_and_each_has_every_class():
    raw = sources.read("iris")
    folds = cross_validation.load_data(cross_validation.HParams(data="iris", folds=7))
    held_out = []
    for fold in folds:
        assert len(fold.train) + len(fold.validation) == len(raw.targets)
        assert len(np.unique(fold.validation.y)) == 3
        layer = fold.preprocessing.layers[-1]
        held_out.append(fold.validation.x * np.sqrt(np.ravel(layer.variance)) + np.ravel(layer.mean))
    back = np.round(np.concatenate(held_out).astype(np.float64), 3)
    assert sorted(back.tolist()) == sorted(raw.features.tolist())


@pytest.mark.parametrize("folds", [3, slow(5)])
def test_each_fold_scores_the_same_on_both_sides_and_the_summary_is_theirs(trained, folds):
    fit, loop = (trained("cross_validation", side, folds=folds, epochs=8, dropout=0.4) for side in SIDES)
    result = parity.compare(fit.folder, loop.folder)
    assert result.identical, result.reasons
    assert [child.metrics for child in fit.children] == [child.metrics for child in loop.children]
    accuracies = [child.metrics["accuracy"] for child in loop.children]
    assert len(set(accuracies)) > 1
    assert loop.metrics["accuracy_mean"] == pytest.approx(np.mean(accuracies))
    assert loop.metrics["accuracy_spread"] == pytest.approx(np.std(accuracies, ddof=1))


@pytest.mark.parametrize(("options", "shapes"), [({}, [32, 7, 8]), ({"batch_size": 91, "folds": 3}, [91, 15, 16])])
def test_one_trace_serves_every_shape_of_batch_over_all_folds(train, monkeypatch, options, shapes):
    traced = []
    make_loop = cross_validation.Loop

    def counting(model, step, *others, **options):
        def train_step(x, y):
            traced.append(x.shape)
            return step(x, y)

        return make_loop(model, train_step, *others, **options)

    monkeypatch.setattr(cross_validation, "Loop", counting)
    train("cross_validation", "custom_loop", epochs=2, **options)
    sizes = {len(fold.train) for fold in data.folds(cross_validation.HParams(), options.get("folds", 5))}
    batch_size = options.get("batch_size", 32)
    assert {batch_size} | {size % batch_size for size in sizes} == set(shapes)  # three shapes, and
    assert traced == [(None, 30)]


def test_every_fold_starts_afresh(train, trained):
    """A fold's result does not depend on the folds before it: the second alone ends as it does after the first."""
    run = trained("cross_validation", "custom_loop", folds=3, epochs=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "folds", lambda hparams, count, folds=data.folds: folds(hparams, count)[1:2] * 2)
        alone = train("cross_validation", "custom_loop", folds=3, epochs=3)
    for name in ("state.npz", "history.json"):
        after, first, again = (
            folder / name for folder in (run.folder / "fold_2", alone.folder / "fold_1", alone.folder / "fold_2")
        )
        if name.endswith(".npz"):
            for a, b, c in zip(*(np.load(path).values() for path in (after, first, again)), strict=True):
                assert a.tobytes() == b.tobytes() == c.tobytes()
        else:
            assert json.loads(after.read_text()) == json.loads(first.read_text()) == json.loads(again.read_text())


@pytest.mark.parametrize("side", SIDES)
def test_a_class_too_rare_for_the_folds_is_refused(train, side, tmp_path):
    np.savez(tmp_path / "rare.npz", x_train=np.zeros((60, 4)), y_train=np.array([0] * 57 + [1] * 3))
    with pytest.raises(UsageError, match="the class 1 has 3 examples, too few for 5 folds"):
        train("cross_validation", side, data=str(tmp_path / "rare.npz"), batch_size=8)


def test_a_category_that_only_one_fold_has_is_encoded_alike_in_all(train, tmp_path):
    lines = ["a,c,y", *(f"{i % 7},{'uvw'[i % 3]},{i % 2}" for i in range(59)), "3,rare,1"]
    (tmp_path / "rare.csv").write_text("\n".join(lines))
    options = {"data": str(tmp_path / "rare.csv"), "epochs": 1, "batch_size": 8, "folds": 2}
    fit, loop = (train("cross_validation", side, **options) for side in SIDES)
    result = parity.compare(fit.folder, loop.folder)
    assert result.identical, result.reasons
