"""What `--resume` finds: a run that was cut off, and with what it began."""

import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from recipes.commands import parity
from recipes.shared.errors import UsageError
from recipes.shared.files import as_written


def newest(recipe: Path, sides: Collection[str]) -> Path:
    """Return the folder of the newest run below `recipe` that has begun and has not ended on all `sides`.

    Raises:
        UsageError: there is none.
    """
    began = [path for side in sides for path in recipe.glob(f"*/{side}/config.json")]
    cut_off = [path for path in began if not all(ended(path.parent.with_name(side)) for side in sides)]
    if not cut_off:
        raise UsageError(f"no run in {recipe} was cut off; leave out --resume")
    return max(cut_off, key=lambda path: path.stat().st_mtime).parent.parent


def ended(folder: Path) -> bool:
    """Return whether a side has trained to its end."""
    return (folder / "report.json").is_file()


def config(folder: Path) -> dict[str, Any]:
    """Return with what a side began; empty if it did not.

    Raises:
        UsageError: what says so is damaged.
    """
    path = folder / "config.json"
    if not path.is_file():
        return {}
    content = parity.read_object(path)
    if not isinstance(content.get("hparams"), dict):
        raise UsageError(f"{path} is damaged, so nobody knows with what the run began; delete the run, and train anew")
    return content


def arguments(args: list[str], folder: Path) -> list[str]:
    """Return `args` with the hyper-parameters with which a side began, so that nobody needs to repeat them."""
    named = any(arg.partition("=")[0] == "--hparams" for arg in args)
    return args if named or not config(folder) else ["--hparams", str(folder / "config.json"), *args]


def require_same(hparams: dict[str, Any], folder: Path) -> None:
    """Do nothing if a side began with `hparams`, or has not begun.

    Raises:
        UsageError: it began with others.
    """
    begun = config(folder).get("hparams", {})
    for name, value in begun.items():
        if name in hparams and as_written(hparams[name]) != value:
            flag = "--" + name.replace("_", "-")
            raise UsageError(
                f"{flag} is {hparams[name]}, and {folder} began with {value};"
                " a run goes on as it began: leave the flag out, or choose another --run"
            )


def describe(about: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return what `config.json` says of a side that goes on: how it began, and when and by what it was resumed."""
    begun = config(folder)
    if not begun:
        return about
    again = {"command": about["command"], "began": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    kept = {name: begun[name] for name in ("command", "began") if name in begun}
    return about | kept | {"resumed": [*begun.get("resumed", []), again]}
