"""Reads .npz files as plain arrays. What a file claims to hold is checked before memory is taken for it.

`np.load` believes the header of an array: a file of a few bytes may ask for more memory than there is. And it would
read an .npy in the place of an .npz. So each member of the archive is looked at here before NumPy reads it.
"""

import io
import math
import zipfile
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from recipes.shared import runtime
from recipes.shared.errors import UsageError
from recipes.shared.files import require_file

LONGEST_HEADER = 12_000  # bytes; NumPy takes up to 10,000, and some before them
SMALLER = "make it smaller, or a folder of several .npz files with --stream"


def read(path: Path, needed: Collection[str] = (), optional: Collection[str] | None = ()) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz file that are `needed`, and those of `optional` that it has: all if that is None.

    Raises:
        UsageError: there is no such file, it is broken, lacks something, holds what only a pickle can, or its arrays
            take more memory than there is to spare.
    """
    require_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
            if not members.keys() >= set(needed):
                raise UsageError(f"{path} holds {', '.join(members) or 'nothing'}; it needs {' and '.join(needed)}")
            wanted = [name for name in members if optional is None or name in needed or name in optional]
            # zipfile never gives more of a member than the archive says it has
            runtime.require_memory(f"{path}", sum(members[name].file_size for name in wanted), SMALLER)
            return {name: _array(archive, members[name]) for name in wanted}
    except UsageError:
        raise
    except Exception as error:  # damaged bytes end in errors of zipfile, zlib, tokenize and NumPy's header parser
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(
            f"cannot read {path}: {reason}; an .npz is written by np.savez, and never unpickled"
        ) from error


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """Return the array in `member`, in a type that TensorFlow knows: this machine's byte order, at most 64 bits.

    Raises:
        ValueError: it is none, or has fewer bytes than its header claims.
    """
    with archive.open(member) as file:
        beginning = io.BytesIO(file.read(LONGEST_HEADER))
    version = npy.read_magic(beginning)
    if version == (1, 0):
        shape, _, dtype = npy.read_array_header_1_0(beginning)
    elif version == (2, 0):
        shape, _, dtype = npy.read_array_header_2_0(beginning)
    else:  # of arrays with named columns, which no recipe takes
        raise ValueError(f"{member.filename} is of the .npy version {version}")
    if dtype.hasobject:
        raise ValueError("it is no archive of plain arrays")
    count = math.prod(shape)  # of Python's integers: NumPy's own wrap around
    there = member.file_size - beginning.tell()
    if min(shape, default=0) < 0 or count * dtype.itemsize > there or (count and not dtype.itemsize):
        raise ValueError(f"{member.filename} claims the shape {shape} of {dtype}, and has {there} bytes")
    with archive.open(member) as file:
        array = npy.read_array(file, allow_pickle=False)  # a pickle could run any code
    if dtype.kind == "f" and dtype.itemsize > 8:
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused as such
            return array.astype(np.float64)
    return array if dtype.isnative else array.astype(dtype.newbyteorder("="))
