"""Arrays of other packages: taken without a copy, on their package's stream, and given back as they came.

The first part needs no device: PyTorch's and JAX's arrays in host memory, where these are installed. The second makes
up two packages with arrays on a device, and needs the simulator.
"""

import gc
import sys
import tracemalloc
import types
from unittest import mock

import numpy as np
import pytest
from helpers import assert_same, imported, put, shown
from test_cuda_kernels import Foreign

import numbarank as nr

simulated = pytest.mark.usefixtures("simulator")


class Exporter:
    """An array of a package that is not known, with DLPack and nothing else."""

    def __init__(self, values):
        self._values = np.asarray(values)

    def __dlpack__(self, **options):
        return self._values.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._values.__dlpack_device__()


def torch_tensor(values):
    torch = imported("torch")
    return torch.tensor(values)


def jax_array(values):
    jax = imported("jax")
    with jax.enable_x64(True):
        return jax.numpy.asarray(values)


every_package = pytest.mark.parametrize("make", [Exporter, torch_tensor, jax_array])

X1, X2, Y = np.array([1.0, 2.0, 4.0]), np.array([3.0, 1.0, 4.0]), np.array([1.0, 1.0, -1.0])
SCORES = np.array([2.0, 1.5, 0.0, 1.0])


def address(array):
    return array.__array_interface__["data"][0]


# ---------------------------------------------------------------- in host memory


@every_package
def test_arrays_in_host_memory_give_numpys(cpu, make):
    x1, x2, y, upstream = make(X1), make(X2), make(Y), make(np.array([1.0, 1.0, 10.0]))
    loss = nr.margin_ranking_loss(x1, x2, y, 0.5, reduction="sum")
    assert type(loss) is np.float64 and loss == 2.5 + 0.0 + 0.5
    losses, gradients = nr.margin_ranking_loss_and_grad(x1, x2, y, 0.5, "none", gradient=upstream, target_grad=True)
    assert all(type(array) is np.ndarray for array in (losses, *gradients))
    assert_same(losses, np.array([2.5, 0.0, 0.5]))
    assert_same(gradients[0], np.array([-1.0, 0.0, 10.0]))
    assert_same(gradients[1], np.array([1.0, 0.0, -10.0]))
    assert_same(gradients[2], np.array([2.0, 0.0, 0.0]))


@every_package
def test_lists_in_host_memory_give_numpys(cpu, make):
    scores, labels, weights = make(SCORES), make([1, 2, 0, 1]), make(np.array([1.0, 2.0, 1.0, 1.0]))
    options = {"reduction": "sum", "weights": weights, "return_counts": True}
    loss, gradient, counts = nr.pairwise_hinge_loss_and_grad(scores, labels, **options)
    assert type(loss) is np.float64 and loss == 2 * 1.5 + 2 * 0.5
    assert type(gradient) is type(counts) is np.ndarray
    assert_same(gradient, np.array([2.0, -4.0, 1.0, 1.0]))
    assert_same(counts, np.array([2.0, 4.0, 1.0, 3.0]))


@pytest.mark.parametrize("make", [torch_tensor, jax_array])
def test_groups_and_masks_in_host_memory(cpu, make):
    scores, labels = make(SCORES), make([1, 2, 0, 1])
    for groups in ({"qid": make([3, 3, 5, 5])}, {"group": make([2, 2])}):
        assert_same(nr.pairwise_hinge_loss(scores, labels, reduction="none", **groups), np.array([1.5, 0.0]))
    mask = make([[True, True], [True, False]])
    lists = make(SCORES.reshape(2, 2)), make([[1, 2], [0, 1]])
    assert_same(nr.pairwise_hinge_loss(*lists, where=mask, reduction="none"), np.array([1.5, 0.0]))


@every_package
def test_an_array_counts_as_numpys_among_others(cpu, make):
    loss = nr.margin_ranking_loss(make(np.float32([1, 2])), np.ones(2, np.float32), [1, -1], reduction="none")
    assert_same(loss, np.array([0.0, 1.0], np.float32))
    scores = nr.tensor(make(X1), requires_grad=True)
    nr.margin_ranking_loss(scores, make(X2), make(np.array(1.0)), reduction="sum").backward()
    assert_same(scores.grad, np.array([-1.0, 0.0, -1.0]))


LAYOUTS = {
    "backwards": lambda a: a[::-1],
    "every second": lambda a: a[:, ::2],
    "transposed": lambda a: a.T,
    "broadcast": lambda a: np.lib.stride_tricks.as_strided(a, strides=(0, a.itemsize)),  # writable, for NumPy 2.0
    "empty": lambda a: a[:0],
    "of integers": lambda a: a.astype(np.int16),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_any_layout_is_read_in_host_memory(cpu, layout):
    a = layout(np.arange(12.0).reshape(3, 4))
    losses = nr.margin_ranking_loss(Exporter(a), np.zeros(a.shape), -1, reduction="none")
    assert_same(losses, a.astype(np.float64))


def test_tensors_of_any_layout(cpu):
    a = np.arange(12.0).reshape(3, 4)
    tensor = torch_tensor(a)
    for view, expected in ((tensor.t(), a.T), (tensor[:, ::2], a[:, ::2]), (tensor[:1].expand(5, 4), a[[0] * 5])):
        assert_same(nr.margin_ranking_loss(view, np.zeros(expected.shape), -1, reduction="none"), expected)


@every_package
def test_nothing_is_copied(cpu, make):
    scores = make(np.zeros(1_000_000))
    assert address(nr.Tensor(scores).data) == address(np.from_dlpack(scores))
    nr.margin_ranking_loss(scores, scores, 1, reduction="sum")
    tracemalloc.start()
    try:
        nr.margin_ranking_loss(scores, scores, 1, reduction="sum")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100_000, f"{peak} bytes were taken beside 8,000,000 of each input"


def test_a_tensor_shares_pytorchs_memory_and_keeps_it(cpu):
    tensor = torch_tensor([1.0, 2.0])
    ours = nr.Tensor(tensor)
    tensor[0] = 7.0
    del tensor
    gc.collect()
    assert_same(ours, np.array([7.0, 2.0], np.float32))


def test_jaxs_arrays_are_not_written_to(cpu):
    ours = nr.Tensor(jax_array([1.0, 2.0]))
    assert not ours.data.flags.writeable


# ---------------------------------------------------------------- what is refused, and the way that is named


def refused(value, place="input1"):
    """The message about a value in a place."""
    with pytest.raises(TypeError) as error:
        if place == "scores":
            nr.pairwise_hinge_loss(value, [1, 0, 1])
        elif place == "qid":
            nr.pairwise_hinge_loss([1.0, 0.0, 1.0], [1, 0, 1], qid=value)
        else:
            nr.margin_ranking_loss(**({"input1": X1, "input2": X2, "target": Y} | {place: value}))
    assert str(error.value).startswith(f"{place} is a ")
    return str(error.value)


@pytest.mark.parametrize("place", ["input1", "input2", "target", "scores", "qid"])
def test_a_tensor_that_requires_a_gradient_is_sent_to_its_integration(place):
    tensor = torch_tensor([1.0, 0.0, 1.0]).requires_grad_()
    message = refused(tensor, place)
    assert "the losses of numbarank.torch" in message
    assert f"pass {place}.detach()" in message
    assert nr.margin_ranking_loss(tensor.detach(), [0.0, 0.0, 0.0], -1, reduction="sum") == 2


def test_a_tensor_in_functional_autograd_is_refused():
    torch = imported("torch")
    for transform in (torch.func.grad, torch.vmap):
        with pytest.raises(TypeError, match="input1 is a torch"):
            transform(lambda x: nr.margin_ranking_loss(x, X2, Y))(torch.ones(3))


def test_a_bfloat16_tensor_in_host_memory_says_what_to_write():
    tensor = torch_tensor([1.0, 0.0, 1.0]).bfloat16()
    message = refused(tensor)
    assert "pass input1.float(), or use the losses of numbarank.torch" in message
    assert nr.margin_ranking_loss(tensor.float(), [0.0, 0.0, 0.0], -1, reduction="sum") == 2


def test_a_bfloat16_array_of_jax_says_what_to_write():
    array = jax_array([1.0, 0.0, 1.0]).astype("bfloat16")
    assert "pass numpy.asarray(input1)" in refused(array)
    assert nr.margin_ranking_loss(np.asarray(array), [0.0, 0.0, 0.0], -1, reduction="sum") == 2


def test_a_tensor_that_is_negated_when_it_is_read_is_refused():
    torch = imported("torch")
    tensor = torch.tensor([1 + 2j, 3 - 4j, 0j]).conj().imag
    assert np.from_dlpack(tensor).tolist() == [2, -4, 0], "NumPy reads the wrong sign"
    assert "pass input1.resolve_neg()" in refused(tensor)
    assert nr.margin_ranking_loss(tensor.resolve_neg(), [0.0, 0.0, 0.0], -1, reduction="sum") == 4


@pytest.mark.parametrize("name", ["sparse", "meta", "complex", "float8"])
def test_tensors_without_ordinary_memory_are_refused(name):
    torch = imported("torch")
    tensor = {
        "sparse": lambda: torch.ones(3).to_sparse(),
        "meta": lambda: torch.ones(3, device="meta"),
        "complex": lambda: torch.ones(3, dtype=torch.complex64),
        "float8": lambda: torch.ones(3, dtype=torch.float8_e5m2),
    }[name]()
    with pytest.raises((TypeError, ValueError, BufferError), match=r"^input2 (is a torch\.Tensor|has dtype complex)"):
        nr.margin_ranking_loss(X1, tensor, Y)


@pytest.mark.parametrize("place", ["input1", "input2", "target", "scores", "qid"])
def test_a_tracer_is_sent_to_a_callback(place):
    jax = imported("jax")
    messages = []
    jax.jit(lambda x: messages.append(refused(x, place)))(jax.numpy.ones(3))
    assert "jax.pure_callback" in messages[0]


def test_a_callback_takes_jaxs_arrays(cpu):
    jax = imported("jax")

    @jax.jit
    def loss(x1, x2):
        result = jax.ShapeDtypeStruct((), np.float32)
        return jax.pure_callback(lambda a, b: nr.margin_ranking_loss(a, b, 1, reduction="sum"), result, x1, x2)

    assert loss(jax.numpy.float32([1, 2]), jax.numpy.float32([3, 1])) == 2


def test_an_array_that_jax_deleted_is_refused():
    array = jax_array([1.0, 0.0, 1.0])
    array.delete()
    assert "does not give out its memory" in refused(array)


@pytest.mark.parametrize("place", ["input1", "target", "scores", "qid"])
def test_a_dask_array_is_sent_to_its_integration(place):
    dask = imported("dask.array")
    message = refused(dask.ones(3), place)
    assert message.startswith(f"{place} is a dask array; use the function of the same name of numbarank.dask")


def test_columns_and_matrices_name_their_own_conversion():
    pandas = imported("pandas")
    assert refused(pandas.Series(X1), "input2").endswith("input2.to_numpy()")
    assert refused(pandas.DataFrame({"a": X1})).endswith("input1.to_numpy()")


def test_what_has_a_conversion_names_it():
    sparse = type("csr_array", (), {"toarray": lambda self: X1})()
    column = type("Series", (), {"to_numpy": lambda self: X1, "toarray": None})()
    assert refused(sparse).endswith("input1.toarray()")
    assert refused(column).endswith("input1.to_numpy()")
    assert refused(object()).endswith("numpy.asarray(input1)")


def test_a_package_that_is_mocked_is_no_package(monkeypatch):
    for name in ("torch", "jax.core", "dask.array", "cupy"):
        monkeypatch.setitem(sys.modules, name, mock.MagicMock())
    assert_same(nr.margin_ranking_loss(Exporter(X1), X2, 1, reduction="none"), np.array([2.0, 0.0, 0.0]))
    monkeypatch.setitem(sys.modules, "torch", None)
    assert refused(object()).endswith("numpy.asarray(input1)")


def test_a_buffer_is_numpys(cpu):
    tensor = torch_tensor([7.0, 7.0])
    x = np.float32([1, 2])
    with pytest.raises(TypeError, match=r"out\[1\] is a torch\.Tensor; it must be .*: pass out\[1\]\.numpy\(\)"):
        nr.margin_ranking_loss_and_grad(x, x, 1, out=(np.empty_like(x), tensor))
    assert tensor.tolist() == [7.0, 7.0]
    nr.margin_ranking_loss_and_grad(x, x, 1, reduction="sum", out=(np.empty_like(x), tensor.numpy()))
    assert tensor.tolist() == [1.0, 1.0]


# ---------------------------------------------------------------- streams, as arguments


def stream_object(**attributes):
    return type("Stream", (), attributes)()


STREAMS = {
    "a handle": 11,
    "NumPy's int": np.int64(11),
    "the protocol": stream_object(__cuda_stream__=lambda self: (0, 11)),
    "PyTorch's": stream_object(cuda_stream=11),
    "CuPy's": stream_object(ptr=11),
    "numba's": stream_object(handle=object(), __int__=lambda self: 11),
}
CALLS = {
    "pairs": lambda x, stream: nr.margin_ranking_loss(x, x, x, stream=stream),
    "pairs and gradients": lambda x, stream: nr.margin_ranking_loss_and_grad(x, x, x, stream=stream),
    "lists": lambda x, stream: nr.pairwise_hinge_loss(x, x, stream=stream),
    "lists and gradients": lambda x, stream: nr.pairwise_hinge_loss_and_grad(x, x, stream=stream),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())


@every_call
@pytest.mark.parametrize("stream", [11, STREAMS["CuPy's"]], ids=["handle", "object"])
def test_the_cpu_has_no_streams(cpu, call, stream):
    for x in (X1, X1[::2], [1.0, 2.0], Exporter(X1), nr.Tensor(X1)):
        with pytest.raises(ValueError, match="the inputs are on the CPU, which has no streams: leave stream out"):
            call(x, stream)


def fails(self):
    raise ZeroDivisionError


@every_call
@pytest.mark.parametrize("stream", [0, -1, 2**64], ids=str)
def test_handles_that_no_stream_has(call, stream):
    with pytest.raises(ValueError, match=f"stream is {stream}; .* 1 is the legacy default stream"):
        call(X1, stream)


@pytest.mark.parametrize(
    "stream",
    [
        True,
        1.0,
        "1",
        object(),
        X1,
        stream_object(ptr="11"),
        stream_object(ptr=1.5),
        stream_object(cuda_stream=True),
        stream_object(__cuda_stream__=lambda self: 11),
        stream_object(__cuda_stream__=fails),
        stream_object(ptr=property(fails)),
        stream_object(handle=11),
        stream_object(handle=11, __int__=fails),
    ],
    ids=shown,
)
def test_what_is_no_stream(stream):
    with pytest.raises(TypeError, match=r"^stream is "):
        nr.margin_ranking_loss(X1, X2, Y, stream=stream)


# ---------------------------------------------------------------- packages made up, with arrays on the device


class Stream(int):
    """A stream of the driver: its handle, and what keeps it alive."""

    owner = None

    def synchronize(self):
        """All that was queued has run."""


@pytest.fixture
def driver(cuda, monkeypatch):
    """The driver with streams that keep a log: which waits for which, and where kernels are launched."""
    from numbarank._cuda import driver, groups, pool

    driver.log = log = []

    class Event:
        stream = None

        def record(self, stream):
            self.stream = int(stream)

        def wait(self, stream):
            if self.stream not in (None, stream):  # else nothing is left to wait for
                log.append((int(stream), "waits for", self.stream))

    def stream_at(handle, owner=None):
        stream = Stream(handle)
        stream.owner = owner
        return stream

    def launched(kernel, blocks, stream, *arguments, launch=driver.launch):
        log.append(int(stream))
        launch(kernel, blocks, stream, *arguments)

    monkeypatch.setattr(driver, "stream_pointer", int)
    monkeypatch.setattr(driver, "stream_at", stream_at)
    monkeypatch.setattr(driver, "new_event", Event)
    monkeypatch.setattr(driver, "_events", driver._Events())
    monkeypatch.setattr(driver, "launch", launched)
    monkeypatch.setattr(pool, "_kept", pool._Kept())
    groups._on_devices.cache_clear()
    yield driver
    del driver.log


def launches(log):
    return [entry for entry in log if isinstance(entry, int)]


def waits(log):
    return [entry for entry in log if not isinstance(entry, int)]


def package(name, array_type, current_stream, monkeypatch):
    """Load a package whose arrays are on the device, in host memory that stands for it."""

    class Array:
        device = f"{name}'s device"
        requires_grad = False

        def __init__(self, array):
            self.array = array

        def is_neg(self):
            return False

        @property
        def __cuda_array_interface__(self):
            interface = Foreign(self.array).__cuda_array_interface__ | {"data": (address(self.array), False)}
            return interface | ({"stream": current_stream} if name == "cupy" else {"version": 2})

        def __dlpack_device__(self):
            return 2, 0

    def from_dlpack(array):
        from numbarank._cuda import dlpack

        assert array.__dlpack_device__() == (2, 0)
        capsule = array.__dlpack__(stream=current_stream or 1, max_version=(1, 0))
        dlpack._pointer(id(capsule), b"dltensor").contents.tensor.device_type = 1
        return Array(
            np.from_dlpack(types.SimpleNamespace(__dlpack__=lambda **_: capsule, __dlpack_device__=lambda: (1, 0)))
        )

    def stream_of(device):
        assert device == Array.device
        return stream_object(cuda_stream=module.current_stream)

    def empty(size, dtype, device=Array.device):
        assert dtype == "uint8" and device == Array.device
        memory = Array(np.full(size, 0x99, dtype))
        module.pool.append(memory.array)
        return memory

    current = {
        "current_stream": stream_of,
        "get_current_stream": lambda: stream_object(ptr=module.current_stream),
    }
    module = types.SimpleNamespace(
        from_dlpack=from_dlpack,
        Array=Array,
        current_stream=current_stream,
        pool=[],
        empty=empty,
        uint8="uint8",
        cuda=types.SimpleNamespace(**current),
    )
    setattr(module, array_type, Array)
    monkeypatch.setitem(sys.modules, name, module)
    return module


@pytest.fixture
def torch(monkeypatch):
    return package("torch", "Tensor", 7, monkeypatch)


@pytest.fixture
def cupy(monkeypatch):
    return package("cupy", "ndarray", 9, monkeypatch)


@pytest.fixture(params=["torch", "cupy"])
def either(request):
    return request.getfixturevalue(request.param)


@simulated
def test_the_same_array_type_comes_out(driver, either):
    x1, x2, y = (either.Array(a.copy()) for a in (X1, X2, Y))
    loss = nr.margin_ranking_loss(x1, x2, y, 0.5)
    assert type(loss) is either.Array
    assert_same(loss.array, np.array(1.0))
    losses, gradients = nr.margin_ranking_loss_and_grad(x1, x2, y, 0.5, "none", target_grad=True)
    assert {type(array) for array in (losses, *gradients)} == {either.Array}
    assert_same(losses.array, np.array([2.5, 0.0, 0.5]))
    assert_same(gradients[1].array, np.array([1.0, 0.0, -1.0]))
    loss, gradient, counts = nr.pairwise_hinge_loss_and_grad(x1, y, reduction="sum", return_counts=True)
    assert {type(array) for array in (loss, gradient, counts)} == {either.Array}
    assert_same(loss.array, np.array(1 - 1 + 4 + 1 - 2 + 4.0))
    assert_same(counts.array, np.array([1.0, 1.0, 2.0]))
    assert type(nr.pairwise_hinge_loss(x1, y)) is either.Array


@simulated
def test_the_loss_has_the_first_array_type_and_each_gradient_its_inputs(driver, torch, cupy):
    numbas = put(X1.copy(), "cuda")
    for x1, x2, y, expected in (
        (torch.Array(X1.copy()), cupy.Array(X2.copy()), numbas, torch.Array),
        (cupy.Array(X1.copy()), numbas, torch.Array(Y.copy()), cupy.Array),
        (numbas, torch.Array(X2.copy()), 1, driver.DeviceArray),
        (nr.Tensor(numbas), torch.Array(X2.copy()), 1, nr.Tensor),
    ):
        loss, gradients = nr.margin_ranking_loss_and_grad(x1, x2, y)
        assert type(loss) is type(gradients[0]) is expected
        assert type(gradients[1]) is (type(x2) if expected is not nr.Tensor else expected)
        assert type(nr.margin_ranking_loss(x1, x2, y)) is expected


@simulated
@pytest.mark.usefixtures("products")
def test_retrieval_stays_in_the_package_and_on_its_stream(products, driver, either):
    queries, items, bias = np.array([[1.0], [2.0]]), np.array([[3.0], [2.5], [1.0]]), np.array([0.5, 0.0, 0.0])
    given, positives = [either.Array(a.copy()) for a in (queries, items, bias)], ([0, 1], [1, 2])
    loss, gradients = nr.retrieval_hinge_loss_and_grad(*given[:2], positives, bias=given[2], losers=1)
    expected, others = nr.retrieval_hinge_loss_and_grad(queries, items, positives, bias=bias, losers=1)
    best, negatives = (
        nr.hard_negatives(*arrays[:2], 2, positives=positives, bias=arrays[2])
        for arrays in (given, (queries, items, bias))
    )
    for found, other in zip((loss, *gradients, *best), (expected, *others, *negatives), strict=True):
        assert type(found) is either.Array
        assert_same(found.array, np.asarray(other))
    assert set(launches(driver.log)) == {either.current_stream}
    assert not waits(driver.log)


@simulated
def test_a_number_has_no_array_type(driver, either):
    loss = nr.margin_ranking_loss(3.0, either.Array(np.array(2.0)), -1)
    assert type(loss) is either.Array
    assert_same(loss.array, np.array(1.0))


@simulated
def test_a_result_lives_as_long_as_the_package_wants(driver, either):
    from numbarank._cuda import dlpack

    before = len(dlpack._given)
    losses = nr.margin_ranking_loss(either.Array(X1.copy()), either.Array(X2.copy()), 1, reduction="none")
    gc.collect()
    assert len(dlpack._given) == before + 1
    assert_same(losses.array, np.array([2.0, 0.0, 0.0]))
    del losses
    gc.collect()
    assert len(dlpack._given) == before


@simulated
@every_call
def test_kernels_run_on_the_stream_of_the_package(driver, either, call):
    stream = 7 if either is sys.modules.get("torch") else 9
    call(either.Array(X1.copy()), None)
    assert set(launches(driver.log)) == {stream}
    # what a list needs of its groups is copied to the device on the default stream
    assert set(waits(driver.log)) <= {(stream, "waits for", 0)}


def shares_memory(array, others):
    return any(np.shares_memory(array, other) for other in others)


@simulated
def test_results_are_in_memory_of_the_package(driver, either):
    x1, x2, y = (either.Array(a.copy()) for a in (X1, X2, Y))
    losses, gradients = nr.margin_ranking_loss_and_grad(x1, x2, y, 0.5, "none", target_grad=True)
    lists = nr.pairwise_hinge_loss_and_grad(x1, y, reduction="none", return_counts=True)
    assert all(shares_memory(array.array, either.pool) for array in (losses, *gradients, *lists))
    assert_same(gradients[1].array, np.array([1.0, 0.0, -1.0]))
    assert len(either.pool) == 7


@simulated
def test_memory_that_is_for_another_stream_is_not_taken(driver, either):
    x1, x2 = either.Array(X1.copy()), either.Array(X2.copy())
    nr.margin_ranking_loss(x1, x2, 1, reduction="none", stream=11)
    assert not either.pool


@simulated
def test_results_without_elements_take_no_memory(driver, either):
    x = either.Array(np.empty(0))
    assert nr.margin_ranking_loss(x, x, 1, reduction="none").array.size == 0
    assert not either.pool


@simulated
def test_three_inputs_on_one_stream_are_one_wait(driver, either):
    x1, x2, y = (either.Array(a.copy()) for a in (X1, X2, Y))
    for call in (nr.margin_ranking_loss, nr.pairwise_hinge_loss):
        driver.log.clear()
        call(x1, x2, *([y] if call is nr.margin_ranking_loss else []), stream=11)
        waited = (11, "waits for", 7 if either is sys.modules.get("torch") else 9)
        assert waits(driver.log).count(waited) == 1


@simulated
def test_pairs_on_one_stream_wait_for_nothing(driver, either):
    x = either.Array(X1.copy())
    nr.margin_ranking_loss_and_grad(x, x, x)
    nr.margin_ranking_loss(x, either.Array(X1[::-1]), np.array(1.0), reduction="none")
    assert not waits(driver.log)


@simulated
def test_pytorchs_default_stream_is_the_legacy_one(driver, monkeypatch):
    torch = package("torch", "Tensor", 0, monkeypatch)
    x = torch.Array(X1.copy())
    nr.margin_ranking_loss(x, x, 1)
    assert set(driver.log) == {1}


@simulated
@every_call
@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS.keys())
def test_another_stream_waits_for_the_package_and_the_package_for_it(driver, torch, stream, call):
    call(torch.Array(X1.copy()), stream)
    assert set(launches(driver.log)) == {11}
    assert driver.log[0] == (11, "waits for", 7)
    assert driver.log[-1] == (7, "waits for", 11)


@simulated
def test_a_default_stream_as_an_object_is_the_legacy_one(driver, torch):
    for stream in (
        stream_object(__cuda_stream__=lambda self: (0, 0)),
        stream_object(cuda_stream=0),
        stream_object(ptr=0),
        stream_object(handle=None, __int__=lambda self: 0),
    ):
        driver.log.clear()
        nr.margin_ranking_loss(torch.Array(X1.copy()), torch.Array(X2.copy()), 1, stream=stream)
        assert set(launches(driver.log)) == {1}


@simulated
def test_numbas_results_stay_on_the_stream_and_keep_it_alive(driver):
    x1, x2, stream = put(X1.copy(), "cuda"), put(X2.copy(), "cuda"), stream_object(ptr=11)
    loss, gradients = nr.margin_ranking_loss_and_grad(x1, x2, 1, stream=stream)
    assert [array.stream for array in (loss, *gradients)] == [11] * 3
    assert all(array.stream.owner is stream for array in (loss, *gradients))
    assert x1.stream == x2.stream == 0
    assert set(waits(driver.log)) == {(11, "waits for", 0)}


@simulated
def test_inputs_on_two_streams_are_read_on_the_first(driver, torch, cupy):
    x1, x2, y = put(X1.copy(), "cuda"), torch.Array(X2.copy()), cupy.Array(Y.copy())
    losses = nr.margin_ranking_loss(x1, x2, y, reduction="none")
    assert set(launches(driver.log)) == {7}
    assert losses.stream == 7
    assert {(7, "waits for", 0), (7, "waits for", 9)} <= set(waits(driver.log))


@simulated
def test_a_buffer_on_another_stream_waits_for_its_losses(driver, torch, cupy):
    x, out = cupy.Array(X1.copy()), torch.Array(np.empty(3))
    assert nr.margin_ranking_loss(x, cupy.Array(X2.copy()), 1, reduction="none", out=out) is out
    assert_same(out.array, np.array([2.0, 0.0, 0.0]))
    assert driver.log == [(9, "waits for", 7), 9, (7, "waits for", 9)]


@simulated
def test_buffers_on_another_stream_wait_for_their_gradients(driver, torch, cupy):
    x1, x2, out = cupy.Array(X1[:1].copy()), cupy.Array(X2.copy()), [torch.Array(np.empty(n)) for n in (1, 3)]
    nr.margin_ranking_loss_and_grad(x1, x2, 1, reduction="sum", out=out)
    assert_same(out[0].array, np.array([-3.0]))  # a sum, copied into the buffer
    assert driver.log.count((7, "waits for", 9)) == 2
    driver.log.clear()
    nr.pairwise_hinge_loss_and_grad(x2, x2, out=out[1])
    assert driver.log[-1] == (7, "waits for", 9)


@simulated
def test_buffers_come_back_as_they_are(driver, either):
    x1, x2, out = either.Array(X1.copy()), either.Array(X2.copy()), [either.Array(np.empty(3)) for _ in range(2)]
    loss, gradients = nr.margin_ranking_loss_and_grad(x1, x2, 1, reduction="sum", out=out)
    assert gradients[0] is out[0] and gradients[1] is out[1]
    assert type(loss) is either.Array
    assert_same(out[1].array, np.array([1.0, 0.0, 1.0]))
    result = nr.pairwise_hinge_loss_and_grad(x1, x2, out=out[0], return_counts=True)
    assert result[1] is out[0] and type(result[2]) is either.Array


@simulated
def test_groups_are_put_on_a_device_once_for_each_stream(driver, torch, cupy):
    queries = nr.Groups(group=[1, 2])
    for array_type, stream, waited in ((torch.Array, 7, True), (cupy.Array, 9, True), (torch.Array, 7, False)):
        driver.log.clear()
        scores = array_type(X1.copy())
        nr.pairwise_hinge_loss(scores, scores, group=queries)
        assert set(launches(driver.log)) == {stream}
        assert waits(driver.log) == [(stream, "waits for", 0)] * waited
    assert set(queries.on_devices) == {(0, 7), (0, 9)}


@simulated
def test_a_tensor_of_the_package_that_requires_a_gradient_is_refused(driver, torch):
    x = torch.Array(X1.copy())
    x.requires_grad = True
    with pytest.raises(TypeError, match=r"input1 is a .*use the losses of numbarank\.torch"):
        nr.margin_ranking_loss(x, x, 1)
    assert not driver.log
