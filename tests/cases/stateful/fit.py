from dataclasses import replace

import keras

from recipes.shared import data

B = 4


def make(hparams):
    dataset = data.load(hparams, task="classification")
    keras.utils.set_random_seed(hparams.seed)
    model = keras.Sequential(
        [keras.Input(batch_shape=(B, *dataset.input_shape)), keras.layers.LSTM(8, stateful=True), keras.layers.Dense(2)]
    )
    return dataset, model, keras.losses.SparseCategoricalCrossentropy(from_logits=True)


class Reset(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        for layer in self.model.layers:
            if hasattr(layer, "reset_state"):
                layer.reset_state()


def train(hparams, run):
    dataset, model, loss = make(hparams)
    model.compile(keras.optimizers.SGD(0.1), loss, jit_compile=False)
    batches = dataset.batches(replace(hparams, batch_size=B))
    model.fit(
        batches.train, epochs=hparams.epochs, shuffle=False, verbose=0, callbacks=[Reset(), *run.callbacks(batches)]
    )
    for layer in model.layers:
        if hasattr(layer, "reset_state"):
            layer.reset_state()
    run.finish(model, dataset, model.evaluate(batches.test, return_dict=True, verbose=0))
