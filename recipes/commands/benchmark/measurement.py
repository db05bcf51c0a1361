"""What was measured of one contestant in one case, and what follows from it."""

import statistics
from dataclasses import asdict, dataclass, field
from typing import Any

SAME_SCORE = 0.005  # accuracies, or R2, that differ by more are marked


@dataclass
class Measurement:
    """One contestant.

    Attributes:
        name: the contestant's.
        title: what the tables say.
        seconds: of every round, for one step; for whole runs, of the run.
        import_seconds: of its framework and of its own modules.
        first_seconds: what the very first epoch took more than those that count: tracing, compiling, warming up.
        peak_memory_mib: of the process.
        score: accuracy on the test part, or R2; None for who learns nothing.
        digest: of the bytes of its weights.
        failure: why there are no numbers.
    """

    name: str
    title: str
    seconds: list[float] = field(default_factory=list)
    import_seconds: float | None = None
    first_seconds: float | None = None
    peak_memory_mib: float | None = None
    score: float | None = None
    digest: str = ""
    failure: str = ""

    @property
    def median(self) -> float:
        """The median of the rounds, in seconds."""
        return statistics.median(self.seconds)


@dataclass
class CaseResult:
    """All contestants of one case, ours first.

    Attributes:
        name: of the case.
        title: what the tables say.
        unit: what a time is of: "step" or "run".
        steps: in an epoch; 1 for whole runs.
        measurements: by contestant.
        targets: the largest time of our loop as a multiple of a contestant's.
    """

    name: str
    title: str
    unit: str
    steps: int
    measurements: list[Measurement]
    targets: dict[str, float] = field(default_factory=dict)

    @property
    def ours(self) -> Measurement:
        """The custom loop's."""
        return self.measurements[0]

    def ratio(self, other: Measurement) -> float | None:
        """Return our median time as a multiple of another's; None where one has none."""
        return self.ours.median / other.median if self.ours.seconds and other.seconds else None

    def met(self, other: Measurement) -> bool | None:
        """Return whether the target against another is met; None where there is none, or nothing was measured."""
        ratio, target = self.ratio(other), self.targets.get(other.name)
        return None if ratio is None or target is None else ratio <= target

    def same_bits(self, other: Measurement) -> bool:
        """Return whether another ended with the bytes of our loop's weights."""
        return bool(other.digest) and other.digest == self.ours.digest

    def other_score(self, other: Measurement) -> bool:
        """Return whether another's score differs from ours by more than `SAME_SCORE`: it solved another problem."""
        if other.score is None or self.ours.score is None:
            return False
        return not abs(other.score - self.ours.score) <= SAME_SCORE

    def to_json(self) -> dict[str, Any]:
        """Return all of it, with the medians and ratios that the tables show."""
        rows = [
            asdict(each)
            | {
                "median": each.median if each.seconds else None,
                "ratio": self.ratio(each),
                "target": self.targets.get(each.name),
                "met": self.met(each),
                "same_bits": self.same_bits(each),
                "other_score": self.other_score(each),
            }
            for each in self.measurements
        ]
        return asdict(self) | {"measurements": rows}

    @classmethod
    def of_json(cls, values: dict[str, Any]) -> "CaseResult":
        """Return what `to_json` gave."""
        names = Measurement.__dataclass_fields__
        rows = [Measurement(**{name: row[name] for name in names}) for row in values["measurements"]]
        return cls(**values | {"measurements": rows})
