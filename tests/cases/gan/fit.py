import keras
import numpy as np
import tensorflow as tf

LATENT = 4
REAL = np.random.default_rng(0).normal(2.0, 0.5, (256, 8)).astype("float32")


class Gan(keras.Model):
    def __init__(self):
        super().__init__()
        self.generator = keras.Sequential(
            [keras.Input((LATENT,)), keras.layers.Dense(16, activation="relu"), keras.layers.Dense(8)]
        )
        self.critic = keras.Sequential(
            [keras.Input((8,)), keras.layers.Dense(16, activation="relu"), keras.layers.Dense(1)]
        )
        self.noise = keras.random.SeedGenerator(5)
        self.bce = keras.losses.BinaryCrossentropy(from_logits=True)
        self.critic_loss, self.generator_loss = (
            keras.metrics.Mean(name="critic_loss"),
            keras.metrics.Mean(name="generator_loss"),
        )
        self.built = True

    def compile(self, critic_optimizer, generator_optimizer, **more):
        super().compile(**more)
        self.critic_optimizer, self.generator_optimizer = critic_optimizer, generator_optimizer

    @property
    def metrics(self):
        return [self.critic_loss, self.generator_loss]

    def call(self, noise):
        return self.generator(noise)

    def train_step(self, real):
        n = tf.shape(real)[0]
        fake = self.generator(keras.random.normal((n, LATENT), seed=self.noise))
        with tf.GradientTape() as tape:
            out = self.critic(tf.concat([real, fake], 0))
            value = self.bce(tf.concat([tf.ones((n, 1)), tf.zeros((n, 1))], 0), out)
        variables = self.critic.trainable_variables
        self.critic_optimizer.apply(tape.gradient(value, variables), variables)
        self.critic_loss.update_state(value)
        with tf.GradientTape() as tape:
            value = self.bce(
                tf.ones((n, 1)), self.critic(self.generator(keras.random.normal((n, LATENT), seed=self.noise)))
            )
        variables = self.generator.trainable_variables
        self.generator_optimizer.apply(tape.gradient(value, variables), variables)
        self.generator_loss.update_state(value)
        return {metric.name: metric.result() for metric in self.metrics}


def make(hparams):
    keras.utils.set_random_seed(hparams.seed)
    model = Gan()
    return (
        tf.data.Dataset.from_tensor_slices(REAL).batch(32),
        model,
        keras.optimizers.Adam(0.002),
        keras.optimizers.Adam(0.001),
    )


def train(hparams, run):
    batches, model, critic_optimizer, generator_optimizer = make(hparams)
    model.compile(critic_optimizer, generator_optimizer, jit_compile=False)
    model.fit(
        batches,
        initial_epoch=run.first_epoch,
        epochs=hparams.epochs,
        shuffle=False,
        verbose=0,
        callbacks=[*run.callbacks(), Kill()],
    )
    run.finish(model, None, {"loss": float(model.generator_loss.result())})


class Kill(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        import os
        import pathlib
        import signal

        self.count = getattr(self, "count", 0) + 1
        mark = os.environ.get("MARK")
        if mark and self.count == 20 and not pathlib.Path(mark).exists():
            pathlib.Path(mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
