"""Hyper-parameters that every recipe has. This module does not import TensorFlow, so that `--help` is instant."""

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from recipes.shared.constraints import AtLeastOne, Positive, Seed, broken
from recipes.shared.errors import UsageError
from recipes.shared.search_space import Choices, LogRange, SearchSpace


@dataclass(frozen=True, kw_only=True)
class HParams:
    """One flat record; the flags and `config.json` derive from its fields.

    A recipe inherits it, changes the defaults that it needs and adds its own fields. The comment behind a field is the
    help text of its flag, so each value must stay a literal: the command reads them from the source, without importing.
    What a value can be stands at its field, in the words of `constraints`; what several fields must meet together is
    checked by `require` in a `__post_init__` of the recipe's own.

    Raises:
        UsageError: a value that no training run can use.
    """

    # What the recipe has no use for: {field: reason}. The command then refuses the flag and gives the reason. The flag
    # `strategy` may stand here as well, for a recipe that trains on one device only.
    unused: ClassVar[dict[str, str]] = {}

    # What `recipes tune` searches. A recipe may narrow it and add to it: `hparams.HParams.search_space | {...}`.
    search_space: ClassVar[SearchSpace] = {
        "learning_rate": LogRange(1e-4, 1e-1),
        "batch_size": Choices(16, 32, 64, 128),
    }
    objective: ClassVar[str] = "val_loss"  # what decides, at its best epoch

    data: str = "digits"  # a set's name, a file (.npz, .csv, ...), or a folder of .npz files or of images by class
    target: str | None = None  # the column of a table (.csv, .tsv, .parquet) to predict; its last one if not given
    header: bool = True  # whether the first line of a .csv or .tsv file names the columns
    drop: tuple[str, ...] = ()  # columns of a table to leave out
    keep: tuple[str, ...] = ()  # the only columns of a table to learn from; all if not given
    numeric: tuple[str, ...] = ()  # columns of a table that hold numbers; what is none there is an error
    categorical: tuple[str, ...] = ()  # columns of a table whose values are categories, also if they are numbers
    split_column: str | None = None  # the column of a table that says of each row train, validation or test
    image_size: tuple[int, int] | None = None  # height and width that the images of a folder are resized to
    channels_first: bool = False  # whether the images of the .npz files are (channels, height, width)
    split_seed: Seed = 0  # of the split into parts; not --seed, so that runs are judged on the same examples
    stream: bool = False  # read the folder while training, for data larger than memory; the bits are the same
    learning_rate: Positive = 0.001  # step size of the optimizer
    batch_size: AtLeastOne = 32  # examples in one update
    epochs: AtLeastOne = 10  # passes over the training data
    seed: Seed = 0  # of the initial weights, the order of the examples, and dropout
    train_on_validation: bool = False  # train on the validation part too; what is measured on it then says nothing
    steps_per_execution: AtLeastOne | None = None  # batches in one call; if not given, fit takes 1, the loop an epoch
    jit_compile: bool = False  # compile with XLA, which pays for steps that compute much

    def __post_init__(self) -> None:
        for field in fields(self):
            if isinstance(getattr(self, field.name), list):  # JSON has no tuples
                object.__setattr__(self, field.name, tuple(getattr(self, field.name)))
        names = {field.name for field in fields(self)}
        for kind in type(self).__mro__:  # a recipe that changes a default need not repeat the constraint
            for name, hint in get_type_hints(kind, include_extras=True).items():
                condition = broken(hint, getattr(self, name)) if name in names else None
                self.require(condition is None, name, condition or "")
        for side in self.image_size or ():
            self.require(1 <= side < 2**31, "image_size", "two numbers from 1 to 2147483647")
        for field in fields(self):  # a recipe's own as well
            value = getattr(self, field.name)
            if isinstance(value, int) and field.name not in ("seed", "split_seed"):
                self.require(value < 2**31, field.name, "below 2147483648, as TensorFlow counts")

    @property
    def execution(self) -> dict[str, Any]:
        """How steps are run, for `model.compile` and `Loop` alike; what is not given is left to their defaults."""
        steps = {} if self.steps_per_execution is None else {"steps_per_execution": self.steps_per_execution}
        return steps | {"jit_compile": self.jit_compile}

    def require(self, holds: bool, name: str, condition: str) -> None:
        """Raise a UsageError about the field `name` unless `holds`; `condition` completes "it must be ..."."""
        if not holds:
            flag = "--" + name.replace("_", "-")
            raise UsageError(f"{flag} is {getattr(self, name)}; it must be {condition}")

    def used(self) -> dict[str, Any]:
        """Return the fields that the recipe uses, by name."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in self.unused}

    def domains(self) -> dict[str, Any]:
        """Return what each field that the recipe uses can be: a list of all values, or "number" or "text".

        A number that may be left out counts as text: TensorBoard cannot sort a column of numbers and words.
        """
        hints = get_type_hints(type(self))
        return {name: _domain(hints[name]) for name in self.used()}


def _domain(hint: Any) -> Any:
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    return {bool: [False, True], int: "number", float: "number"}.get(hint, "text")
