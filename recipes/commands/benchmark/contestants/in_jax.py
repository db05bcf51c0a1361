"""JAX: a jitted step called from Python, and a whole epoch in one `lax.scan`. The models are plain functions.

Each takes the trainable weights, the state (moving averages), a batch, and a random key, or None outside of training;
it returns outputs and the new state.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from recipes.commands.benchmark.cases import Problem, Result
from recipes.commands.benchmark.turns import Epochs

Arrays = list[jax.Array]
DROPOUT, L2 = 0.2, 1e-4


def step_by_step(problem: Problem, epochs: Epochs) -> Result:
    """Train by one compiled step, called from Python on batches that NumPy gathers."""
    step, carry = prepare(problem)
    step = jax.jit(step, donate_argnums=0)
    for _ in epochs:
        total, correct = jnp.float32(0), jnp.float32(0)
        for rows in problem.rows(epochs.epoch):
            carry, total, correct = step(carry, total, correct, problem.x_train[rows], problem.y_train[rows])
        float(total), float(correct)
    return result(problem, carry)


def scan(problem: Problem, epochs: Epochs) -> Result:
    """Train by one program an epoch, which gathers the batches too."""
    step, carry = prepare(problem)
    x, y = jnp.asarray(problem.x_train), jnp.asarray(problem.y_train)

    @partial(jax.jit, donate_argnums=0)
    def train_epoch(carry: Any, order: jax.Array, x: jax.Array, y: jax.Array) -> Any:
        def turn(carries: Any, rows: jax.Array) -> Any:
            return step(*carries, x[rows], y[rows]), None

        return lax.scan(turn, (carry, jnp.float32(0), jnp.float32(0)), order)[0]

    for _ in epochs:
        carry, total, correct = train_epoch(carry, problem.rows(epochs.epoch), x, y)
        float(total), float(correct)
    return result(problem, carry)


def prepare(problem: Problem) -> tuple[Callable[..., Any], Any]:
    """Return the step, and what it carries: weights, moving averages, Adam's moments, updates made, random key."""
    case = problem.case
    forward = MODELS[case.builder]
    weights = [jnp.asarray(weight) for weight in problem.weights]
    state: Arrays = []
    if case.builder == "mlp_regularized":
        moving = (4, 5, 10, 11)
        state = [weights[index] for index in moving]
        weights = [weight for index, weight in enumerate(weights) if index not in moving]

    def measure(weights: Arrays, state: Arrays, x: jax.Array, y: jax.Array, key: jax.Array) -> Any:
        outputs, state = forward(weights, state, x, key)
        if not case.classifies:
            return ((outputs - y) ** 2).mean(), (state, jnp.float32(0))
        loss = -jnp.take_along_axis(jax.nn.log_softmax(outputs), y[:, None], 1).mean()
        if case.builder == "mlp_regularized":
            loss += L2 * sum((weights[index] ** 2).sum() for index in (0, 4, 8))
        return loss, (state, (outputs.argmax(1) == y).sum().astype(jnp.float32))

    def step(carry: Any, total: jax.Array, correct: jax.Array, x: jax.Array, y: jax.Array) -> Any:
        weights, state, mean, square, updates, key = carry
        key, own = jax.random.split(key)
        (loss, (state, right)), gradients = jax.value_and_grad(measure, has_aux=True)(weights, state, x, y, own)
        updates = updates + 1
        if case.classifies:
            mean = [0.9 * old + 0.1 * new for old, new in zip(mean, gradients, strict=True)]
            square = [0.999 * old + 0.001 * new * new for old, new in zip(square, gradients, strict=True)]
            rate = case.learning_rate * jnp.sqrt(1 - 0.999**updates) / (1 - 0.9**updates)
            moments = zip(weights, mean, square, strict=True)
            weights = [weight - rate * first / (jnp.sqrt(second) + 1e-7) for weight, first, second in moments]
        else:
            weights = [old - case.learning_rate * new for old, new in zip(weights, gradients, strict=True)]
        return (weights, state, mean, square, updates, key), total + loss, correct + right

    def zeros() -> Arrays:
        return [jnp.zeros_like(weight) for weight in weights] if case.classifies else []

    return step, (weights, state, zeros(), zeros(), jnp.float32(0), jax.random.key(0))


def result(problem: Problem, carry: Any) -> Result:
    """Return what a contestant returns."""
    weights, state, *_ = carry
    forward = jax.jit(lambda x: MODELS[problem.case.builder](weights, state, x, None)[0])
    return np.asarray(forward(problem.x_test)), [np.asarray(weight) for weight in weights]


def dense(weights: Arrays, x: jax.Array) -> jax.Array:
    """Return `x` times a kernel, plus a bias."""
    kernel, bias = weights
    return x @ kernel + bias


def softmax(weights: Arrays, state: Arrays, x: jax.Array, key: Any) -> tuple[jax.Array, Arrays]:
    """Return outputs and state of the softmax classifier."""
    hidden = jax.nn.relu(dense(weights[0:2], x.reshape(len(x), -1)))
    return dense(weights[2:4], hidden), state


def mlp(weights: Arrays, state: Arrays, x: jax.Array, key: Any) -> tuple[jax.Array, Arrays]:
    """Return outputs and state of the perceptron."""
    hidden = jax.nn.relu(dense(weights[0:2], x.reshape(len(x), -1)))
    return dense(weights[4:6], jax.nn.relu(dense(weights[2:4], hidden))), state


def mlp_regularized(weights: Arrays, state: Arrays, x: jax.Array, key: Any) -> tuple[jax.Array, Arrays]:
    """Return outputs and state of the perceptron with batch normalization and dropout."""
    x = x.reshape(len(x), -1)
    moved: Arrays = []
    for layer in range(2):
        kernel, bias, scale, shift = weights[4 * layer : 4 * layer + 4]
        mean, variance = state[2 * layer : 2 * layer + 2]
        x = dense([kernel, bias], x)
        if key is not None:
            batch_mean, batch_variance = x.mean(0), x.var(0)
            moved += [0.99 * mean + 0.01 * batch_mean, 0.99 * variance + 0.01 * batch_variance]
            mean, variance = batch_mean, batch_variance
        x = jax.nn.relu((x - mean) * lax.rsqrt(variance + 1e-3) * scale + shift)
        if key is not None:
            key, own = jax.random.split(key)
            x = jnp.where(jax.random.bernoulli(own, 1 - DROPOUT, x.shape), x / (1 - DROPOUT), 0)
    return dense(weights[8:10], x), moved or state


def cnn(weights: Arrays, state: Arrays, x: jax.Array, key: Any) -> tuple[jax.Array, Arrays]:
    """Return outputs and state of the convolutional network."""
    x = x[..., None]
    for layer in range(2):
        kernel, bias = weights[2 * layer : 2 * layer + 2]
        x = lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        x = lax.reduce_window(jax.nn.relu(x + bias), -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return dense(weights[6:8], jax.nn.relu(dense(weights[4:6], x.reshape(len(x), -1)))), state


def lstm(weights: Arrays, state: Arrays, x: jax.Array, key: Any) -> tuple[jax.Array, Arrays]:
    """Return outputs and state of the recurrent network; the products with the inputs are one."""
    kernel, recurrent, bias = weights[:3]

    def cell(carry: Any, projected: jax.Array) -> Any:
        hidden, memory = carry
        into, forget, new, out = jnp.split(projected + hidden @ recurrent, 4, -1)
        memory = jax.nn.sigmoid(forget) * memory + jax.nn.sigmoid(into) * jnp.tanh(new)
        return (jax.nn.sigmoid(out) * jnp.tanh(memory), memory), None

    zeros = jnp.zeros((len(x), recurrent.shape[0]))
    (hidden, _), _ = lax.scan(cell, (zeros, zeros), jnp.swapaxes(x @ kernel + bias, 0, 1))
    return dense(weights[3:5], hidden), state


def transformer(weights: Arrays, state: Arrays, x: jax.Array, key: Any) -> tuple[jax.Array, Arrays]:
    """Return outputs and state of the two pre-norm blocks."""

    def normalize(own: Arrays, x: jax.Array) -> jax.Array:
        centred = x - x.mean(-1, keepdims=True)
        return centred * lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * own[0] + own[1]

    x = dense(weights[0:2], x)
    for block in range(2):
        own = weights[2 + 16 * block : 18 + 16 * block]
        normalized = normalize(own[0:2], x)
        queries, keys, values = (
            jnp.einsum("btd,dhk->bthk", normalized, own[part]) + own[part + 1] for part in (2, 4, 6)
        )
        attention = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", queries / 4, keys))  # 4 is the root of key_dim
        attended = jnp.einsum("bhqk,bkhd->bqhd", attention, values)
        x = x + jnp.einsum("bthk,hkd->btd", attended, own[8]) + own[9]
        x = x + dense(own[14:16], jax.nn.relu(dense(own[12:14], normalize(own[10:12], x))))
    return dense(weights[34:36], x.mean(1)), state


def linear(weights: Arrays, state: Arrays, x: jax.Array, key: Any) -> tuple[jax.Array, Arrays]:
    """Return outputs and state of the linear regression."""
    return dense(weights, x), state


MODELS: dict[str, Callable[..., tuple[jax.Array, Arrays]]] = {
    model.__name__: model for model in (softmax, mlp, mlp_regularized, cnn, lstm, transformer, linear)
}
