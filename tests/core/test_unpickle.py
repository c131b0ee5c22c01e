from __future__ import annotations

import collections
import contextlib
import functools
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hlmat_bench.core import unpickle
from hlmat_bench.core.errors import UsageError

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.binary(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=4), inner, max_size=3)
        | st.tuples(inner, inner)
        | st.frozensets(st.integers(), max_size=3)
    ),
    max_leaves=10,
)


def is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(is_plain(part) for pair in value.items() for part in pair)
    if isinstance(value, list | tuple | set | frozenset):
        return all(is_plain(part) for part in value)
    return value is None or type(value) in (str, bytes, bool, int, float, complex)


@pytest.mark.slow
@given(plain, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_values_come_back(value, protocol):
    assert unpickle.loads(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "scalar", [np.int64(-5), np.float32(1.5), np.bool_(True), np.str_("é"), np.uint8(200)], ids=repr
)
def test_numpy_scalars_become_python_numbers(scalar, protocol):
    value = unpickle.loads(pickle.dumps([scalar], protocol))
    assert value == [scalar.item()]
    assert type(value[0]) is type(scalar.item())


def test_python_2_strings_are_latin_1():
    # {'sent': 'caf\xe9'} by Python 2's pickle.dumps(..., 2)
    assert unpickle.loads(b"\x80\x02}q\x00U\x04sentq\x01U\x04caf\xe9q\x02s.") == {"sent": "café"}


@pytest.mark.parametrize(("order", "data"), [("<", r"\x05\x00"), (">", r"\x00\x05")])
def test_numpy_scalar_of_python_2(order, data):
    text = (
        "cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'i2'\nI0\nI1\ntR"
        f"(I3\nS'{order}'\nNNNI-1\nI-1\nI0\ntbS'{data}'\ntR."
    )
    assert unpickle.loads(text.encode("latin1")) == 5


def test_ordered_dict_and_set():
    value = [collections.OrderedDict([("b", 1), ("a", 2)]), {1, 2}]
    loaded = unpickle.loads(pickle.dumps(value, 2))
    assert loaded == [{"b": 1, "a": 2}, {1, 2}]
    assert type(loaded[0]) is dict


class Writes:
    """A pickle of this writes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.write_text, (self.path, "owned")


def test_hostile_pickle_does_nothing(tmp_path):
    marker, file = tmp_path / "marker", tmp_path / "refs(unc).p"
    file.write_bytes(pickle.dumps([{"ref_id": Writes(marker)}], 2))
    with pytest.raises(UsageError, match=r"refs\(unc\)\.p is refused: it asks for"):
        unpickle.load(file)
    assert not marker.exists()
    pickle.loads(file.read_bytes())  # The bait is real: the ordinary reader takes it.
    assert marker.read_text() == "owned"


class Calls:
    def __init__(self, function, *arguments):
        self.answer = function, arguments

    def __reduce__(self):
        return self.answer

    def __str__(self):
        function, arguments = self.answer
        return f"{function.__name__}{arguments}"


@pytest.mark.parametrize(
    "value",
    [
        Calls(os.system, "true"),
        Calls(eval, "1"),
        Calls(getattr, "a", "upper"),
        Calls(functools.partial, len),
        Calls(np.frombuffer, b"12"),
        Calls(np.dtype, "O"),
        Calls(np.dtype, "i4,O"),
        Calls(unpickle.loads, b"N."),
        np.array([1, "a"], object),
        np.ndarray,
        set,
        np.dtype("i4"),
        bytearray(b"x"),
        range(3),
        Path("x"),
    ],
    ids=str,
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_everything_else_is_refused(value, protocol):
    with pytest.raises(UsageError, match="is refused: it asks for"):
        unpickle.loads(pickle.dumps([value], protocol))


ALLOWED = {
    *((module, name) for module in ("builtins", "__builtin__") for name in ("set", "frozenset", "bytes")),
    ("collections", "OrderedDict"),
    ("_codecs", "encode"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
}
names = st.sampled_from(
    ["builtins", "__builtin__", "os", "posix", "numpy", "_codecs", "pickle", "collections", "hlmat_bench.core.unpickle"]
) | st.text("abcdefghijklmnop._", min_size=1, max_size=12)
members = st.sampled_from(
    ["eval", "exec", "getattr", "system", "set", "encode", "dtype", "loads", "_build", "__class__", "OrderedDict"]
) | st.text("abcdefghijklmnop._", min_size=1, max_size=12)


@given(names, members, st.sampled_from(["(tR.", "(S'x'\ntR.", ".", "}b.", "(N}S'_build'\nNstb."]))
def test_no_name_outside_the_list_is_answered(module, member, rest):
    data = f"c{module}\n{member}\n{rest}".encode()
    if (module, member) in ALLOWED:
        with contextlib.suppress(UsageError):
            assert is_plain(unpickle.loads(data))
    else:
        with pytest.raises(UsageError, match="is refused: it asks for"):
            unpickle.loads(data)


@pytest.mark.parametrize(
    "state", ["}S'_build'\nNsb", "(N}S'_build'\nNstb", "(N}S'__class__'\nNstb", "(N}S'__defaults__'\n(I1\ntstb"]
)
def test_a_pickle_cannot_change_its_reader(state):
    for name in ("builtins\nset", "numpy\ndtype", "_codecs\nencode"):
        with pytest.raises(UsageError):
            unpickle.loads(f"c{name}\n{state}.".encode())
    assert unpickle.loads(pickle.dumps({1}, 2)) == {1}
    assert unpickle.loads(pickle.dumps(np.int64(3), 2)) == 3


def test_every_truncation_is_an_error(tmp_path):
    refs = [{"ref_id": 1, "sentences": [{"sent": "red cup", "tokens": ["red", "cup"]}], "split": "val"}]
    data = pickle.dumps(refs, 2)
    for length in range(len(data)):
        with pytest.raises(UsageError, match="get the file again"):
            unpickle.loads(data[:length])


@given(st.binary(max_size=40))
def test_any_bytes_are_plain_or_refused(data):
    assume(not set(data) & set(b"rp"))  # Memo numbers, which can ask for gigabytes.
    with contextlib.suppress(UsageError):
        assert is_plain(unpickle.loads(data))


def test_missing_file(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        unpickle.load(tmp_path / "none.p")


def test_a_value_that_holds_itself():
    value: list[object] = [1]
    value.append(value)
    with pytest.raises(UsageError, match="is refused"):
        unpickle.loads(pickle.dumps(value, 2))


PAIRS = b"".join(b"h%c\x86q%c" % (number, number + 1) for number in range(60))  # each holds the one before twice


@pytest.mark.parametrize(
    "data",
    [
        b"}N" + b"2\x86" * 60 + b"Ns.",  # the hash of a pair of pairs of pairs
        b"}Nq\0" + PAIRS + b"Ns.",
        b"}N" + b"\x85" * 1_000_000 + b"Ns.",  # the depth of a hash, which exhausts the stack of the reader in C
        b"((" + b"K\1" * 3000 + b"tq\0" + b"h\0" * 3000 + b"l.",  # nine million values
        b"((" + b"K\1" * 3000 + b"lq\0" + b"h\0" * 3000 + b"l.",
    ],
    ids=["doubled", "named", "deep", "a tuple again", "a list again"],
)
def test_values_that_unfold_are_refused(data):
    with pytest.raises(UsageError, match="is refused: it asks for"):
        unpickle.loads(data)


def test_few_values_may_be_named_again():
    corner, size = (0, 0), [480, 640]
    value = [{"corner": corner, "size": size, "id": number, "all": (corner, (corner,))} for number in range(2000)]
    assert unpickle.loads(pickle.dumps(value, 2)) == value


@pytest.mark.slow
@pytest.mark.parametrize("put", [b"r\xff\xff\xff\x7f", b"p2147483647\n"])
def test_a_name_for_a_value_takes_no_memory(put):
    """The reader in C makes room for as many values as the number of the name says: here for 34 GB."""
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_DATA, ({2**32}, {2**32}))"
    read = f"from hlmat_bench.core import unpickle; assert unpickle.loads({b']' + put + b'.'!r}) == []"
    subprocess.run([sys.executable, "-c", f"{limit}\n{read}"], check=True)


def test_what_is_said_to_follow_is_there():
    with pytest.raises(UsageError, match="ends too early"):
        unpickle.loads(b"\x96" + (2**40).to_bytes(8, "little") + b".")


@pytest.mark.shared
def test_real_refs_equal_what_pickle_reads(shared):
    files = sorted((shared / "realdata" / "refer_seg").glob("*/refs*.p"))
    assert len(files) == 3
    for file in files:
        assert unpickle.load(file) == pickle.loads(file.read_bytes(), encoding="latin1")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "array",
    [
        np.arange(3),
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.array([True, False]),
        np.array(["a", "é"]),
        np.arange(4, dtype=">i2"),
        np.zeros((0, 5)),
        np.arange(24, dtype=np.uint8).reshape(2, 3, 4)[:, ::2],
    ],
    ids=range(8),
)
def test_numpy_arrays_become_lists(array, protocol):
    expected = array.tolist()
    assert unpickle.loads(pickle.dumps({"a": array, "b": [array, 1]}, protocol)) == {"a": expected, "b": [expected, 1]}


def test_an_array_cannot_be_larger_than_its_pickle():
    """One kilobyte that is named a thousand times is no million numbers."""
    many = [np.frombuffer(bytes(1000), np.uint8).reshape(shape) for shape in ((1000,),) * 3]
    assert len(unpickle.loads(pickle.dumps(many, 4))) == 3
    array = b"cnumpy.core.multiarray\n_reconstruct\n(tR(K\x01(M\xe8\x03tcnumpy\ndtype\n(X\x02\0\0\0u1tR\x89"
    data = b"X\xe8\x03\0\0" + b"a" * 1000
    first = b"(" + data + b"q\x010" + (array + b"h\x01tb") * 1 + b"l."
    assert len(unpickle.loads(first)[0]) == 1000
    with pytest.raises(UsageError, match="the same numpy array many times"):
        unpickle.loads(b"(" + data + b"q\x010" + (array + b"h\x01tb") * 1000 + b"l.")
    empty = array.replace(b"M\xe8\x03t", b"J\xff\xff\xff\x7fK\0t") + b"X\0\0\0\0tb"
    assert unpickle.loads(b"(" + empty + b"l.") == [[]]


def test_objects_in_arrays_say_how_to_convert():
    with pytest.raises(UsageError, match=r"\.tolist\(\)\), or as JSON"):
        unpickle.loads(pickle.dumps(np.array([{}], object)))


def test_line_ends_of_a_transfer_as_text():
    value = [{"sent": "one\ntwo\r\n", "ref_id": 3, "raw": "é"}]
    assert unpickle.loads(pickle.dumps(value, 0).replace(b"\n", b"\r\n")) == value
    with pytest.raises(UsageError, match="end with CR LF: copy it as a binary file"):
        unpickle.loads(pickle.dumps([list(range(10, 11)), "\n" * 10], 2).replace(b"\n", b"\r\n"))


def test_a_pipe_is_no_pickle(tmp_path):
    os.mkfifo(tmp_path / "refs.p")
    with pytest.raises(UsageError, match="is a pipe or a device"):
        unpickle.load(tmp_path / "refs.p")


def colliding(count: int, written: str) -> bytes:
    """Make a dict whose keys all have the hash 0; ``written`` is how they are written."""
    keys = [k * (2**61 - 1) for k in range(1, count + 1)]
    ways = {
        "LONG1": lambda key: b"\x8a\x0a" + key.to_bytes(10, "little") + b"N",
        "LONG4": lambda key: b"\x8b\x0a\0\0\0" + key.to_bytes(10, "little") + b"N",
        "LONG": lambda key: f"L{key}L\n".encode() + b"N",
        "INT": lambda key: f"I{key}\n".encode() + b"N",
    }
    return b"}(" + b"".join(ways[written](key) for key in keys) + b"u."


@pytest.mark.slow
@pytest.mark.parametrize("written", ["LONG1", "LONG4", "LONG", "INT"])
def test_colliding_numbers_are_bounded(written):
    assert len(unpickle.loads(colliding(900, written))) == 900
    with pytest.raises(UsageError, match="thousands of integers"):
        unpickle.loads(colliding(100_000, written))


def test_text_that_looks_like_numbers_is_read():
    value = ["\u4e0a\u4e0a \u4e0b" * 5000, [str(10**30)] * 3000, "9" * 30 + "\n"]
    for protocol in (0, 2, 4):
        assert unpickle.loads(pickle.dumps(value, protocol)) == value


@pytest.mark.slow
def test_depth_is_bounded():
    assert unpickle.loads(b"]" * 100 + b"a" * 99 + b".")
    with pytest.raises(UsageError, match="lists within lists"):
        unpickle.loads(b"]" * 100_000 + b"a" * 99_999 + b".")
