"""Checkpoints on disk: files of safetensors, which need no pickle, each with a digest that finds out later damage."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from recipes.shared.errors import UsageError
from recipes.shared.files import replace_file

KEPT = 2  # the newest, and the one before it, should the newest be damaged
CONTENT, DIGEST = "content", "sha256"
FILE = re.compile(r"epoch-(\d{6,})-step-(\d{9,})(-end)?\.safetensors")


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
        return f"epoch-{self.epoch:06d}-step-{self.step:09d}{'-end' if self.ended else ''}.safetensors"


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
        matches = [FILE.fullmatch(path.name) for path in self.path.glob("*.safetensors")]
        return sorted(Position(int(each[1]), int(each[2]), bool(each[3])) for each in matches if each)

    def save(self, position: Position, encoded: bytes) -> None:
        """Write what `encode` returned, in one step, and remove all but the newest two.

        Args:
            position: where the training goes on from it.
            encoded: the content.

        Raises:
            OSError: it cannot be written; what was there before still is.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        replace_file(self.path / position.file_name, lambda path: path.write_bytes(encoded))
        for old in self.positions()[:-KEPT]:
            (self.path / old.file_name).unlink(missing_ok=True)

    def load(self, position: Position) -> dict[str, Any]:
        """Return the content of the checkpoint at `position`.

        Raises:
            Damaged: it is not what was written.
        """
        try:
            return decode((self.path / position.file_name).read_bytes())
        except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
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


def encode(content: dict[str, Any]) -> bytes:
    """Return `content` as the bytes of a file: its arrays, the rest of it as JSON, and a digest of both."""
    arrays: dict[str, np.ndarray] = {}

    def plain(value: Any, name: str) -> Any:
        if isinstance(value, dict):
            return {key: plain(each, f"{name}/{key}" if name else key) for key, each in value.items()}
        if isinstance(value, list) and value and all(type(each) is float for each in value):
            arrays[name] = np.array(value)  # a history grows, and JSON is slow
            return {"array": name, "kind": "list"}
        if isinstance(value, list | tuple):
            return [plain(each, f"{name}/{index}") for index, each in enumerate(value)]
        if isinstance(value, np.ndarray | np.generic):
            arrays[name] = np.ascontiguousarray(value).reshape(np.shape(value))  # the former gives a number an axis
            return {"array": name, "kind": "scalar" if isinstance(value, np.generic) else "array"}
        return value

    text = json.dumps(plain(content, ""))  # NaN and infinity are written as Python reads them
    arrays[CONTENT] = np.frombuffer(text.encode(), np.uint8)
    arrays[DIGEST] = np.frombuffer(_digest(arrays), np.uint8)
    return safetensors.numpy.save(arrays)


def decode(encoded: bytes) -> dict[str, Any]:
    """Return what `encode` was given; tuples come back as lists.

    Raises:
        ValueError: the digest is another.
        KeyError: there is none, or nothing else.
        SafetensorError: the bytes are no such file.
    """
    arrays = safetensors.numpy.load(encoded)
    digest = arrays.pop(DIGEST)
    if _digest(arrays) != digest.tobytes():
        raise ValueError("its digest is another")

    def whole(value: Any) -> Any:
        if isinstance(value, list):
            return [whole(each) for each in value]
        if not isinstance(value, dict):
            return value
        if value.keys() == {"array", "kind"}:
            array = arrays[value["array"]]
            return {"array": array, "scalar": array[()], "list": array.tolist()}[value["kind"]]
        return {key: whole(each) for key, each in value.items()}

    content: dict[str, Any] = whole(json.loads(arrays[CONTENT].tobytes()))
    return content


def _digest(arrays: dict[str, np.ndarray]) -> bytes:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape} ".encode())
        digest.update(arrays[name].data)
    return digest.digest()
