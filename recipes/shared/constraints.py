"""What values a hyper-parameter can take, written at its field: `hidden_units: AtLeastOne = 64`.

TensorFlow is not imported, so that a mistyped value is refused at once.
"""

import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt

AtLeastOne = Annotated[int, Ge(1)]
AtLeastTwo = Annotated[int, Ge(2)]
Positive = Annotated[float, Gt(0), Lt(math.inf)]
NotNegative = Annotated[float, Ge(0), Lt(math.inf)]
Share = Annotated[float, Ge(0), Lt(1)]  # such as what dropout drops, or what an average keeps
Epsilon = Annotated[float, Ge(1e-37)]  # what is smaller is 0 in float32
Seed = Annotated[int, Ge(0), Lt(2**32)]


def broken(hint: Any, value: Any) -> str | None:
    """Return the first constraint that `value` does not meet, as in "at least 1"; None if it meets all.

    Args:
        hint: a type, perhaps with constraints (`Annotated[int, Ge(1)]`), perhaps one of several (`AtLeastOne | None`),
            or `Literal`.
        value: None if nothing was given, which meets every constraint.
    """
    if get_origin(hint) is Literal and value not in get_args(hint):
        return f"one of {', '.join(map(str, get_args(hint)))}"
    bounds = _bounds(hint) if value is not None else ()
    return next((_in_words(bound) for bound in bounds if not _holds(bound, value)), None)


def _bounds(hint: Any) -> Iterator[Any]:
    if get_origin(hint) is Annotated:
        yield from hint.__metadata__
    for part in get_args(hint):
        if get_origin(part) is Annotated:
            yield from part.__metadata__


def _holds(bound: Any, value: Any) -> bool:
    match bound:
        case Ge(ge):
            return bool(value >= ge)
        case Gt(gt):
            return bool(value > gt)
        case Le(le):
            return bool(value <= le)
        case Lt(lt):
            return bool(value < lt)
    raise TypeError(f"{bound!r} is no constraint that is checked here")


def _in_words(bound: Any) -> str:
    match bound:
        case Ge(ge):
            return f"at least {ge:g}"
        case Gt(gt):
            return f"greater than {gt:g}"
        case Le(le):
            return f"at most {le:g}"
        case Lt(lt):
            return "finite" if lt == math.inf else f"below {lt}"
    raise TypeError(f"{bound!r} is no constraint that is checked here")
