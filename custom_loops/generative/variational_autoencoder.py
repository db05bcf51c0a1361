"""Variational autoencoder: an encoder says where an example may lie among few numbers z, a decoder makes it from them.

    q(z | x) = N(m(x), s(x)^2)                     the encoder; z has the prior N(0, 1)
    loss     = -E_q log p(x | z)  +  KL(q(z | x) || N(0, 1))      in nats, the mean over the examples
             =  reconstruction    +  1/2 sum_j (m_j^2 + s_j^2 - log s_j^2 - 1)

The loss is an upper bound of -log p(x), the negative ELBO, here with one z = m + s e, e ~ N(0, 1), for each example.
It is drawn where the loss is only measured too: from m alone it would be too small, and no bound. The model itself,
when called, draws nothing: it reconstructs x from m. (Kingma and Welling 2014.)

This side writes out the training step; its twin in `recipes` overrides `compute_loss`, which `model.fit` calls.

    recipes loop variational_autoencoder

Measured on the training part of breast_cancer, seeds 0, 1 and 2: the expected loss is 31.73, 31.60 and 31.45 nats, and
PCA's bound 31.36; both sides end with the same bytes, with XLA too. MNIST, after 4 epochs on 60,000 images: 160.7 =
155.3 + 5.4; keras.io: 150.4 after 30 on 70,000 (TensorFlow 2.21, Keras 3.15.1, 2 cores of an AMD EPYC, 2026-11-25).
"""

import keras
import tensorflow as tf

from custom_loops.loop import Loop
from recipes.generative.variational_autoencoder import HParams, build_model, load_data
from recipes.shared import programs
from recipes.shared.run import Run


def train(hparams: HParams, run: Run) -> None:
    """Train, evaluate on the test part, and leave everything in the run's folder."""
    dataset = load_data(hparams)
    model = build_model(hparams, dataset)
    optimizer = keras.optimizers.Adam(hparams.learning_rate)
    mean_loss = keras.metrics.Mean(name="loss")
    reconstruction_loss = keras.metrics.Mean(name="reconstruction_loss")
    kl_loss = keras.metrics.Mean(name="kl_loss")

    def negative_elbo(x: tf.Tensor, training: bool) -> tf.Tensor:
        mean, log_variance = model.encoder(x, training=training)
        z = mean + tf.exp(0.5 * log_variance) * model.noise(tf.shape(mean))
        reconstruction = model.negative_log_likelihood(x, model.decoder(z, training=training))
        kl = 0.5 * tf.reduce_sum(tf.square(mean) + tf.exp(log_variance) - log_variance - 1, axis=1)
        loss = tf.reduce_mean(reconstruction + kl)
        mean_loss.update_state(loss, sample_weight=tf.shape(x)[0])  # a short batch counts less
        reconstruction_loss.update_state(reconstruction)
        kl_loss.update_state(kl)
        return loss

    def train_step(x):
        with tf.GradientTape() as tape:
            loss = negative_elbo(x, training=True)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return {"loss": loss}

    def test_step(x):
        return {"loss": negative_elbo(x, training=False)}

    loop = Loop(
        model,
        train_step,
        test_step,
        [mean_loss, reconstruction_loss, kl_loss],
        optimizer,
        one_program=hparams.kind != "convolutional",  # inside a loop of XLA's, convolutions take far longer
        **hparams.execution,
    )
    loop = programs.reuse(loop, hparams)  # in a search; else it stays as it is
    batches = dataset.batches(hparams)
    loop.train(batches, epochs=hparams.epochs, callbacks=run.callbacks(batches), verbose=run.verbose)
    run.finish(loop.model, dataset, loop.evaluate(batches))


if __name__ == "__main__":
    from recipes.__main__ import script

    script(__file__)
