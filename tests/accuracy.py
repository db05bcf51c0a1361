"""Whether both sides of `cnn_classifier` reach 0.99 test accuracy on MNIST, with the same bytes.

    python -m tests.accuracy path/to/mnist.npz [epochs]        or: make accuracy DATA=path/to/mnist.npz

About four minutes on two cores. Exit code 1 if they do not.
"""

import sys
import tempfile
from pathlib import Path

from recipes.__main__ import main as recipes
from recipes.commands import parity

LOWEST = 0.99


def main(data: str, epochs: str = "10") -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.json"
        logs = ["--logs", folder, "--json", str(path)]
        code = recipes(["compare", "cnn_classifier", "--data", data, "--epochs", epochs, *logs])
        (result,) = parity.read_json(path)
    accuracies = [result[side]["metrics"]["accuracy"] for side in ("fit", "custom_loop")]
    print(f"test accuracy {accuracies[0]:.4f} by fit, {accuracies[1]:.4f} by the loop; wanted: {LOWEST}")
    return code or int(min(accuracies) < LOWEST)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
