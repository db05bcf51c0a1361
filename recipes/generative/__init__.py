"""Generative models, with `model.fit`."""
