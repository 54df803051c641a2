"""Objects that lie or raise: an error that names the argument, and nothing is read through what they point at.

The first part needs no device; the second makes up device memory and needs the simulator.
"""

import ctypes
import subprocess
import sys
import types
from unittest import mock

import numpy as np
import pytest
from helpers import assert_bits, assert_same, host, put, shown
from test_cuda_kernels import Foreign, Producer

import numbarank as nr

simulated = pytest.mark.usefixtures("simulator")


def _and_grad(**options):
    x = np.ones(3)
    return nr.margin_ranking_loss_and_grad(x, x, x, reduction="none", **options)


# what an object is passed as, and the name that its error must have
PLACES = {
    "input1": lambda value: nr.margin_ranking_loss(value, np.ones(3), np.ones(3)),
    "input2": lambda value: nr.margin_ranking_loss(np.ones(3), value, np.ones(3)),
    "target": lambda value: nr.MarginRankingLoss()(np.ones(3), np.ones(3), value),
    "gradient": lambda value: _and_grad(gradient=value),
    "out[0]": lambda value: _and_grad(out=(value, np.ones(3))),
    "data": lambda value: nr.tensor(value),
}
every_place = pytest.mark.parametrize("place", PLACES)


def assert_refused(place, value, errors=(TypeError, ValueError, BufferError), words=""):
    with pytest.raises(errors) as caught:
        PLACES[place](value)
    assert type(caught.value) in (TypeError, ValueError, BufferError)
    assert str(caught.value).startswith(place)
    assert words in str(caught.value)


def raises(*arguments, **options):
    raise ZeroDivisionError("hostile")


def an_object(**attributes):
    return type("Hostile", (), attributes)()


ARRAY = np.arange(3.0)
RAISING = {
    "__array__": an_object(__array__=raises),
    "any attribute": an_object(__getattr__=raises),
    "__array_interface__": an_object(__array_interface__=property(raises)),
    "__cuda_array_interface__": an_object(__cuda_array_interface__=property(raises)),
    "__dlpack_device__": an_object(__dlpack_device__=raises, __dlpack__=raises),
    "__len__": an_object(__len__=raises, __getitem__=raises, __iter__=raises),
    "__float__": an_object(__float__=raises, __index__=raises),
    "__repr__": an_object(__repr__=raises, __str__=raises),
    "a float": type("Float", (float,), {"__float__": raises})(1.0),
    "a list": type("List", (list,), {"__iter__": raises, "__len__": raises})([1.0]),
}
LYING = {
    "__array__ of another shape": an_object(shape=(3,), __array__=lambda self, *_, **__: np.ones(5)),
    "__array__ that gives no array": an_object(__array__=lambda self, *_, **__: [1.0, 2.0, 3.0]),
    "__array__ with a mask": an_object(__array__=lambda self, *_, **__: np.ma.masked_array(ARRAY, ARRAY > 1)),
    "null __array_interface__": an_object(
        __array_interface__={"shape": (3,), "typestr": "<f8", "data": (0, False), "version": 3}
    ),
    "__array_interface__ that is a number": an_object(__array_interface__=3),
    "__class__": an_object(__class__=property(lambda self: np.ndarray)),
    "__class__ of a number": an_object(__class__=property(lambda self: float)),
    "mock of an array": mock.Mock(spec=np.ndarray),
    "mock of a Tensor": mock.Mock(spec=nr.Tensor),
    "mock of anything": mock.MagicMock(),
    "class of arrays": np.ndarray,
    "class of Tensors": nr.Tensor,
    "class with an interface": type("Class", (), {"__cuda_array_interface__": {}}),
    "module": np,
    "device that is None": an_object(__dlpack_device__=lambda self: None),
    "device that is a number": an_object(__dlpack_device__=lambda self: 2),
    "device that is text": an_object(__dlpack_device__=lambda self: "22"),
    "device without a number": an_object(__dlpack_device__=lambda self: (2,)),
    "device that is empty": an_object(__dlpack_device__=lambda self: ()),
    "device that is an array": an_object(__dlpack_device__=lambda self: (np.array([2, 2]), 0)),
    "registered as a number": an_object(),
}


@every_place
@pytest.mark.parametrize("case", RAISING)
def test_objects_that_raise(cpu, place, case):
    assert_refused(place, RAISING[case])


@every_place
@pytest.mark.parametrize("case", LYING)
def test_objects_that_lie(cpu, place, case):
    assert_refused(place, LYING[case])


@pytest.mark.parametrize("place", [place for place in PLACES if place != "out[0]"])  # which is no list
@pytest.mark.parametrize("case", [*RAISING, *LYING])
def test_such_objects_in_lists(cpu, place, case):
    value = (RAISING | LYING)[case]
    assert_refused(place, [value, 1.0])
    assert_refused(place, [[1.0], [value]])


def test_a_number_that_numpy_does_not_know(cpu):
    import numbers

    cls = type("Number", (), {"__float__": raises})
    numbers.Number.register(cls)
    for place in PLACES:
        assert_refused(place, cls(), TypeError)


@every_place
def test_lists_without_an_end(cpu, place):
    endless = [1.0]
    endless.append(endless)
    assert_refused(place, endless)
    deep = 1.0
    for _ in range(100):
        deep = [deep]
    assert_refused(place, deep)


@pytest.mark.parametrize("shape", [lambda self: (1000,), raises], ids=["lies", "raises"])
def test_a_subclass_cannot_lie_about_its_memory(cpu, shape):
    attributes = {"shape": property(shape), "dtype": property(raises), "view": raises, "flags": property(raises)}
    liar = np.array([1.0, 2.0, 3.0]).view(type("Liar", (np.ndarray,), attributes))
    assert_same(nr.margin_ranking_loss(liar, np.full(3, 3.0), 1, reduction="none"), np.array([2.0, 1.0, 0.0]))


# ---------------------------------------------------------------- DLPack in host memory


class HostProducer:
    """A package that offers DLPack in host memory, of a capsule that it has."""

    shape = (5, 5)  # which is not asked for

    def __init__(self, capsule, device=(1, 0)):
        self.capsule, self.device = capsule, device

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, **options):
        return self.capsule


CAPSULE = np.dtype(
    [
        ("data", np.uint64),
        ("device_type", np.int32),
        ("device_id", np.int32),
        ("ndim", np.int32),
        ("code", np.uint8),
        ("bits", np.uint8),
        ("lanes", np.uint16),
        ("shape", np.uint64),
        ("strides", np.uint64),
        ("byte_offset", np.uint64),
    ]
)
_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


def altered(array, device=(1, 0), **fields):
    """An object whose capsule is NumPy's, with some fields overwritten; lengths are given as tuples."""
    capsule = array.__dlpack__()
    tensor = np.frombuffer((ctypes.c_char * CAPSULE.itemsize).from_address(_pointer(capsule, b"dltensor")), CAPSULE)[0]
    producer = HostProducer(capsule, device)
    for field, value in fields.items():
        if isinstance(value, tuple):
            value = np.array(value, np.int64)
            setattr(producer, f"{field}_kept", value)
            value = value.ctypes.data
        tensor[field] = value
    return producer


BAD_CAPSULES = {
    "on a GPU": ({"device_type": 2}, BufferError, "device"),
    "null": ({"data": 0}, BufferError, "pointer is null"),
    "fewer than no axes": ({"ndim": -1}, ValueError, "dimensions"),
    "more axes than there are": ({"ndim": 65}, BufferError, "dims"),
    "negative length": ({"shape": (-1, 3)}, ValueError, "negative"),
    "more than any memory": ({"shape": (2**62, 2**62)}, ValueError, "too big"),
    "complex": ({"code": 5, "bits": 128, "shape": (1, 3)}, TypeError, "complex128"),
    "an unknown code": ({"code": 77}, BufferError, "dtype"),
    "no bits": ({"bits": 0}, BufferError, "dtype"),
    "odd bits": ({"bits": 12}, BufferError, "dtype"),
    "two lanes": ({"lanes": 2}, BufferError, "lanes"),
}


@every_place
@pytest.mark.parametrize("bad", BAD_CAPSULES.values(), ids=BAD_CAPSULES.keys())
def test_capsules_in_host_memory_that_do_not_hold_what_they_say(cpu, place, bad):
    fields, error, words = bad
    if place == "out[0]":
        error, words = TypeError, "numpy.ndarray"
    assert_refused(place, altered(np.ones((2, 3)), **fields), error, words)


@every_place
@pytest.mark.parametrize("capsule", [None, 3, "dltensor", ARRAY], ids=repr)
def test_what_is_no_capsule_in_host_memory(cpu, place, capsule):
    assert_refused(place, HostProducer(capsule))


def test_a_capsule_in_host_memory_is_used_once(cpu):
    producer = HostProducer(np.ones(3).__dlpack__())
    assert PLACES["input1"](producer) == 0
    assert_refused("input1", producer, ValueError)


def test_other_objects_without_a_capsule_in_host_memory(cpu):
    assert_refused("input1", an_object(__dlpack_device__=lambda self: (1, 0)), TypeError)
    assert_refused("input2", an_object(__dlpack_device__=lambda self: (1, 0), __dlpack__=raises), TypeError)
    big_endian = np.ones(3, ">f8")
    assert_refused(
        "target",
        an_object(__dlpack_device__=lambda self: (1, 0), __dlpack__=lambda self, **_: big_endian.__dlpack__()),
        BufferError,
        "byte order",
    )


UNUSUAL = {
    "no strides": lambda a: altered(a, strides=0),
    "negative strides": lambda a: altered(a[::-1, ::-1].copy(), byte_offset=40, strides=(-3, -1)),
    "strides of 0": lambda a: altered(np.arange(3.0), ndim=2, shape=(2, 3), strides=(0, 1)),
    "an address that is not aligned": lambda a: altered(unaligned(a), byte_offset=1),
    "an offset": lambda a: altered(np.r_[9.0, 9.0, a.reshape(-1)], byte_offset=16, ndim=2, shape=(2, 3), strides=0),
    "pinned memory": lambda a: altered(a, device=(3, 0), device_type=3),
    "read-only, of version 1": lambda a: HostProducer(read_only(a).__dlpack__(max_version=(1, 0))),
    "nothing at a null pointer": lambda a: altered(a, data=0, shape=(0, 3)),
}


def unaligned(a):
    """The array's bytes from the second one on, in an array that begins with another byte."""
    memory = np.zeros(a.nbytes + 8, np.uint8)
    memory[1 : a.nbytes + 1] = a.view(np.uint8).reshape(-1)
    return memory[: a.nbytes].view(a.dtype).reshape(a.shape)


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


@pytest.mark.parametrize("case", UNUSUAL)
def test_unusual_capsules_in_host_memory_give_their_values(cpu, case):
    if case.endswith("version 1") and np.lib.NumpyVersion(np.__version__) < "2.1.0":
        pytest.skip("NumPy before 2.1 makes no capsules of version 1")
    a = np.tile(np.arange(3.0), (2, 1)) if case == "strides of 0" else np.arange(6.0).reshape(2, 3)
    a = a[:0] if case.startswith("nothing") else a
    losses = nr.margin_ranking_loss(UNUSUAL[case](np.ascontiguousarray(a)), np.zeros(a.shape), -1, reduction="none")
    assert_same(losses, a)


# ---------------------------------------------------------------- masks


MASKED = np.ma.masked_array([1.0, 2.0, 3.0], [True, False, False])


@every_place
@pytest.mark.parametrize(
    "value",
    [
        MASKED,
        np.ma.masked_array([1.0, 2.0, 3.0]),
        np.ma.masked,
        MASKED.view(np.ma.MaskedArray)[0:0],
        np.ma.masked_array(1.0, True),
    ],
    ids=["some", "none", "the constant", "empty", "0-d"],
)
def test_a_mask_is_never_dropped(cpu, place, value):
    assert_refused(place, value, TypeError)
    assert_refused(place, [value], TypeError)
    assert_refused(place, (1.0, [value]), TypeError)


def test_a_mask_is_never_dropped_by_a_tensor(cpu):
    x = nr.ones(3, requires_grad=True)
    for use in (
        lambda: nr.Tensor(MASKED),
        lambda: setattr(x, "data", MASKED),
        lambda: setattr(x, "grad", MASKED),
        lambda: nr.margin_ranking_loss(x, np.ones(3), 1, reduction="none").backward(MASKED),
        lambda: x + MASKED,
        lambda: MASKED * x,
        lambda: x - np.ma.masked,
        lambda: x / MASKED,
        lambda: nr.margin_ranking_loss(x, np.ones(3), 1, MASKED[0]),
    ):
        with pytest.raises(TypeError):
            use()
    assert x.grad is None


@pytest.mark.parametrize("name", ["qid", "group"])
def test_a_mask_is_never_dropped_from_groups(name):
    with pytest.raises(TypeError, match=f"{name} is a masked array"):
        nr.Groups(**{name: np.ma.masked_array([1, 1, 2], [False, True, False])})


@pytest.mark.parametrize("case", RAISING)
def test_ids_that_raise(case):
    with pytest.raises((TypeError, ValueError), match="qid "):
        nr.Groups(qid=RAISING[case])


def test_a_masked_buffer_is_refused_untouched(cpu):
    buffer = MASKED.copy()
    assert_refused("out[0]", buffer, TypeError, "MaskedArray")
    assert_bits(buffer.data, MASKED.data)


# ---------------------------------------------------------------- other arguments


@pytest.mark.parametrize("case", RAISING)
def test_margin_reduction_and_the_like_that_raise(cpu, case):
    value = RAISING[case]
    x = np.ones(3)
    with pytest.raises(TypeError, match="margin"):
        nr.margin_ranking_loss(x, x, x, value)
    with pytest.raises(ValueError, match="reduction"):
        nr.margin_ranking_loss(x, x, x, reduction=value)
    with pytest.raises((TypeError, ValueError), match="device"):
        nr.ones(3, device=value)
    with pytest.raises(TypeError, match="dtype"):
        nr.tensor(x, dtype=value)
    with pytest.raises((TypeError, ValueError), match="seed"):
        nr.randn(3, seed=value)


@pytest.mark.parametrize("value", [an_object(__bool__=raises), an_object(__len__=raises), np.ones(2)], ids=shown)
def test_flags_without_a_truth(cpu, value):
    x = np.ones(3)
    with pytest.raises(TypeError, match="target_grad"):
        nr.margin_ranking_loss_and_grad(x, x, x, target_grad=value)
    with pytest.raises(TypeError, match="requires_grad"):
        nr.tensor(x, requires_grad=value)
    with pytest.raises(TypeError, match="reduce"):
        nr.MarginRankingLoss(reduce=value)
    with pytest.raises(TypeError, match="size_average"):
        nr.margin_ranking_loss(x, x, x, size_average=value)


@pytest.mark.parametrize(
    "margin",
    [
        memoryview(b"12"),
        bytearray(b"12"),
        np.array("12"),
        np.array(True),
        np.timedelta64(1, "s"),
        np.array(1, "m8[s]"),
        np.ma.masked_array(1.0, False),
        nr.tensor(1.0, requires_grad=True),
        10**400,
        10**5000,
        np.str_("1"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_margin_is_not_read_out_of_text_masks_or_graphs(cpu, margin):
    for call in (lambda: nr.MarginRankingLoss(margin), lambda: nr.margin_ranking_loss(1.0, 2.0, 1, margin)):
        with pytest.raises(TypeError, match=r"(?s)margin (is .*it must be a real number|requires a gradient)"):
            call()


@pytest.mark.parametrize("out", [type("List", (list,), {"__iter__": raises})([ARRAY] * 2), "ab", {0: 1}, ARRAY, 3])
def test_out_is_a_sequence(cpu, out):
    with pytest.raises(TypeError, match="out"):
        _and_grad(out=out)


@pytest.mark.parametrize(
    "shape", [(-1,), (2, -3), ("2",), (2.5,), (None,), (an_object(__index__=raises),), ((2, "3"),)], ids=shown
)
@pytest.mark.parametrize("make", [nr.zeros, nr.ones, nr.randn])
def test_shapes_that_are_none(cpu, make, shape):
    with pytest.raises((TypeError, ValueError), match="shape"):
        make(*shape)


# the generator of NumPy 2.4 ends the process for a list that holds itself
@pytest.mark.parametrize("seed", [-1, 1.5, "1", [1, 2]], ids=repr)
def test_seeds_are_whole_numbers(cpu, seed):
    with pytest.raises((TypeError, ValueError), match="seed"):
        nr.randn(3, seed=seed)


@pytest.mark.parametrize("value", ["", 0, [], False], ids=repr)
def test_what_is_false_is_no_device(cpu, value):
    for call in (lambda: nr.ones(1, device=value), lambda: nr.tensor([1.0], device=value)):
        with pytest.raises(ValueError, match="device"):
            call()


# ---------------------------------------------------------------- Tensors


@pytest.mark.parametrize("array", [np.ones(3), np.ones(()), np.ones(3).view(np.recarray)], ids=["1-d", "0-d", "sub"])
@pytest.mark.parametrize(
    "combine", [lambda t, a: t + a, lambda t, a: a + t, lambda t, a: a - t, lambda t, a: a * t, lambda t, a: t / a]
)
def test_an_array_beside_a_tensor_says_what_to_write(cpu, array, combine):
    with pytest.raises(TypeError, match=r"numbarank\.tensor\("):
        combine(nr.ones(3, requires_grad=True), array)


def test_arithmetic_with_numbers_that_raise(cpu):
    number = type("Float", (float,), {"__float__": raises})(2.0)
    assert_same(nr.ones(2) * number, np.full(2, 2.0))
    with pytest.raises(TypeError):
        nr.ones(2) + an_object(__float__=raises, __radd__=lambda self, other: NotImplemented)


@pytest.mark.parametrize(("dtype", "number"), [("int8", 300), ("uint8", -1), ("int64", 2**64), ("float64", 10**400)])
def test_numbers_that_do_not_fit_a_tensor(device, dtype, number):
    x = nr.ones(2, dtype=dtype, device=device)
    for combine in (lambda: x + number, lambda: number * x, lambda: number - x):
        with pytest.raises(ValueError, match=dtype):
            combine()


@pytest.mark.parametrize(
    "combine", [lambda t: t * 2.5, lambda t: 300 + t, lambda t: t - t, lambda t: -t, lambda t: t / 2]
)
def test_truth_values_take_no_part_in_arithmetic(device, combine):
    with pytest.raises(TypeError, match="bool"):
        combine(nr.tensor(np.array([True, False]), device=device))


def test_time_spans_are_no_numbers(cpu):
    with pytest.raises(TypeError):
        nr.ones(2) + np.timedelta64(1, "s")


def test_data_of_another_shape_does_not_take_an_old_gradient(device):
    x = nr.tensor([1.0, 2.0, 3.0], device=device, requires_grad=True)
    other = put(np.full(3, 9.0), device)
    nr.margin_ranking_loss(x, other, 1, reduction="sum").backward()
    loss, double = nr.margin_ranking_loss(x, other, 1, reduction="sum"), x * 2
    x.data = put(np.zeros((1, 3)), device)
    for backward in (
        loss.backward,
        lambda: double.backward(put(np.ones(3), device)),
        nr.margin_ranking_loss(x, put(np.ones((1, 3)), device), 1).backward,
    ):
        with pytest.raises(RuntimeError, match=r"shape \(1, 3\)"):
            backward()
    assert_same(x.grad, np.full(3, -1.0))
    x.grad = None
    nr.margin_ranking_loss(x, put(np.full((1, 3), 9.0), device), 1, reduction="sum").backward()
    assert_same(x.grad, np.full((1, 3), -1.0))


# ---------------------------------------------------------------- device memory, made up in host memory


def on_cuda(place, value):
    """Pass an object where the other arguments are on the device."""
    x = put(np.ones((2, 3)), "cuda")
    arguments = {"input1": x, "input2": x, "target": x}
    if place in arguments:
        nr.margin_ranking_loss(**(arguments | {place: value}))
    elif place == "data":
        nr.Tensor(value)
    else:
        options = {"gradient": value} if place == "gradient" else {"out": (value, put(np.ones((2, 3)), "cuda"))}
        nr.margin_ranking_loss_and_grad(x, x, x, reduction="none", **options)


def assert_refused_on_cuda(place, value, error, words):
    with pytest.raises(error) as caught:
        on_cuda(place, value)
    assert type(caught.value) is error
    assert str(caught.value).startswith(place)
    assert words in str(caught.value)


class Keys(dict):
    def keys(self):
        raise ZeroDivisionError


BAD_INTERFACES = {
    "null": ({"data": (0, False)}, ValueError, "null pointer"),
    "below 0": ({"data": (-64, False)}, ValueError, "memory"),
    "beyond memory": ({"data": (2**64 - 8, False)}, ValueError, "memory"),
    "far beyond memory": ({"data": (2**200, False)}, ValueError, "memory"),
    "strides that lead below 0": ({"strides": (-(2**55), 8)}, ValueError, "memory"),
    "an address that is text": ({"data": ("0x10", False)}, TypeError, "address"),
    "an address that is a float": ({"data": (64.0, False)}, TypeError, "address"),
    "an address that is True": ({"data": (True, False)}, TypeError, "address"),
    "no read-only flag": ({"data": (64,)}, TypeError, "address"),
    "data that is None": ({"data": None}, TypeError, "address"),
    "raw memory": ({"typestr": "|V8"}, TypeError, "typestr"),
    "a structure": ({"typestr": "f4,f4"}, TypeError, "typestr"),
    "text": ({"typestr": "<U2"}, TypeError, "typestr"),
    "time": ({"typestr": "<M8[s]"}, TypeError, "typestr"),
    "objects": ({"typestr": "|O8"}, TypeError, "typestr"),
    "an alias that NumPy retired": ({"typestr": "a8"}, TypeError, "typestr"),
    "a typestr with a shape": ({"typestr": "(9,)f8"}, TypeError, "typestr"),
    "a typestr of no width": ({"typestr": "<f0"}, TypeError, "typestr"),
    "a typestr of odd width": ({"typestr": "<f3"}, TypeError, "typestr"),
    "a typestr in bytes": ({"typestr": b"<f8"}, TypeError, "typestr"),
    "a typestr that is an array": ({"typestr": np.array(["a", "b"])}, TypeError, "typestr"),
    "a typestr that is None": ({"typestr": None}, TypeError, "typestr"),
    "the other byte order": ({"typestr": ">f8"}, TypeError, "byte order"),
    "negative length": ({"shape": (-2, 3)}, ValueError, "at least 0"),
    "lengths that are floats": ({"shape": (2.0, 3)}, TypeError, "shape"),
    "lengths that are text": ({"shape": "23"}, TypeError, "shape"),
    "lengths that are truths": ({"shape": (True, 3)}, TypeError, "shape"),
    "shape that is None": ({"shape": None}, TypeError, "shape"),
    "more than there is": ({"shape": (2**62, 3)}, ValueError, "memory"),
    "strides that are floats": ({"strides": (24.0, 8)}, TypeError, "strides"),
    "strides of another length": ({"strides": (8,)}, ValueError, "lengths"),
    "odd strides": ({"strides": (25, 8)}, ValueError, "not aligned"),
    "a future version": ({"version": 4}, ValueError, "version"),
    "a version that is text": ({"version": "3"}, ValueError, "version"),
    "no version": ({"version": "missing"}, TypeError, "version"),
    "a mask": ({"mask": np.zeros(6)}, TypeError, "mask"),
    "stream 0": ({"stream": 0}, ValueError, "stream"),
    "a stream below 0": ({"stream": -1}, ValueError, "stream"),
    "a stream beyond 64 bits": ({"stream": 2**64}, ValueError, "stream"),
}


@simulated
@pytest.mark.parametrize("bad", BAD_INTERFACES.values(), ids=BAD_INTERFACES.keys())
def test_bad_interfaces_are_refused_before_their_pointer_is_used(bad, monkeypatch):
    from numbarank._cuda import driver

    replaced, error, words = bad
    put(np.ones((2, 3)), "cuda")
    monkeypatch.setattr(driver, "array_at", lambda *_: pytest.fail("the pointer is used"))
    for place in PLACES:
        assert_refused_on_cuda(place, Foreign(np.ones((2, 3)), **replaced), error, words)


INTERFACES = {
    "None": None,
    "a number": 3,
    "a list": [1],
    "empty": {},
    "keys that raise": Keys(shape=(1,)),
}


@simulated
@every_place
@pytest.mark.parametrize("interface", INTERFACES.values(), ids=INTERFACES.keys())
def test_interfaces_that_are_none(place, interface):
    assert_refused_on_cuda(
        place, types.SimpleNamespace(__cuda_array_interface__=interface), TypeError, "SimpleNamespace"
    )


@simulated
@every_place
@pytest.mark.parametrize("case", RAISING)
def test_objects_that_raise_beside_device_arrays(place, case):
    with pytest.raises((TypeError, ValueError)) as caught:
        on_cuda(place, RAISING[case])
    assert type(caught.value) in (TypeError, ValueError)
    assert str(caught.value).startswith(place)


class WithDevice(Foreign):
    def __init__(self, device):
        super().__init__(np.ones((2, 3)))
        self.device = device

    def __dlpack_device__(self):
        if self.device is raises:
            raise ZeroDivisionError
        return self.device


@simulated
@every_place
@pytest.mark.parametrize(
    "device", [None, 7, "20", (2,), (2, "0"), (2, None), (2, 0.0), (2, -1), (2, 1), (2, 2**80), raises]
)
def test_an_interface_on_a_device_that_is_none(place, device):
    with pytest.raises((TypeError, ValueError)) as caught:
        on_cuda(place, WithDevice(device))
    assert type(caught.value) in (TypeError, ValueError)
    assert str(caught.value).startswith(place)


CAPSULES = {
    "another device": ("device_type", 1, BufferError, "device type 1"),
    "a device that is not there": ("device_id", 7, ValueError, "cuda:7"),
    "a device below 0": ("device_id", -1, ValueError, "cuda:-1"),
    "fewer than no axes": ("ndim", -1, BufferError, "axes"),
    "more axes than there are": ("ndim", 2**31 - 1, BufferError, "axes"),
    "no shape": ("shape", None, BufferError, "axes"),
    "no data": ("data", None, ValueError, "null pointer"),
    "an offset that is not aligned": ("byte_offset", 3, ValueError, "not aligned"),
    "an offset out of memory": ("byte_offset", 2**64 - 64, ValueError, "memory"),
    "complex numbers": ("code", 5, TypeError, "not known"),
    "no bits": ("bits", 0, TypeError, "not known"),
    "odd bits": ("bits", 12, TypeError, "not known"),
    "no lanes": ("lanes", 0, TypeError, "not known"),
}


@simulated
@every_place
@pytest.mark.parametrize("bad", CAPSULES.values(), ids=CAPSULES.keys())
def test_capsules_that_do_not_hold_what_they_say(place, bad):
    from numbarank._cuda import dlpack

    field, value, error, words = bad
    capsule = nr.ones(2, 3, device="cuda").__dlpack__()
    setattr(dlpack._pointer(id(capsule), b"dltensor").contents.tensor, field, value)
    assert_refused_on_cuda(place, Producer(capsule), error, words)


@simulated
@every_place
def test_a_capsule_is_used_once(place):
    producer = Producer(nr.ones(2, 3, device="cuda").__dlpack__())
    on_cuda(place, producer)
    assert_refused_on_cuda(place, producer, BufferError, "has not been used")


@simulated
def test_a_capsule_that_is_refused_gives_its_memory_back():
    from numbarank._cuda import dlpack

    before = len(dlpack._given)
    for field, value, error, _ in CAPSULES.values():
        capsule = nr.ones(2, 3, device="cuda").__dlpack__()
        tensor = dlpack._pointer(id(capsule), b"dltensor").contents.tensor
        setattr(tensor, field, value)
        with pytest.raises(error):
            nr.Tensor(Producer(capsule))
        del capsule, tensor
    assert len(dlpack._given) == before


# ---------------------------------------------------------------- buffers of other packages on the device


def writable(array):
    return Foreign(array, data=(array.__array_interface__["data"][0], False))


@simulated
def test_buffers_of_other_packages_are_filled_and_returned():
    x1, x2 = (put(np.array(values), "cuda") for values in ([1.0, 2.0, 9.0], [3.0, 1.0, 1.0]))
    memory = np.full((2, 3), 7.0)
    out = writable(memory[0]), writable(memory[1])
    loss, gradients = nr.margin_ranking_loss_and_grad(x1, x2, 1, reduction="sum", out=out)
    assert gradients[0] is out[0] and gradients[1] is out[1]
    assert_same(loss, np.array(2.0))
    assert_same(memory, np.array([[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]))


WRONG_BUFFERS = {
    "read-only": (lambda memory: Foreign(memory[:3]), ValueError, "read-only"),
    "strided": (lambda memory: writable(memory[::2]), ValueError, "C-contiguous"),
    "short": (lambda memory: writable(memory[:2]), ValueError, "shape"),
    "another dtype": (lambda memory: writable(memory[:3].view(np.int64)), TypeError, "dtype"),
    "in host memory": (lambda memory: memory[:3], TypeError, "numpy.ndarray"),
    "null": (lambda memory: Foreign(memory[:3], data=(0, False)), ValueError, "null"),
}


@simulated
@pytest.mark.parametrize("wrong", WRONG_BUFFERS.values(), ids=WRONG_BUFFERS.keys())
def test_wrong_buffers_of_other_packages_are_not_written_to(wrong):
    make, error, words = wrong
    x, memory, other = put(np.ones(3), "cuda"), np.full(6, 7.0), np.full(3, 7.0)
    with pytest.raises(error, match=rf"out\[1\].*{words}"):
        nr.margin_ranking_loss_and_grad(x, x, 1, out=(writable(other), make(memory)))
    assert (memory == 7).all() and (other == 7).all()


@pytest.mark.parametrize("make", [lambda a: a, lambda a: writable(host(a))], ids=["numba", "foreign"])
def test_device_buffers_beside_inputs_in_host_memory_are_refused(cuda, make):
    x, buffer = np.ones(3), put(np.full(3, 7.0), cuda)
    with pytest.raises(TypeError, match=r"out\[1\] is a .*it must be a numpy\.ndarray"):
        nr.margin_ranking_loss_and_grad(x, x, 1, out=(np.ones(3), make(buffer)))
    assert_same(buffer, np.full(3, 7.0))


@simulated
@pytest.mark.parametrize("start", [0, 1, 2])
def test_buffers_of_other_packages_overlap_by_their_addresses(start):
    memory = np.arange(5.0)
    x1, x2 = writable(memory[:3]), put(np.ones(3), "cuda")
    with pytest.raises(ValueError, match=r"out\[1\] shares memory with input1"):
        nr.margin_ranking_loss_and_grad(x1, x2, 1, out=(put(np.ones(3), "cuda"), writable(memory[start : start + 3])))
    assert_bits(memory, np.arange(5.0))


@simulated
def test_a_buffer_is_compared_with_inputs_on_the_device_though_the_first_is_a_number():
    x2 = put(np.array(3.0), "cuda")
    with pytest.raises(ValueError, match=r"out\[1\] shares memory with input2"):
        nr.margin_ranking_loss_and_grad(1.0, x2, 1, out=(put(np.array(0.0), "cuda"), x2))
    assert_same(x2, np.array(3.0))


@simulated
def test_a_buffer_on_another_device_is_refused(monkeypatch):
    from numbarank._cuda import arrays

    x, buffers = put(np.ones(3), "cuda"), [put(np.full(3, 7.0), "cuda") for _ in range(2)]
    place = arrays.device_of
    monkeypatch.setattr(arrays, "device_of", lambda a: "cuda:1" if a is buffers[1] else place(a))
    with pytest.raises(ValueError, match=r"out\[1\] is on cuda:1; it must be on cuda:0"):
        nr.margin_ranking_loss_and_grad(x, x, 1, out=buffers)
    assert_same(buffers[0], np.full(3, 7.0))


# ---------------------------------------------------------------- a machine without CUDA


WITHOUT_CUDA = """
import numbarank as nr
class Foreign:
    __cuda_array_interface__ = {"shape": (1,), "typestr": "<f4", "data": (0, False), "version": 3}
try:
    nr.margin_ranking_loss(Foreign(), [1.0], 1)
except RuntimeError as error:
    print(error)
"""


def test_without_cuda_no_pointer_is_looked_at(cpu):
    import os

    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_CUDA], env=environment, capture_output=True, text=True, check=True
    )
    assert "CUDA cannot be used here" in run.stdout
