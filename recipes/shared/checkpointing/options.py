"""What a run does about checkpoints; apart from the callback, because commands read it and do not import TensorFlow."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Saving:
    """When a run saves checkpoints, and whether it goes on from one.

    Args:
        active: save them.
        resume: go on from the newest, if there is one.
        every: save after every so many executions of a custom loop too, not only after every epoch.
    """

    active: bool = False
    resume: bool = False
    every: int | None = None
