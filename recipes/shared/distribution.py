"""Several devices, several machines: which of TensorFlow's strategies a run trains under, and what it must know of it.

Under a strategy every replica (a device, or a worker) holds all variables, takes its share of every batch, and the
gradients of all are added up before each makes the same update. docs/scaling.md says how to launch it and what it
costs. TensorFlow is imported only in the functions that need it, so that `--help` is instant.
"""

import contextlib
import faulthandler
import json
import os
import signal
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from recipes.shared.errors import UsageError, WorkerLost

StrategyName = Literal["none", "mirrored", "multi_worker"]

# How far the two sides may be from each other under a strategy, and from one device with the same global batch: a sum
# over replicas rounds in another order than one over the batch, and the collectives of a GPU choose their own order.
TOLERANCE = 1e-5
PATIENCE = 600.0  # seconds until all workers must be there
SECONDS_BETWEEN_CALLS = 0.2
SLURM_VARIABLES = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE")


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """What a run trains on.

    Args:
        strategy: `none` is one device; `mirrored` the devices of this machine; `multi_worker` the processes that
            TF_CONFIG or Slurm's variables name, on one machine or several.
        devices: how many devices of this machine; all GPUs if not given or, where there is none, two logical devices
            of the CPU.

    Raises:
        UsageError: a value that has no meaning.
    """

    strategy: StrategyName = "none"
    devices: int | None = None

    def __post_init__(self) -> None:
        if self.devices is not None and self.devices < 1:
            raise UsageError(f"--devices is {self.devices}; it must be at least 1")
        if self.devices is not None and self.strategy == "none":
            raise UsageError("--devices says how many devices a strategy takes; add --strategy mirrored")

    @property
    def tolerance(self) -> float:
        """How far apart two runs on these devices may be that make the same updates."""
        return 0.0 if self.strategy == "none" else TOLERANCE

    @property
    def worker(self) -> "Worker":
        """Which of the workers this process is: the only one, but with `multi_worker`.

        Raises:
            UsageError: `multi_worker`, and the environment does not say.
        """
        return find_worker(os.environ) if self.strategy == "multi_worker" else Worker(0, 1)

    def start(self) -> Any:
        """Configure TensorFlow (`runtime.configure`) and return the `tf.distribute.Strategy`, or None for one device.

        With `multi_worker` this waits until all workers are there.

        Raises:
            UsageError: there are not so many devices, or the environment does not say who the workers are.
            WorkerLost: not all workers came in time.
        """
        from recipes.shared import runtime

        return runtime.configure(self._make)

    def _make(self) -> Any:
        """Return the strategy. TensorFlow must not have run an operation: the first one sets devices up for good."""
        if self.strategy == "none":
            return None
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        if gpus and (self.devices or 0) > len(gpus):
            raise UsageError(f"--devices is {self.devices}, and this machine has {len(gpus)} GPUs")
        if self.strategy == "multi_worker":
            if not gpus and (self.devices or 1) > 1:
                raise UsageError("without GPUs a worker is one device; leave out --devices and start more workers")
            if gpus:
                tf.config.set_visible_devices(gpus[: self.devices], "GPU")
            resolver = _resolver()
            jobs = resolver.cluster_spec().as_dict()
            _meet([*jobs.get("chief", []), *jobs.get("worker", [])], self.worker.index)
            with _ended_if_stuck():
                return tf.distribute.MultiWorkerMirroredStrategy(resolver)
        if gpus:
            return tf.distribute.MirroredStrategy([f"GPU:{index}" for index in range(self.devices or len(gpus))])
        count = self.devices or 2
        (cpu,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
        return tf.distribute.MirroredStrategy([f"CPU:{index}" for index in range(count)])

    @contextlib.contextmanager
    def scope(self, strategy: Any) -> Iterator[None]:
        """Let what is built and trained meanwhile use `strategy`, which `make` gave."""
        if strategy is None:
            yield
            return
        from recipes.shared import distributed_fit

        with distributed_fit.mended(), strategy.scope():
            yield


@dataclass(frozen=True)
class Worker:
    """One of the processes that train together, counted from 0. The first is the chief, which alone keeps the run."""

    index: int
    count: int

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run's folder."""
        return self.index == 0


def _meet(addresses: Sequence[str], own: int) -> None:
    """Return when all workers listen at their addresses, this one at that with the index `own`.

    TensorFlow would wait for them without end, inside C++ and with Python's lock in its hand: no Ctrl-C, no other
    thread gets a word in. So they meet before. Whoever has seen all goes on, and TensorFlow listens at the same port
    soon after. (The limit that its coordination service has for it did nothing when we set it, in 2.21.)

    Raises:
        UsageError: the port is taken.
        WorkerLost: a worker was not there after `PATIENCE`.
    """
    ends = time.monotonic() + PATIENCE
    port = int(addresses[own].rpartition(":")[2])
    try:
        listener = socket.create_server(("", port), backlog=len(addresses))
    except OSError as error:
        raise UsageError(
            f"cannot listen at {addresses[own]} ({error.strerror}); give this worker another port"
        ) from error
    with listener:
        for index, address in enumerate(addresses):
            while index != own and not _listens(address):
                if time.monotonic() > ends:
                    raise WorkerLost(f"worker {index} at {address} was not there after {PATIENCE:g} s")
                time.sleep(SECONDS_BETWEEN_CALLS)


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _ended_if_stuck() -> Iterator[None]:
    """End the process if what happens meanwhile takes longer than `PATIENCE`, and let Ctrl-C end it at once.

    For a worker that is lost just after all have met. What ends the process must not need Python's lock.
    """
    with os.fdopen(os.dup(2), "w") as stderr:  # TensorFlow's own is held back while it starts
        faulthandler.dump_traceback_later(PATIENCE, exit=True, file=stderr)
        previous = signal.signal(signal.SIGINT, signal.SIG_DFL)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, previous)
            faulthandler.cancel_dump_traceback_later()


def explain_loss(message: str) -> str:
    """Return in one line what TensorFlow says when a worker is lost."""
    reason = next((line for line in message.splitlines() if "aborted by" in line), message.splitlines()[0])
    return (
        "another worker has ended or cannot be reached; start all of them again"
        f" ({reason.rpartition('Collective ops is aborted by: ')[2].strip().rstrip(':')})"
    )


def find_worker(environment: Mapping[str, str]) -> Worker:
    """Return which worker TF_CONFIG says that this process is or, where that is not set, Slurm's variables.

    Raises:
        UsageError: neither says it, or TF_CONFIG is garbled.
    """
    if environment.get("TF_CONFIG"):
        cluster, task_type, task_index = _read_tf_config(environment["TF_CONFIG"])
        chiefs = len(cluster.get("chief", []))
        return Worker(task_index + (chiefs if task_type == "worker" else 0), sum(map(len, cluster.values())))
    if _is_slurm_step(environment):
        return Worker(int(environment["SLURM_PROCID"]), int(environment["SLURM_STEP_NUM_TASKS"]))
    raise UsageError(
        "--strategy multi_worker needs to know its workers: set TF_CONFIG, or start it with srun (docs/scaling.md)"
    )


def _is_slurm_step(environment: Mapping[str, str]) -> bool:
    return all(name in environment for name in SLURM_VARIABLES)


def _read_tf_config(text: str) -> tuple[dict[str, list[str]], str, int]:
    """Return the addresses of each job, and the job and index of this process."""
    example = """{"cluster": {"worker": ["host1:8888", "host2:8888"]}, "task": {"type": "worker", "index": 0}}"""
    try:
        config = json.loads(text)
        cluster, task_type, task_index = config["cluster"], config["task"]["type"], config["task"]["index"]
        addresses = [address for job in cluster.values() for address in job]
        if not all(isinstance(job, list) for job in cluster.values()):
            raise ValueError
        if not all(isinstance(address, str) and address.rpartition(":")[2].isdigit() for address in addresses):
            raise ValueError
        if task_type not in cluster or isinstance(task_index, bool):
            raise ValueError
        task_index = int(task_index)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(f"TF_CONFIG is garbled; it must be like {example}") from None
    unknown = set(cluster) - {"chief", "worker"}
    if unknown:
        raise UsageError(f"TF_CONFIG has the job {min(unknown)!r}; --strategy multi_worker knows chief and worker")
    if len(cluster.get("chief", [])) > 1:
        raise UsageError("TF_CONFIG has more than one chief")
    if not 0 <= task_index < len(cluster[task_type]):
        raise UsageError(f"TF_CONFIG says {task_type} {task_index}, and its cluster has {len(cluster[task_type])}")
    if len(set(addresses)) < len(addresses):
        raise UsageError("TF_CONFIG has the same address twice")
    return cluster, task_type, task_index


def _resolver() -> Any:
    """Return what tells TensorFlow the addresses of all workers.

    TensorFlow's `SlurmClusterResolver` is asked for the addresses alone. It takes every task to have a GPU: without
    nvidia-smi it fails, and with none it divides by 0 (tensorflow/python/distribute/cluster_resolver).
    """
    import tensorflow as tf

    resolvers = tf.distribute.cluster_resolver
    worker = find_worker(os.environ)
    if os.environ.get("TF_CONFIG"):
        return resolvers.TFConfigClusterResolver()
    # Ports that two jobs on the same machine hardly share.
    port = 10000 + int(os.environ.get("SLURM_JOB_ID", "0")) % 20000
    slurm = resolvers.SlurmClusterResolver(
        port_base=port, gpus_per_node=worker.count, gpus_per_task=1, auto_set_gpu=False
    )
    cluster = slurm.cluster_spec()
    hosts = [address.rpartition(":")[0] for address in cluster.job_tasks("worker")]
    if list(dict.fromkeys(hosts)) != list(slurm._resolve_hostlist()):
        raise UsageError(
            "TensorFlow takes the tasks in the order of their hosts' names, and Slurm has another order here;"
            " set TF_CONFIG instead (docs/scaling.md)"
        )
    gpus = len(tf.config.get_visible_devices("GPU"))
    return resolvers.SimpleClusterResolver(
        cluster, task_type="worker", task_id=worker.index, num_accelerators={"GPU": gpus}
    )


def require_a_share_for_each(batch_size: int) -> None:
    """Raise a UsageError if a full batch has fewer examples than there are replicas."""
    import tensorflow as tf

    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if batch_size < replicas:
        raise UsageError(f"--batch-size is {batch_size}, for {replicas} replicas; it must be at least one for each")


def workers() -> int:
    """Return how many processes train together under the strategy in whose scope this is called."""
    import tensorflow as tf

    if not tf.distribute.has_strategy():
        return 1
    strategy = tf.distribute.get_strategy()
    return int(strategy.num_replicas_in_sync // len(strategy.extended.worker_devices))


def local(variable: Any) -> Any:
    """Return the plain `tf.Variable` that this machine's first device has of `variable`, for a tape to watch."""
    import tensorflow as tf

    return tf.distribute.get_strategy().experimental_local_results(variable)[0]
