"""The shape of the house: which way imports point, that no side cheats, that every file has its twin and its test."""

import ast
import difflib
import itertools
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from recipes.commands import catalog

ROOT = Path(__file__).parents[1]
PAIRS = catalog.pairs()
FIT_CALLS = {
    "compile",
    "fit",
    "evaluate",
    "train_on_batch",
    "test_on_batch",
    "compute_loss",
    "compute_metrics",
    "train_step",
    "test_step",
}


def imports(path):
    """The modules that a file imports, without those of the `if __name__` block at its top."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in tree.body:
        if isinstance(node, ast.If):
            continue
        for inner in ast.walk(node):
            if isinstance(inner, ast.Import):
                found |= {alias.name for alias in inner.names}
            elif isinstance(inner, ast.ImportFrom):
                assert not inner.level, f"{path}: relative import"
                found |= {f"{inner.module}.{alias.name}" for alias in inner.names}
    return {name for name in found if name.split(".")[0] in ("recipes", "custom_loops")}


def attribute_calls(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {(ast.unparse(call.value), call.attr) for call in calls if isinstance(call, ast.Attribute)}


def test_every_recipe_has_its_twin_and_every_loop_its_recipe():
    twins = {path.relative_to(ROOT / "custom_loops") for path in (ROOT / "custom_loops").glob("*/*.py")}
    recipes = {Path(pair.topic) / f"{pair.name}.py" for pair in PAIRS.values()}
    assert {path for path in twins if path.name != "__init__.py"} == recipes


@pytest.mark.parametrize("name", PAIRS)
def test_imports_of_a_pair_point_one_way(name):
    pair = PAIRS[name]
    own = f"recipes.{pair.topic}.{name}."
    assert all(module.startswith("recipes.shared.") for module in imports(pair.fit.path))
    for module in imports(pair.custom_loop.path):
        assert module.startswith(("recipes.shared.", own)) or module in ("custom_loops.loop", "custom_loops.loop.Loop")


def test_imports_of_the_shared_code_point_one_way():
    for path in (ROOT / "recipes" / "shared").rglob("*.py"):
        assert all(module.startswith("recipes.shared.") for module in imports(path)), path
    commands = [path for path in (ROOT / "recipes" / "commands").glob("*.py") if path.name != "catalog.py"]
    for path in commands:
        assert "custom_loops" not in path.read_text(encoding="utf-8").replace("custom_loops/", ""), path


# What a loop of one's own takes along: with these files and a train step it trains anywhere.
TAKEN = ("custom_loops/loop.py", "custom_loops/chunks.py", "recipes/shared/batches.py", "recipes/shared/callbacks.py")


@pytest.mark.parametrize("name", TAKEN)
def test_what_drives_a_loop_can_be_taken_along(name):
    allowed = {*sys.stdlib_module_names, "keras", "numpy", "tensorflow"}
    each_other = {each.removesuffix(".py").replace("/", ".") for each in TAKEN}
    for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules = {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level
            modules = {node.module}
        else:
            continue
        for module in modules:
            assert module.split(".")[0] in allowed or module in each_other, module


def test_the_driver_fits_on_a_few_pages():
    assert len((ROOT / "custom_loops" / "loop.py").read_text(encoding="utf-8").splitlines()) < 200


HPARAMS = ("hparams", "values")  # what a recipe calls them


@pytest.mark.parametrize("name", PAIRS)
def test_a_custom_loop_does_not_call_what_it_replaces(name):
    path = PAIRS[name].custom_loop.path
    tree = ast.parse(path.read_text(encoding="utf-8"))
    makers = tuple(
        f"{function.name}("
        for function in tree.body
        if isinstance(function, ast.FunctionDef)
        and any(isinstance(node, ast.Return) and ast.unparse(node).startswith("return Loop(") for node in function.body)
    )
    made = {True: set(), False: set()}  # what is assigned, by whether it is from Loop(...)
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            value = ast.unparse(node.value)
            value = value.removeprefix("programs.reuse(")  # gives an earlier one of the same program
            again = any(value == f"{name}, {hparams})" for name in made[True] for hparams in HPARAMS)
            made[value.startswith(("Loop(", *makers)) or again] |= {ast.unparse(target) for target in node.targets}
    drivers = made[True] - made[False]
    cheats = {(value, call) for value, call in attribute_calls(path) if call in FIT_CALLS and value not in drivers}
    assert not cheats


@pytest.mark.parametrize("name", TAKEN)
def test_the_driver_does_not_call_what_it_replaces(name):
    assert not {call for _, call in attribute_calls(ROOT / name) if call in FIT_CALLS}


@pytest.mark.parametrize("name", PAIRS)
def test_a_recipe_trains_by_fit_alone(name):
    """A tape may stand in the methods that the Keras guides teach to override."""
    assert ("model", "fit") in attribute_calls(PAIRS[name].fit.path)
    tree = ast.parse(PAIRS[name].fit.text)
    methods = [
        method
        for kind in tree.body
        if isinstance(kind, ast.ClassDef)
        for method in kind.body
        if isinstance(method, ast.FunctionDef) and method.name in ("train_step", "compute_loss")
    ]
    within = {id(node) for method in methods for node in ast.walk(method)}
    tapes = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and "GradientTape" in ast.unparse(node.func)]
    assert all(id(tape) in within for tape in tapes)


PLAIN = ("mlp_classifier", "softmax_classifier", "linear_regression", "logistic_regression", "linear_svm", "l1_l2")


@pytest.mark.parametrize("name", PLAIN)
def test_the_two_sides_of_a_plain_pair_differ_in_few_lines(name):
    def lines(side):
        (train,) = (node for node in side.tree.body if isinstance(node, ast.FunctionDef) and node.name == "train")
        return side.text.splitlines()[train.lineno - 1 : train.end_lineno]

    differences = difflib.unified_diff(lines(PAIRS[name].fit), lines(PAIRS[name].custom_loop), n=0, lineterm="")
    assert sum(line[0] in "+-" and line[:3] not in ("+++", "---") for line in differences) <= 35


def code_of(source):
    """The lines of code of a file, without comments, docstrings, and lines of brackets alone."""
    prose = {
        line
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for line in range(node.lineno, node.end_lineno + 1)
    }
    code = [line for number, line in enumerate(source.text.splitlines(), start=1) if number not in prose]
    return {line.partition("  #")[0].strip() for line in code if any(map(str.isalnum, line))}


@pytest.mark.parametrize("side", catalog.SIDES)
def test_few_lines_of_a_file_stand_in_most_files_of_its_side(side):
    files = [code_of(pair.side(side)) for pair in PAIRS.values()]
    often = {line for line, count in Counter(itertools.chain(*files)).items() if count > len(files) / 2}
    assert max(len(lines & often) for lines in files) <= 25


@pytest.mark.parametrize("name", PAIRS)
def test_both_files_open_with_the_same_lesson_and_a_measured_result(name):
    fit, loop = PAIRS[name].fit, PAIRS[name].custom_loop
    assert fit.title == loop.title
    assert f"recipes fit {name}" in fit.docstring
    assert f"recipes loop {name}" in loop.docstring
    for source in (fit, loop):
        assert "Measured" in source.docstring
        assert "TensorFlow 2.21" in source.docstring


@pytest.mark.parametrize("name", PAIRS)
def test_every_pair_has_a_test_of_its_claim(name):
    assert (ROOT / "tests" / "custom_loops" / PAIRS[name].topic / f"test_{name}.py").is_file()


def test_every_source_file_of_the_machinery_has_its_test():
    sources = [*(ROOT / "recipes/shared").rglob("*.py"), *(ROOT / "recipes/commands").glob("*.py")]
    for source in sources:
        test = ROOT / "tests" / source.relative_to(ROOT).parent / f"test_{source.name}"
        assert source.name in ("__init__.py", "errors.py") or test.is_file(), source


def test_no_file_names_a_machine_or_a_package_index():
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in files:
        if not name.endswith((".png", "test_house.py")):
            text = (ROOT / name).read_text(encoding="utf-8")
            assert "/root/" not in text, name
            assert "pypi.org" not in text, name
            assert not name.endswith(".lock"), name
