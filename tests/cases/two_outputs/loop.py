import keras
import tensorflow as tf
from fit import make


def train(hparams, run):
    dataset, model, losses, weights = make(hparams)
    model.optimizer = keras.optimizers.SGD(0.1)
    model.optimizer.build(model.trainable_variables)
    means = {name: keras.metrics.Mean() for name in ("loss", "main_loss", "copy_loss")}

    @tf.function
    def step(x, y, training):
        with tf.GradientTape() as tape:
            out = model(x, training=training)
            each = {"main": losses["main"](y, out["main"]), "copy": losses["copy"](x, out["copy"])}
            value = sum(weights[name] * each[name] for name in ("main", "copy"))
        if training:
            model.optimizer.apply(tape.gradient(value, model.trainable_variables), model.trainable_variables)
        n = tf.shape(x)[0]
        means["loss"].update_state(value, sample_weight=n)
        for name, each_loss in each.items():
            means[name + "_loss"].update_state(each_loss, sample_weight=n)

    def logs():
        return {name: float(mean.result()) for name, mean in means.items()}

    def reset():
        for mean in means.values():
            mean.reset_state()

    batches = dataset.batches(hparams)
    callbacks = keras.callbacks.CallbackList(run.callbacks(batches), model=model, steps=batches.steps)
    callbacks.on_train_begin()
    for epoch in range(run.first_epoch, hparams.epochs):
        callbacks.on_epoch_begin(epoch)
        reset()
        for i, (x, y) in enumerate(batches.train):
            callbacks.on_train_batch_begin(i)
            step(x, y, True)
            callbacks.on_train_batch_end(i, logs())
        callbacks.on_epoch_end(epoch, logs())
    callbacks.on_train_end()
    reset()
    for x, y in batches.test:
        step(x, y, False)
    run.finish(model, dataset, logs())
