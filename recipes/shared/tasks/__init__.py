"""What is predicted: which targets are valid, which scores are measured, which pictures are drawn.

A task is one file in this folder and its name in `NAMES`. The file has the instance `TASK` of a class that inherits
`Task`. Raw targets are checked before TensorFlow is imported, so what takes long to import (TensorFlow, Keras,
scikit-learn, matplotlib) is imported in the methods that need it.
"""

import importlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

import numpy as np

from recipes.shared.errors import UsageError

if TYPE_CHECKING:
    import keras
    from tensorboard.compat.proto.summary_pb2 import Summary

    from recipes.shared.splits import Split

NAMES = ("classification", "regression")

Kind = Literal["logits", "probabilities", "unknown"]  # what a model's outputs mean, where they are to become classes


class Task(Protocol):
    """What is predicted, of targets of one kind.

    The first three methods take targets as they came; the others take them encoded, as in a `Split`. A method that
    cannot do with the targets or outputs it gets raises an error of any kind: it becomes a note of the run, and the
    rest is there all the same.

    Attributes:
        name: what `data.load(hparams, task=...)` calls it.
        predicts: what a recipe of this task predicts, for messages: "this recipe predicts numbers".
        one_value: whether the target of an example is a single value; if not, it is an array of any shape.
        in_files: whether the examples may be spread over a folder of files.
    """

    name: ClassVar[str]
    predicts: ClassVar[str]
    one_value: ClassVar[bool] = True
    in_files: ClassVar[bool] = False

    def of(self, targets: Iterable[np.ndarray], data: str) -> Self:
        """Return the task of these targets, with what it has found out about them, such as their classes.

        Args:
            targets: of all examples but those of the test part, file by file; it may stop before the last one.
            data: what it calls the data in an error.

        Raises:
            UsageError: they are no targets of this task.
        """

    def encode(self, targets: np.ndarray, data: str) -> np.ndarray:
        """Return targets as a model takes them. `of` has made this task, perhaps of targets of other examples.

        Raises:
            UsageError: one of them is not valid.
        """

    def strata(self, targets: np.ndarray) -> np.ndarray | None:
        """Return what all parts shall have equal shares of, (examples,); None if they are cut at random."""
        return None

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes by index; empty where a task has none."""
        return ()

    def predict(self, model: "keras.Model", split: "Split") -> Any:
        """Return what the other methods need of what `model` makes of `split`.

        Raises:
            TrainingDiverged: an output is not finite.
        """
        from recipes.shared import outputs

        return outputs.of(model, split)

    def scores(self, targets: Any, outputs: Any, kind: Kind) -> dict[str, float]:
        """Return the scores by name, without those that these examples or this kind of outputs do not define.

        Args:
            targets: of some examples.
            outputs: for them, as `predict` returned them.
            kind: what they mean.
        """

    def notes(self, targets: Any, outputs: Any, kind: Kind) -> list[str]:
        """Return a line for each reason why scores or pictures of the test part are left out, or say little."""
        return []

    def pictures(self, split: "Split", outputs: Any, kind: Kind) -> Iterator["Summary.Value"]:
        """Yield what TensorBoard shows of the test part."""
        return iter(())

    def labels(self, targets: Any) -> list[str]:
        """Return what TensorBoard's projector calls each example."""


def named(name: str) -> Task:
    """Return the task that `data.load(hparams, task=name)` means. It has seen no targets yet.

    Raises:
        UsageError: there is none of this name.
    """
    if name not in NAMES:
        raise UsageError(f"no task named {name!r}; use one of {', '.join(NAMES)}")
    task: Task = importlib.import_module(f"{__name__}.{name}").TASK
    return task
