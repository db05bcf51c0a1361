import keras

from recipes.shared import data


def make(hparams):
    dataset = data.load(hparams, task="classification")
    keras.utils.set_random_seed(hparams.seed)
    inputs = keras.Input(dataset.input_shape)
    x = keras.layers.Dense(16, activation="relu")(inputs)
    model = keras.Model(
        inputs,
        {
            "main": keras.layers.Dense(dataset.num_classes, name="main")(x),
            "copy": keras.layers.Dense(dataset.input_shape[0], name="copy")(x),
        },
    )
    losses = {
        "main": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "copy": keras.losses.MeanSquaredError(),
    }
    return dataset, model, losses, {"main": 1.0, "copy": 0.3}


def train(hparams, run):
    dataset, model, losses, weights = make(hparams)
    model.compile(keras.optimizers.SGD(0.1), losses, loss_weights=weights, jit_compile=False)
    batches = dataset.batches(hparams)
    train_batches = batches.train.map(lambda x, y: (x, {"main": y, "copy": x}))
    model.fit(train_batches, epochs=hparams.epochs, shuffle=False, verbose=0, callbacks=run.callbacks(batches))
    test = batches.test.map(lambda x, y: (x, {"main": y, "copy": x}))
    run.finish(model, dataset, model.evaluate(test, return_dict=True, verbose=0))
