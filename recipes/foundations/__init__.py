"""Foundations: gradient descent and its relatives, with `model.fit`."""
