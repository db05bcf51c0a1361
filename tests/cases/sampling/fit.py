import keras

from recipes.shared import data


class Noise(keras.layers.Layer):
    """Draws at inference too, as the sampling layer of a variational autoencoder does."""

    def __init__(self, stddev):
        super().__init__()
        self.stddev = stddev
        self.generator = keras.random.SeedGenerator(1337)

    def call(self, x):
        return x + self.stddev * keras.random.normal(keras.ops.shape(x), seed=self.generator)


def make(hparams):
    dataset = data.load(hparams, task="classification")
    keras.utils.set_random_seed(hparams.seed)
    inputs = keras.Input(dataset.input_shape)
    x = keras.layers.Dense(16, activation="relu")(inputs)
    x = Noise(0.3)(x)
    model = keras.Model(inputs, keras.layers.Dense(dataset.num_classes)(x))
    return dataset, model, keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def train(hparams, run):
    dataset, model, loss = make(hparams)
    model.compile(keras.optimizers.SGD(0.1), loss, jit_compile=False)
    batches = dataset.batches(hparams)
    callbacks = run.callbacks(batches)
    model.fit(
        batches.train,
        validation_data=batches.validation,
        epochs=hparams.epochs,
        shuffle=False,
        verbose=0,
        callbacks=callbacks,
    )
    run.finish(model, dataset, model.evaluate(batches.test, return_dict=True, verbose=0))
