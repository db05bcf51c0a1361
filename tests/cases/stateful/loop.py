from dataclasses import replace

import keras
import tensorflow as tf
from fit import B, Reset, make


def train(hparams, run):
    dataset, model, loss = make(hparams)
    model.optimizer = keras.optimizers.SGD(0.1)
    model.optimizer.build(model.trainable_variables)
    mean = keras.metrics.Mean()

    @tf.function
    def step(x, y, training):
        with tf.GradientTape() as tape:
            value = loss(y, model(x, training=training))
        if training:
            model.optimizer.apply(tape.gradient(value, model.trainable_variables), model.trainable_variables)
        mean.update_state(value, sample_weight=tf.shape(x)[0])

    batches = dataset.batches(replace(hparams, batch_size=B))
    callbacks = keras.callbacks.CallbackList([Reset(), *run.callbacks(batches)], model=model, steps=batches.steps)
    callbacks.on_train_begin()
    for epoch in range(run.first_epoch, hparams.epochs):
        callbacks.on_epoch_begin(epoch)
        mean.reset_state()
        for i, (x, y) in enumerate(batches.train):
            callbacks.on_train_batch_begin(i)
            step(tf.ensure_shape(x, (B, 10, 2)), y, True)
            callbacks.on_train_batch_end(i, {"loss": mean.result()})
        callbacks.on_epoch_end(epoch, {"loss": mean.result()})
    callbacks.on_train_end()
    for layer in model.layers:
        if hasattr(layer, "reset_state"):
            layer.reset_state()
    mean.reset_state()
    for x, y in batches.test:
        step(x, y, False)
    run.finish(model, dataset, {"loss": float(mean.result())})
