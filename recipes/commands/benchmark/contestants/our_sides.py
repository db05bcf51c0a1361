"""Our two sides, as the pairs train: the same train step, the same driver, the same order of the examples."""

import keras

from recipes.commands import catalog
from recipes.commands.benchmark.cases import Problem, Result
from recipes.commands.benchmark.contestants.keras_parts import Turns, build_model, result, training_parts
from recipes.commands.benchmark.turns import Epochs
from recipes.shared import data


def custom_loop(problem: Problem, epochs: Epochs) -> Result:
    """Train by the train step of a pair and our driver."""
    case = problem.case
    pair = catalog.load(catalog.find("mlp_classifier" if case.classifies else "linear_regression").custom_loop.path)
    model = build_model(problem)
    optimizer, loss, metrics = training_parts(problem)
    metrics = [keras.metrics.Mean(name="loss"), *metrics]
    driver = pair.loop.Loop(
        model,
        pair.make_train_step(model, optimizer, loss, metrics),
        loss,
        metrics,
        optimizer,
        jit_compile=case.jit_compile,
    )
    train = data.Split(problem.x_train, problem.y_train)
    nothing = data.Split(problem.x_train[:0], problem.y_train[:0])
    dataset = data.Dataset(train, nothing, nothing, preprocessing=None)
    driver.train(dataset, batch_size=case.batch_size, epochs=epochs.count, seed=0, callbacks=[Turns(epochs)])
    return result(problem, model)


def fit(problem: Problem, epochs: Epochs, steps_per_execution: int = 1) -> Result:
    """Train by fit, as the recipes call it."""
    case = problem.case
    model = build_model(problem)
    optimizer, loss, metrics = training_parts(problem)
    model.compile(
        optimizer, loss, metrics=metrics, steps_per_execution=steps_per_execution, jit_compile=case.jit_compile
    )
    order = data.EpochOrder(data.Split(problem.x_train, problem.y_train), seed=0)
    batches = order.batches(case.batch_size)
    model.fit(batches, epochs=epochs.count, shuffle=False, callbacks=[Turns(epochs), order], verbose=0)
    return result(problem, model)


def fit_at_its_best(problem: Problem, epochs: Epochs) -> Result:
    """Train by fit with the largest `steps_per_execution`, which was its fastest setting wherever it was tried."""
    return fit(problem, epochs, steps_per_execution=problem.case.steps)
