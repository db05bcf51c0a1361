"""Our two sides, as the pairs train: the same train step, the same driver, the same order of the examples."""

import keras
import tensorflow as tf

from custom_loops.loop import Loop
from recipes.commands.benchmark.cases import Problem, Result
from recipes.commands.benchmark.contestants.keras_parts import Turns, build_model, result, training_parts
from recipes.commands.benchmark.turns import Epochs
from recipes.shared import losses
from recipes.shared.batches import Batches


def custom_loop(problem: Problem, epochs: Epochs) -> Result:
    """Train by the train step of the pairs and our driver."""
    model = build_model(problem)
    optimizer, loss, metrics = training_parts(problem)
    mean_loss = keras.metrics.Mean(name="loss")

    def train_step(x: tf.Tensor, y: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.GradientTape() as tape:
            outputs = model(x, training=True)
            total_loss = losses.total(loss(y, outputs), model.losses)
        gradients = tape.gradient(total_loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        mean_loss.update_state(total_loss, sample_weight=tf.shape(x)[0])
        for metric in metrics:
            metric.update_state(y, outputs)
        return {"loss": total_loss}

    loop = Loop(model, train_step, None, [mean_loss, *metrics], optimizer, jit_compile=problem.case.jit_compile)
    loop.train(batches_of(problem), epochs=epochs.count, callbacks=[Turns(epochs)])
    return result(problem, model)


def fit(problem: Problem, epochs: Epochs, steps_per_execution: int = 1) -> Result:
    """Train by fit, as the recipes call it."""
    case = problem.case
    model = build_model(problem)
    optimizer, loss, metrics = training_parts(problem)
    model.compile(
        optimizer, loss, metrics=metrics, steps_per_execution=steps_per_execution, jit_compile=case.jit_compile
    )
    batches = batches_of(problem)
    model.fit(batches.train, epochs=epochs.count, shuffle=False, callbacks=[Turns(epochs), batches], verbose=0)
    return result(problem, model)


def batches_of(problem: Problem) -> Batches:
    """Return the training part in the order of seed 0."""
    return Batches((problem.x_train, problem.y_train), problem.case.batch_size, seed=0)


def fit_at_its_best(problem: Problem, epochs: Epochs) -> Result:
    """Train by fit with the largest `steps_per_execution`, which was its fastest setting wherever it was tried."""
    return fit(problem, epochs, steps_per_execution=problem.case.steps)
