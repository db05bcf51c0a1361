"""`recipes diff`: the two files of a pair side by side."""

import difflib
import os
import sys
from pathlib import Path

from recipes.commands import catalog
from recipes.shared.errors import UsageError

WIDTH_OF_A_FILE = 160  # columns, where there is no terminal to ask
NARROWEST = 100  # two files side by side in fewer cannot be read


def main(args: list[str]) -> int:
    """Print both files of the pair, the lines that differ in colour.

    Raises:
        UsageError: not exactly one name.
    """
    if args in (["--help"], ["-h"]):
        print("usage: recipes diff NAME | FIT.py LOOP.py\n\nShow the fit side and the custom loop side by side.")
        return 0
    files = [arg for arg in args if arg.endswith(".py")]
    if len(args) != 1 + bool(files) or len(files) not in (0, 2) or args[0].startswith("-"):
        raise UsageError("say which: recipes diff NAME, or FIT.py LOOP.py; `recipes list` shows the names")
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if files:
        titles, sources = files, [catalog.Source(Path(file)) for file in files]
    else:
        pair = catalog.find(args[0])
        titles, sources = (
            [f"{package}/{pair.topic}/{pair.name}.py" for package in catalog.SIDES.values()],
            [pair.fit, pair.custom_loop],
        )
    left, right = (source.text.splitlines() for source in sources)
    columns = os.environ.get("COLUMNS", "")
    width = max(int(columns), NARROWEST) if columns.isdecimal() else WIDTH_OF_A_FILE
    console = Console() if sys.stdout.isatty() else Console(width=width)
    table = Table(box=box.SIMPLE_HEAD, expand=True, padding=(0, 1))
    for title in titles:
        table.add_column("", justify="right", style="dim", width=3)
        table.add_column(Text(title), ratio=1, overflow="fold")
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
