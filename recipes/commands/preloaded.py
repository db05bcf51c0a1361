"""What the fork server of `processes.py` imports before it forks the first process that trains. Nothing computes here.

Besides TensorFlow and Keras these are the parts of other packages that a run with everything logged uses, as far as
they take more than 10 ms to import.
"""

import gc
import os

from recipes.shared import runtime

runtime.import_tensorflow()

import keras  # noqa: E402, F401  TensorFlow is imported quietly first
import matplotlib.backends.backend_agg  # noqa: E402, F401
import numpy as np  # noqa: E402
import PIL.PngImagePlugin  # noqa: E402, F401
import sklearn.datasets  # noqa: E402, F401

from recipes.commands import side  # noqa: E402, F401
from recipes.shared import run  # noqa: E402, F401

gc.freeze()
# Python's own generator is seeded anew after a fork. With NumPy's as it was here, two sides that draw from it and set
# no seed would draw the same numbers, and hide that they differ from run to run.
os.register_at_fork(after_in_child=np.random.seed)
