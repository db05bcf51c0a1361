"""Processes that train. They are forked from a server that has imported TensorFlow, or fresh where that cannot be.

Importing TensorFlow takes 4 to 5 s, and most trainings here take one or two. So a command that trains in several
processes has Python's `multiprocessing` start a fork server, which imports once and never computes; every process that
it forks begins within milliseconds. The imports start two threads, one for each copy of OpenBLAS (NumPy's and SciPy's);
OpenBLAS ends them before a fork, and starts them when they are needed (`pthread_atfork` in its blas_server.c). So the
server has one thread when it forks, and no lock is copied that another thread holds. (Where pyarrow is installed,
pandas imports it, and its allocator has a thread too; jemalloc prepares for a fork in the same way.)
"""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import connection, forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import IO, Any

PRELOADED = "recipes.commands.preloaded"
# Read when TensorFlow or what it stands on is imported, so a server that has imported ignores a later change of them.
READ_AT_IMPORT = ("TF_", "XLA_", "KERAS_", "CUDA_", "OMP_", "OPENBLAS_", "MKL_", "NUMEXPR_", "PYTHON")
SET_AT_IMPORT = {"KERAS_BACKEND", "TF_CPP_MIN_LOG_LEVEL", "TF2_BEHAVIOR"}  # by our runtime.py, and by TensorFlow itself
GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # NVIDIA, AMD, Windows' subsystem for Linux
SERVER_KILLED = 255  # what multiprocessing reports as the exit code of the children of a server that was killed
GRACE = 15.0  # seconds for a process to end its batch, or what it is compiling
SECONDS_BETWEEN_LOOKS = 0.5


@dataclass
class Child:
    """A process of this machine, and what it writes.

    It is waited for, terminated and killed as a `subprocess.Popen` is.
    """

    process: BaseProcess
    stdout: IO[bytes]
    stderr: IO[bytes]

    @property
    def returncode(self) -> int | None:
        """The exit code, minus the signal's number if a signal ended it; None while it runs."""
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the process has ended and return its exit code.

        Raises:
            subprocess.TimeoutExpired: it has not ended after `timeout` seconds.
        """
        self.process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.process.name, timeout or 0.0)
        ends = time.monotonic() + GRACE
        while self.returncode == SERVER_KILLED and _exists(self.process.pid) and time.monotonic() < ends:
            time.sleep(SECONDS_BETWEEN_LOOKS)  # it notices that the server is gone, and ends its batch
        return self.returncode

    def terminate(self) -> None:
        """Send SIGTERM to the process, if it runs."""
        self.process.terminate()

    def kill(self) -> None:
        """Send SIGKILL to the process, if it runs."""
        self.process.kill()

    def written(self) -> tuple[str, str]:
        """Return what the process has written so far to its output and to its errors."""
        return _read(self.stdout), _read(self.stderr)

    def last_words(self) -> str:
        """Return why the process has ended: the signal, the last line that it wrote, or else its exit code."""
        code = self.returncode or 0
        if code < 0:
            return f"killed by signal {-code}"
        lines = "\n".join(self.written()).split("\n")
        said = [line.strip() for line in lines if line.strip()]
        return said[-1] if said else f"exited without a message, exit code {code}"

    def close(self) -> None:
        """Free what the process has written."""
        self.stdout.close()
        self.stderr.close()


class Server:
    """Starts processes for one command, all in the same way.

    Args:
        fork: whether to fork them from a server that has imported TensorFlow. It is asked for in vain where a fork is
            not safe: elsewhere than on Linux, and beside a GPU, whose driver must not be open at a fork.
    """

    def __init__(self, fork: bool = True) -> None:
        self._settings = _settings(os.environ)
        self._ready = False
        self._fork = fork and sys.platform == "linux" and not any(Path(device).exists() for device in GPU_DEVICES)

    @property
    def forks(self) -> bool:
        """Whether the next process is forked: not if the environment has changed in what is read at an import."""
        return self._fork and self._settings == _settings(os.environ)

    def prepare(self) -> None:
        """Let the server begin to import, and return at once."""
        if self.forks:
            multiprocessing.set_forkserver_preload([PRELOADED])
            with _safe_path():
                forkserver.ensure_running()

    @property
    def is_ready(self) -> bool:
        """Whether the next process starts at once, as far as this object can tell."""
        return self._ready or not self.forks

    def wait_until_ready(self) -> None:
        """Return when the server has imported."""
        if not self.is_ready:
            child = self.start(_nothing)
            child.wait()
            child.close()
            self._ready = True

    def start(self, function: Callable[..., Any], *arguments: Any, variables: Mapping[str, str] | None = None) -> Child:
        """Run `function` in a process of its own, and return that.

        The process gets SIGTERM when this one ends or the server is killed, and is killed `GRACE` seconds later.

        Args:
            function: of a module, so that it can be pickled.
            arguments: what it is called with; they are pickled too.
            variables: environment variables that it has besides those of this process.
        """
        self.prepare()
        context: Any = multiprocessing.get_context("forkserver" if self.forks else "spawn")
        files: tuple[IO[bytes], IO[bytes]] = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
        ends = [connection.Connection(os.dup(file.fileno()), readable=False) for file in files]  # can be pickled
        environment = dict(os.environ) | dict(variables or {})
        process = context.Process(target=_run, args=(*ends, environment, function, arguments))
        with _safe_path():
            process.start()
        for end in ends:
            end.close()
        return Child(process, *files)


def end(processes: Sequence[Child | subprocess.Popen[Any]], patience: float = GRACE) -> None:
    """Send SIGTERM to `processes`, and kill what has not ended after `patience` seconds.

    A handler that raises SystemExit is not enough: Python may drop what it raises.
    """
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + patience
    for process in processes:
        try:
            process.wait(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def sigterm_exits() -> Iterator[None]:
    """Let SIGTERM raise SystemExit meanwhile: by itself it ends a process without reaching any `finally`.

    For code that waits; training stops between batches (`shared.interruption`).
    """
    previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _run(
    stdout: connection.Connection,
    stderr: connection.Connection,
    environment: dict[str, str],
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> None:
    """Be the process: what `Server.start` has multiprocessing call."""
    os.dup2(stdout.fileno(), 1)
    os.dup2(stderr.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment)
    if sys.path[0] in ("", str(Path.cwd())):  # what lies in the working directory must not shadow a module, as with -P
        del sys.path[0]
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    function(*arguments)


def _end_with_parent(server: int) -> None:
    """End this process when the one that asked for it has ended, or the one that forked it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    while os.getppid() == server and not connection.wait([parent.sentinel], timeout=SECONDS_BETWEEN_LOOKS):
        pass
    os.kill(os.getpid(), signal.SIGTERM)  # a training writes down what it has done
    time.sleep(GRACE)
    os._exit(1)


def _nothing() -> None:
    pass


def _settings(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(READ_AT_IMPORT) and name not in SET_AT_IMPORT
    }


@contextlib.contextmanager
def _safe_path() -> Iterator[None]:
    """Let a Python that is started meanwhile ignore the modules of its working directory; -P cannot be passed on."""
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before


def _exists(pid: int | None) -> bool:
    try:
        os.kill(pid or 0, 0)
    except ProcessLookupError:
        return False
    return True


def _read(file: IO[bytes]) -> str:
    # without moving the file's position, which is that of the process too
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode(errors="replace")
