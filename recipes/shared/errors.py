"""The two ways a run ends early that are not bugs."""


class UsageError(Exception):
    """A mistake of the user's. Its text is one line: what is wrong and what to do. The command exits with 2."""


class TrainingDiverged(Exception):
    """The loss stopped being a finite number. The command exits with 1; the run's logs stay."""


class NoRoom(UsageError):
    """What a run gave could not be written where it belongs: a full disk, or one that cannot be written to."""


class WorkerLost(Exception):
    """Another worker of a multi-worker run has ended or cannot be reached. The command exits with 1."""
