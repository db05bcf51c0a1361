import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from recipes.shared import runtime
from recipes.shared.errors import UsageError


def run(code):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TF_", "KERAS_"))}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)


@pytest.mark.process
def test_configure_is_silent_and_turns_constant_folding_off_for_good():
    code = """
from recipes.shared import runtime
runtime.configure()
import keras, tensorflow as tf
print(tf.config.optimizer.get_experimental_options()["constant_folding"], keras.backend.backend())
"""
    process = run(code)
    assert process.returncode == 0
    assert process.stdout.strip() == "False tensorflow"
    assert process.stderr == ""


@pytest.mark.process
def test_a_library_user_who_did_not_configure_is_told_in_one_line():
    code = """
from recipes.shared.hparams import HParams
from recipes.shared.run import Run
try:
    Run("never", HParams())
except Exception as error:
    print(type(error).__name__, error)
"""
    assert run(code).stdout.startswith("UsageError constant folding is on")


def test_this_process_is_configured():
    runtime.require_configured()


def test_what_a_failed_import_says_is_not_swallowed(capfd):
    def fail():
        os.write(2, b"the reason\n")
        raise ImportError

    with pytest.raises(ImportError), runtime.quiet():
        fail()
    assert "the reason" in capfd.readouterr().err


def test_a_successful_import_is_quiet_and_stderr_works_again_afterwards(capfd):
    with runtime.quiet():
        os.write(2, b"noise\n")
    os.write(2, b"news\n")
    assert capfd.readouterr().err == "news\n"


def test_the_description_names_versions_and_hardware():
    import keras
    import tensorflow as tf

    description = runtime.describe()
    json.dumps(description)
    assert description["versions"]["tensorflow"] == tf.__version__
    assert description["versions"]["keras"] == keras.__version__
    assert description["hardware"]["cores"] == os.cpu_count()
    assert description["hardware"]["processor"]


def test_peak_memory_grows_with_an_allocation():
    before = runtime.peak_memory_mib()
    held = bytearray(os.urandom(1)) * (int(before) + 300) * 2**20
    assert runtime.peak_memory_mib() - before > 200
    del held


def resident_mib():
    """As the kernel tells it in another file, which `top` reads too."""
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 2**10


def test_memory_is_the_resident_size_now_and_falls_when_it_is_freed():
    before = runtime.memory_mib()
    assert before == pytest.approx(resident_mib(), rel=0.02)
    held = bytearray(os.urandom(1)) * 300 * 2**20
    assert runtime.memory_mib() - before == pytest.approx(300, abs=30)
    del held
    assert runtime.memory_mib() - before < 100
    assert runtime.memory_mib() < runtime.peak_memory_mib() * 1.001


@pytest.mark.parametrize("content", [None, "", "many pages"])
def test_where_the_resident_size_is_not_told_the_peak_stands_in(content, monkeypatch):
    def read_text(self, encoding):
        if content is None:
            raise FileNotFoundError
        return content

    monkeypatch.setattr(Path, "read_text", read_text)
    assert runtime.memory_mib() == runtime.peak_memory_mib()


@pytest.mark.parametrize(("limit", "there"), [("max\n", None), ("1048576\n", 2**20), (str(2**62), None), (None, None)])
def test_the_memory_is_the_machines_or_what_its_container_is_allowed(tmp_path, monkeypatch, limit, there):
    if limit is not None:
        (tmp_path / "memory.max").write_text(limit)
    monkeypatch.setattr(runtime, "CONTAINER_LIMITS", (tmp_path / "memory.max",))
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert machine > 2**30
    assert runtime.machine_memory() == (there or machine)


def test_more_than_half_of_the_memory_is_refused(monkeypatch):
    monkeypatch.setattr(runtime, "machine_memory", lambda: 2**31)
    runtime.require_memory("it", 2**30, "make it smaller")
    with pytest.raises(
        UsageError, match=r"it takes 1\.5 GiB in memory, more than half of this machine's 2\.0; make it s"
    ):
        runtime.require_memory("it", 3 * 2**29, "make it smaller")
