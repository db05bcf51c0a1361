"""Finds the pairs on disk and reads what the command needs from their source, without importing them.

Importing a recipe imports TensorFlow, which takes seconds; `list`, `--help` and a mistyped flag should not wait for it.
So docstrings, `HParams` fields and `TOLERANCE` are read from the syntax tree as literals. This is the only module that
knows that both packages exist.
"""

import ast
import difflib
import importlib
import importlib.util
import sys
import tokenize
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from recipes.shared import tasks
from recipes.shared.errors import UsageError
from recipes.shared.files import kind_of

SIDES = {"fit": "recipes", "custom_loop": "custom_loops"}  # a side and the package it lives in
LAYOUT = {  # tokens that are no code
    tokenize.ENCODING,
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


@dataclass(frozen=True)
class Field:
    """One hyper-parameter as the source declares it."""

    name: str
    annotation: str
    default: Any
    help: str


@dataclass(frozen=True)
class Source:
    """A recipe's file, read but not imported."""

    path: Path

    @cached_property
    def text(self) -> str:
        """What is in the file."""
        if kind_of(self.path) == "other":  # a pipe may have no end
            raise UsageError(f"cannot read {self.path}: it is a pipe or a device")
        try:
            return self.path.read_text(encoding="utf-8")
        except OSError as error:
            raise UsageError(f"cannot read {self.path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise UsageError(f"{self.path} is not UTF-8 text: {error}") from error

    @cached_property
    def tree(self) -> ast.Module:
        """The file's syntax tree."""
        try:
            return ast.parse(self.text, str(self.path))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # the last two: brackets in brackets
            raise UsageError(f"{self.path} is not a Python file: {error or 'it is nested too deeply'}") from error

    @property
    def docstring(self) -> str:
        """The file's docstring; empty if it has none."""
        return ast.get_docstring(self.tree) or ""

    @property
    def title(self) -> str:
        """The first line of the docstring."""
        return self.docstring.partition("\n")[0]

    @cached_property
    def fields(self) -> dict[str, Field]:
        """The fields of `HParams` by name, those of its base class first."""
        return self._read_hparams()[0]

    @cached_property
    def unused(self) -> dict[str, str]:
        """The fields that the recipe has no use for, with the reason."""
        return self._read_hparams()[1]

    @property
    def tolerance(self) -> float:
        """How far this side may be from its twin: its constant `TOLERANCE`, or 0 for identical bits."""
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "TOLERANCE":
                tolerance = self._literal(node.value, "TOLERANCE")
                if not isinstance(tolerance, int | float):
                    raise UsageError(f"{self.path}: TOLERANCE is {tolerance!r}; it must be a number")
                return float(tolerance)
        return 0.0

    @property
    def one_device(self) -> str:
        """Why this side cannot train under a strategy; empty if it can."""
        if self.tolerance:
            return "its loop writes the update rule by hand, and does not add up the gradients of several"
        return self.unused.get("strategy", "")

    @property
    def task(self) -> str | None:
        """The name of the task that `data.load` is asked for; None where the recipe has other data."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "data.folds":
                return "classification"
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "data.load":
                given = [keyword.value for keyword in node.keywords if keyword.arg == "task"] + node.args[1:2]
                words = [node.value for node in given if isinstance(node, ast.Constant)]
                return str(words[0]) if words and words[0] in tasks.NAMES else None
        source = self._origin("load_data")
        return None if source is None else source.task

    @property
    def own_data(self) -> set[str]:
        """The names of data that the recipe makes itself: what its `load_data` compares `hparams.data` with."""
        source = self._origin("load_data") or self
        return {
            str(node.comparators[0].value)
            for node in ast.walk(source.tree)
            if isinstance(node, ast.Compare)
            and ast.unparse(node.left) == "hparams.data"
            and isinstance(node.comparators[0], ast.Constant)
        }

    @property
    def metrics(self) -> list[str]:
        """The names of what is measured every epoch: the loss, and each Keras metric that the file names."""
        names = [
            ast.literal_eval(keyword.value)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("keras.metrics.")
            for keyword in node.keywords
            if keyword.arg == "name" and isinstance(keyword.value, ast.Constant)
        ]
        return list(dict.fromkeys(["loss", *names]))

    @property
    def lines_of_code(self) -> int:
        """How many lines hold code: not blank, not a comment, not a docstring."""
        with self.path.open("rb") as file:
            tokens = [token for token in tokenize.tokenize(file.readline) if token.type not in LAYOUT]
        code = {line for token in tokens for line in range(token.start[0], token.end[0] + 1)}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                code -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        return len(code)

    def require_train(self) -> None:
        """Raise a UsageError if nothing in the file is called `train`."""
        names: set[str | None] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef):
                names.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
            elif isinstance(node, ast.alias):
                names.add(node.asname or node.name)
        if "train" not in names:
            raise UsageError(f"{self.path} has no function train(hparams, run)")

    def _read_hparams(self) -> tuple[dict[str, Field], dict[str, str]]:
        lines = self.text.splitlines()
        for node in self.tree.body:
            if isinstance(node, ast.ClassDef) and node.name == "HParams":
                fields: dict[str, Field] = {}
                unused: dict[str, str] = {}
                for base in node.bases:
                    source = self._origin(ast.unparse(base))
                    if source is not None:
                        inherited_fields, inherited_unused = source._read_hparams()
                        fields |= inherited_fields
                        unused |= inherited_unused
                for item in node.body:
                    if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and item.value is not None:
                        name = item.target.id
                        constant = ast.unparse(item.annotation).startswith("ClassVar")
                        if constant and name != "unused":
                            continue
                        default = self._literal(item.value, f"HParams.{name}")
                        if constant:
                            if not isinstance(default, dict):
                                raise UsageError(f"{self.path}: HParams.unused must be a dict: {{field: reason}}")
                            unused |= default
                            continue
                        comment = lines[(item.end_lineno or item.lineno) - 1][item.end_col_offset or 0 :].strip(" #")
                        if not comment and name in fields:
                            comment = fields[name].help  # only the default is new
                        fields[name] = Field(name, ast.unparse(item.annotation), default, comment)
                return fields, unused
        source = self._origin("HParams")
        return source._read_hparams() if source is not None else shared_hparams()._read_hparams()

    def _origin(self, name: str) -> "Source | None":
        """Return the file that `name`, as in `HParams` or `hparams.HParams`, is imported from."""
        first, _, rest = name.partition(".")
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for alias in node.names:
                    if (alias.asname or alias.name) == first:
                        module = f"{node.module}.{alias.name}" if rest else node.module
                        return self._find(module)
        return None

    def _find(self, module: str) -> "Source | None":
        package = module.partition(".")[0]
        root = _package_folder(package).parent if package in SIDES.values() else self.path.parent
        path = (root / module.replace(".", "/")).with_suffix(".py")
        return Source(path) if path.is_file() else None

    def _literal(self, node: ast.expr, what: str) -> Any:
        try:
            return ast.literal_eval(node)
        except (ValueError, TypeError):
            raise UsageError(
                f"{self.path}:{node.lineno}: {what} must be a literal: the command reads it without importing"
            ) from None


@dataclass(frozen=True)
class Pair:
    """Two files that do the same thing, one by `fit`, one by a custom loop."""

    name: str
    topic: str
    fit: Source
    custom_loop: Source

    def side(self, side: str) -> Source:
        """Return the source of `fit` or `custom_loop`."""
        source: Source = getattr(self, side)
        return source


def pairs() -> dict[str, Pair]:
    """Return every pair on disk by name, in the order of topics and names."""
    found = {}
    for fit in sorted(_package_folder("recipes").glob("*/*.py")):
        topic = fit.parent.name
        if topic in ("commands", "shared") or fit.name == "__init__.py":
            continue
        twin = _package_folder("custom_loops") / topic / fit.name
        found[fit.stem] = Pair(fit.stem, topic, Source(fit), Source(twin))
    return found


def find(name: str) -> Pair:
    """Return the pair called `name`.

    Raises:
        UsageError: there is none; the message suggests the nearest.
    """
    known = pairs()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        suggestion = f"did you mean {near[0]}? " if near else ""
        raise UsageError(f"no recipe named {name!r}; {suggestion}`recipes list` shows them all")
    return known[name]


def side_of(path: Path) -> str:
    """Return the side that a file belongs to: `custom_loop` below that package, `fit` anywhere else."""
    return "custom_loop" if path.resolve().is_relative_to(_package_folder("custom_loops")) else "fit"


def name_or_path(path: str, side: str) -> str:
    """Return the name of the pair whose `side` is the file `path`, or `path` where it is nobody's, as a copy is."""
    file = Path(path).resolve()
    return next((pair.name for pair in pairs().values() if pair.side(side).path == file), path)


def load(path: Path) -> ModuleType:
    """Import the module in the file `path` and return it, under its full name if it is one of ours."""
    path = path.resolve()
    for package in SIDES.values():
        folder = _package_folder(package)
        if path.is_relative_to(folder):
            return importlib.import_module(".".join(path.relative_to(folder.parent).with_suffix("").parts))
    sys.path.insert(0, str(path.parent))  # a user's loop may import its twin
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def shared_hparams() -> Source:
    """Return the source of the hyper-parameters that every recipe has."""
    return Source(_package_folder("recipes") / "shared" / "hparams.py")


def _package_folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).resolve().parent
