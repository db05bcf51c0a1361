"""Holds two finished runs against each other, byte by byte. NumPy only: no TensorFlow."""

import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recipes.shared import archives, files
from recipes.shared.errors import UsageError

OPTIONAL = ("optimizer", "seeds")  # what a loop that writes its update rule by hand does not have


@dataclass(frozen=True)
class Difference:
    """One value that differs: its name, both values, and by how much."""

    name: str
    fit: float | None
    custom_loop: float | None
    size: float


@dataclass
class Parity:
    """What holding two runs against each other gave.

    Attributes:
        identical: weights, optimizer variables, seed states, epoch history and final metrics are the same bytes on both
            sides. Withheld when the weights did not move, the history is empty, or anything is not finite.
        within_tolerance: everything that both sides have is within `tolerance * max(1, |value|)`.
        tolerance: how far apart the sides may be; 0 demands the same values.
        weights_max_abs_diff: largest difference of any weight.
        history_max_abs_diff: largest difference of any logged value.
        compared: which kinds of variables both sides have: weights, optimizer, seeds.
        reasons: what differs: other hyper-parameters, then history, variables, final metrics.
        weights: every weight array that differs, by its largest difference, largest first.
        first_in_history: the first logged value that differs, in the order of epochs.
    """

    identical: bool = False
    within_tolerance: bool = False
    tolerance: float = 0.0
    weights_max_abs_diff: float = 0.0
    history_max_abs_diff: float = 0.0
    compared: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    weights: list[Difference] = field(default_factory=list)
    first_in_history: Difference | None = None

    @property
    def holds(self) -> bool:
        """Whether the two runs are as equal as they should be."""
        return self.identical or self.within_tolerance


def compare(fit: Path, custom_loop: Path, tolerance: float = 0.0) -> Parity:
    """Return how two side folders compare, children included: the verdict is that of the worst.

    Raises:
        UsageError: a folder holds no finished run.
    """
    children = [_runs(folder) for folder in (fit, custom_loop)]
    parity = Parity(identical=True, within_tolerance=True, tolerance=tolerance)
    if children[0] != children[1]:
        only = sorted(children[0] ^ children[1])
        _fail(parity, f"only one side has {', '.join(only)}")
    for child in sorted(children[0] & children[1]):
        _compare_one(parity, fit / child, custom_loop / child, "" if child == "." else f"{child}: ")
    if "." not in children[0] | children[1]:
        summaries = [path for path in (fit / "report.json", custom_loop / "report.json") if path.is_file()]
        if len(summaries) == 2:
            _compare_metrics(parity, [_metrics(path.parent) for path in summaries], "")
        elif summaries:
            _fail(parity, f"only one side sums its children up, in {summaries[0]}")
    parity.weights.sort(key=lambda difference: -difference.size)
    return parity


def finished_files(folder: Path, name: str) -> list[Path]:
    """Return every file called `name` below `folder`, leaving out what a killed process had not finished writing."""
    found = []
    for parent, folders, names in os.walk(folder):  # rglob fails where another run removes a folder meanwhile
        folders[:] = [each for each in folders if not each.startswith(files.UNFINISHED)]
        if name in names:
            found.append(Path(parent, name))
    return sorted(found)


def read_json(path: Path) -> Any:
    """Return what a run wrote to `path`.

    Raises:
        UsageError: it is missing or not JSON.
    """
    try:
        files.require_file(path)
        return json.loads(path.read_text(encoding="utf-8"))
    except (UsageError, OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path.parent} holds no finished run ({path.name}: {error})") from error


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in `path`; an empty one where it is missing, damaged, or something else."""
    try:
        content = read_json(path)
    except UsageError:
        return {}
    return content if isinstance(content, dict) else {}


def _object(path: Path, name: str | None = None) -> dict[str, Any]:
    """Return the JSON object in `path`, or the one that it has under `name`.

    Raises:
        UsageError: there is none.
    """
    content = read_json(path)
    found = content.get(name) if name is not None and isinstance(content, dict) else content
    if not isinstance(found, dict):
        raise UsageError(f"{path.parent} holds no finished run ({path.name}: no object {name or ''})")
    return found


def _metrics(folder: Path) -> dict[str, float | None]:
    path = folder / "report.json"
    found = _object(path, "metrics")
    _require_numbers(path, found.values())
    return found


def _history(folder: Path) -> dict[str, list[float | None]]:
    path = folder / "history.json"
    found = _object(path)
    for values in found.values():
        _require_numbers(path, values if isinstance(values, list) else [values, "no list"])
    return found


def _require_numbers(path: Path, values: Iterable[Any]) -> None:
    """Raise a UsageError unless each value is a number, or None for one that was not finite."""
    for value in values:
        if not (value is None or isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63)):
            raise UsageError(f"{path.parent} holds no finished run ({path.name}: {value!r} is no number)")


def _runs(folder: Path) -> set[str]:
    found = {str(state.parent.relative_to(folder)) for state in finished_files(folder, "state.npz")}
    if not found:
        raise UsageError(f"{folder} holds no finished run: no state.npz in it")
    return found


def _compare_one(parity: Parity, fit: Path, custom_loop: Path, prefix: str) -> None:
    _compare_hparams(parity, fit, custom_loop, prefix)
    _compare_history(parity, fit, custom_loop, prefix)
    _compare_states(parity, fit, custom_loop, prefix)
    _compare_metrics(parity, [_metrics(folder) for folder in (fit, custom_loop)], prefix)
    if not all(read_json(folder / "report.json").get("weights_moved") for folder in (fit, custom_loop)):
        _fail(parity, f"{prefix}the weights did not move, so their equality proves nothing")


def _compare_metrics(parity: Parity, metrics: list[dict[str, float | None]], prefix: str) -> None:
    for name in sorted(metrics[0].keys() | metrics[1].keys()):
        a, b = (each.get(name) for each in metrics)
        if not _same(a, b):
            parity.identical = False
            parity.reasons.append(f"{prefix}final {name}: {a} and {b}")
            parity.within_tolerance &= _close(a, b, parity.tolerance)


def _compare_hparams(parity: Parity, fit: Path, custom_loop: Path, prefix: str) -> None:
    """Other hyper-parameters are a reason, not yet a difference."""
    a, b = (_object(folder / "config.json", "hparams") for folder in (fit, custom_loop))
    for name in sorted(a.keys() & b.keys()):
        if a[name] != b[name] and name != "steps_per_execution":
            parity.reasons.append(f"{prefix}{name} is {a[name]} on one side and {b[name]} on the other")


def _compare_history(parity: Parity, fit: Path, custom_loop: Path, prefix: str) -> None:
    a, b = (_history(folder) for folder in (fit, custom_loop))
    if not a or not b:
        _fail(parity, f"{prefix}the history is empty")
    if a.keys() != b.keys():
        _fail(parity, f"{prefix}only one side logs {', '.join(sorted(a.keys() ^ b.keys()))}")
    both = [name for name in a if name in b]
    for name in both:
        if len(a[name]) != len(b[name]):
            _fail(parity, f"{prefix}{name} has {len(a[name])} epochs and {len(b[name])}")
    for epoch in range(max((len(a[name]) for name in both), default=0)):
        for name in (name for name in both if epoch < min(len(a[name]), len(b[name]))):
            x, y = a[name][epoch], b[name][epoch]
            if x is None or y is None:
                _fail(parity, f"{prefix}{name} of epoch {epoch + 1} is not finite")
            if _same(x, y) or x is y:
                continue
            difference = Difference(f"{prefix}{name} of epoch {epoch + 1}", x, y, _size(x, y))
            parity.history_max_abs_diff = max(parity.history_max_abs_diff, difference.size)
            if parity.first_in_history is None:
                parity.first_in_history = difference
                parity.reasons.append(f"the histories part at {difference.name}: {x} and {y}")
            parity.identical = False
            parity.within_tolerance &= _close(x, y, parity.tolerance)


def _compare_states(parity: Parity, fit: Path, custom_loop: Path, prefix: str) -> None:
    states = []
    for folder in (fit, custom_loop):
        states.append(_read_state(folder / "state.npz"))
    for kind in ("weights", *OPTIONAL):
        sides = [{name: array for name, array in state.items() if name.startswith(kind)} for state in states]
        if kind in OPTIONAL and bool(sides[0]) != bool(sides[1]):
            # A rule written by hand keeps its own variables, and says so by a tolerance. Anyone else has to show them.
            parity.identical = False
            parity.within_tolerance &= parity.tolerance > 0
            hint = "; set model.optimizer, and they are" if kind == "optimizer" and parity.tolerance == 0 else ""
            parity.reasons.append(f"{prefix}only one side keeps {kind} variables: they are not compared{hint}")
            continue
        if sides[0] and kind not in parity.compared:
            parity.compared.append(kind)
        if len(sides[0]) != len(sides[1]):
            _fail(parity, f"{prefix}{len(sides[0])} {kind} variables and {len(sides[1])}")
        for (name, a), b in zip(sides[0].items(), sides[1].values(), strict=False):
            _compare_arrays(parity, kind, prefix + name.partition(" ")[2], a, b)


def _read_state(path: Path) -> dict[str, np.ndarray]:
    try:
        arrays = archives.read(path, optional=None)
    except UsageError as error:
        raise UsageError(f"{path.parent} holds no finished run ({error})") from error
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise UsageError(f"{path.parent} holds no finished run ({path.name}: {name} is no array of numbers)")
    return arrays


def _compare_arrays(parity: Parity, kind: str, name: str, a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape or a.dtype != b.dtype:
        _fail(parity, f"{name} is {a.dtype}{list(a.shape)} on one side and {b.dtype}{list(b.shape)} on the other")
        return
    if a.dtype.kind == "f" and not (np.isfinite(a).all() and np.isfinite(b).all()):
        _fail(parity, f"{name} is not finite")
        return
    if a.tobytes() == b.tobytes():
        return
    parity.identical = False
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    distance = np.abs(wide_a - wide_b)
    worst = np.unravel_index(distance.argmax(), distance.shape)
    difference = Difference(name, float(wide_a[worst]), float(wide_b[worst]), float(distance[worst]))
    if kind == "weights":
        parity.weights.append(difference)
        parity.weights_max_abs_diff = max(parity.weights_max_abs_diff, difference.size)
    parity.reasons.append(f"{name} differs by up to {difference.size:.3g}")
    counts = a.dtype.kind != "f"  # seed states and iterations are right or wrong
    allowed = 0.0 if counts else parity.tolerance * np.maximum(1.0, np.abs(wide_a))
    parity.within_tolerance &= bool((distance <= allowed).all())


def _fail(parity: Parity, reason: str) -> None:
    parity.identical = parity.within_tolerance = False
    parity.reasons.append(reason)


def _same(a: float | None, b: float | None) -> bool:
    return a is not None and b is not None and a == b and math.copysign(1, a) == math.copysign(1, b)


def _size(a: float | None, b: float | None) -> float:
    return math.inf if a is None or b is None else abs(a - b)


def _close(a: float | None, b: float | None, tolerance: float) -> bool:
    return a is not None and b is not None and abs(a - b) <= tolerance * max(1.0, abs(a))
