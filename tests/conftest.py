"""What the tests share. TensorFlow is configured once, as the command does it, before anything is traced."""

import importlib
import os
from pathlib import Path

import pytest

from recipes.shared import runtime

runtime.configure()

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_addoption(parser):
    parser.addoption("--screenshots", type=Path, help="the folder that gets the pictures of the README")


@pytest.fixture
def real_data():
    """The folder of real data sets that lies beside the project on its own machines, and must in CI."""
    if not REAL_DATA.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"CI needs the real data sets in {REAL_DATA}")
        pytest.skip(f"no real data sets in {REAL_DATA}")
    return REAL_DATA


@pytest.fixture(scope="session")
def train_into():
    """A function that trains one side of a pair in this process, into a folder, and returns its run."""
    import keras

    from recipes.commands import catalog
    from recipes.shared.run import Run

    def train_into(folder, name, side, **hparams):
        pair = catalog.find(name)
        module = importlib.import_module(f"{catalog.SIDES[side]}.{pair.topic}.{name}")
        keras.backend.clear_session()  # so that layers are named alike on both sides
        values = module.HParams(**hparams)
        run = Run(folder, values)
        try:
            module.train(values, run)
        finally:
            run.close()
        return run

    return train_into


@pytest.fixture
def train(tmp_path, train_into):
    """A function that trains one side of a pair and returns its run, in a new folder."""

    def train(name, side, **hparams):
        return train_into(tmp_path / f"run_{len(list(tmp_path.iterdir()))}" / side, name, side, **hparams)

    return train
