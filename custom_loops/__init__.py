"""The custom-loop side of every pair: an explicit `tf.GradientTape` step, driven by `loop.py`."""
