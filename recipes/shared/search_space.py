"""What a search may choose for a hyper-parameter. No TensorFlow in here, so that `--help` is instant."""

import math
from dataclasses import dataclass
from typing import Any

from recipes.shared.errors import UsageError


@dataclass(frozen=True)
class Range:
    """Any number from `low` to `high`, each as likely as the next."""

    low: float
    high: float

    def check(self, name: str) -> None:
        """Raise a UsageError about the hyper-parameter `name` if there is nothing to choose from."""
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise UsageError(f"the range of {name} goes from {self.low} to {self.high}; it must go up, and be finite")

    def __contains__(self, value: Any) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:g}..{self.high:g}"


@dataclass(frozen=True)
class LogRange(Range):
    """A number from `low` to `high`, any order of magnitude as likely as the next."""

    def check(self, name: str) -> None:
        """As that of `Range`; logarithms need numbers above 0 besides."""
        super().check(name)
        if self.low <= 0:
            raise UsageError(f"the range of {name} begins at {self.low}; on a logarithmic scale it must be above 0")

    def __str__(self) -> str:
        return f"{super().__str__()} (logarithmic)"


@dataclass(frozen=True)
class Choices:
    """One of these values, in their order."""

    values: tuple[Any, ...]

    def __init__(self, *values: Any) -> None:
        object.__setattr__(self, "values", values)

    def check(self, name: str) -> None:
        """Raise a UsageError about the hyper-parameter `name` if there is nothing to choose from."""
        if not self.values:
            raise UsageError(f"{name} has no values to choose from")
        if len({type(value) for value in self.values}) > 1:
            raise UsageError(f"the values of {name} are of several types: {self}")
        if len(set(self.values)) < len(self.values):
            raise UsageError(f"{name} has the same value twice: {self}")

    def __contains__(self, value: Any) -> bool:
        return value in self.values

    def __str__(self) -> str:
        return ", ".join(str(value) for value in self.values)


Domain = Range | Choices
SearchSpace = dict[str, Domain]
KINDS = {"range": Range, "log": LogRange, "choices": Choices}


def to_json(domain: Domain) -> dict[str, list[Any]]:
    """Return the domain as JSON values."""
    arguments = domain.values if isinstance(domain, Choices) else (domain.low, domain.high)
    return {next(kind for kind, each in KINDS.items() if type(domain) is each): list(arguments)}


def of_json(content: dict[str, list[Any]]) -> Domain:
    """Return the domain that `to_json` wrote."""
    ((kind, arguments),) = content.items()
    domain: Domain = KINDS[kind](*arguments)
    return domain


def parse(text: str, declared: SearchSpace) -> tuple[str, Domain]:
    """Return the name and the domain that a text stands for: `name=low..high`, or `name=value,value,...`.

    A range is logarithmic where the declared one is, and for a learning rate.

    Raises:
        UsageError: it is neither.
    """
    name, _, values = text.partition("=")
    name = name.replace("-", "_")
    if not name or "=" not in text:
        raise UsageError(f"--search {text}: write NAME=LOW..HIGH or NAME=VALUE,VALUE,...")
    domain: Domain
    if ".." in values:
        low, _, high = values.partition("..")
        try:
            bounds = float(low), float(high)
        except ValueError:
            raise UsageError(f"--search {text}: the ends of a range must be numbers") from None
        logarithmic = isinstance(declared.get(name), LogRange) or name == "learning_rate"
        domain = LogRange(*bounds) if logarithmic else Range(*bounds)
    else:
        words = [word for word in values.split(",") if word]
        domain = Choices(*_alike([_value(word) for word in words]))
    domain.check(name)
    return name, domain


def _value(word: str) -> Any:
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(word.lower(), word)


def _alike(values: list[Any]) -> list[Any]:
    """Return whole numbers as floats where others are not whole."""
    if {type(value) for value in values} == {int, float}:
        return [float(value) for value in values]
    return values
