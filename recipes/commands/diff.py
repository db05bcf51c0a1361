"""`recipes diff`: the two files of a pair side by side."""

import difflib
import os
import sys

from recipes.commands import catalog
from recipes.shared.errors import UsageError

NARROWEST = 100  # columns; two files side by side in fewer cannot be read


def main(args: list[str]) -> int:
    """Print both files of the pair, the lines that differ in colour.

    Raises:
        UsageError: not exactly one name.
    """
    if args in (["--help"], ["-h"]):
        print("usage: recipes diff NAME\n\nShow the fit side and the custom loop side by side.")
        return 0
    if len(args) != 1 or args[0].startswith("-"):
        raise UsageError("say which recipe: recipes diff NAME; `recipes list` shows the names")
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    pair = catalog.find(args[0])
    left, right = (source.path.read_text(encoding="utf-8").splitlines() for source in (pair.fit, pair.custom_loop))
    console = Console() if sys.stdout.isatty() else Console(width=max(int(os.environ.get("COLUMNS", 160)), NARROWEST))
    table = Table(box=box.SIMPLE_HEAD, expand=True, padding=(0, 1))
    for package in ("recipes", "custom_loops"):
        table.add_column("", justify="right", style="dim", width=3)
        table.add_column(f"{package}/{pair.topic}/{pair.name}.py", ratio=1, overflow="fold")
    styles = {"equal": ("", ""), "replace": ("red", "green"), "delete": ("red", ""), "insert": ("", "green")}
    for tag, left_begin, left_end, right_begin, right_end in difflib.SequenceMatcher(
        None, left, right, autojunk=False
    ).get_opcodes():
        for offset in range(max(left_end - left_begin, right_end - right_begin)):
            cells: list[str | Text] = []
            for lines, begin, end, style in (
                (left, left_begin, left_end, styles[tag][0]),
                (right, right_begin, right_end, styles[tag][1]),
            ):
                number = begin + offset
                cells += [str(number + 1), Text(lines[number], style=style)] if number < end else ["", ""]
            table.add_row(*cells)
    console.print(table)
    return 0
