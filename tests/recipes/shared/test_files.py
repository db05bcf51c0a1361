"""Files that are either whole or not there."""

import json
import math

import numpy as np
import pytest

from recipes.shared.files import replace_file, write_json


def test_a_file_is_written_through_a_path_of_the_same_suffix(tmp_path):
    seen = []

    def write(path):
        seen.append(path)
        path.write_text("new")

    replace_file(tmp_path / "model.keras", write)
    assert (tmp_path / "model.keras").read_text() == "new"
    assert seen[0].suffix == ".keras"
    assert seen[0] != tmp_path / "model.keras"
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]


def test_the_old_file_stays_whole_until_the_new_one_is(tmp_path):
    path = tmp_path / "state.npz"
    path.write_text("old")

    def write(temporary):
        temporary.write_text("ne")
        assert path.read_text() == "old"
        temporary.write_text("new")

    replace_file(path, write)
    assert path.read_text() == "new"


@pytest.mark.parametrize("before", [None, "old"])
def test_a_write_that_fails_leaves_what_was_there(tmp_path, before):
    path = tmp_path / "history.json"
    if before is not None:
        path.write_text(before)

    def fail(temporary):
        temporary.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        replace_file(path, fail)
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == (
        [] if before is None else [("history.json", before)]
    )


def test_numbers_that_are_not_finite_become_null(tmp_path):
    content = {
        "a": [1.5, math.nan, (math.inf, {"b": -math.inf})],
        "c": np.float64("nan"),
        "d": None,
        "e": "nan",
        "f": 3,
    }
    write_json(tmp_path / "x.json", content)

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    text = (tmp_path / "x.json").read_text()
    assert json.loads(text, parse_constant=refuse) == {
        "a": [1.5, None, [None, {"b": None}]],
        "c": None,
        "d": None,
        "e": "nan",
        "f": 3,
    }
    assert text.endswith("}\n")


def test_numbers_come_back_to_the_last_bit(tmp_path):
    values = [0.1, 1 / 3, float(np.float32(0.1)), 5e-324, 1.7976931348623157e308]
    write_json(tmp_path / "x.json", values)
    assert json.loads((tmp_path / "x.json").read_text()) == values


def test_content_that_json_cannot_hold_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "x.json", {"epochs": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "x.json", {"epochs": object()})
    assert json.loads((tmp_path / "x.json").read_text()) == {"epochs": 1}
