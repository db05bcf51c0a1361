"""What the tests cost in processor time, and the budget of `make test` that they must keep.

Processor time, because wall time on a machine with other work says little: user and system time of the process that
runs a test and of all its descendants, from before its set-up to after its teardown. What a fixture of a session or a
module costs, and a training that many tests read, is counted apart, not to the test that happens to need it first.

Processor time differs too: on a virtual core that shares a real one, the same test took 1.6 times as long as alone. So
a second here is one of a machine that imports TensorFlow in `IMPORT_SECONDS`; a slower one may take longer. The noise
that is left is large: of one commit, 703 s on a machine of ours and 928 s in CI. So a run fails beyond `NOISE` times
the budget; between the two it says that it is over it.
"""

import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

MARKS = ("slow", "browser", "process")  # of the tests that `make test` leaves out
IMPORT_SECONDS = 4.5  # an idle machine of CI: 3.5 to 5
MOST_SECONDS = 10.0  # of a test without a mark
BASE_SECONDS = 660  # of the tests that do not grow with the number of pairs
SECONDS_A_PAIR = 10
NOISE = 1.4
SHOWN = 20


def most_seconds_of_all(pairs: int) -> int:
    """Return what all tests without a mark may cost together, with so many pairs: 18 may cost 14 minutes."""
    return BASE_SECONDS + SECONDS_A_PAIR * pairs


def processor_seconds() -> float:
    """Return the processor time that this process, its ended children and its living descendants have had so far."""
    return sum(os.times()[:4]) + (_of_living_descendants() if _has_children() else 0.0)


def _has_children() -> bool:
    """Whether there are any: most tests have none, and to look through all processes takes 2 ms."""
    if not hasattr(os, "waitid"):
        return True
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _of_living_descendants() -> float:
    """Return what the descendants and the children that these have waited for have had; 0 where there is no /proc."""
    children: dict[int, list[int]] = {}
    ticks: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            fields = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(path.parent.name))
            ticks[int(path.parent.name)] = sum(map(int, fields[11:15]))
    total, unseen = 0, children.get(os.getpid(), [])
    while unseen:
        process = unseen.pop()
        total += ticks[process]
        unseen += children.get(process, [])
    return total / os.sysconf("SC_CLK_TCK")


class Meter:
    """Measures each test, in the process that runs it, and gives the report of its teardown what was measured."""

    def __init__(self, slowness: float) -> None:
        self._slowness = slowness
        self._began = 0.0
        self._apart = 0.0  # what has been counted apart so far
        self._apart_before = 0.0  # that, when the test began
        self._shared: Counter[str] = Counter()

    @contextlib.contextmanager
    def apart(self, name: str) -> Iterator[None]:
        """Count what happens inside as `name`, and not to the test."""
        began, before = processor_seconds(), self._apart
        try:
            yield
        finally:
            inside = self._apart - before
            own = max(0.0, processor_seconds() - began - inside)
            self._shared[name] += own
            self._apart += own

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self):
        self._began, self._apart_before = processor_seconds(), self._apart
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef):
        if fixturedef.scope == "function":
            return (yield)
        with self.apart(f"fixture {fixturedef.baseid or 'tests'}::{fixturedef.argname}"):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):
        report = yield
        if call.when == "teardown":
            apart = self._apart - self._apart_before
            report.processor_seconds = max(0.0, processor_seconds() - self._began - apart) / self._slowness
            report.slowness = self._slowness
            report.marks = [mark for mark in MARKS if item.get_closest_marker(mark)]
            report.shared = {name: seconds / self._slowness for name, seconds in self._shared.items()}
            self._shared = Counter()
        return report


class Account:
    """Adds up what all processes have measured, shows it at the end, and fails a run that cost too much."""

    def __init__(self, config: pytest.Config, pairs: int, most_seconds: float) -> None:
        self._config = config
        self._most_seconds = most_seconds
        self._most_seconds_of_all = most_seconds_of_all(pairs)
        self._tests: dict[str, float] = {}
        self._marks: dict[str, list[str]] = {}
        self._shared: Counter[str] = Counter()
        self._slowness = 1.0

    def pytest_runtest_logreport(self, report):
        if hasattr(report, "processor_seconds"):
            self._tests[report.nodeid] = report.processor_seconds
            self._marks[report.nodeid] = report.marks
            self._shared.update(report.shared)
            self._slowness = max(self._slowness, report.slowness)
            if path := self._config.getoption("--costs"):
                entry = {"test": report.nodeid, "seconds": report.processor_seconds, "marks": report.marks}
                with path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(entry | {"shared": report.shared}) + "\n")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session):
        if session.exitstatus == pytest.ExitCode.OK and self._too_dear():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter):
        terminalreporter.section("processor time")
        for line in [*self._dearest(), *self._sums()]:
            terminalreporter.write_line(line)
        dear = self._too_dear()
        for line in self._too_dear(noise=1.0):
            kind = "TOO DEAR" if line in dear else "over the budget, within noise"
            terminalreporter.write_line(f"{kind}: {line}", red=line in dear)

    def _dearest(self) -> list[str]:
        costs = Counter(self._tests) + self._shared
        return [f"{seconds:7.1f} s  {name}" for name, seconds in costs.most_common(SHOWN) if seconds >= 0.1]

    def _sums(self) -> list[str]:
        sums: Counter[str] = Counter()
        for name, seconds in self._tests.items():
            sums[" and ".join(self._marks[name]) or "without a mark"] += seconds
        sums["shared by many tests"] = self._shared.total()
        lines = [f"{seconds:7.1f} s  in all: {kind}" for kind, seconds in sums.most_common()]
        return [
            *lines,
            f"{self._whole():7.1f} s  the whole run, with what is outside of tests",
            f"{self._slowness:7.2f} times as long took everything here as on the machine of the budget",
        ]

    def _whole(self) -> float:
        return processor_seconds() / self._slowness

    def _too_dear(self, noise: float = NOISE) -> list[str]:
        """Return what cost more than `noise` times what it may, as lines."""
        if self._config.getoption("--no-budget"):
            return []
        unmarked = {name: seconds for name, seconds in self._tests.items() if not self._marks[name]}
        lines = [
            f"{name}: {seconds:.1f} s without a mark, at most {self._most_seconds:g}"
            for name, seconds in unmarked.items()
            if seconds > self._most_seconds * noise
        ]
        if len(unmarked) == len(self._tests) and self._whole() > self._most_seconds_of_all * noise:
            lines.append(f"all: {self._whole():.0f} s, at most {self._most_seconds_of_all} with today's pairs")
        return lines


def add_options(parser: pytest.Parser) -> None:
    """Add the options of this plugin."""
    parser.addoption(
        "--no-budget", action="store_true", help="do not fail if tests cost more processor time than they may"
    )
    parser.addoption("--costs", type=Path, help="add what each test cost to this file, a line of JSON")


def register(
    config: pytest.Config, pairs: int, most_seconds: float = MOST_SECONDS, import_seconds: float = 0.0
) -> None:
    """Measure in every process that runs tests; add up in the one that reports, and fail a run that cost too much."""
    config.pluginmanager.register(Meter(slowness=max(1.0, import_seconds / IMPORT_SECONDS)), "meter")
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Account(config, pairs, most_seconds), "account")
