"""What `compare` shows: a table that a reader takes in at a glance, and the same as JSON."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from recipes.commands.parity import Parity

SIDES = {"fit": "fit", "custom_loop": "custom loop"}


@dataclass
class Result:
    """One pair, trained both ways.

    Attributes:
        recipe: its name.
        data: what it was trained on.
        folder: the run's folder, with one folder a side.
        sides: by side, what it reported; empty for one that stopped before it could.
        parity: how the two compare; None if a side stopped.
        failures: a line for each side that did not end well.
        said: notes about the data that were shown before training.
        warnings: what Python, Keras or TensorFlow warned of while the sides trained, each once.
    """

    recipe: str
    data: str
    folder: Path
    sides: dict[str, dict[str, Any]] = field(default_factory=dict)
    parity: Parity | None = None
    failures: list[str] = field(default_factory=list)
    said: Sequence[str] = ()
    warnings: list[str] = field(default_factory=list)

    @property
    def notes(self) -> list[str]:
        """What the sides say about their scores, without what both say twice and what was said before."""
        notes = dict.fromkeys(note for side in self.sides.values() for note in side.get("notes", []))
        return [note for note in notes if note not in self.said]

    @property
    def holds(self) -> bool:
        """Whether both sides ended well and are as equal as they should be."""
        return self.parity is not None and self.parity.holds and not self.failures

    @property
    def speedup(self) -> float | None:
        """Steady epoch of fit over that of the custom loop; None where there is no steady epoch."""
        fit, loop = (self.sides.get(side, {}).get("seconds_per_epoch") for side in SIDES)
        return fit / loop if fit and loop else None

    @property
    def verdict(self) -> tuple[str, str]:
        """The verdict in words, and its colour."""
        if self.failures or self.parity is None:
            return "STOPPED", "red"
        if self.parity.identical:
            return "IDENTICAL", "green"
        if self.parity.within_tolerance:
            return "WITHIN TOLERANCE", "yellow"
        return "DIFFERENT", "red"

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain JSON values."""
        parity = self.parity or Parity()
        return {
            "recipe": self.recipe,
            "data": self.data,
            "run": str(self.folder),
            "identical": parity.identical,
            "within_tolerance": parity.within_tolerance,
            "tolerance": parity.tolerance,
            "weights_max_abs_diff": parity.weights_max_abs_diff if self.parity else None,
            "history_max_abs_diff": parity.history_max_abs_diff if self.parity else None,
            "reasons": [*self.failures, *parity.reasons],
            "warnings": self.warnings,
            "fit": self.sides.get("fit", {}),
            "custom_loop": self.sides.get("custom_loop", {}),
            "speedup": self.speedup,
        }


@contextlib.contextmanager
def status(text: str) -> Iterator[None]:
    """Show `text` while something runs: moving in a terminal, a plain line elsewhere."""
    console = Console()
    if console.is_terminal:
        with console.status(text):
            yield
    else:
        began = time.perf_counter()
        yield
        print(f"{text}: {time.perf_counter() - began:.1f} s", flush=True)


def show(result: Result) -> None:
    """Print the table of one pair."""
    console = Console()
    verdict, colour = result.verdict
    console.print()
    console.print(Text.assemble((result.recipe, "bold"), f" on {result.data}: ", (verdict, f"bold {colour}")))
    console.print(Text(explain(result), style=colour), soft_wrap=True)
    for note in result.notes:
        console.print(Text(f"note: {note}"), soft_wrap=True)
    for warning in result.warnings:
        console.print(Text(f"warning: {warning}"), soft_wrap=True)
    if not all(result.sides.values()):
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for side in SIDES.values():
        table.add_column(side, justify="right")
    fit, loop = (result.sides[side] for side in SIDES)
    part = "" if fit.get("children") else "test "  # what sums children up, the recipe has named
    for name in (name for name in fit["metrics"] if name in loop["metrics"]):
        table.add_row(Text(part + name), *(_number(side["metrics"][name]) for side in (fit, loop)))
    table.add_row("first epoch, compilation included", *(_seconds(side["first_epoch_seconds"]) for side in (fit, loop)))
    faster = f"  [bold]{result.speedup:.1f} x[/bold]" if result.speedup else ""
    table.add_row("steady epoch", _seconds(fit["seconds_per_epoch"]), _seconds(loop["seconds_per_epoch"]) + faster)
    table.add_row("peak memory", *(f"{side['peak_memory_mib']:.0f} MiB" for side in (fit, loop)))
    if fit.get("shared_memory_mib") and loop.get("shared_memory_mib"):
        table.add_row("shared by both", *(f"{side['shared_memory_mib']:.0f} MiB" for side in (fit, loop)))
    table.add_row("steps per execution", *(str(side["steps_per_execution"]) for side in (fit, loop)))
    table.add_row(
        "XLA (jit_compile)", *({True: "on", False: "off", None: "-"}[side["jit_compile"]] for side in (fit, loop))
    )
    table.add_row("lines of code", *(str(side["lines_of_code"]) for side in (fit, loop)))
    console.print(table)


def explain(result: Result) -> str:
    """Return one or more lines that say what the verdict rests on."""
    if result.failures or result.parity is None:
        return "\n".join(result.failures)
    parity = result.parity
    sizes = f"largest difference: weights {parity.weights_max_abs_diff:.3g}, history {parity.history_max_abs_diff:.3g}"
    if parity.identical:
        return f"the same bytes: {', '.join(parity.compared)}, history, test metrics\n{sizes}"
    if parity.within_tolerance:
        return f"{sizes}; allowed: {parity.tolerance:g}, or that share of a larger value" + _list(parity.reasons[:3])
    return sizes + _list(parity.reasons[:6])


def as_markdown(result: Result) -> str:
    """Return verdict, reasons and test metrics, for TensorBoard's Text."""
    lines = [f"## {result.recipe} on {result.data}: {result.verdict[0]}", "", *explain(result).splitlines(), ""]
    lines += [line for note in result.notes for line in (f"note: {note}", "")]
    if all(result.sides.values()):
        fit, loop = (result.sides[side] for side in SIDES)
        lines += ["| | fit | custom loop |", "|---|---|---|"]
        lines += [
            f"| {name} | {_number(fit['metrics'][name])} | {_number(loop['metrics'][name])} |"
            for name in fit["metrics"]
            if name in loop["metrics"]
        ]
        lines.append(f"| steady epoch | {_seconds(fit['seconds_per_epoch'])} | {_seconds(loop['seconds_per_epoch'])} |")
    return "\n".join(lines)


def summarise(results: Sequence[Result]) -> None:
    """Print one line a pair."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="All pairs", title_justify="left")
    for column in ("recipe", "verdict", "weights by", "history by", "speed-up"):
        words = column in ("recipe", "verdict")
        table.add_column(column, justify="left" if words else "right", no_wrap=words)
    for result in results:
        verdict, colour = result.verdict
        parity = result.parity
        table.add_row(
            result.recipe,
            Text(verdict, style=colour),
            f"{parity.weights_max_abs_diff:.2g}" if parity else "",
            f"{parity.history_max_abs_diff:.2g}" if parity else "",
            f"{result.speedup:.1f} x" if result.speedup else "",
        )
    console = Console()
    console.print()
    console.print(table)


def show_next_steps(results: Sequence[Result], files: str, logs_flag: str) -> None:
    """Print where to look next; `files` is what `recipes diff` takes for the first pair."""
    name = f" {results[0].recipe}" if len(results) == 1 else ""
    print(f"curves of both sides:   recipes board{name}{logs_flag}")
    print(f"the two files:          recipes diff {files}")
    if not all(result.holds for result in results):
        print("why results differ:     docs/why-results-differ.md")
    print("runs:                   " + "\n                        ".join(str(result.folder) for result in results))


def show_finished(folders: Sequence[Path], parity: Parity) -> None:
    """Print how two finished runs compare: where the histories first part, and which weights differ most."""
    console = Console()
    word, colour = ("IDENTICAL", "green") if parity.identical else ("DIFFERENT", "red")
    if parity.within_tolerance and not parity.identical:
        word, colour = "WITHIN TOLERANCE", "yellow"
    console.print(Text.assemble(f"{folders[0]} and {folders[1]}: ", (word, f"bold {colour}")), soft_wrap=True)
    if parity.first_in_history is not None:
        first = parity.first_in_history
        console.print(f"the histories first part at {first.name}: {first.fit} and {first.custom_loop}", soft_wrap=True)
    elif not parity.identical:
        console.print("the histories are the same as far as both go")
    if parity.weights:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="Weights that differ most", title_justify="left")
        for column in ("weight", folders[0].name, folders[1].name, "difference"):
            table.add_column(Text(column), justify="left" if column == "weight" else "right")
        for each in parity.weights[:10]:
            table.add_row(Text(each.name), f"{each.fit:.9g}", f"{each.custom_loop:.9g}", f"{each.size:.3g}")
        console.print(table)
    for reason in parity.reasons[:12]:
        console.print(f"- {reason}", soft_wrap=True, markup=False, highlight=False)


def _list(reasons: Sequence[str]) -> str:
    return "".join(f"\n- {reason}" for reason in reasons)


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.6g}"


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
