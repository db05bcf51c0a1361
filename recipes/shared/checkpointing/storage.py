"""Checkpoints on disk: .npz files that need no pickle, each with a digest that finds out what was damaged since."""

import hashlib
import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recipes.shared.errors import UsageError
from recipes.shared.files import replace_file

KEPT = 2  # the newest, and the one before it, should the newest be damaged
CONTENT, DIGEST = "content", "sha256"
FILE = re.compile(r"epoch-(\d{6,})-step-(\d{9,})(-end)?\.npz")


@dataclass(frozen=True, order=True)
class Position:
    """Where a training goes on.

    Attributes:
        epoch: the one that comes next, or goes on; counted from 0.
        step: the step of it that comes next; 0 is its beginning.
        ended: whether the training was over.
    """

    epoch: int
    step: int = 0
    ended: bool = False

    @property
    def file_name(self) -> str:
        """The name of its checkpoint: names sort as positions do."""
        return f"epoch-{self.epoch:06d}-step-{self.step:09d}{'-end' if self.ended else ''}.npz"


class Damaged(Exception):
    """A checkpoint is not what was written; the message says how it shows."""


class Folder:
    """The checkpoints of one training.

    Args:
        path: need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def positions(self) -> list[Position]:
        """Return where there is a checkpoint, oldest first."""
        matches = [FILE.fullmatch(path.name) for path in self.path.glob("*.npz")]
        return sorted(Position(int(each[1]), int(each[2]), bool(each[3])) for each in matches if each)

    def save(self, position: Position, content: dict[str, Any]) -> None:
        """Write `content`, in one step, and remove all but the newest two.

        Args:
            position: where the training goes on from it.
            content: what JSON can hold, and arrays, nested in dictionaries with text keys and in lists.

        Raises:
            OSError: it cannot be written; what was there before still is.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        arrays = encode(content)
        replace_file(self.path / position.file_name, lambda path: np.savez(path, allow_pickle=False, **arrays))
        for old in self.positions()[:-KEPT]:
            (self.path / old.file_name).unlink(missing_ok=True)

    def load(self, position: Position) -> dict[str, Any]:
        """Return the content of the checkpoint at `position`.

        Raises:
            Damaged: it is not what was written.
        """
        try:
            # opened here, because NumPy leaves open what turns out to be no archive
            with (self.path / position.file_name).open("rb") as file, np.load(file, allow_pickle=False) as archive:
                return decode({name: archive[name] for name in archive.files})
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
            raise Damaged(" ".join(str(error).split()) or type(error).__name__) from error

    def newest(self) -> tuple[Position, dict[str, Any], list[str]] | None:
        """Return the newest checkpoint that is whole, and a line about each that is not; None if there is none.

        Raises:
            UsageError: there are some, and all are damaged.
        """
        lines: list[str] = []
        for position in reversed(self.positions()):
            path = self.path / position.file_name
            try:
                return position, self.load(position), lines
            except Damaged as error:
                lines.append(f"{path} is damaged ({error})")
        if lines:
            raise UsageError(f"{'; '.join(lines)}; delete the run's folder, and train anew")
        return None


def encode(content: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return `content` as named arrays: its own, the rest of it as JSON, and a digest of both."""
    arrays: dict[str, np.ndarray] = {}

    def plain(value: Any, name: str) -> Any:
        if isinstance(value, dict):
            return {key: plain(each, f"{name}/{key}" if name else key) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [plain(each, f"{name}/{index}") for index, each in enumerate(value)]
        if isinstance(value, np.ndarray | np.generic):
            arrays[name] = np.asarray(value)
            return {"array": name, "scalar": isinstance(value, np.generic)}
        return value

    text = json.dumps(plain(content, ""))  # NaN and infinity are written as Python reads them
    arrays[CONTENT] = np.frombuffer(text.encode(), np.uint8)
    return arrays | {DIGEST: np.frombuffer(_digest(arrays), np.uint8)}


def decode(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return what `encode` was given; tuples come back as lists.

    Raises:
        ValueError: the digest is another.
        KeyError: there is none, or nothing else.
    """
    digest = arrays.pop(DIGEST)
    if _digest(arrays) != digest.tobytes():
        raise ValueError("its digest is another")

    def whole(value: Any) -> Any:
        if isinstance(value, list):
            return [whole(each) for each in value]
        if not isinstance(value, dict):
            return value
        if value.keys() == {"array", "scalar"}:
            return arrays[value["array"]][()] if value["scalar"] else arrays[value["array"]]
        return {key: whole(each) for key, each in value.items()}

    content: dict[str, Any] = whole(json.loads(arrays[CONTENT].tobytes()))
    return content


def _digest(arrays: dict[str, np.ndarray]) -> bytes:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape} ".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.digest()
