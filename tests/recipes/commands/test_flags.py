"""Hyper-parameters as flags: their types, their help, and one line for every mistake."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import tyro

from recipes.commands import catalog, flags, side
from recipes.shared.errors import UsageError

RECIPE = '''"""A recipe of the test's own.

    formula = 1
"""
from dataclasses import dataclass
from typing import ClassVar, Literal

from recipes.shared import hparams


@dataclass(frozen=True, kw_only=True)
class HParams(hparams.HParams):
    unused: ClassVar[dict[str, str]] = {"batch_size": "it has no batches", "jit_compile": "nothing to compile"}

    epochs: int = 7  # rounds of this very recipe
    momentum: float = 0.5  # share that stays
    optimizer: Literal["sgd", "adam"] = "sgd"  # which one
    widths: tuple[int, ...] = (8, 4)  # of the layers
    nesterov: bool = False  # look ahead
    name: str = "x"
    limit: int | None = None  # at most
'''


@dataclass(frozen=True)
class Options:
    logs: Annotated[Path, tyro.conf.arg(help="the folder that gets the run")] = Path("logs")


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(RECIPE, encoding="utf-8")
    return catalog.Source(path)


def parse(source, *args):
    return flags.parse_hparams(source, Options, list(args), "recipes fit own")


def refusal(source, *args):
    """Return the one line that `args` is refused with."""
    with pytest.raises(UsageError) as error:
        parse(source, *args)
    assert "\n" not in str(error.value)
    assert "─" not in str(error.value)
    assert "│" not in str(error.value)
    return str(error.value)


def test_without_flags_every_used_field_has_its_default(source):
    values, options = parse(source)
    assert values == {
        "data": "digits",
        "target": None,
        "image_size": None,
        "channels_first": False,
        "split_seed": 0,
        "header": True,
        "drop": (),
        "keep": (),
        "numeric": (),
        "categorical": (),
        "split_column": None,
        "stream": False,
        "learning_rate": 0.001,
        "epochs": 7,
        "seed": 0,
        "train_on_validation": False,
        "steps_per_execution": None,
        "momentum": 0.5,
        "optimizer": "sgd",
        "widths": (8, 4),
        "nesterov": False,
        "name": "x",
        "limit": None,
    }
    assert options == Options()


@pytest.mark.parametrize(
    ("args", "name", "value"),
    [
        (["--epochs", "3"], "epochs", 3),
        (["--epochs=3"], "epochs", 3),
        (["--learning-rate", "1e-2"], "learning_rate", 0.01),
        (["--learning-rate", "2"], "learning_rate", 2.0),
        (["--data", "a b.csv"], "data", "a b.csv"),
        (["--target", "price"], "target", "price"),
        (["--no-header"], "header", False),
        (["--header"], "header", True),
        (["--nesterov"], "nesterov", True),
        (["--no-nesterov"], "nesterov", False),
        (["--optimizer", "adam"], "optimizer", "adam"),
        (["--widths", "3", "2", "1"], "widths", (3, 2, 1)),
        (["--steps-per-execution", "8"], "steps_per_execution", 8),
        (["--limit", "8"], "limit", 8),
        (["--limit", "None"], "limit", None),
        (["--seed", "4294967295"], "seed", 4294967295),
        (["--momentum", "-0.5"], "momentum", -0.5),
    ],
)
def test_a_flag_sets_its_field_with_the_type_of_the_field(args, name, value, source):
    values, _ = parse(source, *args)
    assert values[name] == value
    assert type(values[name]) is type(value)
    assert {key: each for key, each in values.items() if key != name} == {
        key: each for key, each in parse(source)[0].items() if key != name
    }


def test_options_that_are_no_hyper_parameters_come_apart_from_them(source):
    values, options = parse(source, "--logs", "elsewhere", "--epochs", "2")
    assert options == Options(logs=Path("elsewhere"))
    assert "logs" not in values
    assert values["epochs"] == 2


@pytest.mark.parametrize("args", [["--batch-size", "3"], ["--batch-size=3"], ["--batch_size", "3"]])
def test_a_flag_that_the_recipe_has_no_use_for_is_refused_with_the_reason(args, source):
    message = refusal(source, *args)
    assert message.startswith("own has no use for --batch")
    assert message.endswith(": it has no batches")


@pytest.mark.parametrize("flag", ["--jit-compile", "--no-jit-compile"])
def test_both_forms_of_an_unused_switch_are_refused(flag, source):
    assert refusal(source, flag) == f"own has no use for {flag}: nothing to compile"


def test_an_unused_flag_is_neither_in_the_help_nor_among_the_values(source, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(source, "--help")
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert "--epochs" in out
    assert "--batch-size" not in out
    assert "--jit-compile" not in out


def test_the_help_shows_docstring_comments_and_defaults(source, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    with pytest.raises(SystemExit):
        parse(source, "--help")
    out = " ".join(capsys.readouterr().out.split())
    assert "A recipe of the test's own." in out
    assert "formula = 1" in out
    assert "rounds of this very recipe (default: 7)" in out
    assert "passes over the training data" not in out  # the help of the field that it replaces
    assert "share that stays (default: 0.5)" in out
    assert "--nesterov, --no-nesterov" in out
    assert "the folder that gets the run" in out


@pytest.mark.parametrize(
    ("mistyped", "meant"),
    [
        ("--epoch", "--epochs"),
        ("--learningrate=3", "--learning-rate"),
        ("--optimiser", "--optimizer"),
        ("--log", "--logs"),
        ("--step-per-execution", "--steps-per-execution"),
    ],
)
def test_a_mistyped_flag_is_told_the_nearest(mistyped, meant, source):
    assert refusal(source, mistyped) == (
        f"unknown flag {mistyped}; did you mean {meant}? `recipes fit own --help` lists the flags"
    )


def test_a_flag_like_none_is_pointed_to_the_help(source):
    assert refusal(source, "--xyzzy", "3") == "unknown flag --xyzzy; `recipes fit own --help` lists the flags"


def test_a_stray_word_is_named(source):
    assert refusal(source, "--epochs", "3", "stray") == "what is 'stray' for? `recipes fit own --help` lists the flags"


# Every way in which tyro complains, through the private hook: if a new version changes it, these say so.
@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (["--epochs", "many"], ["--epochs", "'many'"]),
        (["--epochs", "1.5"], ["--epochs", "'1.5'"]),
        (["--epochs", ""], ["--epochs", "''"]),
        (["--epochs"], ["--epochs needs a value", "--help"]),
        (["--learning-rate", "fast"], ["--learning-rate", "'fast'"]),
        (["--optimizer", "adagrad"], ["--optimizer is 'adagrad'; it must be one of sgd, adam"]),
        (["--widths", "a"], ["--widths", "'a'"]),
        (["--limit", "few"], ["--limit", "'few'"]),
        (["--nesterov", "yes"], ["'yes'"]),
        (["--epochs", "3", "--learning-rate"], ["--learning-rate needs a value"]),
    ],
)
def test_a_value_that_does_not_fit_is_refused_in_one_line_that_names_flag_and_value(args, parts, source):
    message = refusal(source, *args)
    assert all(part in message for part in parts)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--epochs", "0"], "--epochs is 0; it must be at least 1"),
        (["--epochs", "-3"], "--epochs is -3; it must be at least 1"),
        (["--learning-rate", "0"], "--learning-rate is 0.0; it must be greater than 0"),
        (["--learning-rate", "-1"], "--learning-rate is -1.0; it must be greater than 0"),
        (["--learning-rate", "nan"], "--learning-rate is nan; it must be greater than 0"),
        (["--learning-rate", "inf"], "--learning-rate is inf; it must be finite"),
        (["--seed", "-1"], "--seed is -1; it must be at least 0"),
        (["--seed", "4294967296"], "--seed is 4294967296; it must be below 4294967296"),
        (["--steps-per-execution", "0"], "--steps-per-execution is 0; it must be at least 1"),
    ],
)
def test_a_value_that_no_run_can_use_is_refused(args, message, source):
    assert refusal(source, *args) == message


def test_a_batch_size_below_1_is_refused_where_batches_are_used():
    fit = catalog.find("mlp_classifier").fit
    assert refusal(fit, "--batch-size", "0") == "--batch-size is 0; it must be at least 1"
    assert refusal(fit, "--batch-size", "-5") == "--batch-size is -5; it must be at least 1"


def test_a_type_that_no_flag_can_be_made_of_is_refused_by_name(tmp_path):
    path = tmp_path / "own.py"
    path.write_text("class HParams:\n    when: datetime = 3\n", encoding="utf-8")
    message = refusal(catalog.Source(path))
    assert str(path) in message
    assert "datetime" in message


def test_the_type_of_a_field_cannot_run_code(tmp_path, capsys):
    path = tmp_path / "own.py"
    path.write_text("class HParams:\n    when: print('ran') = 3\n", encoding="utf-8")
    refusal(catalog.Source(path))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("args", "names", "rest"),
    [
        ([], [], []),
        (["a"], ["a"], []),
        (["a", "b", "--epochs", "3"], ["a", "b"], ["--epochs", "3"]),
        (["--epochs", "3", "a"], [], ["--epochs", "3", "a"]),
        (["a", "-h"], ["a"], ["-h"]),
    ],
)
def test_names_come_before_the_flags(args, names, rest):
    assert flags.split_names(args) == (names, rest)


def test_every_recipe_parses_without_flags_to_what_its_source_says():
    for pair in catalog.pairs().values():
        values, _ = flags.parse_hparams(pair.fit, Options, [], "recipes")
        assert values == {name: field.default for name, field in pair.fit.fields.items() if name not in pair.fit.unused}


def test_the_real_command_refuses_a_mistyped_flag_in_one_line(tmp_path):
    process = subprocess.run(
        [sys.executable, "-m", "recipes", "loop", "softmax_classifier", "--no-jit-compil", "--epochs", "1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 2
    assert process.stdout == ""
    assert len(process.stderr.splitlines()) == 1
    assert "unknown flag --no-jit-compil" in process.stderr
    assert not list(tmp_path.iterdir())


@pytest.fixture
def write(tmp_path):
    """A function that writes hyper-parameters as a search or a run does, and returns the flag that names them."""

    def write(hparams, **about):
        path = tmp_path / "best.json"
        path.write_text(json.dumps({"hparams": hparams, **about}))
        return ["--hparams", str(path)]

    return write


def parse_with_file(source, *args):
    return flags.parse_hparams(source, side.Options, list(args), "recipes fit own")


def refusal_with_file(source, *args):
    with pytest.raises(UsageError) as error:
        parse_with_file(source, *args)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data", "a b.csv"),
        ("data", "--odd.csv"),
        ("data", ""),
        ("target", None),
        ("target", "price"),
        ("learning_rate", 0.012345679),
        ("learning_rate", 1e-30),
        ("learning_rate", 0.30000000000000004),
        ("epochs", 3),
        ("header", False),
        ("nesterov", True),
        ("nesterov", False),
        ("widths", (3, 2, 1)),
        ("widths", (5,)),
        ("widths", ()),
        ("drop", ("a", "b c")),
        ("drop", ("-x", "a")),
        ("keep", ("-",)),
        ("categorical", ()),
        ("split_column", "part"),
        ("optimizer", "adam"),
        ("limit", None),
        ("limit", 8),
        ("momentum", -0.5),
        ("seed", 4294967295),
    ],
    ids=str,
)
def test_a_value_from_a_file_is_the_value_that_was_written(name, value, source, write):
    values, _ = parse_with_file(source, *write(parse(source)[0] | {name: value}))
    assert values == parse(source)[0] | {name: value}
    assert type(values[name]) is type(value)


def test_what_a_file_does_not_name_has_its_default(source, write):
    values, _ = parse_with_file(source, *write({"epochs": 3}))
    assert values == parse(source)[0] | {"epochs": 3}


@pytest.mark.parametrize("before", [True, False], ids=["flags before the file", "flags after the file"])
@pytest.mark.parametrize(
    ("args", "name", "value"),
    [
        (["--epochs", "5"], "epochs", 5),
        (["--epochs=5"], "epochs", 5),
        (["--learning-rate", "0.5"], "learning_rate", 0.5),
        (["--learning_rate", "0.5"], "learning_rate", 0.5),
        (["--nesterov"], "nesterov", True),
        (["--no-header"], "header", False),
        (["--widths", "7", "6"], "widths", (7, 6)),
        (["--optimizer", "sgd"], "optimizer", "sgd"),
        (["--target", "other"], "target", "other"),
    ],
)
def test_a_flag_goes_before_the_file_wherever_it_stands(args, name, value, before, source, write):
    content = {
        "epochs": 3,
        "learning_rate": 0.25,
        "nesterov": False,
        "header": True,
        "drop": (),
        "keep": (),
        "numeric": (),
        "categorical": (),
        "split_column": None,
        "widths": [1, 2, 3],
        "optimizer": "adam",
        "target": "price",
    }
    file = write(content)
    values, _ = parse_with_file(source, *([*args, *file] if before else [*file, *args]))
    assert values == parse(source)[0] | content | {"widths": (1, 2, 3)} | {name: value}


def test_a_file_may_be_named_with_an_equals_sign_and_is_an_option_too(source, write):
    _, path = write({"epochs": 3})
    values, options = parse_with_file(source, f"--hparams={path}", "--run", "mine")
    assert values["epochs"] == 3
    assert (options.hparams, options.run) == (Path(path), "mine")


def test_without_a_file_there_is_none(source):
    values, options = parse_with_file(source)
    assert options.hparams is None
    assert values == parse(source)[0]


def test_a_file_of_the_same_recipe_is_taken_and_one_of_another_is_not(source, write):
    assert parse_with_file(source, *write({"epochs": 3}, recipe="own"))[0]["epochs"] == 3
    _, path = args = write({"epochs": 3}, recipe="other")
    assert refusal_with_file(source, *args) == f"--hparams {path} is of other, and this is own"


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "3", "null", "{}", '{"hparams": null}', '{"hparams": [1]}', b"\xff\xfe"], ids=str
)
def test_a_file_of_something_else_is_refused(content, source, tmp_path):
    path = tmp_path / "best.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert refusal_with_file(source, "--hparams", str(path)) == (
        f"--hparams {path} is no best.json of a search, nor the config.json of a run"
    )


def test_a_file_that_is_not_there_or_is_a_folder_is_refused(source, tmp_path):
    for path in (tmp_path, tmp_path / "nothing.json"):
        assert refusal_with_file(source, "--hparams", str(path)) == (
            f"--hparams {path} is no best.json of a search, nor the config.json of a run"
        )


@pytest.mark.parametrize("name", ["xyzzy", "batch_size"])
def test_a_hyper_parameter_that_the_recipe_does_not_know_or_use_is_refused_by_name(name, source, write):
    _, path = args = write({"epochs": 3, name: 4})
    assert refusal_with_file(source, *args) == f"--hparams {path} has {name}, which own does not know"


def test_a_value_in_a_file_that_does_not_fit_is_refused_by_its_flag(source, write):
    assert refusal_with_file(source, *write({"epochs": 0})) == "--epochs is 0; it must be at least 1"
    assert "--epochs" in refusal_with_file(source, *write({"epochs": "many"}))
    assert "--optimizer is 'adagrad'" in refusal_with_file(source, *write({"optimizer": "adagrad"}))


def test_nothing_in_a_file_stays_nothing_where_the_default_is_something(tmp_path, write):
    path = tmp_path / "own.py"
    path.write_text("class HParams:\n    patience: int | None = 5\n", encoding="utf-8")
    values, _ = parse_with_file(catalog.Source(path), *write({"patience": None}))
    assert values == {"patience": None}


@pytest.mark.parametrize("pair", catalog.pairs().values(), ids=catalog.pairs())
def test_every_recipes_own_values_come_back_from_a_file(pair, write):
    values, _ = flags.parse_hparams(pair.fit, Options, [], "recipes")
    again, _ = flags.parse_hparams(pair.custom_loop, side.Options, write(values), "recipes")
    assert again == values


@pytest.mark.parametrize(
    ("args", "names"),
    [
        ([], set()),
        (["--epochs", "3"], {"epochs"}),
        (["--epochs=3", "--learning-rate", "0.1"], {"epochs", "learning_rate"}),
        (["--learning_rate=--odd"], {"learning_rate"}),
        (["--widths", "1", "2", "--no-header"], {"widths", "header", "no_header"}),
        (["--momentum", "-0.5", "-h"], {"momentum"}),
        (["--node-count", "3"], {"node_count"}),
    ],
)
def test_which_flags_were_given(args, names):
    assert flags.given(args) == names
