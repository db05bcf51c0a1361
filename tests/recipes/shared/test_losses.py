"""The sum of a model's losses."""

import keras
import numpy as np
import tensorflow as tf

from recipes.shared import losses


def test_the_total_is_the_loss_and_every_element_of_the_extra_losses():
    extra = [tf.constant(1.0), tf.constant([3.0, 4.0])]
    assert float(losses.total(tf.constant(2.0), extra)) == 10.0


def test_without_extra_losses_the_loss_is_returned_as_it_is():
    loss = tf.constant(2.0)
    assert losses.total(loss, []) is loss


def test_l2_and_add_loss_are_summed_as_keras_does_to_the_last_bit():
    class Activity(keras.layers.Layer):
        def call(self, x):
            self.add_loss(keras.ops.abs(x) / 7)  # not a scalar
            return x

    x, y = np.random.default_rng(0).normal(size=(2, 8, 6)).astype(np.float32)
    for seed in range(5):
        keras.utils.set_random_seed(seed)
        dense = [keras.layers.Dense(6, kernel_regularizer=keras.regularizers.L2(0.1 + 0.01 * i)) for i in range(12)]
        model = keras.Sequential([keras.Input((6,)), *dense, Activity()])
        model.compile("sgd", "mse", jit_compile=False)
        predictions = model(x, training=True)
        expected = model.compute_loss(x, y, predictions)
        loss = keras.losses.MeanSquaredError()(y, predictions)
        extra = model.losses
        assert len(extra) == 13
        assert float(losses.total(loss, extra)) == float(expected)
        by_hand = float(loss) + sum(float(tf.reduce_sum(value)) for value in extra)
        np.testing.assert_allclose(float(expected), by_hand, rtol=1e-5)
