""".npz files: what NumPy writes is read back, and what a file merely claims costs no memory."""

import io
import tracemalloc
import zipfile

import numpy as np
import pytest

from recipes.shared import archives, runtime
from recipes.shared.errors import UsageError

X = np.arange(12.0).reshape(4, 3)


def header(shape, dtype="<f8", version=(1, 0), order=False):
    """The beginning of an .npy file, with whatever claims."""
    text = repr({"descr": dtype, "fortran_order": order, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY" + bytes(version) + len(text).to_bytes(2 if version == (1, 0) else 4, "little") + text


@pytest.fixture
def archive(tmp_path):
    """A function that writes members, bytes by name, to an .npz file and returns its path."""

    def archive(compression=zipfile.ZIP_STORED, **members):
        with zipfile.ZipFile(tmp_path / "data.npz", "w", compression) as file:
            for name, content in members.items():
                file.writestr(f"{name}.npy", content)
        return tmp_path / "data.npz"

    return archive


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    "array",
    [
        X,
        np.asfortranarray(X),
        X[:0],
        np.array(3),
        np.array([True, False]),
        np.array(["yes", "no"]),
        np.array(["", ""]),
        np.array([b"yes", b"no"]),
        np.arange(3, dtype=np.float16),
        np.arange(3, dtype=np.uint64),
    ],
)
def test_what_numpy_writes_is_read_back(tmp_path, save, array):
    save(tmp_path / "data.npz", a=array, b=X)
    arrays = archives.read(tmp_path / "data.npz", optional=None)
    assert list(arrays) == ["a", "b"]
    np.testing.assert_array_equal(arrays["a"], array)
    assert (arrays["a"].dtype, arrays["a"].shape) == (array.dtype, array.shape)


@pytest.mark.parametrize("dtype", [">f8", ">f4", ">i4", np.longdouble])
def test_types_that_tensorflow_does_not_know_become_those_that_it_does(tmp_path, dtype):
    np.savez(tmp_path / "data.npz", a=X.astype(dtype))
    array = archives.read(tmp_path / "data.npz", ["a"])["a"]
    assert array.dtype.isnative
    assert array.dtype.itemsize <= 8
    np.testing.assert_array_equal(array, X)


def test_only_what_is_asked_for_is_read(tmp_path):
    np.savez(tmp_path / "data.npz", a=X, b=X, other=np.array([{}], dtype=object))
    assert list(archives.read(tmp_path / "data.npz", ["a"])) == ["a"]
    assert list(archives.read(tmp_path / "data.npz", ["a"], ["b", "c"])) == ["a", "b"]
    with pytest.raises(UsageError, match="holds a, b, other; it needs a and x"):
        archives.read(tmp_path / "data.npz", ["a", "x"])
    with pytest.raises(UsageError, match=r"no archive of plain arrays.*never unpickled"):
        archives.read(tmp_path / "data.npz", optional=None)


def test_an_archive_without_members_holds_nothing(archive):
    with pytest.raises(UsageError, match="holds nothing; it needs a"):
        archives.read(archive(), ["a"])


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((10**12,), "<f8"),
        ((2**40, 2**40), "<f8"),  # wraps around to 0 in 64 bits
        ((2**32, 2**32, 2), "|u1"),
        ((2**63,), "|u1"),
        ((-1,), "<f8"),
        ((-2, -2), "<f8"),
        ((10**18,), "|S0"),  # no bytes each, but an array all the same
        ((10**18,), "|V0"),
        ((3,), "<U300000000"),
        ((1,), "(1000000,1000000)f8"),
        ((5, 3), "<f8"),  # one row more than there is
        ((4.0, 3), "<f8"),
        ((True, 12), "nonsense"),
    ],
)
@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_what_a_header_claims_beyond_the_bytes_that_follow_is_refused_before_memory_is_taken(
    archive, shape, dtype, version
):
    path = archive(a=header(shape, dtype, version) + X.tobytes())
    tracemalloc.start()
    with pytest.raises(UsageError, match="cannot read") as error:
        archives.read(path, ["a"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**21
    assert "\n" not in str(error.value)


def test_a_header_longer_than_numpys_is_not_read(archive):
    content = b"\x93NUMPY\x02\x00" + (2**31).to_bytes(4, "little") + b" " * 2**24
    path = archive(zipfile.ZIP_DEFLATED, a=content)
    tracemalloc.start()
    with pytest.raises(UsageError, match="cannot read"):
        archives.read(path, ["a"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**21


@pytest.mark.parametrize("text", [b"-" * 9000 + b"1", b"[" * 9000, b"(" * 150 + b")" * 150, b"{}", b"\xff", b""])
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0), (9, 9)])
def test_a_header_that_is_none_is_refused(archive, text, version):
    length = len(text).to_bytes(2 if version == (1, 0) else 4, "little")
    with pytest.raises(UsageError, match="cannot read"):
        archives.read(archive(a=b"\x93NUMPY" + bytes(version) + length + text), ["a"])


def test_a_bomb_of_zeros_is_refused_before_it_is_unpacked(archive, monkeypatch):
    """A thousand times its size on the disk, and honest about it."""
    zeros = io.BytesIO()
    np.save(zeros, np.zeros((2**22, 2), np.float64))
    path = archive(zipfile.ZIP_DEFLATED, a=zeros.getvalue())
    del zeros
    assert path.stat().st_size < 2**17
    monkeypatch.setattr(runtime, "machine_memory", lambda: 2**26)
    tracemalloc.start()
    with pytest.raises(UsageError, match=r"takes 0\.1 GiB in memory, more than half of this machine's 0\.1"):
        archives.read(path, ["a"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**21
    monkeypatch.setattr(runtime, "machine_memory", lambda: 2**30)
    assert archives.read(path, ["a"])["a"].shape == (2**22, 2)


def test_an_archive_that_lies_about_the_size_of_a_member_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "data.npz", a=np.zeros((1000, 1000)))
    content = (tmp_path / "data.npz").read_bytes()
    there = (1000 * 1000 * 8 + 128).to_bytes(4, "little")
    assert content.count(there) >= 1
    (tmp_path / "data.npz").write_bytes(content.replace(there, (200).to_bytes(4, "little")))
    with pytest.raises(UsageError, match="cannot read"):
        archives.read(tmp_path / "data.npz", ["a"])


def test_an_archive_in_an_archive_is_no_array(tmp_path, archive):
    np.savez(tmp_path / "inner.npz", a=X)
    inner = (tmp_path / "inner.npz").read_bytes()
    with pytest.raises(UsageError, match="cannot read"):
        archives.read(archive(a=inner), ["a"])
