"""`recipes list`: what there is."""

import json
import sys
from dataclasses import dataclass
from typing import Annotated

import tyro

from recipes.commands import catalog, flags


@dataclass(frozen=True)
class Options:
    """The flags of `list`."""

    json: Annotated[bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(help="print JSON instead of a table")] = False


def main(args: list[str]) -> int:
    """Print every pair: topic, name, one line, default data."""
    options = flags.parse_options(Options, args, "recipes list", "Show every recipe.")
    rows = [
        {"topic": pair.topic, "name": pair.name, "title": pair.fit.title, "data": pair.fit.fields["data"].default}
        for pair in catalog.pairs().values()
    ]
    if options.json:
        json.dump(rows, sys.stdout, indent=2)
        print()
        return 0
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column, style in (("name", "bold"), ("what it is", ""), ("default data", "dim")):
        table.add_column(column, style=style, overflow="fold", no_wrap=column == "name" and console.width >= 80)
    topic = ""
    for row in rows:
        if row["topic"] != topic:
            topic = row["topic"]
            table.add_row(f"[not bold cyan]{topic}[/]")
        table.add_row(f"  {row['name']}", row["title"], row["data"])
    console.print(table)
    return 0
