"""What the tests share. TensorFlow is configured once, as the command does it, before anything is traced."""

import importlib
import os
from pathlib import Path

import pytest

from recipes.shared import runtime

runtime.configure()

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture
def real_data():
    """The folder of real data sets that lies beside the project on its own machines, and must in CI."""
    if not REAL_DATA.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"CI needs the real data sets in {REAL_DATA}")
        pytest.skip(f"no real data sets in {REAL_DATA}")
    return REAL_DATA


@pytest.fixture
def train(tmp_path):
    """A function that trains one side of a pair in this process and returns its run."""
    import keras

    from recipes.commands import catalog
    from recipes.shared.run import Run

    def train(name, side, **hparams):
        pair = catalog.find(name)
        module = importlib.import_module(f"{catalog.SIDES[side]}.{pair.topic}.{name}")
        keras.backend.clear_session()  # so that layers are named alike on both sides
        values = module.HParams(**hparams)
        run = Run(tmp_path / name / f"run_{len(list(tmp_path.rglob('config.json')))}" / side, values)
        try:
            module.train(values, run)
        finally:
            run.close()
        return run

    return train
