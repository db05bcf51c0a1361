"""TensorFlow's process-wide settings, set once by the entry point, and what a run notes about its machine."""

import contextlib
import gc
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from recipes.shared.errors import UsageError

CONTAINER_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def configure(make_strategy: Callable[[], Any] = lambda: None) -> Any:
    """Import TensorFlow quietly and set what both sides need to end with the same bits.

    Returns what `make_strategy` does (`distribution.Distribution.start`): devices and connections have to be known
    before TensorFlow runs its first operation.

    Grappler's constant folding is off: with it on, the same step may give other bits in a per-step function than in a
    loop inside one graph or under a static batch shape (a prototype measured 4e-4 after training a transformer outside
    XLA; the MLP of this collection does not need it). Call it before anything is traced.
    """
    import_tensorflow()
    import tensorflow as tf

    with quiet():
        tf.config.list_physical_devices()
        strategy = make_strategy()
        tf.constant(0)  # the first operation is what looks for GPUs, and complains when there are none
    tf.config.optimizer.set_experimental_options({"constant_folding": False})
    return strategy


def import_tensorflow() -> None:
    """Import TensorFlow quietly, as Keras' backend. No device is looked for yet, so a process may fork afterwards.

    The garbage collector then leaves alone what the import has made, which lives as long as the process: looking
    through it took 0.4 s of a training of 7 s, and would copy pages that a forked process shares with its server.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if "tensorflow" in sys.modules:
        return
    with quiet():
        import tensorflow  # noqa: F401  for its effect
    gc.freeze()


def require_configured() -> None:
    """Raise a UsageError unless `configure` was called in this process."""
    import tensorflow as tf

    if tf.config.optimizer.get_experimental_options().get("constant_folding") is not False:
        raise UsageError(
            "constant folding is on, so the two sides would differ in the last bits;"
            " call recipes.shared.runtime.configure() before building a model"
        )


def describe() -> dict[str, Any]:
    """Return versions and hardware, as `config.json` records them."""
    return {
        "versions": versions(),
        "hardware": {"processor": _processor(), "cores": os.cpu_count(), "system": platform.platform()},
        "constant_folding": False,
    }


def versions() -> dict[str, str]:
    """Return which Python and which packages run."""
    packages = ("tensorflow", "keras", "keras-tuner", "tensorboard", "numpy")
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in packages}


def peak_memory_mib() -> float:
    """Return the largest resident size that this process has had, in MiB."""
    import resource  # not on Windows, where TensorFlow 2.21 has no wheels either

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # macOS counts bytes, Linux KiB


def memory_mib() -> float:
    """Return the resident size of this process, in MiB; the largest it has had where the present one is not known."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return peak_memory_mib()


def machine_memory() -> int:
    """Return how many bytes of memory this process could have: the machine's, or what its container is allowed."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in CONTAINER_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # no container, or "max"
            there = min(there, int(limit.read_text(encoding="ascii")))
    return there


def require_memory(what: str, needed: int, remedy: str) -> None:
    """Raise a UsageError if `what` takes `needed` bytes and that is more than half of the memory there is."""
    there = machine_memory()
    if needed > there / 2:
        raise UsageError(
            f"{what} takes {needed / 2**30:.1f} GiB in memory, more than half of this machine's {there / 2**30:.1f};"
            f" {remedy}"
        )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back what TensorFlow's C++ side writes to stderr meanwhile; show it if an error comes out."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held_back:
        os.dup2(held_back.fileno(), 2)
        try:
            yield
        except BaseException:
            held_back.seek(0)
            os.write(stderr, held_back.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def _processor() -> str:
    with contextlib.suppress(OSError), Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
