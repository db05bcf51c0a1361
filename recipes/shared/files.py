"""Files that are either whole or not there."""

import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

UNFINISHED = ".writing-"  # what the folder of a file begins with while it is being written


def replace_file(path: Path, write: Callable[[Path], Any]) -> None:
    """Call `write` with a temporary path of the same suffix, then move the result to `path` in one step."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=UNFINISHED) as folder:
        temporary = Path(folder) / path.name
        write(temporary)
        temporary.replace(path)


def write_json(path: Path, content: Any) -> None:
    """Write `content` as JSON. Numbers that are not finite become null: JSON has no word for them."""
    text = json.dumps(_finite(content), indent=2) + "\n"
    replace_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
