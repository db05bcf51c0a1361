"""What processes do that tests start through `recipes.commands.processes`; each function runs in a child."""

import os
import random
import signal
import sys
import time
from pathlib import Path


def write_and_exit(code):
    print("to the output")
    print("to the errors", file=sys.stderr)
    sys.exit(code)


def fail():
    raise ValueError("a mistake")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(handler):
    """Do with SIGTERM as `handler` says, a name in `signal`; say when that is set."""
    signal.signal(signal.SIGTERM, getattr(signal, handler))
    print("ready", flush=True)
    time.sleep(60)


def say_what_is_imported():
    print(*({"tensorflow", "keras", "sklearn", "matplotlib"} & set(sys.modules)))


def say_where_a_module_is_from(name):
    print(__import__(name).__file__)


def say_variable(name):
    print(os.environ.get(name))


def draw():
    import numpy as np

    print(random.random(), np.random.rand())


def name_threads_of_the_server():
    for path in Path(f"/proc/{os.getppid()}/task").glob("*/comm"):
        print(path.read_text().strip())


def set_devices():
    """Make two logical devices of the CPU, which TensorFlow refuses once it has initialised any."""
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    print(len(tf.config.list_logical_devices("CPU")))


def train(jit_compile):
    """Train a small model, and use NumPy's and SciPy's linear algebra, each of which has threads of its own."""
    from recipes.shared import runtime

    runtime.configure()
    import keras
    import numpy as np
    import scipy.linalg

    matrix = np.random.default_rng(0).normal(size=(300, 300))
    numpy_solution = np.linalg.solve(matrix, matrix @ np.ones(300))
    scipy_solution = scipy.linalg.solve(matrix, matrix @ np.ones(300))
    assert np.allclose(numpy_solution, 1, atol=1e-6)
    assert np.allclose(scipy_solution, 1, atol=1e-6)
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((300,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(1)])
    model.compile("adam", "mse", jit_compile=jit_compile)
    history = model.fit(matrix.astype("float32"), np.ones((300, 1), "float32"), epochs=2, verbose=0)
    print(*history.history["loss"])
