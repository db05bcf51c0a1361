"""Generative adversarial network: a generator learns to make what a discriminator takes for data.

    discriminator   minimizes  -mean log D(x) - mean log(1 - D(G(z)))          z ~ N(0, 1)
    generator       minimizes  -mean log D(G(z))

This side writes the updates of both as one function; its twin in `recipes` puts them into a `train_step` that
`model.fit` calls. (Goodfellow et al. 2014, with the generator's loss of its section 3.)

    recipes loop gan

Measured on the Gaussian, seed 0: the mean of 10,000 samples is 1.0 % off, their covariance 3.8 %; both sides end with
the same bytes; a steady epoch takes 297 ms by fit, 36 ms by the loop (TensorFlow 2.21, Keras 3.15.1, 2 cores of an AMD
EPYC shared with other work, 2026-11-25).
"""

import keras
import tensorflow as tf

from custom_loops.loop import Loop
from recipes.generative.gan import HParams, build_model, draw_samples, load_data, make_optimizers, score
from recipes.shared.run import Run


def train(hparams: HParams, run: Run) -> None:
    """Train, score samples, and leave everything in the run's folder."""
    dataset = load_data(hparams)
    model = build_model(hparams, dataset)
    discriminator_optimizer, generator_optimizer = make_optimizers(hparams, dataset)
    adversarial_loss = keras.losses.BinaryCrossentropy(from_logits=True)
    generator, discriminator = model.generator, model.discriminator
    discriminator_loss = keras.metrics.Mean(name="discriminator_loss")
    generator_loss = keras.metrics.Mean(name="generator_loss")

    def train_step(x):
        examples = tf.shape(x)[0]
        with tf.GradientTape() as tape:
            real = discriminator(x, training=True)
            fake = discriminator(generator(model.noise(examples), training=True), training=True)
            loss = adversarial_loss(tf.ones_like(real), real) + adversarial_loss(tf.zeros_like(fake), fake)
        gradients = tape.gradient(loss, discriminator.trainable_variables)
        discriminator_optimizer.apply(gradients, discriminator.trainable_variables)
        discriminator_loss.update_state(loss, sample_weight=examples)  # a short batch counts less
        step = {"discriminator_loss": loss}

        with tf.GradientTape() as tape:
            fake = discriminator(generator(model.noise(examples), training=True), training=True)
            loss = adversarial_loss(tf.ones_like(fake), fake)
        gradients = tape.gradient(loss, generator.trainable_variables)  # the discriminator stays as it is
        generator_optimizer.apply(gradients, generator.trainable_variables)
        generator_loss.update_state(loss, sample_weight=examples)
        return step | {"generator_loss": loss}

    optimizers = {discriminator_optimizer: discriminator, generator_optimizer: generator}
    loop = Loop(model, train_step, None, [discriminator_loss, generator_loss], optimizers, **hparams.execution)
    batches = dataset.batches(hparams)
    callbacks = run.callbacks(batches, run.pictures("samples", draw_samples, every=10))
    loop.train(batches, epochs=hparams.epochs, callbacks=callbacks, verbose=run.verbose)
    run.finish(model, None, score(model, hparams, dataset))


if __name__ == "__main__":
    from recipes.__main__ import script

    script(__file__)
