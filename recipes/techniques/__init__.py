"""Techniques: other ways to give a training to `model.fit`."""
