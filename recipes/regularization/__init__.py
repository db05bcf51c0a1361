"""Keeping a model from learning its training data by heart, by `model.fit`."""
