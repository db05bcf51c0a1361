"""Who is measured. Each is a function `train(problem, epochs)` that a reader could have taken from the docs.

It iterates over `epochs`, trains one epoch in each turn, all of it done when the turn ends, and returns its outputs on
the test examples and its weights. Each accumulates the loss and the accuracy of its steps, because fit does.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Contestant:
    """One way to train.

    Args:
        name: in the JSON file.
        title: what the tables say.
        function: `module.function` below this package.
        needs: the package without which it cannot take part.
        peer: takes part only with `--peers`.
        cases: the builders that it has; all if empty.
    """

    name: str
    title: str
    function: str
    needs: str = "keras"
    peer: bool = False
    cases: tuple[str, ...] = ()


CONTESTANTS = (
    Contestant("custom_loop", "our custom loop", "our_sides.custom_loop"),
    Contestant("fit", "our fit side", "our_sides.fit"),
    Contestant("fit_documented", "fit as documented", "keras_documented.fit"),
    Contestant("fit_best", "our fit side at its best", "our_sides.fit_at_its_best"),
    Contestant("docs_loop", "the docs' tf.function loop", "keras_documented.loop"),
    Contestant("floor", "NumPy, matrix products only", "floor.train", "numpy", False, ("softmax", "mlp", "linear")),
    Contestant("pytorch", "PyTorch, fused Adam", "pytorch.eager", "torch", peer=True),
    Contestant("pytorch_compile", "PyTorch, torch.compile", "pytorch.compiled", "torch", peer=True),
    Contestant("jax_step", "JAX, jit per step", "in_jax.step_by_step", "jax", peer=True),
    Contestant("jax_scan", "JAX, scan over the epoch", "in_jax.scan", "jax", peer=True),
    Contestant(
        "scikit_learn",
        "scikit-learn",
        "scikit_learn.train",
        "sklearn",
        peer=True,
        cases=("softmax", "mlp", "linear"),
    ),
)
