import subprocess
import sys
import time
from pathlib import Path

import pytest

from recipes.commands.tuning import worker
from recipes.shared.errors import UsageError

pytestmark = pytest.mark.usefixtures("no_variables")


@pytest.mark.parametrize(
    ("identifier", "role"), [(None, "alone"), ("chief", "chief"), ("my-chief-2", "chief"), ("worker-1", "worker")]
)
def test_the_variables_say_what_this_process_is(identifier, role, monkeypatch):
    if identifier is not None:
        for name, value in zip(worker.VARIABLES, (identifier, "10.0.0.1", "8000"), strict=True):
            monkeypatch.setenv(name, value)
        assert worker.address() == ("10.0.0.1", 8000)
    assert worker.role() == role


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"KERASTUNER_TUNER_ID": "chief"}, "KERASTUNER_ORACLE_IP, KERASTUNER_ORACLE_PORT is not"),
        (
            dict(zip(worker.VARIABLES, ("chief", "127.0.0.1", "http"), strict=True)),
            "KERASTUNER_ORACLE_PORT is 'http'; it must be a port's number",
        ),
    ],
)
def test_variables_that_make_no_sense_are_refused(variables, message, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    def ask():
        return worker.role() != "alone" and worker.address()

    with pytest.raises(UsageError, match=message):
        ask()


def test_a_worker_ends_when_its_parent_does(tmp_path):
    child = "import os, time; from recipes.commands.tuning import worker; worker.die_with(os.getppid()); time.sleep(60)"
    parent = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {child!r}])
print(child.pid, flush=True)
time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    with process:
        pid = int(process.stdout.readline())
        cmdline = Path(f"/proc/{pid}/cmdline")
        deadline = time.monotonic() + 30
        time.sleep(3)  # it has imported, and watches
        assert cmdline.read_bytes()
        process.kill()
        while cmdline.exists() and cmdline.read_bytes() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not cmdline.exists() or not cmdline.read_bytes()
