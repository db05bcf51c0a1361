"""Keras as its documentation teaches it."""

import keras
import tensorflow as tf

from recipes.commands.benchmark.cases import Problem, Result
from recipes.commands.benchmark.contestants.keras_parts import Turns, build_model, result, training_parts
from recipes.commands.benchmark.turns import Epochs

tf.config.optimizer.set_experimental_options({"constant_folding": True})  # TensorFlow's default; our sides have it off


def fit(problem: Problem, epochs: Epochs) -> Result:
    """Train by `model.fit(x, y, batch_size=...)` (https://keras.io/guides/training_with_built_in_methods/)."""
    model = build_model(problem)
    optimizer, loss, metrics = training_parts(problem)
    model.compile(optimizer, loss, metrics=metrics)
    size = problem.case.batch_size
    turns = [Turns(epochs)]
    model.fit(problem.x_train, problem.y_train, batch_size=size, epochs=epochs.count, callbacks=turns, verbose=0)
    return result(problem, model)


def loop(problem: Problem, epochs: Epochs) -> Result:
    """Train by a `tf.function` a step (https://keras.io/guides/writing_a_custom_training_loop_in_tensorflow/)."""
    model = build_model(problem)
    optimizer, loss, metrics = training_parts(problem)
    mean_loss = keras.metrics.Mean()
    batches = tf.data.Dataset.from_tensor_slices((problem.x_train, problem.y_train))
    batches = batches.shuffle(buffer_size=1024).batch(problem.case.batch_size)

    @tf.function
    def train_step(x: tf.Tensor, y: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            outputs = model(x, training=True)
            total_loss = loss(y, outputs) + sum(model.losses)
        gradients = tape.gradient(total_loss, model.trainable_weights)
        optimizer.apply(gradients, model.trainable_weights)
        for metric in metrics:
            metric.update_state(y, outputs)
        mean_loss.update_state(total_loss)

    for _ in epochs:
        for x, y in batches:
            train_step(x, y)
        for metric in (mean_loss, *metrics):
            float(metric.result())
            metric.reset_state()
    return result(problem, model)
