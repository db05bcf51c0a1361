"""Supervised: learning from labelled examples, with an explicit loop."""
