"""The loop that several cases have in common: what is particular of each is in its other file, or in the arguments."""

import keras
import tensorflow as tf


def train_by_hand(hparams, run, make, optimizer=None, accuracy=None, name="accuracy", says_steps=True):
    dataset, model, loss = make(hparams)
    model.optimizer = optimizer or keras.optimizers.SGD(0.1)
    model.optimizer.build(model.trainable_variables)
    mean, accuracy = keras.metrics.Mean(), accuracy or keras.metrics.SparseCategoricalAccuracy()

    @tf.function
    def step(x, y, training):
        with tf.GradientTape() as tape:
            out = model(x, training=training)
            value = loss(y, out)
        if training:
            model.optimizer.apply(tape.gradient(value, model.trainable_variables), model.trainable_variables)
        mean.update_state(value, sample_weight=tf.shape(x)[0])
        accuracy.update_state(y, out)

    def logs(prefix=""):
        return {prefix + "loss": float(mean.result()), prefix + name: float(accuracy.result())}

    def reset():
        mean.reset_state()
        accuracy.reset_state()

    def evaluate(split, prefix=""):
        reset()
        for x, y in split:
            step(x, y, False)
        return logs(prefix)

    batches = dataset.batches(hparams)
    known = {"steps": batches.steps} if says_steps else {}
    callbacks = keras.callbacks.CallbackList(run.callbacks(batches), model=model, **known)
    callbacks.on_train_begin()
    for epoch in range(run.first_epoch, hparams.epochs):
        callbacks.on_epoch_begin(epoch)
        reset()
        for i, (x, y) in enumerate(batches.train):
            callbacks.on_train_batch_begin(i)
            step(x, y, True)
            callbacks.on_train_batch_end(i, logs())
        train_logs = logs()
        callbacks.on_epoch_end(epoch, train_logs | evaluate(batches.validation, "val_"))
    callbacks.on_train_end()
    run.finish(model, dataset, evaluate(batches.test))
