"""Finished runs that many tests share: each is trained once, whoever asks and how often."""

import contextlib
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from recipes.shared.logging_options import LoggingOptions
from tests import trainings


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """A cache whose trainings only leave a report, and a list of them."""
    done = []

    def train(folder, name, side, logging, **hparams):
        assert not folder.exists()
        folder.mkdir()
        done.append((folder, name, side))
        if hparams.get("epochs") == 13:
            raise RuntimeError("broken")
        (folder / "report.json").write_text(json.dumps({"metrics": {"loss": len(done)}, "children": ["fold_1"]}))

    @contextlib.contextmanager
    def apart(name):
        yield

    monkeypatch.setattr(trainings, "train", train)
    return trainings.Cache(tmp_path / "trained", apart), done


def test_the_same_settings_are_trained_once_however_they_are_said(trained):
    cache, done = trained
    first = cache("mlp_classifier", "fit", epochs=3)
    for settings in ({"epochs": 3}, {"epochs": 3, "seed": 0}, {"epochs": 3, "jit_compile": False}):
        assert cache("mlp_classifier", "fit", **settings) == first
    assert len(done) == 1
    assert first.name == "fit"
    assert first.metrics == {"loss": 1}
    assert [child.folder for child in first.children] == [first.folder / "fold_1"]


def test_other_settings_are_another_training(trained):
    cache, done = trained
    nothing = LoggingOptions(level="nothing")
    found = [
        cache("mlp_classifier", "fit"),
        cache("mlp_classifier", "custom_loop"),
        cache("softmax_classifier", "fit"),
        cache("mlp_classifier", "fit", seed=1),
        cache("mlp_classifier", "fit", jit_compile=True),
        cache("mlp_classifier", "fit", nothing),
    ]
    assert len({each.folder for each in found}) == len(done) == len(found)


def test_a_training_that_fails_is_tried_again(trained):
    cache, done = trained
    for _ in range(2):
        with pytest.raises(RuntimeError, match="broken"):
            cache("mlp_classifier", "fit", epochs=13)
    assert len(done) == 2


def test_whoever_comes_second_waits_for_the_first(trained):
    cache, done = trained
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: cache("mlp_classifier", "fit"), range(8)))
    assert len(done) == 1
    assert found == [found[0]] * 8
