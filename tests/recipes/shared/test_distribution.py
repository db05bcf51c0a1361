"""Training on several devices of this machine, and with several processes: against each other, one device and NumPy."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from recipes.commands import parity
from recipes.shared import distribution
from recipes.shared.distribution import Distribution, Worker, find_worker
from recipes.shared.errors import UsageError
from tests import distributed

TF_CONFIG = {"cluster": {"worker": ["a:1", "b:2", "c:3"]}, "task": {"type": "worker", "index": 1}}
SIDES = ("fit", "custom_loop")
# Divided evenly by 2 replicas, and by 3: then the mean of their means is the mean of the batch.
EVEN = {"epochs": 3, "batch_size": 48}


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
def even(tmp_path_factory):
    """A file for classification and one for regression; what is left for training is a multiple of 96."""
    folder = tmp_path_factory.mktemp("even")
    random = np.random.default_rng(0)
    x, x_test = random.normal(size=(720, 8)), random.normal(size=(96, 8))  # 576 for training, 144 for validation
    weights = random.normal(size=(8, 3))
    for name, targets in (
        ("classes", lambda x: (x @ weights).argmax(axis=1)),
        ("numbers", lambda x: x @ weights[:, 0]),
    ):
        np.savez(folder / f"{name}.npz", x_train=x, y_train=targets(x), x_test=x_test, y_test=targets(x_test))
    return {name: str(folder / f"{name}.npz") for name in ("classes", "numbers")}
