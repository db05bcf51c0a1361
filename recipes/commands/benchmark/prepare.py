"""Makes the data and the initial weights of a case, in a process of its own: only this one needs Keras for a peer.

python -m recipes.commands.benchmark.prepare CASE DATA EPOCHS EXAMPLES PROBLEM.npz
"""

import sys
from pathlib import Path

import numpy as np

from recipes.commands.benchmark.cases import CASES, Case, Problem
from recipes.shared import runtime
from recipes.shared.errors import UsageError

SEED = 0  # of the order of the examples: what our contestants use
TEST_EXAMPLES = 10_000


def images(source: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return x_train, y_train, x_test, y_test: 28 x 28 images from 0 to 1, as many as `source` has.

    `digits`, the default, has no images of that size: those of scikit-learn are enlarged from 8 x 8, and repeated with
    noise until there are 60,000, so that the benchmark runs without a download. What it measures is time.

    Raises:
        UsageError: the images are not 28 x 28.
    """
    from recipes.shared import sources

    if source != "digits":
        raw = sources.read(source)
        if not isinstance(raw.features, np.ndarray) or raw.features.shape[1:] != (28, 28):
            raise UsageError(f"--data {source}: the benchmark needs images of 28 x 28, such as mnist or its .npz")
        if raw.test_features is None or raw.test_targets is None:
            raise UsageError(f"--data {source} has no test part")
        labels = np.concatenate([raw.targets, raw.test_targets])
        if labels.dtype.kind not in "iuf" or not np.isin(labels, range(10)).all():
            raise UsageError(f"--data {source}: the benchmark needs the classes 0 to 9")
        x, x_test = (np.asarray(part, np.float32) / 255 for part in (raw.features, raw.test_features))
        return x, raw.targets.astype(np.int32), x_test, raw.test_targets.astype(np.int32)
    raw = sources.read("digits")
    small = np.asarray(raw.features, np.float32).reshape(-1, 8, 8) / 16
    large = np.pad(np.kron(small, np.ones((3, 3), np.float32)), ((0, 0), (2, 2), (2, 2)))
    random = np.random.default_rng(0)
    shuffled = random.permutation(len(large))
    known, unseen = shuffled[:-300], shuffled[-300:]
    rows, test_rows = random.choice(known, 60_000), random.choice(unseen, TEST_EXAMPLES)
    x, x_test = (
        np.clip(large[chosen] + random.normal(0, 0.1, (len(chosen), 28, 28)), 0, 1).astype(np.float32)
        for chosen in (rows, test_rows)
    )
    return x, raw.targets[rows].astype(np.int32), x_test, raw.targets[test_rows].astype(np.int32)


def numbers(examples: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return x_train, y_train, x_test, y_test of a noisy linear function of ten features."""
    random = np.random.default_rng(0)
    coefficients = random.normal(size=(10, 1))
    x = random.normal(size=(examples + TEST_EXAMPLES, 10))
    y = x @ coefficients + random.normal(0, 0.1, (len(x), 1))
    x, y = x.astype(np.float32), y.astype(np.float32)
    return x[:examples], y[:examples], x[examples:], y[examples:]


def problem(case: Case, source: str, epochs: int, examples: int) -> Problem:
    """Return the problem of a case.

    Raises:
        UsageError: the data cannot be used, or is too small.
    """
    runtime.configure()
    import keras

    from recipes.commands.benchmark.contestants import keras_models
    from recipes.shared.batches import epoch_order

    x, y, x_test, y_test = images(source) if case.classifies else numbers(examples)
    if len(x) < examples:
        raise UsageError(f"--data {source} has {len(x)} examples, and this case needs {examples}")
    keras.utils.set_random_seed(0)
    weights = tuple(getattr(keras_models, case.builder)().get_weights())
    orders = np.stack([epoch_order(examples, SEED, epoch).numpy() for epoch in range(epochs)])
    return Problem(case, x[:examples], y[:examples], x_test[:TEST_EXAMPLES], y_test[:TEST_EXAMPLES], orders, weights)


def main(name: str, source: str, epochs: int, examples: int, path: str) -> int:
    """Write the problem of a case to `path`; return the exit code."""
    try:
        problem(CASES[name], source, epochs, examples).save(Path(path))
    except UsageError as error:
        print(f"recipes: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]))
