"""The models of the cases, in Keras, uncompiled, ending in logits. All contestants begin with their initial weights."""

import keras
from keras import layers

IMAGE = (28, 28)  # for the recurrent and the attention model: 28 rows of 28 features


def softmax() -> keras.Model:
    """Return the softmax classifier: (batch, 28, 28) to (batch, 10)."""
    return keras.Sequential([keras.Input(IMAGE), layers.Flatten(), layers.Dense(10, "relu"), layers.Dense(10)])


def mlp() -> keras.Model:
    """Return the perceptron with two hidden layers: (batch, 28, 28) to (batch, 10)."""
    return keras.Sequential(
        [keras.Input(IMAGE), layers.Flatten(), layers.Dense(64, "relu"), layers.Dense(64, "relu"), layers.Dense(10)]
    )


def mlp_regularized() -> keras.Model:
    """Return the same with batch normalization, dropout and L2: (batch, 28, 28) to (batch, 10)."""
    penalty = keras.regularizers.L2(1e-4)
    model = keras.Sequential([keras.Input(IMAGE), layers.Flatten()])
    for _ in range(2):
        model.add(layers.Dense(64, kernel_regularizer=penalty))
        model.add(layers.BatchNormalization())
        model.add(layers.ReLU())
        model.add(layers.Dropout(0.2))
    model.add(layers.Dense(10, kernel_regularizer=penalty))
    return model


def cnn() -> keras.Model:
    """Return the convolutional network: (batch, 28, 28) to (batch, 10)."""
    return keras.Sequential(
        [
            keras.Input(IMAGE),
            layers.Reshape((*IMAGE, 1)),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(128, "relu"),
            layers.Dense(10),
        ]
    )


def lstm() -> keras.Model:
    """Return the recurrent network over the rows of an image: (batch, 28, 28) to (batch, 10)."""
    return keras.Sequential([keras.Input(IMAGE), layers.LSTM(64), layers.Dense(10)])


def transformer() -> keras.Model:
    """Return two pre-norm blocks of attention over the rows of an image: (batch, 28, 28) to (batch, 10)."""
    rows = keras.Input(IMAGE)
    x = layers.Dense(64)(rows)
    for _ in range(2):
        normalized = layers.LayerNormalization(epsilon=1e-5)(x)
        x = x + layers.MultiHeadAttention(num_heads=4, key_dim=16)(normalized, normalized)
        normalized = layers.LayerNormalization(epsilon=1e-5)(x)
        x = x + layers.Dense(64)(layers.Dense(128, "relu")(normalized))
    return keras.Model(rows, layers.Dense(10)(layers.GlobalAveragePooling1D()(x)))


def linear() -> keras.Model:
    """Return the linear regression: (batch, 10) to (batch, 1)."""
    return keras.Sequential([keras.Input((10,)), layers.Dense(1, kernel_initializer="zeros")])
