import keras

from recipes.shared import data


class Scale(keras.layers.Layer):
    """A layer of the user's, made with an object that JSON cannot hold."""

    def __init__(self, table):
        super().__init__()
        self.table = table

    def call(self, x):
        return x * self.table["factor"]()


def make(hparams):
    dataset = data.load(hparams, task="classification")
    keras.utils.set_random_seed(hparams.seed)
    model = keras.Sequential(
        [
            keras.Input(dataset.input_shape),
            Scale({"factor": lambda: 0.5}),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(dataset.num_classes),
        ]
    )
    return dataset, model, keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def train(hparams, run):
    dataset, model, loss = make(hparams)
    model.compile(
        keras.optimizers.SGD(0.1),
        loss,
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        jit_compile=False,
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
