"""A worker of a search: what KerasTuner's environment variables ask for, and the process that a chief starts.

TensorFlow is imported after its settings are made, so nothing up here imports it.
"""

import os
import sys
import warnings

from recipes.commands.processes import sigterm_exits
from recipes.commands.tuning.specification import Specification
from recipes.shared import runtime
from recipes.shared.errors import UsageError

VARIABLES = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")


class WorkersLost(Exception):
    """No worker is left to end the search, or no chief."""


def role() -> str:
    """Return what KerasTuner's environment variables make of this process: `chief`, `worker`, or `alone`.

    Raises:
        UsageError: some of them are missing.
    """
    given = [name for name in VARIABLES if os.environ.get(name)]
    if not given:
        return "alone"
    if len(given) < len(VARIABLES):
        missing = ", ".join(name for name in VARIABLES if name not in given)
        raise UsageError(f"{given[0]} is set, and {missing} is not; KerasTuner needs all of {', '.join(VARIABLES)}")
    return "chief" if "chief" in os.environ[VARIABLES[0]] else "worker"


def address() -> tuple[str, int]:
    """Return the chief's address from the environment.

    Raises:
        UsageError: the port is no number.
    """
    port = os.environ[VARIABLES[2]]
    if not port.isdigit():
        raise UsageError(f"{VARIABLES[2]} is {port!r}; it must be a port's number")
    return os.environ[VARIABLES[1]], int(port)


def work(specification: Specification) -> None:
    """Run the chief's trials until it has no more.

    Raises:
        WorkersLost: the chief does not answer.
    """
    import grpc

    from recipes.commands.tuning import oracle, tuner

    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # a trial that two workers have ended
        try:
            tuner.search(specification, oracle.make(specification))
        except grpc.RpcError as error:
            gone = error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
            does = "does not answer" if gone else "has failed"
            raise WorkersLost(f"the chief {does}: {error.details()}") from error


def work_here(specification: Specification) -> None:
    """Be a worker that the chief of this machine has started, and exit with 2 for a mistake that all would make."""
    os.setsid()  # Ctrl-C is for the chief, which ends its workers
    runtime.configure()
    try:
        with sigterm_exits():
            work(specification)
    except (UsageError, WorkersLost) as error:
        print(error)
        sys.exit(2 if isinstance(error, UsageError) else 1)
