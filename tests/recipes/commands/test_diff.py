"""`recipes diff`: the two files side by side."""

import subprocess
import sys

import pytest

from recipes.__main__ import main
from recipes.commands import catalog


def test_both_files_are_printed_whole_and_side_by_side(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")  # wide enough for no line to be folded
    assert main(["diff", "mlp_classifier"]) == 0
    lines = capsys.readouterr().out.splitlines()
    header = next(line for line in lines if "recipes/supervised/mlp_classifier.py" in line)
    middle = header.index("custom_loops/supervised/mlp_classifier.py") - 6
    pair = catalog.find("mlp_classifier")
    for source, halves in (
        (pair.fit, [line[:middle] for line in lines]),
        (pair.custom_loop, [line[middle:] for line in lines]),
    ):
        printed = {}
        for half in halves:
            number, _, text = half.strip().partition(" ")
            if number.isdigit():
                printed[int(number)] = text.strip()
        written = source.path.read_text(encoding="utf-8").splitlines()
        assert printed == {number: line.strip() for number, line in enumerate(written, start=1)}


def test_equal_lines_stand_in_the_same_row_and_other_lines_do_not(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    main(["diff", "mlp_classifier"])
    lines = capsys.readouterr().out.splitlines()
    assert any(line.count("dataset = load_data(hparams)") == 2 for line in lines)
    assert sum("GradientTape" in line for line in lines) == 1
    assert sum("model.fit(" in line for line in lines) == 1


def test_lines_that_differ_are_coloured_and_equal_ones_are_not(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    main(["diff", "mlp_classifier"])
    lines = capsys.readouterr().out.splitlines()
    red, green = "\x1b[31m", "\x1b[32m"
    assert green in next(line for line in lines if "tf.GradientTape()" in line)
    assert red in next(line for line in lines if "model.compile(" in line)
    same = next(line for line in lines if line.count("dataset = load_data(hparams)") == 2)
    assert red not in same
    assert green not in same


def test_the_command_prints_it_to_a_pipe_without_colour(tmp_path):
    process = subprocess.run(
        [sys.executable, "-m", "recipes", "diff", "linear_svm"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0
    assert process.stderr == ""
    assert "\x1b" not in process.stdout
    assert "recipes/supervised/linear_svm.py" in process.stdout
    assert "tf.GradientTape()" in process.stdout


@pytest.mark.parametrize("columns", ["30", "100"])
def test_no_text_is_cut_off_in_narrow_output(columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    assert main(["diff", "mlp_classifier"]) == 0
    out = capsys.readouterr().out
    assert "…" not in out
    assert max(len(line) for line in out.splitlines()) <= 100


def test_a_terminal_size_that_is_no_number_does_no_harm(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "wide")
    assert main(["diff", "mlp_classifier"]) == 0
    assert "GradientTape" in capsys.readouterr().out


def test_two_files_of_the_users_own_are_shown_side_by_side(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fit[1].py").write_text("same = 1\nmodel.fit()\n", encoding="utf-8")
    (tmp_path / "loop.py").write_text("same = 1\nloop()\n", encoding="utf-8")
    assert main(["diff", "fit[1].py", "loop.py"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["fit[1].py", "loop.py"] in rows
    assert ["1", "same", "=", "1", "1", "same", "=", "1"] in rows
    assert ["2", "model.fit()", "2", "loop()"] in rows


@pytest.mark.parametrize("args", [["nothing.py", "nothing.py"], ["x.py"], ["x.py", "mlp_classifier"], ["x.py"] * 3])
def test_anything_but_two_readable_files_is_refused_in_one_line(args, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.py").touch()
    assert main(["diff", *args]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1


@pytest.mark.parametrize("args", [[], ["mlp_classifier", "linear_svm"], ["--nme"], ["nothing_like_it_at_all"]])
def test_anything_but_one_known_name_is_refused_in_one_line(args, capsys):
    assert main(["diff", *args]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert "`recipes list` shows" in captured.err
