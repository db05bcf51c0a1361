"""Training recipes for TensorFlow and Keras: the `model.fit` side of every pair, and what both sides share."""
