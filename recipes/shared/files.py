"""Files that are either whole or not there, and what lies at a path that a user has given."""

import fcntl
import json
import math
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Literal

from recipes.shared.errors import UsageError

UNFINISHED = ".writing-"  # what the folder of a file begins with while it is being written


def kind_of(path: Path) -> Literal["nothing", "file", "folder", "other"]:
    """Return what lies at `path`, links followed. "other" is a pipe, a socket, a device: to read it may have no end.

    Where nothing can lie there is nothing: pathlib's own questions raise for a name that is too long, or is forbidden.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return "nothing"
    return "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "other"


def require_file(path: Path) -> None:
    """Raise a UsageError unless a file lies at `path`."""
    kind = kind_of(path)
    if kind == "nothing":
        raise UsageError(f"no file {path}")
    if kind != "file":
        raise UsageError(f"cannot read {path}: it is {'a folder' if kind == 'folder' else 'a pipe or a device'}")


def lock(file: IO[str], taken: str) -> None:
    """Keep `file` for this process until it is closed. The lock is the operating system's, so it ends with the process.

    Raises:
        UsageError: another process has it; `taken` is what to say then.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(taken) from None
    except OSError:  # a file system without locks
        pass


def replace_file(path: Path, write: Callable[[Path], Any]) -> None:
    """Call `write` with a temporary path of the same suffix, then move the result to `path` in one step."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=UNFINISHED) as folder:
        temporary = Path(folder) / path.name
        write(temporary)
        temporary.replace(path)


def write_json(path: Path, content: Any) -> None:
    """Write `content` as JSON. Numbers that are not finite become null: JSON has no word for them."""
    replace_file(path, _json_writer(content))


def as_written(content: Any) -> Any:
    """Return what reading gives after `write_json`: lists for tuples, None for numbers that are not finite."""
    return json.loads(json.dumps(_finite(content)))


class ResultFolder:
    """A folder that results go to and, once it cannot be written to, another: no result is lost to a full disk.

    A folder that was removed meanwhile is made again.

    Attributes:
        path: where the next file goes.
        lost: the names of the files that could be written to neither.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lost: list[str] = []
        self._rescued = False

    def write(self, name: str, write: Callable[[Path], Any]) -> None:
        """Write a file as `replace_file` does, or else into a new folder for temporary files, and say so once."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            replace_file(self.path / name, write)
        except OSError as error:
            if self._rescued:
                self.lost.append(name)
                return
            self._rescued = True
            rescue = Path(tempfile.mkdtemp(prefix="recipes-"))
            reason = error.strerror or error
            print(f"cannot write to {self.path}: {reason}; what follows goes to {rescue}", file=sys.stderr)
            self.path = rescue
            self.write(name, write)

    def write_json(self, name: str, content: Any) -> None:
        """Write `content` as JSON, like `write`."""
        self.write(name, _json_writer(content))


def _json_writer(content: Any) -> Callable[[Path], Any]:
    text = json.dumps(_finite(content), indent=2) + "\n"
    return lambda path: path.write_text(text, encoding="utf-8")


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
