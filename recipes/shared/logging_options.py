"""How much a run logs. This module does not import TensorFlow, so that `--help` is instant."""

from dataclasses import dataclass
from typing import Literal

from recipes.shared.errors import UsageError

Level = Literal["everything", "scalars", "nothing"]


@dataclass(frozen=True, kw_only=True)
class LoggingOptions:
    """What TensorBoard gets.

    Args:
        level: `scalars` are losses, rates, metrics, speed and hyper-parameters; `everything` adds histograms,
            gradients, graphs, pictures, text and embeddings; with `nothing` no event file is written.
        every: with `everything`, measure gradients and updates every so many steps, not only at the end of epochs.
        profile: record a profile of a few steps.

    Raises:
        UsageError: a value that has no meaning.
    """

    level: Level = "everything"
    every: int | None = None
    profile: bool = False

    def __post_init__(self) -> None:
        if self.every is not None and self.every < 1:
            raise UsageError(f"--log-every is {self.every}; it must be at least 1")
        if self.every is not None and self.level != "everything":
            raise UsageError(f"--log-every measures gradients, which --log {self.level} leaves out")
        if self.profile and self.level == "nothing":
            raise UsageError("--profile writes for TensorBoard, and --log nothing forbids it; use --log scalars")
