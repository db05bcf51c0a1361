"""Kills real runs with SIGKILL at random moments, resumes them, and holds their ends against that of a whole run.

python -m tests.kill [MOMENTS]: so many moments on each side of four pairs; 20 if not given.
"""

import contextlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from recipes.commands import parity

MOMENTS = 20
AT_ONCE = 2  # processes
# epochs that take some seconds by either side
PAIRS = {
    "dropout": ["--epochs", "100"],
    "early_stopping": [],
    "adam": ["--epochs", "20"],
    "cnn_classifier": ["--epochs", "4", "--checkpoint-every", "10", "--steps-per-execution", "2"],
}
VERBS = {"fit": "fit", "custom_loop": "loop"}


@dataclass
class Whole:
    """A run that nothing stopped.

    Attributes:
        folder: its own.
        seconds: from the moment that the folder was there to the end of the process.
    """

    name: str
    side: str
    options: list[str]
    logs: Path
    folder: Path = field(init=False)
    seconds: float = field(init=False)

    def __post_init__(self) -> None:
        self.folder = self.logs / self.name / "whole" / self.side
        process = start(self, "whole")
        wait_for_folder(self.folder, process)
        began = time.monotonic()
        output, error = process.communicate()
        if process.returncode:
            raise RuntimeError(f"{output}{error}")
        self.seconds = time.monotonic() - began


def start(whole: Whole, run: str, *more: str) -> subprocess.Popen[str]:
    """Start the command of `whole` as the run `run`."""
    arguments = [VERBS[whole.side], whole.name, "--logs", str(whole.logs), "--run", run, "--log", "nothing"]
    return subprocess.Popen(
        [sys.executable, "-m", "recipes", *arguments, *whole.options, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_folder(folder: Path, process: subprocess.Popen[str]) -> None:
    """Return when the training has begun, or the process has ended."""
    while not folder.exists() and process.poll() is None:
        time.sleep(0.005)


def kill_and_resume(whole: Whole, run: str, moment: float) -> str:
    """Kill a run at `moment`, a share of its training, resume it, and return what differs in the end; "" if nothing.

    Raises:
        TooLate: the run had ended before that.
    """
    folder = whole.logs / whole.name / run / whole.side
    process = start(whole, run)
    wait_for_folder(folder, process)
    time.sleep(moment * whole.seconds)
    process.kill()
    process.communicate()
    if (folder / "report.json").exists():
        raise TooLate
    process = start(whole, run, "--resume")
    output, error = process.communicate()
    if process.returncode:
        return f"{output}{error}"
    return "; ".join(differences(whole.folder, folder))


class TooLate(Exception):
    """There was nothing left to kill."""


def differences(whole: Path, resumed: Path) -> list[str]:
    """Return in what two folders of a side differ: every byte of weights, optimizer, seeds, history, and scores."""
    result = parity.compare(whole, resumed)
    return [] if result.identical else result.reasons


def main(moments: int) -> int:
    """Print how many of the runs ended with the same bits; return 1 if one did not."""
    failed = 0
    generator = random.Random(0)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(AT_ONCE) as pool:
        for name, options in PAIRS.items():
            for side in VERBS:
                whole = Whole(name, side, options, Path(folder))

                def attempt(number: int, moment: float, whole: Whole = whole) -> str:
                    while True:
                        with contextlib.suppress(TooLate):
                            return kill_and_resume(whole, f"killed-{number}", moment)
                        shutil.rmtree(whole.logs / whole.name / f"killed-{number}")
                        moment *= 0.8

                chosen = [generator.uniform(0.0, 0.95) for _ in range(moments)]
                results = list(pool.map(attempt, range(moments), chosen))
                same = sum(not each for each in results)
                failed += moments - same
                print(f"{name} {side}: {same} of {moments} resumed runs ended with the bits of a whole one", flush=True)
                for each in filter(None, results):
                    print(f"  {each.strip()}")
    print(f"{len(PAIRS) * len(VERBS) * moments - failed} of {len(PAIRS) * len(VERBS) * moments} identical")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else MOMENTS))
