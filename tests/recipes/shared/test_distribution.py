"""Training on several devices of this machine, and with several processes: against each other, one device and NumPy."""

import itertools
import json
import os
import socket
import time
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from recipes.commands import parity
from recipes.shared import distribution
from recipes.shared.batches import Batches, epoch_order
from recipes.shared.distribution import Distribution, Worker, find_worker
from recipes.shared.errors import UsageError, WorkerLost
from tests import distributed

TF_CONFIG = {"cluster": {"worker": ["a:1", "b:2", "c:3"]}, "task": {"type": "worker", "index": 1}}
SIDES = ("fit", "custom_loop")
# Divided evenly by 2 replicas, and by 3: then the mean of their means is the mean of the batch.
EVEN = {"epochs": 2, "batch_size": 96}


@pytest.mark.parametrize(
    ("values", "answer"),
    [
        ({"devices": 0, "strategy": "mirrored"}, "--devices is 0; it must be at least 1"),
        ({"devices": 2}, "--devices says how many devices a strategy takes; add --strategy mirrored"),
    ],
)
def test_options_that_have_no_meaning_are_refused(values, answer):
    with pytest.raises(UsageError) as error:
        Distribution(**values)
    assert str(error.value) == answer


def test_one_device_needs_no_strategy_and_no_tolerance():
    assert Distribution().start() is None
    assert Distribution().tolerance == 0.0
    assert Distribution().worker == Worker(0, 1)
    with Distribution().scope(None):
        assert not tf.distribute.has_strategy()


@pytest.mark.parametrize(
    ("task", "cluster", "worker"),
    [
        (("worker", 0), {"worker": ["a:1", "b:2"]}, Worker(0, 2)),
        (("worker", 1), {"worker": ["a:1", "b:2"]}, Worker(1, 2)),
        (("chief", 0), {"chief": ["a:1"], "worker": ["b:2", "c:3"]}, Worker(0, 3)),
        (("worker", 1), {"chief": ["a:1"], "worker": ["b:2", "c:3"]}, Worker(2, 3)),
    ],
)
def test_tf_config_says_which_worker_this_is(task, cluster, worker):
    config = {"cluster": cluster, "task": {"type": task[0], "index": task[1]}}
    assert find_worker({"TF_CONFIG": json.dumps(config)}) == worker
    assert worker.is_chief == (worker.index == 0)


SLURM = {
    "SLURM_PROCID": "2",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_NODELIST": "n[1-2]",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
}


def test_slurm_says_it_where_tf_config_does_not():
    assert find_worker(SLURM) == Worker(2, 4)
    assert find_worker(SLURM | {"TF_CONFIG": ""}) == Worker(2, 4)
    assert find_worker(SLURM | {"TF_CONFIG": json.dumps(TF_CONFIG)}) == Worker(1, 3)


def changed(**values):
    return json.dumps(TF_CONFIG | values)


@pytest.mark.parametrize(
    ("environment", "answer"),
    [
        ({}, "--strategy multi_worker needs to know its workers: set TF_CONFIG, or start it with srun"),
        ({"SLURM_PROCID": "0"}, "--strategy multi_worker needs to know its workers"),
        ({"TF_CONFIG": "{"}, "TF_CONFIG is garbled; it must be like {"),
        ({"TF_CONFIG": "[]"}, "TF_CONFIG is garbled"),
        ({"TF_CONFIG": "3"}, "TF_CONFIG is garbled"),
        ({"TF_CONFIG": "{}"}, "TF_CONFIG is garbled"),
        ({"TF_CONFIG": changed(cluster=["a:1"])}, "TF_CONFIG is garbled"),
        ({"TF_CONFIG": changed(cluster={"worker": "a:1"})}, "TF_CONFIG is garbled"),
        ({"TF_CONFIG": changed(cluster={"worker": ["a", "b"]})}, "TF_CONFIG is garbled"),
        ({"TF_CONFIG": changed(cluster={"worker": [1, 2]})}, "TF_CONFIG is garbled"),
        ({"TF_CONFIG": changed(task={"type": "worker"})}, "TF_CONFIG is garbled"),
        ({"TF_CONFIG": changed(task={"type": "worker", "index": "one"})}, "TF_CONFIG is garbled"),
        ({"TF_CONFIG": changed(task={"type": "chief", "index": 0})}, "TF_CONFIG is garbled"),
        ({"TF_CONFIG": changed(task={"type": "worker", "index": 3})}, "says worker 3, and its cluster has 3"),
        ({"TF_CONFIG": changed(task={"type": "worker", "index": -1})}, "says worker -1, and its cluster has 3"),
        ({"TF_CONFIG": changed(cluster={"worker": ["a:1", "b:2"], "ps": ["c:3"]})}, "has the job 'ps'"),
        ({"TF_CONFIG": changed(cluster={"worker": ["a:1", "b:2"], "chief": ["c:3", "d:4"]})}, "more than one chief"),
        ({"TF_CONFIG": changed(cluster={"worker": ["a:1", "a:1"]})}, "has the same address twice"),
    ],
)
def test_an_environment_that_does_not_say_it_is_refused_in_one_line(environment, answer):
    with pytest.raises(UsageError) as error:
        find_worker(environment)
    assert answer in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.fixture
def slurm(monkeypatch):
    """A function that puts Slurm's variables, with changes, into the environment."""
    monkeypatch.delenv("TF_CONFIG", raising=False)

    def slurm(**changes):
        for name, value in (SLURM | changes).items():
            monkeypatch.setenv(name, value)

    return slurm


def test_tensorflow_resolves_slurms_variables_where_there_is_no_gpu(slurm):
    slurm(SLURM_JOB_ID="20007")
    resolver = distribution._resolver()
    assert resolver.cluster_spec().as_dict() == {"worker": ["n1:10007", "n1:10008", "n2:10007", "n2:10008"]}
    assert (resolver.task_type, resolver.task_id) == ("worker", 2)
    assert resolver.num_accelerators() == {"GPU": 0}


def test_hosts_that_tensorflow_would_number_in_another_order_than_slurm_are_refused(slurm):
    slurm(SLURM_STEP_NODELIST="n[9-10]")  # by name, n10 comes before n9
    with pytest.raises(UsageError, match="in the order of their hosts' names"):
        distribution._resolver()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files for classification and regression; for training there are left 576 examples, and 79 of `odd`."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    weights = random.normal(size=(8, 3))

    def write(name, examples, targets):
        x, x_test = random.normal(size=(examples, 8)), random.normal(size=(96, 8))
        np.savez(folder / name, x_train=x, y_train=targets(x), x_test=x_test, y_test=targets(x_test))
        return str(folder / name)

    return {
        "classes": write("classes.npz", 720, lambda x: (x @ weights).argmax(axis=1)),
        "numbers": write("numbers.npz", 720, lambda x: x @ weights[:, 0]),
        "odd": write("odd.npz", 99, lambda x: x @ weights[:, 0]),
    }


FULL = os.environ.get("PARITY") == "full"
PAIRS = ["mlp", "penalties", "one odd batch", "rate falls", *(["masks", "every loss", "short batches"] if FULL else [])]


def pairs(files):
    """What is trained on two devices: by name, the recipe and its hyper-parameters."""
    one_step = {"epochs": 1, "batch_size": 79, "momentum": 0.0, "learning_rate": 0.1}
    # the shares of a batch are 58 and 57 examples, those of the last 1 and none
    odd = {"data": files["classes"], "epochs": 4, "batch_size": 115}
    found = {
        "mlp": ("mlp_classifier", {"data": files["classes"], **EVEN}),
        "penalties": ("l1_l2", {"data": files["numbers"], **EVEN}),
        "one odd batch": ("linear_regression", {"data": files["odd"], **one_step}),
        "rate falls": ("early_stopping", {**odd, "learning_rate": 0.3, "rate_patience": 1}),
        "masks": ("dropout", {"data": files["numbers"], **EVEN}),
        "every loss": ("learning_rate_range_test", {"data": files["classes"], "steps": 12, **EVEN}),
        "short batches": ("mlp_classifier", {"epochs": 2}),
    }
    return {key: found[key] for key in PAIRS}


@pytest.fixture(scope="module")
def on_two_devices(files, tmp_path_factory):
    """The folder of each of `pairs` on each side; the first, with all that TensorBoard gets."""
    root = tmp_path_factory.mktemp("mirrored")
    jobs = [
        distributed.job(name, side, root / key / side, "everything" if key == "mlp" else "scalars", **hparams)
        for key, (name, hparams) in pairs(files).items()
        for side in SIDES
    ]
    jobs.append(distributed.job("mlp_classifier", "custom_loop", root / "long" / "custom_loop", epochs=40))
    text = json.dumps({"distribution": {"strategy": "mirrored", "devices": 2}, "jobs": jobs})
    process = distributed.start(["-m", "tests.distributed", text], distributed.environment())
    ((code, _, error),) = distributed.finish([process])
    assert code == 0, error
    assert error == ""
    return lambda key, side: root / key / side


@pytest.mark.parametrize("key", PAIRS)
@pytest.mark.process
def test_both_sides_end_with_the_same_bytes_on_two_devices(key, on_two_devices):
    result = parity.compare(on_two_devices(key, "fit"), on_two_devices(key, "custom_loop"))
    assert result.identical, result.reasons


@pytest.mark.parametrize("key", ["mlp", "penalties"])
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.process
def test_two_devices_come_to_what_one_does_with_the_same_global_batch(key, side, files, on_two_devices, train):
    name, hparams = pairs(files)[key]
    alone = train(name, side, jit_compile=False, **hparams)
    result = parity.compare(on_two_devices(key, side), alone.folder, distribution.TOLERANCE)
    assert result.within_tolerance, result.reasons


@pytest.mark.process
def test_each_share_of_an_uneven_batch_counts_the_same(files, on_two_devices):
    from recipes.supervised import linear_regression

    _, values = pairs(files)["one odd batch"]
    hparams = linear_regression.HParams(**values)
    dataset = linear_regression.load_data(hparams)
    kernel, bias = linear_regression.build_model(hparams, dataset).get_weights()
    assert len(dataset.train) == 79
    order = epoch_order(79, hparams.seed, 0).numpy()
    kernel_gradient, bias_gradient = 0.0, 0.0
    for rows in (order[:40], order[40:]):  # as tf.data divides a batch: the half is rounded up
        x, y = dataset.train.x[rows], dataset.train.y[rows]
        residuals = x @ kernel + bias - y
        kernel_gradient += (2 * x.T @ residuals / len(rows)) / 2
        bias_gradient += (2 * residuals.mean(axis=0)) / 2
    found = [np.load(on_two_devices("one odd batch", side) / "state.npz") for side in SIDES]
    for state in found:
        weights = [state[name] for name in sorted(state.files) if name.startswith("weights/")]
        np.testing.assert_allclose(weights[0], kernel - 0.1 * kernel_gradient, rtol=1e-5)
        np.testing.assert_allclose(weights[1], bias - 0.1 * bias_gradient, rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def with_three_workers(files, tmp_path_factory):
    """The folder of each worker on each side."""
    root = tmp_path_factory.mktemp("workers")
    processes = []
    for index, environment in enumerate(distributed.environments(3)):
        jobs = [
            distributed.job("mlp_classifier", side, root / str(index) / side, data=files["classes"], **EVEN)
            for side in reversed(SIDES)
        ]
        text = json.dumps({"distribution": {"strategy": "multi_worker"}, "jobs": jobs})
        processes.append(distributed.start(["-m", "tests.distributed", text], environment))
    for code, _, error in distributed.finish(processes):
        assert code == 0, error
    return lambda index, side: root / str(index) / side


@pytest.mark.process
def test_three_workers_and_both_sides_end_with_the_same_bytes(with_three_workers):
    for index, side in itertools.product(range(3), SIDES):
        result = parity.compare(with_three_workers(0, "fit"), with_three_workers(index, side))
        assert result.identical, (index, side, result.reasons)


@pytest.mark.process
def test_three_workers_come_to_what_one_device_does_with_the_same_global_batch(files, with_three_workers, train):
    alone = train("mlp_classifier", "custom_loop", data=files["classes"], jit_compile=False, **EVEN)
    result = parity.compare(with_three_workers(1, "custom_loop"), alone.folder, distribution.TOLERANCE)
    assert result.within_tolerance, result.reasons


@pytest.mark.process
def test_a_worker_is_killed_and_all_are_started_again(on_two_devices, tmp_path, wait_for):
    """By Slurm's variables the second time, as its requeue would."""
    logs = tmp_path / "logs"
    command = ["-m", "recipes", "loop", "mlp_classifier", "--strategy", "multi_worker", "--epochs", "40"]
    command += ["--log", "scalars", "--logs", str(logs), "--run", "cut"]
    folder = logs / "mlp_classifier" / "cut" / "custom_loop"

    workers = [distributed.start(command, environment) for environment in distributed.environments(2)]
    try:
        wait_for(lambda: len(list(folder.glob("checkpoints/*/epoch-*"))) == 2 or workers[0].poll() is not None, 60)
    finally:
        workers[1].kill()
    began = time.monotonic()
    (code, _, error), _ = distributed.finish(workers, 60)
    assert time.monotonic() - began < 30  # TensorFlow counts heartbeats for 10 s
    assert code == 1
    assert "recipes: another worker has ended or cannot be reached; start all of them again" in error.splitlines()[-1]
    assert not (folder / "report.json").exists()

    port = distributed.free_ports(1)[0] % 20000  # what the job's number makes the first port of
    slurm = {
        "SLURM_JOB_ID": str(port),
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_STEP_TASKS_PER_NODE": "2",
    }
    environments = [distributed.environment() | slurm | {"SLURM_PROCID": str(index)} for index in range(2)]
    ended = distributed.finish([distributed.start([*command, "--resume"], each) for each in environments])
    assert [code for code, *_ in ended] == [0, 0], ended
    assert ended[1][1] == "worker 1 of 2 is done; worker 0, the chief, has the run\n"
    result = parity.compare(on_two_devices("long", "custom_loop"), folder)
    assert result.identical, result.reasons
    config = json.loads((folder / "config.json").read_text())
    assert config["strategy"] == "multi_worker"
    assert len(config["resumed"]) == 1
    assert {path.parts[0] for path in relative(logs)} == {"mlp_classifier", "events.out.tfevents.0000000000.hparams"}
    assert {path.parts[:3] for path in relative(logs) if len(path.parts) > 2} == {
        ("mlp_classifier", "cut", "custom_loop")
    }
    assert len(list(folder.glob("events.out.tfevents.*"))) == 2  # one a start: only the chief writes


def relative(folder):
    return [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]


def test_a_worker_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(distribution, "PATIENCE", 0.5)
    ports = distributed.free_ports(3)
    with socket.create_server(("", ports[0])), pytest.raises(WorkerLost) as error:
        distribution._meet([f"localhost:{port}" for port in ports], own=1)
    assert str(error.value) == f"worker 2 at localhost:{ports[2]} was not there after 0.5 s"


def test_a_port_that_is_taken_is_refused():
    with socket.create_server(("", 0)) as other, pytest.raises(UsageError, match="cannot listen at localhost:"):
        distribution._meet([f"localhost:{other.getsockname()[1]}"], own=0)


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("{{node x}} Collective ops is aborted by: Connection reset\nby peer", "(Connection reset)"),
        ("Socket closed", "(Socket closed)"),
    ],
)
def test_a_lost_worker_is_told_in_one_line(said, line):
    message = distribution.explain_loss(said)
    assert message.startswith("another worker has ended or cannot be reached; start all of them again")
    assert message.endswith(line)


def test_one_device_needs_no_share_for_others():
    distribution.require_a_share_for_each(1)
    assert distribution.workers() == 1
    assert distribution.local(3) == 3


def test_the_order_under_a_strategy_is_that_of_one_device():
    alone = Batches((np.arange(20),), 6, seed=3)
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        batches = Batches((np.arange(20),), 6, seed=3)
        dataset = batches.train
        for epoch in (0, 2, 1):
            for each in (alone, batches):
                each.on_epoch_begin(epoch)
            found = [x.tolist() for (x,) in dataset.as_numpy_iterator()]
            assert found == [x.tolist() for (x,) in alone.train.as_numpy_iterator()]
            assert [len(x) for x in found] == [6, 6, 6, 2]


def test_fewer_examples_in_a_batch_than_replicas_are_refused(monkeypatch):
    monkeypatch.setattr(tf.distribute, "get_strategy", lambda: SimpleNamespace(num_replicas_in_sync=3))
    distribution.require_a_share_for_each(3)
    with pytest.raises(UsageError, match="--batch-size is 2, for 3 replicas; it must be at least one for each"):
        distribution.require_a_share_for_each(2)
