import keras

from recipes.shared import data


def make(hparams):
    dataset = data.load(hparams, task="classification")
    keras.utils.set_random_seed(hparams.seed)
    model = keras.Sequential(
        [
            keras.Input(dataset.input_shape),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    return dataset, model, keras.losses.BinaryCrossentropy()


def train(hparams, run):
    dataset, model, loss = make(hparams)
    model.compile(
        keras.optimizers.Adam(0.01), loss, metrics=[keras.metrics.BinaryAccuracy(name="accuracy")], jit_compile=False
    )
    batches = dataset.batches(hparams)
    model.fit(
        batches.train,
        validation_data=batches.validation,
        epochs=hparams.epochs,
        shuffle=False,
        verbose=0,
        callbacks=run.callbacks(batches),
    )
    run.finish(model, dataset, model.evaluate(batches.test, return_dict=True, verbose=0))
