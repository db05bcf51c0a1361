"""Keeping a model from learning its training data by heart, each with a training step of its own."""
