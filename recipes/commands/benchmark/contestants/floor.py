"""The least that a step can take: only its matrix products, one after the other, in NumPy (OpenBLAS)."""

import numpy as np

from recipes.commands.benchmark.cases import Problem
from recipes.commands.benchmark.turns import Epochs


def train(problem: Problem, epochs: Epochs) -> tuple[None, list[np.ndarray]]:
    """Multiply, and learn nothing: activations forward, gradients of kernels and of activations back."""
    kernels = [weight for weight in problem.weights if weight.ndim == 2]
    x = problem.x_train.reshape(len(problem.x_train), -1)
    random = np.random.default_rng(0)
    deltas = [random.random((problem.case.batch_size, kernel.shape[1]), dtype=np.float32) for kernel in kernels]
    for _ in epochs:
        for rows in problem.rows(epochs.epoch):
            inputs = [x[rows]]
            for kernel in kernels:
                inputs.append(inputs[-1] @ kernel)
            for layer in reversed(range(len(kernels))):
                inputs[layer].T @ deltas[layer]
                if layer:  # nobody asks for the gradient of the data
                    deltas[layer] @ kernels[layer].T
    return None, []
