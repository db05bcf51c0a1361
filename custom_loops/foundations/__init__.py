"""Foundations: gradient descent and its relatives, with an explicit loop."""
