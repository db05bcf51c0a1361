import json
import os

import pytest

from recipes.__main__ import main
from recipes.commands import resuming
from recipes.shared.errors import UsageError


@pytest.fixture
def cut_off(cwd, monkeypatch):
    """A function that leaves a run of `dropout` in `logs/dropout/<run>/<side>` that was cut off in its third epoch."""

    def cut_off(run, verb="loop", epochs=4):
        from recipes.shared import recording

        on_epoch_end = recording.Recorder.on_epoch_end

        def stop(self, epoch, logs=None):
            on_epoch_end(self, epoch, logs)
            if epoch == 2 and self.folder.name == "with":
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(recording.Recorder, "on_epoch_end", stop)
            with pytest.raises(SystemExit):
                assert main([verb, "dropout", "--run", run, "--epochs", str(epochs), "--log", "nothing"])

    return cut_off


@pytest.fixture
def begun(tmp_path):
    """A function that leaves the files of a run that began, and whether it ended."""

    def begun(run, side, ended, at):
        folder = tmp_path / run / side
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"hparams": {"learning_rate": 0.1}}))
        os.utime(folder / "config.json", (at, at))
        if ended:
            (folder / "report.json").write_text("{}")
        return folder

    return begun


def test_the_newest_run_that_was_cut_off_is_found(tmp_path, begun):
    begun("oldest", "fit", ended=False, at=1)
    begun("cut_off", "fit", ended=False, at=2)
    begun("ended", "fit", ended=True, at=3)
    begun("other_side", "custom_loop", ended=False, at=4)
    assert resuming.newest(tmp_path, ["fit"]) == tmp_path / "cut_off"
    assert resuming.newest(tmp_path, ["custom_loop"]) == tmp_path / "other_side"
    assert resuming.newest(tmp_path, ["fit", "custom_loop"]) == tmp_path / "other_side"
    with pytest.raises(UsageError, match=r"no run in .* was cut off"):
        resuming.newest(tmp_path / "none", ["fit"])


def test_flags_need_not_be_repeated_and_may_not_differ(begun):
    folder = begun("run", "fit", ended=False, at=1)
    assert resuming.arguments(["--logs", "x"], folder) == ["--hparams", str(folder / "config.json"), "--logs", "x"]
    assert resuming.arguments(["--hparams=y"], folder) == ["--hparams=y"]
    assert resuming.arguments(["--logs", "x"], folder.parent / "custom_loop") == ["--logs", "x"]
    resuming.require_same({"learning_rate": 0.1, "epochs": 3}, folder)
    with pytest.raises(UsageError, match=r"--learning-rate is 0.2, and .* began with 0.1; a run goes on as it began"):
        resuming.require_same({"learning_rate": 0.2}, folder)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"hparams": 3}', "\x00"])
def test_a_damaged_configuration_is_named(begun, content):
    folder = begun("run", "fit", ended=False, at=1)
    (folder / "config.json").write_text(content)
    with pytest.raises(UsageError, match=r"config.json is damaged"):
        resuming.config(folder)


def test_the_command_goes_on_with_the_newest_run_and_says_when_there_is_nothing_to_do(cut_off, cwd, capsys):
    cut_off("mine")
    assert main(["loop", "dropout", "--resume", "--log", "nothing"]) == 0
    folder = cwd / "logs" / "dropout" / "mine" / "custom_loop"
    assert capsys.readouterr().out.endswith(f"run:  {folder.relative_to(cwd)}\n")
    config = json.loads((folder / "config.json").read_text())
    assert config["hparams"]["epochs"] == 4
    assert config["resumed"][0]["command"] == "recipes loop dropout --resume --log nothing"
    assert len(json.loads((folder / "with" / "history.json").read_text())["loss"]) == 4
    assert not any(folder.rglob("checkpoints"))
    assert main(["loop", "dropout", "--resume", "--run", "mine"]) == 0
    assert "has ended: there is nothing to resume" in capsys.readouterr().out
    assert main(["loop", "dropout", "--resume"]) == 2
    assert "was cut off; leave out --resume" in capsys.readouterr().err


def test_a_run_that_never_began_begins(cwd, capsys):
    assert main(["loop", "dropout", "--epochs", "2", "--run", "new", "--resume", "--log", "nothing"]) == 0
    assert (cwd / "logs/dropout/new/custom_loop/report.json").exists()


def test_another_value_is_refused_in_one_line_before_anything_is_touched(cut_off, cwd, capsys):
    cut_off("mine")
    capsys.readouterr()
    assert main(["loop", "dropout", "--resume", "--epochs", "9"]) == 2
    captured = capsys.readouterr()
    assert "--epochs is 9, and logs/dropout/mine/custom_loop began with 4; a run goes on as it began" in captured.err
    assert captured.err.count("\n") == 1
    assert main(["loop", "dropout", "--run", "mine"]) == 2
    assert "exists; choose another --run, delete it, or let it go on with --resume" in capsys.readouterr().err
    assert main(["loop", "dropout", "--resume", "--checkpoint-every", "0"]) == 2
    assert "--checkpoint-every is 0" in capsys.readouterr().err


@pytest.mark.process
def test_compare_goes_on_with_the_side_that_was_cut_off(cut_off, cwd, capsys):
    cut_off("mine", "fit")
    assert "go on with --resume --run mine" in capsys.readouterr().err
    assert main(["compare", "dropout", "--resume", "--log", "nothing"]) == 0
    assert "IDENTICAL" in capsys.readouterr().out
    ended = (cwd / "logs/dropout/mine/fit/report.json").stat().st_mtime_ns
    (cwd / "logs/dropout/mine/custom_loop/report.json").unlink()
    assert main(["compare", "dropout", "--resume", "--run", "mine", "--log", "nothing"]) == 0
    assert (cwd / "logs/dropout/mine/fit/report.json").stat().st_mtime_ns == ended
