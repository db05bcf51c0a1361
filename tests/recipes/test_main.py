"""The command as a whole: what it answers without TensorFlow, how mistakes end, and recipes run as scripts."""

import os
import subprocess
import sys

import pytest

from recipes import __main__ as command
from recipes.commands import catalog
from recipes.shared.errors import TrainingDiverged, UsageError

FIT, LOOP = (str(catalog.find("mlp_classifier").side(side).path) for side in ("fit", "custom_loop"))
ANSWERED_AT_ONCE = [
    ("-m", "recipes"),
    ("-m", "recipes", "--help"),
    ("-m", "recipes", "list"),
    ("-m", "recipes", "list", "--json"),
    ("-m", "recipes", "list", "--help"),
    ("-m", "recipes", "fit", "--help"),
    ("-m", "recipes", "fit", "mlp_classifier", "--help"),
    ("-m", "recipes", "loop", "--help"),
    ("-m", "recipes", "loop", "momentum", "--help"),
    ("-m", "recipes", "compare", "--help"),
    ("-m", "recipes", "compare", "mlp_classifier", "--help"),
    ("-m", "recipes", "compare", "--all", "--help"),
    ("-m", "recipes", "diff", "--help"),
    ("-m", "recipes", "diff", "mlp_classifier"),
    ("-m", "recipes", "board", "--help"),
    ("-m", "recipes", "bench", "--help"),
]
REFUSED_AT_ONCE = [
    (("-m", "recipes", "comapre"), "did you mean compare?"),
    (("-m", "recipes", "fit", "mlp_clasifier"), "did you mean mlp_classifier?"),
    (("-m", "recipes", "loop", "linear_swm", "--help"), "did you mean linear_svm?"),
    (("-m", "recipes", "compare", "mlp_clasifier"), "did you mean mlp_classifier?"),
    (("-m", "recipes", "diff", "mlp_clasifier"), "did you mean mlp_classifier?"),
    (("-m", "recipes", "board", "--prot", "0"), "did you mean --port?"),
    (("-m", "recipes", "fit", "mlp_classifier", "--epoch", "3"), "did you mean --epochs?"),
    (("-m", "recipes", "compare", "mlp_classifier", "--batchsize", "3"), "did you mean --batch-size?"),
    (("-m", "recipes", "fit", "mlp_classifier", "--epochs", "0"), "--epochs is 0"),
]


# Python runs this first. Not `-X importtime`: it writes to stderr, which is held back while TensorFlow loads.
NOTE_IMPORTS = """
import atexit, os, sys
path = os.environ.pop("IMPORTS_TO", None)  # for this process alone, not for those that it starts
if path:
    atexit.register(lambda: print(*sys.modules, file=open(path, "w", encoding="utf-8")))
"""


@pytest.fixture
def python(tmp_path):
    """A function that runs Python in `tmp_path / "cwd"` and returns the process and the packages that it imported."""
    (tmp_path / "sitecustomize.py").write_text(NOTE_IMPORTS, encoding="utf-8")
    (tmp_path / "cwd").mkdir()
    search_path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": search_path, "IMPORTS_TO": str(tmp_path / "imports")}

    def python(*args):
        process = subprocess.run(
            [sys.executable, *args], cwd=tmp_path / "cwd", env=environment, capture_output=True, text=True, check=False
        )
        imported = (tmp_path / "imports").read_text(encoding="utf-8").split()
        return process, {name.partition(".")[0] for name in imported}

    return python


@pytest.mark.parametrize("args", ANSWERED_AT_ONCE, ids=lambda args: " ".join(args[-3:]))
def test_lists_and_help_answer_without_importing_tensorflow(args, python, tmp_path):
    process, imported = python(*args)
    assert process.returncode == 0
    assert process.stderr == ""
    assert process.stdout.strip()
    assert "recipes" in imported
    assert not imported & {"tensorflow", "keras", "keras_tuner", "matplotlib", "sklearn", "pandas", "torch", "jax"}
    assert not list((tmp_path / "cwd").iterdir())


@pytest.mark.parametrize(("args", "answer"), REFUSED_AT_ONCE, ids=[" ".join(args[-3:]) for args, _ in REFUSED_AT_ONCE])
def test_mistyped_words_are_refused_in_one_line_without_importing_tensorflow(args, answer, python, tmp_path):
    process, imported = python(*args)
    assert process.returncode == 2
    assert len(process.stderr.splitlines()) == 1
    assert answer in process.stderr
    assert process.stdout == ""
    assert not imported & {"tensorflow", "keras"}
    assert not list((tmp_path / "cwd").iterdir())


@pytest.mark.process
@pytest.mark.parametrize(
    "script",
    [(FIT,), (LOOP,), ("-m", "recipes.supervised.mlp_classifier"), ("-m", "custom_loops.supervised.mlp_classifier")],
)
def test_a_file_of_a_pair_is_a_script(script, python):
    """It imports TensorFlow first, as every script does that uses it, and TensorFlow writes to stderr then."""
    process, _ = python(*script, "--help")
    assert process.returncode == 0
    assert "--hidden-units" in process.stdout
    process, _ = python(*script, "--learning-rat", "3")
    assert process.returncode == 2
    assert "did you mean --learning-rate?" in process.stderr.splitlines()[-1]


@pytest.mark.process
def test_a_training_run_does_not_import_what_tunes(python):
    process, imported = python("-m", "recipes", "loop", "mlp_classifier", "--epochs", "1", "--log", "nothing")
    assert process.returncode == 0, process.stderr
    assert {"tensorflow", "keras", "sklearn"} <= imported
    assert "keras_tuner" not in imported  # matplotlib and pandas are: Keras imports them


@pytest.mark.process
def test_a_training_run_does_import_tensorflow_so_the_check_above_can_fail(python, tmp_path):
    process, imported = python("-m", "recipes", "fit", "mlp_classifier", "--data", "iris", "--batch-size", "97")
    assert process.returncode == 2
    assert process.stderr == "recipes: --batch-size is 97, more than the 96 training examples of iris\n"
    assert {"tensorflow", "keras"} <= imported
    assert not list((tmp_path / "cwd").iterdir())


@pytest.mark.parametrize("args", [[], ["-h"], ["--help"]])
def test_the_usage_names_every_verb(args, capsys):
    assert command.main(args) == 0
    usage = capsys.readouterr().out
    assert all(f"\n  {verb} " in usage for verb in command.VERBS)


@pytest.mark.parametrize("verb", command.VERBS)
def test_every_verb_answers_its_help_with_code_0(verb, capsys):
    try:
        code = command.main([verb, "--help"])
    except SystemExit as stop:
        code = stop.code
    assert code == 0
    assert f"recipes {verb}" in capsys.readouterr().out


def test_an_unknown_verb_without_a_near_one_points_to_the_help(capsys):
    assert command.main(["xyzzy"]) == 2
    assert capsys.readouterr().err == "recipes: no verb 'xyzzy'; `recipes --help` lists them\n"


@pytest.mark.parametrize(("error", "code"), [(UsageError("what is wrong"), 2), (TrainingDiverged("what is wrong"), 1)])
def test_errors_of_the_project_end_in_one_line_and_their_code(error, code, monkeypatch, capsys):
    def fail(args):
        raise error

    monkeypatch.setattr("recipes.commands.listing.main", fail)
    assert command.main(["list"]) == code
    assert capsys.readouterr().err == "recipes: what is wrong\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("no file a\nb", "no file a\\nb"),
        ("\x1b[31m is \u2028 red", "\\x1b[31m is \\u2028 red"),
        ("\udcff", "\\udcff"),
        ("é \U0001f600", "é \U0001f600"),
        ("a" * 1000 + "b" * 5000 + "c" * 1000, "a" * 1000 + " ... " + "c" * 1000),
    ],
)
def test_a_message_is_one_line_that_can_be_printed_whatever_it_quotes(text, line, monkeypatch, capsys):
    def fail(args):
        raise UsageError(text)

    monkeypatch.setattr("recipes.commands.listing.main", fail)
    assert command.main(["list"]) == 2
    assert capsys.readouterr().err == f"recipes: {line}\n"


@pytest.mark.parametrize("word", ["\0", "a\0b", "\udcff"])
def test_words_that_cannot_be_written_down_are_refused_wherever_they_stand(word, capsys):
    for args in ([word], ["fit", word], ["fit", "mlp_classifier", "--run", word], ["compare", f"--{word}"]):
        assert command.main(args) == 2
        assert "no UTF-8 text" in capsys.readouterr().err


def test_any_other_error_is_not_swallowed(monkeypatch):
    def fail(args):
        raise ZeroDivisionError

    monkeypatch.setattr("recipes.commands.listing.main", fail)
    with pytest.raises(ZeroDivisionError):
        command.main(["list"])


@pytest.mark.parametrize("args", [("list",), ("list", "--json"), ("diff", "mlp_classifier")])
def test_a_reader_that_closes_the_pipe_early_causes_no_traceback(args, tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(
        [sys.executable, "-m", "recipes", *args], cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert process.stderr == b""


@pytest.mark.parametrize(
    ("args", "side"),
    [
        ((FIT,), "fit"),
        ((LOOP,), "custom_loop"),
        (("-m", "recipes.supervised.mlp_classifier"), "fit"),
    ],
    ids=["fit script", "loop script", "fit module"],
)
@pytest.mark.process
def test_a_recipe_trains_as_a_script_and_as_a_module(args, side, python, tmp_path, names_in):
    process, imported = python(*args, "--epochs", "1", "--data", "iris", "--run", "mine")
    assert process.returncode == 0, process.stderr
    assert "Traceback" not in process.stderr  # TensorFlow, which the file imports first, writes there too
    assert "tensorflow" in imported
    assert "test: loss " in process.stdout
    folder = tmp_path / "cwd" / "logs" / "mlp_classifier" / "mine"
    assert [path.name for path in folder.iterdir()] == [side]
    assert names_in(folder / side) == {
        "config.json",
        "history.json",
        "model.keras",
        "report.json",
        "state.npz",
        "train",
        "validation",
        "test",
        "events",
        "embeddings.tsv",
        "labels.tsv",
        "projector_config.pbtxt",
    }


@pytest.mark.parametrize(("path", "verb"), [(FIT, "fit"), (LOOP, "loop")])
def test_a_script_of_ours_becomes_the_command_of_its_side(path, verb, monkeypatch):
    received = []
    monkeypatch.setattr(command, "main", lambda args: received.append(args) or 0)
    monkeypatch.setattr(sys, "argv", [path, "--epochs", "3"])
    with pytest.raises(SystemExit) as stop:
        command.script(path)
    assert stop.value.code == 0
    assert received == [[verb, "mlp_classifier", "--epochs", "3"]]


def test_a_users_copy_of_a_recipe_runs_the_copy_and_not_the_original(tmp_path, monkeypatch, capsys):
    source = catalog.find("mlp_classifier").fit.path.read_text(encoding="utf-8")
    copy = tmp_path / "mlp_classifier.py"
    copy.write_text(source.replace("    hidden_units:", "    my_own_units:"), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", [str(copy), "--help"])
    with pytest.raises(SystemExit) as stop:
        command.script(str(copy))
    assert stop.value.code == 0
    assert "--my-own-units" in capsys.readouterr().out
