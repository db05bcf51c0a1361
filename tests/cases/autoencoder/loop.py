import keras
import tensorflow as tf
from fit import make


def train(hparams, run):
    dataset, model, loss = make(hparams)
    model.optimizer = keras.optimizers.SGD(0.1)
    model.optimizer.build(model.trainable_variables)
    mean = keras.metrics.Mean()

    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            value = loss(x, model(x, training=True))
        model.optimizer.apply(tape.gradient(value, model.trainable_variables), model.trainable_variables)
        mean.update_state(value, sample_weight=tf.shape(x)[0])

    batches = dataset.batches(hparams)
    callbacks = keras.callbacks.CallbackList(run.callbacks(batches), model=model, steps=batches.steps)
    callbacks.on_train_begin()
    for epoch in range(run.first_epoch, hparams.epochs):
        callbacks.on_epoch_begin(epoch)
        mean.reset_state()
        for i, (x, _) in enumerate(batches.train):
            callbacks.on_train_batch_begin(i)
            step(x)
            callbacks.on_train_batch_end(i, {"loss": mean.result()})
        callbacks.on_epoch_end(epoch, {"loss": mean.result()})
    callbacks.on_train_end()
    run.finish(model, dataset, {"loss": float(loss(dataset.test.x, model(dataset.test.x)))})
