"""Generative models, with an explicit loop."""
