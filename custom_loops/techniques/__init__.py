"""Techniques: other ways to train, with an explicit loop."""
