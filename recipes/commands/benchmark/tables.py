"""Shows results: on the screen, and as the tables of the README."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from recipes.commands.benchmark.contestants import CONTESTANTS
from recipes.commands.benchmark.measurement import CaseResult, Measurement

BITS, SCORE, MET, MISSED = "same bits", "other accuracy", "met", "missed"
COLUMNS = ("median", "from", "to", "ours/theirs", "target", "import", "compile", "MiB", "accuracy")
WIDTH = 140  # a narrower terminal wraps the lines; folded cells could not be read


def show(result: CaseResult) -> None:
    """Print the table of one case."""
    console = Console(width=max(Console().width, WIDTH))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=f"{result.title}: a {result.unit}", title_justify="left")
    table.add_column("", no_wrap=True)
    for column in COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("")
    for each in result.measurements:
        if each.failure:
            table.add_row(each.title, *[""] * len(COLUMNS), each.failure)
        else:
            table.add_row(each.title, *_cells(result, each))
    console.print(table)


def markdown(results: Sequence[CaseResult]) -> str:
    """Return the README's table: a row a case, our loop's time and its ratio to each contestant's."""
    measured_names = {each.name for result in results for each in result.measurements if each.seconds}
    names = {each.name: each.title for each in CONTESTANTS[1:] if each.name in measured_names}
    lines = [
        "| | our loop | " + " | ".join(names.values()) + " |",
        "|---" * (len(names) + 2) + "|",
    ]
    for result in results:
        measured = {each.name: each for each in result.measurements if each.seconds}
        cells = [_ratio(result, measured[name]) if name in measured else "" for name in names]
        ours = time_of(result.ours.median) if result.ours.seconds else "failed"
        lines.append(f"| {result.title} | {ours} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def time_of(seconds: float) -> str:
    """Return a duration as a reader wants it: 1.2 s, 3.4 ms, 56 us."""
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "us")):
        value = seconds * factor
        if value >= 1 or unit == "us":
            return f"{value:.3g} {unit}" if value < 100 else f"{value:.0f} {unit}"
    raise AssertionError


def _ratio(result: CaseResult, each: Measurement) -> str:
    ratio = result.ratio(each)
    if ratio is None:
        return ""
    met = {True: " ✓", False: " ✗", None: ""}[result.met(each)]
    return f"{ratio:.2f}{met}" + ("*" if result.other_score(each) else "")


def _cells(result: CaseResult, each: Measurement) -> list[str]:
    ratio, target, met = result.ratio(each), result.targets.get(each.name), result.met(each)
    notes = []
    if each is not result.ours and result.same_bits(each):
        notes.append(BITS)
    if result.other_score(each):
        notes.append(SCORE)
    return [
        *map(time_of, (each.median, min(each.seconds), max(each.seconds))),
        "" if ratio is None or each is result.ours else f"{ratio:.2f}",
        "" if target is None else f"{target:g} {MET if met else MISSED}",
        "" if each.import_seconds is None else time_of(each.import_seconds),
        "" if each.first_seconds is None else time_of(max(each.first_seconds, 0.0)),
        "" if each.peak_memory_mib is None else f"{each.peak_memory_mib:.0f}",
        "" if each.score is None else f"{each.score:.4f}",
        ", ".join(notes),
    ]
