import keras
import tensorflow as tf
from fit import WEIGHTS, make


def train(hparams, run):
    dataset, model = make(hparams)
    model.optimizer = keras.optimizers.SGD(0.1)
    model.optimizer.build(model.trainable_variables)

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            value = model.loss_fn(y, model(x, training=True), sample_weight=tf.gather(WEIGHTS, y))
        model.optimizer.apply(tape.gradient(value, model.trainable_variables), model.trainable_variables)
        model.mean.update_state(value, sample_weight=tf.shape(x)[0])

    batches = dataset.batches(hparams)
    callbacks = keras.callbacks.CallbackList(run.callbacks(batches), model=model, steps=batches.steps)
    callbacks.on_train_begin()
    for epoch in range(run.first_epoch, hparams.epochs):
        callbacks.on_epoch_begin(epoch)
        model.mean.reset_state()
        for i, (x, y) in enumerate(batches.train):
            callbacks.on_train_batch_begin(i)
            step(x, y)
            callbacks.on_train_batch_end(i, {"loss": model.mean.result()})
        callbacks.on_epoch_end(epoch, {"loss": model.mean.result()})
    callbacks.on_train_end()
    run.finish(model, dataset, {"loss": float(model.loss_fn(dataset.test.y, model(dataset.test.x)))})
