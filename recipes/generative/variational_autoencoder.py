"""Variational autoencoder: an encoder says where an example may lie among few numbers z, a decoder makes it from them.

    q(z | x) = N(m(x), s(x)^2)                     the encoder; z has the prior N(0, 1)
    loss     = -E_q log p(x | z)  +  KL(q(z | x) || N(0, 1))      in nats, the mean over the examples
             =  reconstruction    +  1/2 sum_j (m_j^2 + s_j^2 - log s_j^2 - 1)

The loss is an upper bound of -log p(x), the negative ELBO, here with one z = m + s e, e ~ N(0, 1), for each example.
It is drawn where the loss is only measured too: from m alone it would be too small, and no bound. The model itself,
when called, draws nothing: it reconstructs x from m.

`--kind linear`, the default, is probabilistic PCA: the best bound is exactly the log likelihood of
`sklearn.decomposition.PCA`. (Kingma and Welling 2014; Lucas et al. 2019, "Don't Blame the ELBO!"; the network of
`--kind convolutional` is that of keras.io, "Variational AutoEncoder".)

This side overrides `compute_loss`, which `model.fit` calls; its twin in `custom_loops` writes out the training step.

    recipes fit variational_autoencoder
    recipes fit variational_autoencoder --kind dense --data digits --latent-size 8 --hidden-units 64
    recipes fit variational_autoencoder --kind convolutional --data mnist --batch-size 128 --learning-rate 0.001
        --epochs 30 --train-on-validation

Measured on the training part of breast_cancer, seeds 0, 1 and 2: the expected loss is 31.73, 31.60 and 31.45 nats, and
PCA's bound 31.36; both sides end with the same bytes, with XLA too. MNIST, after 4 epochs on 60,000 images: 160.7 =
155.3 + 5.4; keras.io: 150.4 after 30 on 70,000 (TensorFlow 2.21, Keras 3.15.1, 2 cores of an AMD EPYC, 2026-11-25).
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import keras
from keras import ops

from recipes.shared import data, hparams, programs
from recipes.shared.constraints import AtLeastOne
from recipes.shared.errors import UsageError
from recipes.shared.run import Run


@dataclass(frozen=True, kw_only=True)
class HParams(hparams.HParams):
    unused: ClassVar[dict[str, str]] = {
        "strategy": "its loss is not divided among replicas",
        "stream": "its data must be in memory",
    }

    data: str = "breast_cancer"
    kind: Literal["linear", "dense", "convolutional"] = "linear"  # what both networks are; convolutional for images
    latent_size: AtLeastOne = 2  # numbers that an example is made from
    hidden_units: AtLeastOne = 16  # width of the hidden layer of each network, except of linear ones
    filters: AtLeastOne = 32  # of the first convolution; the second has twice as many
    learning_rate: float = 0.01
    epochs: int = 100
    jit_compile: bool = False  # on a CPU, XLA makes convolutions slower, and linear networks take longer to compile


def load_data(hparams: HParams) -> data.Dataset:
    """Return the data set; a batch is `(x,)`.

    Raises:
        UsageError: as `data.load`, or it does not suit convolutions.
    """
    dataset = data.without_targets(data.load(hparams, task="classification"))
    if hparams.kind == "convolutional":
        shape, parts = dataset.input_shape, (dataset.train, dataset.validation, dataset.test)
        if len(shape) not in (2, 3) or any(side % 4 for side in shape[:2]):
            raise UsageError(
                "--kind convolutional needs images whose height and width can be halved twice;"
                f" {hparams.data} has examples of shape {shape}; --kind dense takes any"
            )
        if not all(part.x.min() >= 0 and part.x.max() <= 1 for part in parts):
            raise UsageError(
                f"--kind convolutional needs pixels from 0 to 1, and {hparams.data} has others even after scaling;"
                " --kind dense takes any"
            )
    return dataset


class VariationalAutoencoder(keras.Model):
    """Both networks as one model. It reconstructs: from (batch, *features) to the same shape, from the mean of z.

    Args:
        encoder: from x to the mean of z and the logarithm of its variance, each (batch, latent_size).
        decoder: from z to the mean of x.
        binary: whether each feature of x is a probability; else it is Gaussian, with one learned variance for all.
        seed: of the noise.
    """

    def __init__(self, encoder: keras.Model, decoder: keras.Model, binary: bool, seed: int) -> None:
        super().__init__()
        self.encoder, self.decoder, self.binary, self.seed = encoder, decoder, binary, seed
        self.seed_generator = keras.random.SeedGenerator(seed)  # a part of the model, so that it is saved and compared
        if not binary:
            self.log_variance = self.add_weight(shape=(), initializer="zeros", name="log_variance")

    def get_config(self) -> dict[str, Any]:
        """Return what `model.keras` keeps of the model besides its weights."""
        networks = {"encoder": self.encoder, "decoder": self.decoder}
        config = {name: keras.saving.serialize_keras_object(network) for name, network in networks.items()}
        return config | {"binary": self.binary, "seed": self.seed}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "VariationalAutoencoder":
        """Return the model that `get_config` described."""
        return cls(**{name: keras.saving.deserialize_keras_object(value) for name, value in config.items()})

    def call(self, x: Any) -> Any:
        """Return x as the decoder makes it from the mean of z."""
        mean, _ = self.encoder(x)
        return self.decoder(mean)

    def noise(self, shape: Any) -> Any:
        """Draw from N(0, 1)."""
        return keras.random.normal(shape, seed=self.seed_generator)

    def negative_log_likelihood(self, x: Any, decoded: Any) -> Any:
        """Return -log p(x | z) of each example in nats: the sum over its features, (batch,)."""
        if self.binary:
            nats = ops.binary_crossentropy(x, decoded)
        else:
            squares = ops.square(x - decoded) * ops.exp(-self.log_variance)
            nats = 0.5 * (squares + self.log_variance + math.log(2 * math.pi))
        return ops.sum(nats, axis=range(1, len(x.shape)))


def build_model(
    hparams: HParams, dataset: data.Dataset, kind: type[VariationalAutoencoder] = VariationalAutoencoder
) -> VariationalAutoencoder:
    """Return an uncompiled model of `kind`."""
    keras.utils.set_random_seed(hparams.seed)  # right before the build, which draws the initial weights
    layers, shape, convolutional = keras.layers, dataset.input_shape, hparams.kind == "convolutional"

    def hidden() -> list[keras.layers.Layer]:
        return [] if hparams.kind == "linear" else [layers.Dense(hparams.hidden_units, activation="relu")]

    if convolutional:
        height, width, channels = (*shape, 1)[:3]
        small = height // 4, width // 4, 2 * hparams.filters
        halve = {"kernel_size": 3, "strides": 2, "padding": "same", "activation": "relu"}  # transposed, they double
        reduce = [
            layers.Reshape((height, width, channels)),
            layers.Conv2D(hparams.filters, **halve),
            layers.Conv2D(2 * hparams.filters, **halve),
        ]
        enlarge = [
            layers.Dense(math.prod(small), activation="relu"),
            layers.Reshape(small),
            layers.Conv2DTranspose(2 * hparams.filters, **halve),
            layers.Conv2DTranspose(hparams.filters, **halve),
            layers.Conv2DTranspose(channels, 3, padding="same", activation="sigmoid"),
        ]
    else:
        reduce, enlarge = [], [*hidden(), layers.Dense(math.prod(shape))]

    x = features = keras.Input(shape)
    for layer in (*reduce, layers.Flatten(), *hidden()):
        features = layer(features)
    mean = layers.Dense(hparams.latent_size, name="mean")(features)
    if hparams.kind == "linear":  # the same for all examples
        constant = layers.Dense(hparams.latent_size, use_bias=False, kernel_initializer="zeros", name="log_variance")
        log_variance = constant(ops.ones_like(mean[:, :1]))
    else:
        log_variance = layers.Dense(hparams.latent_size, name="log_variance")(features)
    encoder = keras.Model(x, [mean, log_variance], name="encoder")
    decoder = keras.Sequential([keras.Input((hparams.latent_size,)), *enlarge, layers.Reshape(shape)], name="decoder")
    model = kind(encoder, decoder, convolutional, hparams.seed)
    model.build((None, *shape))
    return model


class TrainedByFit(VariationalAutoencoder):
    """A `VariationalAutoencoder` whose loss is the negative ELBO, in training and in evaluation."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.reconstruction_loss = keras.metrics.Mean(name="reconstruction_loss")
        self.kl_loss = keras.metrics.Mean(name="kl_loss")

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Return the negative ELBO of x; `y_pred`, from the mean of z, is not used, so TensorFlow leaves it out."""
        mean, log_variance = self.encoder(x, training=training)
        z = mean + ops.exp(0.5 * log_variance) * self.noise(ops.shape(mean))
        reconstruction = self.negative_log_likelihood(x, self.decoder(z, training=training))
        kl = 0.5 * ops.sum(ops.square(mean) + ops.exp(log_variance) - log_variance - 1, axis=1)
        self.reconstruction_loss.update_state(reconstruction)
        self.kl_loss.update_state(kl)
        return ops.mean(reconstruction + kl)


def train(hparams: HParams, run: Run) -> None:
    """Train, evaluate on the test part, and leave everything in the run's folder."""
    dataset = load_data(hparams)
    model = build_model(hparams, dataset, TrainedByFit)
    model.compile(keras.optimizers.Adam(hparams.learning_rate), **hparams.execution)

    model = programs.reuse(model, hparams)  # in a search; else it stays as it is
    batches = dataset.batches(hparams)
    model.fit(
        batches.train,
        validation_data=batches.validation,
        shuffle=False,  # `batches` has shuffled
        initial_epoch=run.first_epoch,
        epochs=hparams.epochs,
        callbacks=run.callbacks(batches),
        verbose=run.verbose,
    )
    run.finish(model, dataset, model.evaluate(batches.test, return_dict=True, verbose=0))


if __name__ == "__main__":
    from recipes.__main__ import script

    script(__file__)
