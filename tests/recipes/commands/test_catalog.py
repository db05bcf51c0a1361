"""The pairs on disk, read without importing: what is read must be what importing gives."""

import dataclasses
import importlib
import inspect
import subprocess
import sys
from importlib import metadata

import pytest

from recipes.commands import catalog, flags
from recipes.shared import hparams
from recipes.shared.errors import UsageError

PAIRS = catalog.pairs()
EVERY_PAIR = pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
EVERY_SIDE = pytest.mark.parametrize("side", catalog.SIDES)


def module_of(pair, side):
    return importlib.import_module(f"{catalog.SIDES[side]}.{pair.topic}.{pair.name}")


def source_of(tmp_path, text, name="own.py"):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return catalog.Source(tmp_path / name)


@pytest.fixture
def own_imports(monkeypatch):
    """Undo what importing a user's file leaves behind."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_the_six_pairs_are_found_in_the_order_of_topics_and_names():
    assert list(PAIRS) == [pair.name for pair in sorted(PAIRS.values(), key=lambda pair: (pair.topic, pair.name))]
    assert PAIRS.keys() >= {
        "gradient_descent",
        "momentum",
        "linear_regression",
        "linear_svm",
        "mlp_classifier",
        "softmax_classifier",
    }
    assert {PAIRS["momentum"].topic, PAIRS["linear_svm"].topic} == {"foundations", "supervised"}


@EVERY_PAIR
@EVERY_SIDE
def test_both_files_of_a_pair_lie_in_the_same_folder_of_their_packages(pair, side):
    path = pair.side(side).path
    assert path.is_file()
    assert path.parts[-3:] == (catalog.SIDES[side], pair.topic, f"{pair.name}.py")
    assert catalog.side_of(path) == side


@EVERY_PAIR
@EVERY_SIDE
def test_fields_and_defaults_read_from_the_source_are_those_of_the_imported_class(pair, side):
    source, module = pair.side(side), module_of(pair, side)
    imported = dataclasses.fields(module.HParams)
    assert [(field.name, field.default) for field in source.fields.values()] == [
        (field.name, field.default) for field in imported
    ]
    assert [type(field.default) for field in source.fields.values()] == [type(field.default) for field in imported]
    assert source.unused == module.HParams.unused


@EVERY_PAIR
def test_annotations_read_from_the_source_are_those_of_the_imported_class(pair):
    """They are evaluated as the flags do it, because a name such as `AtLeastOne` is not in the class."""
    for field in dataclasses.fields(module_of(pair, "fit").HParams):
        assert flags.type_of(pair.fit, field.name) == field.type


@EVERY_PAIR
@EVERY_SIDE
def test_docstring_and_tolerance_read_from_the_source_are_those_of_the_imported_module(pair, side):
    source, module = pair.side(side), module_of(pair, side)
    assert source.docstring == inspect.getdoc(module)
    assert source.title
    assert source.title == module.__doc__.splitlines()[0]
    assert source.tolerance == getattr(module, "TOLERANCE", 0.0)


@EVERY_PAIR
def test_every_field_of_a_recipe_has_a_help_text_and_both_sides_read_the_same(pair):
    assert all(field.help for field in pair.fit.fields.values())
    assert pair.custom_loop.fields == pair.fit.fields
    assert pair.custom_loop.unused == pair.fit.unused
    assert set(pair.fit.unused) <= set(pair.fit.fields) | {"strategy"}


def test_the_shared_hyper_parameters_are_read_as_they_are_imported():
    source = catalog.shared_hparams()
    assert {name: field.default for name, field in source.fields.items()} == {
        field.name: field.default for field in dataclasses.fields(hparams.HParams)
    }
    assert source.fields["epochs"].help == "passes over the training data"


def test_names_are_unique_across_topics():
    for package in catalog.SIDES.values():
        root = catalog._package_folder(package)
        folders = {pair.topic for pair in PAIRS.values()}
        names = [path.stem for topic in folders for path in (root / topic).glob("*.py") if path.stem != "__init__"]
        assert sorted(names) == sorted(PAIRS)


def test_no_name_shadows_a_module_of_python_or_of_an_installed_package():
    # A script's own folder comes first on sys.path: a recipe named `random` would be what TensorFlow imports.
    installed = set(metadata.packages_distributions())
    assert {"numpy", "keras", "tensorflow"} <= installed
    assert "random" in sys.stdlib_module_names
    assert not PAIRS.keys() & (sys.stdlib_module_names | installed)


@pytest.mark.parametrize(
    ("mistyped", "nearest"),
    [("mlp_clasifier", "mlp_classifier"), ("svm", "linear_svm"), ("gradientdescent", "gradient_descent")],
)
def test_an_unknown_name_is_told_the_nearest(mistyped, nearest):
    with pytest.raises(UsageError) as error:
        catalog.find(mistyped)
    assert str(error.value) == f"no recipe named {mistyped!r}; did you mean {nearest}? `recipes list` shows them all"


def test_a_name_like_none_is_pointed_to_the_list():
    with pytest.raises(UsageError) as error:
        catalog.find("xyzzy")
    assert str(error.value) == "no recipe named 'xyzzy'; `recipes list` shows them all"


def test_finding_and_reading_every_pair_imports_no_tensorflow(tmp_path):
    code = (
        "import sys; from recipes.commands import catalog\n"
        "for pair in catalog.pairs().values():\n"
        "    for source in (pair.fit, pair.custom_loop):\n"
        "        source.title, source.fields, source.unused, source.tolerance, source.lines_of_code\n"
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    process = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=False)
    assert (process.returncode, process.stderr) == (0, b"")


def test_a_file_without_hyper_parameters_of_its_own_has_the_shared_ones(tmp_path):
    source = source_of(tmp_path, "def train(hparams, run): ...\n")
    assert source.fields == catalog.shared_hparams().fields
    assert source.unused == {}
    assert source.docstring == source.title == ""
    assert source.tolerance == 0.0


@pytest.mark.parametrize(
    "imports",
    [
        "from recipes.shared import hparams\nBase = None\nclass HParams(hparams.HParams):",
        "from recipes.shared.hparams import HParams as Base\nclass HParams(Base):",
        "from recipes.shared import hparams as base\nclass HParams(base.HParams):",
    ],
)
def test_inherited_fields_are_found_however_the_base_is_imported(imports, tmp_path):
    source = source_of(tmp_path, f"{imports}\n    epochs: int = 3  # mine\n    extra: float = -1.5\n")
    assert list(source.fields) == [*catalog.shared_hparams().fields, "extra"]
    assert source.fields["epochs"] == catalog.Field("epochs", "int", 3, "mine")
    assert source.fields["extra"] == catalog.Field("extra", "float", -1.5, "")


def test_a_field_that_changes_only_the_default_keeps_the_help_of_its_base(tmp_path):
    text = "from recipes.shared import hparams\nclass HParams(hparams.HParams):\n    epochs: int = 3\n"
    source = source_of(tmp_path, text)
    assert source.fields["epochs"] == catalog.Field("epochs", "int", 3, "passes over the training data")


def test_a_users_loop_has_the_fields_of_the_twin_that_it_imports_them_from(tmp_path):
    fit = source_of(tmp_path, "class HParams:\n    penalty: float = 0.5  # mine\n", "fit.py")
    loop = source_of(tmp_path, "from fit import HParams\n", "loop.py")
    assert loop.fields == fit.fields == {"penalty": catalog.Field("penalty", "float", 0.5, "mine")}


def test_unused_fields_are_inherited_with_their_reasons(tmp_path):
    source_of(
        tmp_path, 'class HParams:\n    unused: ClassVar[dict[str, str]] = {"a": "why"}\n    a: int = 1\n', "base.py"
    )
    source = source_of(
        tmp_path,
        "from base import HParams as Base\n"
        'class HParams(Base):\n    unused: ClassVar[dict[str, str]] = {"b": "so"}\n    b: int = 2\n',
    )
    assert source.unused == {"a": "why", "b": "so"}
    assert list(source.fields) == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class HParams:\n    rate: float = 1 / 3\n", ":2: HParams.rate must be a literal"),
        ("class HParams:\n    rate: float = RATE\n", ":2: HParams.rate must be a literal"),
        ("def broken(:\n", "is not a Python file"),
        ("x = 1\0", "is not a Python file"),
    ],
)
def test_a_source_that_cannot_be_read_is_refused_in_one_line(text, message, tmp_path):
    with pytest.raises(UsageError) as error:
        _ = source_of(tmp_path, text).fields
    assert message in str(error.value)
    assert "own.py" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_tolerance_that_is_no_literal_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"own\.py:1: TOLERANCE must be a literal"):
        _ = source_of(tmp_path, "TOLERANCE = 2 * EPSILON\n").tolerance


def test_a_file_that_is_not_there_is_refused_in_one_line(tmp_path):
    with pytest.raises(UsageError, match="cannot read"):
        _ = catalog.Source(tmp_path / "nothing.py").docstring


def test_a_file_that_is_not_utf_8_is_refused_in_one_line(tmp_path):
    path = tmp_path / "own.py"
    path.write_bytes(b"class HParams:\n    name: str = '\xe9'\n")
    with pytest.raises(UsageError) as error:
        _ = catalog.Source(path).fields
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_lines_of_code_count_neither_blanks_nor_comments_nor_docstrings(tmp_path):
    text = '''"""Docstring

of three lines."""

import sys  # counted

# not counted
def f(
    x,  # three lines of a signature
):
    """One line."""
    text = """two
    lines"""
    return x, text
'''
    assert source_of(tmp_path, text).lines_of_code == 1 + 3 + 2 + 1


def test_a_file_of_ours_is_imported_under_its_full_name():
    pair = catalog.find("mlp_classifier")
    for side in catalog.SIDES:
        assert catalog.load(pair.side(side).path) is module_of(pair, side)


@pytest.mark.usefixtures("own_imports")
def test_a_users_loop_can_import_its_twin(tmp_path):
    source_of(tmp_path, "class HParams:\n    penalty: float = 0.5\n", "fit_for_test.py")
    loop = source_of(tmp_path, "from fit_for_test import HParams\ndef train(hparams, run): ...\n", "loop_for_test.py")
    module = catalog.load(loop.path)
    assert module.HParams.penalty == 0.5
    assert callable(module.train)


def test_a_users_file_counts_as_the_fit_side(tmp_path):
    assert catalog.side_of(tmp_path / "loop.py") == "fit"


@EVERY_SIDE
def test_a_file_of_ours_has_a_name_on_its_own_side_and_no_other_file_has(side, tmp_path):
    pair = catalog.find("mlp_classifier")
    other = next(other for other in catalog.SIDES if other != side)
    copy = source_of(tmp_path, pair.side(side).text, "mlp_classifier.py").path
    assert catalog.name_or_path(str(pair.side(side).path), side) == "mlp_classifier"
    for path in map(str, (pair.side(other).path, copy)):
        assert catalog.name_or_path(path, side) == path


def test_class_variables_need_not_be_literals_unless_the_command_reads_them(tmp_path):
    source = source_of(
        tmp_path,
        "class HParams:\n"
        "    search_space: ClassVar[SearchSpace] = Base.search_space | {'rate': LogRange(1e-3, 1.0)}\n"
        "    objective: ClassVar[str] = PREFIX + 'loss'\n"
        "    other: ClassVar = call()\n"
        "    unused: ClassVar[dict[str, str]] = {'rate': 'why'}\n"
        "    rate: float = 0.5  # mine\n",
    )
    assert source.fields == {"rate": catalog.Field("rate", "float", 0.5, "mine")}
    assert source.unused == {"rate": "why"}


def test_what_is_unused_must_be_a_literal(tmp_path):
    source = source_of(tmp_path, "class HParams:\n    unused: ClassVar[dict[str, str]] = BASE | {}\n")
    with pytest.raises(UsageError, match=r"own\.py:2: HParams\.unused must be a literal"):
        _ = source.unused


@pytest.mark.parametrize(
    ("text", "metrics"),
    [
        ("", ["loss"]),
        ("metrics = [keras.metrics.SparseCategoricalAccuracy(name='accuracy')]", ["loss", "accuracy"]),
        (
            """
def train():
    mse = keras.metrics.MeanSquaredError(name='mse', dtype='float32')
    return [mse, keras.metrics.AUC(curve='PR', name='auc'), keras.metrics.MeanSquaredError(name='mse')]
""",
            ["loss", "mse", "auc"],
        ),
        ("keras.metrics.Mean(name='loss')", ["loss"]),
        ("keras.metrics.Mean(name=NAME)", ["loss"]),
        ("keras.metrics.Mean()", ["loss"]),
        ("keras.layers.Dense(3, name='dense')", ["loss"]),
    ],
)
def test_the_metrics_are_the_loss_and_each_that_the_file_names_once(text, metrics, tmp_path):
    assert source_of(tmp_path, text).metrics == metrics


@EVERY_PAIR
def test_both_sides_measure_the_same(pair):
    assert pair.fit.metrics == pair.custom_loop.metrics


@pytest.mark.parametrize("name", ["softmax_classifier", "gradient_descent", "l1_l2"])
def test_the_metrics_are_what_the_history_of_a_training_has(name, trained):
    history = trained(name, "fit", epochs=1).history
    measured = {each for each in history if not each.startswith("val_")}
    assert measured == set(catalog.find(name).fit.metrics)
    assert {f"val_{each}" for each in measured} <= set(history)


@EVERY_PAIR
def test_both_sides_say_what_their_data_is_asked_for(pair):
    assert pair.fit.task in ((None,) if "data" in pair.fit.unused else ("classification", "regression"))
    assert pair.custom_loop.task == pair.fit.task


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("dataset = data.load(hparams, task='regression')", "regression"),
        ("dataset = data.load(hparams, 'classification')", "classification"),
        ("def f(hparams):\n    return data.folds(hparams, 3)", "classification"),
        ("dataset = data.load(hparams, task=chosen)", None),
        ("dataset = load()", None),
    ],
)
def test_the_task_of_a_users_own_file_is_read_from_its_source(tmp_path, text, task):
    (tmp_path / "mine.py").write_text(text)
    assert catalog.Source(tmp_path / "mine.py").task == task
