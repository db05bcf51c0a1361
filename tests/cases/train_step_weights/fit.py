import keras
import tensorflow as tf

from recipes.shared import data

WEIGHTS = tf.constant([1.0, 3.0, 0.5])  # a class that is rare counts more


class Weighted(keras.Model):
    def train_step(self, batch):
        x, y, weights = batch
        with tf.GradientTape() as tape:
            value = self.loss_fn(y, self(x, training=True), sample_weight=weights)
        self.optimizer.apply(tape.gradient(value, self.trainable_variables), self.trainable_variables)
        self.mean.update_state(value, sample_weight=tf.shape(x)[0])
        return {"loss": self.mean.result()}

    @property
    def metrics(self):
        return [self.mean]


def make(hparams):
    dataset = data.load(hparams, task="classification")
    keras.utils.set_random_seed(hparams.seed)
    inputs = keras.Input(dataset.input_shape)
    outputs = keras.layers.Dense(dataset.num_classes)(keras.layers.Dense(16, activation="relu")(inputs))
    model = Weighted(inputs, outputs)
    model.mean = keras.metrics.Mean(name="loss")
    model.loss_fn = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return dataset, model


def train(hparams, run):
    dataset, model = make(hparams)
    model.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    batches = dataset.batches(hparams)
    train_batches = batches.train.map(lambda x, y: (x, y, tf.gather(WEIGHTS, y)))
    model.fit(train_batches, epochs=hparams.epochs, shuffle=False, verbose=0, callbacks=run.callbacks(batches))
    run.finish(model, dataset, {"loss": float(model.loss_fn(dataset.test.y, model(dataset.test.x)))})
