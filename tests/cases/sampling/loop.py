import keras
import tensorflow as tf
from fit import make


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

    def evaluate(split):
        mean.reset_state()
        for x, y in split:
            step(x, y, False)
        return float(mean.result())

    batches = dataset.batches(hparams)
    callbacks = keras.callbacks.CallbackList(run.callbacks(batches), model=model, steps=batches.steps)
    callbacks.on_train_begin()
    for epoch in range(run.first_epoch, hparams.epochs):
        callbacks.on_epoch_begin(epoch)
        mean.reset_state()
        for i, (x, y) in enumerate(batches.train):
            callbacks.on_train_batch_begin(i)
            step(x, y, True)
            callbacks.on_train_batch_end(i, {"loss": mean.result()})
        train_loss = float(mean.result())
        callbacks.on_epoch_end(epoch, {"loss": train_loss, "val_loss": evaluate(batches.validation)})
    callbacks.on_train_end()
    run.finish(model, dataset, {"loss": evaluate(batches.test)})
