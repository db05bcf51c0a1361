"""Folders of finished runs that somebody mended or a disk has damaged: `compare` answers, or says what is wrong."""

import io
import json
import shutil

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from recipes.__main__ import main

FILES = {
    "report.json": {"metrics": {"loss": 0.5, "accuracy": 0.9}, "weights_moved": True},
    "history.json": {"loss": [0.9, 0.5, 0.25], "val_loss": [1.0, 0.75, 0.5]},
    "config.json": {"hparams": {"epochs": 3, "seed": 0}, "tolerance": 0.0},
}
STATE = {"weights/000 dense/kernel": np.ones((2, 2), np.float32), "optimizer/000 adam/iteration": np.array(24)}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
ARRAYS = st.sampled_from(
    [
        np.zeros(0),
        np.array(np.nan),
        np.array([1, 2], np.uint64),
        np.array(["a"]),
        np.array([b"a"]),
        np.array([1j]),
        np.array([True]),
        np.array([(1, 2)], "i4,f4"),
        np.array(["2020"], "M8[D]"),
        np.ones((2, 2), ">f4"),
        np.ones((2, 2), "g"),
        np.full((2, 2), np.inf, np.float32),
        np.array([{}], dtype=object),
    ]
)


def saved(arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.fixture
def compared(cwd, capfd, tried):
    """A function that compares a sound run with one that has another file instead of its own."""

    def compared(name, content):
        tried()
        for side in ("fit", "custom_loop"):
            shutil.rmtree(cwd / side, ignore_errors=True)
            (cwd / side).mkdir()
            (cwd / side / "state.npz").write_bytes(saved(STATE))
            for file, sound in FILES.items():
                (cwd / side / file).write_text(json.dumps(sound))
        (cwd / "custom_loop" / name).write_bytes(content)
        for folders in (["fit", "custom_loop"], ["custom_loop", "fit"], ["."]):
            code = main(["compare", *folders])
            captured = capfd.readouterr()
            assert code in (0, 1, 2)
            if code == 2:
                (line,) = captured.err.splitlines()
                assert "custom_loop holds no finished run" in line
            else:
                assert captured.err == ""
                assert ("IDENTICAL" in captured.out) == (code == 0)

    return compared


def instead(draw, content):
    """`content` with a value somewhere in it replaced."""
    if isinstance(content, dict) and content and draw(st.integers(0, 3)):
        name = draw(st.sampled_from(sorted(content)))
        return content | {name: instead(draw, content[name])}
    if isinstance(content, list) and content and draw(st.booleans()):
        place = draw(st.integers(0, len(content) - 1))
        return [*content[:place], instead(draw, content[place]), *content[place + 1 :]]
    return draw(JSON)


@hypothesis.given(st.data())
def test_runs_with_other_values_in_their_files(compared, data):
    name = data.draw(st.sampled_from(sorted(FILES)))
    compared(name, json.dumps(instead(data.draw, FILES[name])).encode())


@hypothesis.given(st.sampled_from(sorted(FILES)), st.binary(max_size=30) | st.just(b"[" * 100_000))
def test_runs_with_bytes_of_any_kind_in_their_files(compared, name, content):
    compared(name, content)


@hypothesis.given(st.dictionaries(st.sampled_from([*STATE, "weights/001 x", "seeds/000 y", "z", "é"]), ARRAYS))
def test_runs_with_other_arrays(compared, arrays):
    compared("state.npz", saved(STATE | arrays))


@hypothesis.given(st.data())
def test_runs_with_damaged_arrays(compared, data):
    content = bytearray(saved(STATE))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    compared("state.npz", bytes(content))
