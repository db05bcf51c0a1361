"""What is measured: a model, a batch size, the data that every contestant gets. Nothing here imports a framework."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

CLASSES = 10
Result = tuple[np.ndarray, list[np.ndarray]]  # of a contestant: the outputs on the test examples, the weights


@dataclass(frozen=True)
class Case:
    """A model to train, and how.

    Args:
        name: what the user types; also the model's name in each framework's module below `contestants`.
        title: what the tables say.
        batch_size: examples in one update. Every batch is full, which is kind to those that compile for one shape.
        examples: in an epoch; a slower model gets fewer, so that a round stays short.
        model: the builder's name, if it is not the case's.
        learning_rate: of Adam; of plain gradient descent for the linear regression.
        jit_compile: whether our two sides use XLA: what was faster when it was measured (docs/performance.md).
        targets: the largest time, as a multiple of a contestant's, that our loop should take.
    """

    name: str
    title: str
    batch_size: int
    examples: int
    model: str = ""
    learning_rate: float = 0.001
    jit_compile: bool = True
    targets: dict[str, float] = field(default_factory=dict)

    @property
    def builder(self) -> str:
        """The function that builds the model, in `keras_models` and in its likes for other frameworks."""
        return self.model or self.name

    @property
    def steps(self) -> int:
        """Updates in an epoch."""
        return self.examples // self.batch_size

    @property
    def classifies(self) -> bool:
        """Whether it predicts classes rather than numbers."""
        return self.builder != "linear"


CASES = {
    case.name: case
    for case in (
        Case("softmax", "softmax 784-10-10, batch 32", 32, 48_000),
        Case(
            "mlp",
            "MLP 784-64-64-10, batch 32",
            32,
            48_000,
            targets={"fit_documented": 0.10, "jax_scan": 0.75, "pytorch": 0.30, "scikit_learn": 0.30, "floor": 1.8},
        ),
        Case(
            "mlp_128",
            "MLP 784-64-64-10, batch 128",
            128,
            48_000,
            model="mlp",
            targets={"fit_documented": 0.22, "jax_scan": 0.80},
        ),
        Case(
            "mlp_regularized",
            "the same MLP with BatchNorm, Dropout, L2, batch 32",
            32,
            48_000,
            targets={"fit_documented": 0.33, "jax_scan": 1.0, "pytorch": 0.8},
        ),
        Case(
            "cnn",
            "CNN 32-64, batch 64",
            64,
            3_200,
            jit_compile=False,
            targets={"fit_documented": 1.0, "pytorch": 0.85},
        ),
        Case("lstm", "LSTM 64 over 28 rows, batch 64", 64, 12_800, targets={"fit_documented": 0.7, "pytorch": 1.0}),
        Case(
            "transformer",
            "transformer 64 wide, 2 layers, batch 64",
            64,
            6_400,
            targets={"fit_documented": 0.8, "pytorch": 1.0},
        ),
        Case(
            "linear",
            "linear regression, 10 features, batch 32",
            32,
            32_000,
            learning_rate=0.01,
            targets={"scikit_learn": 3.0, "fit_documented": 0.05},
        ),
    )
}


@dataclass(frozen=True)
class Problem:
    """A case with what every contestant begins with.

    Attributes:
        case: the case.
        x_train: (examples, 28, 28) or (examples, 10) float32.
        y_train: (examples,) int32 classes, or (examples, 1) float32 numbers.
        x_test: as `x_train`, of examples that nobody trains on.
        y_test: their targets.
        orders: (epochs, examples) int32: in which order our sides visit the examples, for all who let themselves be
            told.
        weights: the initial ones, in the order of Keras' `model.weights`.
    """

    case: Case
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    orders: np.ndarray
    weights: tuple[np.ndarray, ...]

    def rows(self, epoch: int) -> np.ndarray:
        """Return the examples of every step of an epoch: (steps, batch), int32."""
        return self.orders[epoch].reshape(self.case.steps, self.case.batch_size)

    def score(self, outputs: np.ndarray) -> float:
        """Return the accuracy of `outputs` on the test examples, logits or probabilities; R2 for numbers."""
        if self.case.classifies:
            return float((outputs.argmax(axis=1) == self.y_test).mean())
        residual = ((outputs - self.y_test) ** 2).sum()
        return float(1 - residual / ((self.y_test - self.y_test.mean()) ** 2).sum())

    def save(self, path: Path) -> None:
        """Write all but the case to `path`, an .npz."""
        weights = {f"weight_{index:03d}": value for index, value in enumerate(self.weights)}
        np.savez(
            path,
            allow_pickle=False,
            x_train=self.x_train,
            y_train=self.y_train,
            x_test=self.x_test,
            y_test=self.y_test,
            orders=self.orders,
            **weights,
        )

    @classmethod
    def load(cls, case: Case, path: Path) -> "Problem":
        """Return the problem that `save` wrote; how many examples it has may differ from the case's own number."""
        with np.load(path) as file:
            weights = tuple(file[name] for name in sorted(file.files) if name.startswith("weight_"))
            parts = {name: file[name] for name in ("x_train", "y_train", "x_test", "y_test", "orders")}
        problem = cls(case=case, weights=weights, **parts)
        return replace(problem, case=replace(case, examples=len(problem.x_train)))
