"""What the tab Text says about a run, enough to repeat it."""

import contextlib
import re
import tokenize
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from recipes.shared import runtime
from recipes.shared.hparams import HParams


def texts(hparams: HParams, about: Mapping[str, Any], source: Path | None, model: keras.Model | None) -> dict[str, str]:
    """Return Markdown by title: command, hyper-parameters, versions, hardware, and model and source if given."""
    machine = runtime.describe()
    found = {
        "command": _code(str(about.get("command", "none: the run was started by other code"))),
        "hyper_parameters": _table(hparams.used()),
        "versions": _table(machine["versions"]),
        "hardware": _table(machine["hardware"]),
    }
    if model is not None:
        lines: list[str] = []
        model.summary(print_fn=lines.append, line_length=100)
        found["model"] = _code("\n".join(lines))
    if source is not None:
        with contextlib.suppress(OSError, SyntaxError, UnicodeError), tokenize.open(source) as file:
            found["source"] = _code(file.read(), "python")
    return found


def _table(values: Mapping[str, Any]) -> str:
    rows = [
        f"| {name} | {' '.join(str(value).splitlines()).replace('|', '&#124;')} |" for name, value in values.items()
    ]
    return "\n".join(["| | |", "|---|---|", *rows])


def _code(text: str, language: str = "") -> str:
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"
