"""Supervised: learning from labelled examples, with `model.fit`."""
