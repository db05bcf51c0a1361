"""What the tests of rules that a loop side writes out by hand share."""

import pytest

from tests import trainings


class Made(Exception):
    """The step is there, so the training need not go on."""


@pytest.fixture
def train_step(train, monkeypatch):
    """A function that returns the train step, not compiled, which the loop side of a pair hands to its `Loop`."""

    def train_step(name, model=None, **hparams):
        module, steps = trainings.module_of(name, "custom_loop"), []

        def loop(_, train_step, *others, **options):
            steps.append(train_step)
            raise Made

        monkeypatch.setattr(module, "Loop", loop)
        if model is not None:
            monkeypatch.setattr(module, "build_model", lambda hparams, dataset: model)
        with pytest.raises(Made):
            train(name, "custom_loop", **hparams)
        return steps[0]

    return train_step
