"""`--profile`: a profile of five steps that TensorFlow has recorded, and nothing that could break a training."""

import contextlib
import sys

import pytest
import tensorflow as tf

from recipes.shared.tensorboard_logging.profiler import Profiler, say_what_is_missing


@pytest.fixture
def without_plugin(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard_plugin_profile", None)


@pytest.fixture
def with_plugin(monkeypatch, tmp_path):
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "tensorboard_plugin_profile.py").touch()
    monkeypatch.delitem(sys.modules, "tensorboard_plugin_profile", raising=False)
    monkeypatch.syspath_prepend(tmp_path / "path")


@pytest.fixture(autouse=True)
def nobody_records():
    say_what_is_missing.cache_clear()  # it says so once a process
    yield
    with contextlib.suppress(tf.errors.UnavailableError):
        tf.profiler.experimental.stop(save=False)


def recording():
    """Whether a profile is being recorded in this process."""
    try:
        tf.profiler.experimental.start("")
    except tf.errors.AlreadyExistsError:
        return True
    tf.profiler.experimental.stop(save=False)
    return False


def profiles(folder):
    return list(folder.glob("plugins/profile/*/*.xplane.pb"))


def train(profiler, steps):
    """Make `steps` updates as the logger announces them, and return before which of them was recorded."""
    recorded = []
    weights = tf.Variable(tf.ones((8, 8)))
    for update in range(steps):
        profiler.before(update)
        if recording():
            recorded.append(update)
        weights.assign(tf.matmul(weights, weights) / 8)
        profiler.after(update + 1)
    return recorded


def test_without_the_plugin_one_line_says_what_to_install(without_plugin, tmp_path, capsys):
    for name in ("fold_1", "fold_2"):
        Profiler(tmp_path / name)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "pip install '.[profile]'" in captured.err
    assert "is recorded" in captured.err


def test_with_the_plugin_there_is_nothing_to_say(with_plugin, tmp_path, capsys):
    Profiler(tmp_path)
    assert capsys.readouterr() == ("", "")


def test_five_steps_are_recorded_once_the_first_have_been_compiled(with_plugin, tmp_path, capsys):
    assert train(Profiler(tmp_path / "run"), 20) == [3, 4, 5, 6, 7]
    (profile,) = profiles(tmp_path / "run")
    assert profile.stat().st_size > 0
    assert b"MatMul" in profile.read_bytes()
    assert capsys.readouterr() == ("", "")


def test_the_steps_that_are_recorded_are_made_alone_and_so_is_the_one_before():
    assert Profiler.updates == {1, 2, 3, 4, 5, 6, 7}


def test_a_run_that_ends_early_has_the_profile_of_what_there_was(with_plugin, tmp_path, capsys):
    profiler = Profiler(tmp_path)
    assert train(profiler, 5) == [3, 4]
    profiler.stop()
    profiler.stop()
    assert not recording()
    assert len(profiles(tmp_path)) == 1
    assert capsys.readouterr() == ("", "")


def test_a_run_that_ends_before_there_is_something_to_record_has_no_profile(with_plugin, tmp_path, capsys):
    profiler = Profiler(tmp_path)
    assert train(profiler, 2) == []
    profiler.stop()
    assert profiles(tmp_path) == []
    assert capsys.readouterr() == ("", "")


def test_a_training_that_goes_on_from_many_updates_is_recorded_too(with_plugin, tmp_path):
    profiler = Profiler(tmp_path)
    profiler.before(100)
    assert recording()
    profiler.after(101)
    assert not recording()
    assert len(profiles(tmp_path)) == 1


def test_another_profiler_at_work_costs_one_line_and_is_left_alone(with_plugin, tmp_path, capsys):
    tf.profiler.experimental.start(str(tmp_path / "theirs"))
    profiler = Profiler(tmp_path / "ours")
    assert train(profiler, 12) == list(range(12))  # theirs
    profiler.stop()
    error = capsys.readouterr().err
    assert error.startswith("no profile: ")
    assert error.count("\n") == 1
    tf.profiler.experimental.stop()
    assert len(profiles(tmp_path / "theirs")) == 1
    assert not (tmp_path / "ours").exists()


def test_a_profile_that_somebody_else_has_ended_costs_one_line(with_plugin, tmp_path, capsys):
    profiler = Profiler(tmp_path)
    assert train(profiler, 4) == [3]
    tf.profiler.experimental.stop(save=False)
    profiler.stop()
    profiler.stop()
    error = capsys.readouterr().err
    assert error.startswith("no profile: ")
    assert error.count("\n") == 1


def test_where_no_folder_can_be_made_the_training_goes_on(with_plugin, tmp_path, capsys):
    (tmp_path / "file").touch()
    profiler = Profiler(tmp_path / "file" / "run")
    train(profiler, 12)
    profiler.stop()
    assert not recording()
    error = capsys.readouterr().err
    assert error.startswith("no profile: ")
    assert error.count("\n") == 1
