"""Files that are either whole or not there."""

import errno
import json
import math
import os
import tempfile

import numpy as np
import pytest

from recipes.shared import files
from recipes.shared.errors import UsageError
from recipes.shared.files import UNFINISHED, ResultFolder, kind_of, replace_file, require_file, write_json


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


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Where folders for temporary files are made."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "elsewhere"))
    return tmp_path / "elsewhere"


def full_disk(folder):
    """Return a function that writes text, except below `folder`, where the disk is full."""

    def writer(text):
        def write(path):
            path.write_text(text)
            if path.is_relative_to(folder):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        return write

    return writer


def test_results_go_to_their_folder_and_nowhere_else_while_they_can(tmp_path, elsewhere, capsys):
    (tmp_path / "run").mkdir()
    results = ResultFolder(tmp_path / "run")
    results.write("curve.txt", lambda path: path.write_text("up"))
    results.write_json("report.json", {"loss": math.nan})
    assert (results.path, results.lost) == (tmp_path / "run", [])
    assert {path.name: path.read_text() for path in results.path.iterdir()} == {
        "curve.txt": "up",
        "report.json": '{\n  "loss": null\n}\n',
    }
    assert not list(elsewhere.iterdir())
    assert capsys.readouterr() == ("", "")


def test_what_a_full_disk_refuses_goes_to_another_folder_and_that_is_said_once(tmp_path, elsewhere, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "history.json").write_text("old")
    results, writer = ResultFolder(tmp_path / "run"), full_disk(tmp_path / "run")
    results.write("history.json", writer("new"))
    results.write("state.npz", writer("weights"))
    results.write_json("report.json", {"loss": 0.5})
    (rescue,) = elsewhere.iterdir()
    assert (results.path, results.lost) == (rescue, [])
    assert {path.name for path in rescue.iterdir()} == {"history.json", "state.npz", "report.json"}
    assert (rescue / "history.json").read_text() == "new"
    assert json.loads((rescue / "report.json").read_text()) == {"loss": 0.5}
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["history.json"]
    assert (tmp_path / "run" / "history.json").read_text() == "old"  # whole, if behind
    assert not list(tmp_path.rglob(f"{UNFINISHED}*"))
    expected = f"cannot write to {tmp_path / 'run'}: No space left on device; what follows goes to {rescue}\n"
    assert capsys.readouterr() == ("", expected)


def test_a_folder_that_has_been_removed_loses_no_result(tmp_path, elsewhere, capsys):
    results = ResultFolder(tmp_path / "gone")
    results.write_json("report.json", {"loss": 0.5})
    assert results.path == tmp_path / "gone"  # made again
    assert json.loads((results.path / "report.json").read_text()) == {"loss": 0.5}
    assert capsys.readouterr().err == ""


def test_a_file_in_the_place_of_the_folder_loses_no_result(tmp_path, elsewhere, capsys):
    (tmp_path / "taken").write_text("")
    results = ResultFolder(tmp_path / "taken" / "run")
    results.write_json("report.json", {"loss": 0.5})
    assert results.path.parent == elsewhere
    assert json.loads((results.path / "report.json").read_text()) == {"loss": 0.5}
    assert "Not a directory" in capsys.readouterr().err


def test_what_can_be_written_to_neither_folder_is_named_and_the_rest_is_kept(tmp_path, elsewhere, capsys):
    (tmp_path / "run").mkdir()
    results, nowhere = ResultFolder(tmp_path / "run"), full_disk(tmp_path)
    results.write("model.keras", nowhere("weights"))
    results.write("state.npz", nowhere("weights"))
    results.write("report.json", full_disk(tmp_path / "run")("short"))
    (rescue,) = elsewhere.iterdir()
    assert results.lost == ["model.keras", "state.npz"]
    assert {path.name: path.read_text() for path in rescue.iterdir()} == {"report.json": "short"}
    assert not list((tmp_path / "run").iterdir())
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_an_error_that_is_not_the_disks_is_not_taken_for_one(tmp_path, elsewhere):
    (tmp_path / "run").mkdir()
    results = ResultFolder(tmp_path / "run")
    with pytest.raises(TypeError):
        results.write_json("report.json", {"epochs": object()})
    assert results.path == tmp_path / "run"
    assert not list(elsewhere.iterdir())


@pytest.fixture
def places(tmp_path):
    """A path of each kind, by what it is."""
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "device").symlink_to("/dev/zero")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("file", "file", None),
        ("link", "file", None),
        (".", "folder", "cannot read .*: it is a folder"),
        ("pipe", "other", "it is a pipe or a device"),
        ("device", "other", "it is a pipe or a device"),
        ("nowhere", "nothing", "no file .*nowhere"),
        ("file/below", "nothing", "no file"),
        ("loop", "nothing", "no file"),
        ("x" * 300, "nothing", "no file"),
        ("x/" * 5000, "nothing", "no file"),
        ("\0", "nothing", "no file"),
        ("\udcff", "nothing", "no file"),
    ],
)
def test_what_lies_at_a_path_is_known_without_an_error_whatever_the_path(places, name, kind, says):
    assert kind_of(places / name) == kind
    if says is None:
        require_file(places / name)
        return
    with pytest.raises(UsageError, match=says):
        require_file(places / name)


def test_a_lock_is_held_by_one_until_it_is_closed(tmp_path):
    with (tmp_path / "lock").open("w") as first, (tmp_path / "lock").open("w") as second:
        files.lock(first, "taken")
        with pytest.raises(UsageError, match="taken"):
            files.lock(second, "taken")
        first.close()
        files.lock(second, "taken")
