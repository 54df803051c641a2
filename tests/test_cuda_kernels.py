"""What only the CUDA backend has: grids, groups and tails, sums over blocks, foreign arrays, streams.

The first part runs on a GPU and under the simulator; the second needs the simulator, where host memory stands for the
device's, so that foreign arrays can be made up.
"""

import ctypes
import gc
import types

import numpy as np
import pytest
import reference
from helpers import FLOATS, SIMULATOR, assert_bits, assert_same, assert_within, host, put, random_pairs

import numbarank as nr
from numbarank import _dispatch

simulated = pytest.mark.usefixtures("simulator")
NAN, INF = np.nan, np.inf


@pytest.fixture(scope="module")
def backend(cuda):
    """The modules of the CUDA backend."""
    backend = _dispatch.backend(cuda)
    from numbarank._cuda import dlpack, driver, foreign, pool

    modules = {"dlpack": dlpack, "driver": driver, "foreign": foreign, "pool": pool}
    return types.SimpleNamespace(arrays=backend.arrays, pairs=backend.pairs, **modules)


# ---------------------------------------------------------------- grids, groups and tails


def awkward_sizes(driver):
    """Sizes beside the edges of a group, a warp, a block and a whole grid of groups."""
    grid = driver.THREADS * driver.max_blocks(0)
    edges = {1, 2, 4, 8, driver.THREADS, 4 * driver.THREADS, 4 * grid}
    return sorted({size for edge in edges for size in (edge - 1, edge, edge + 1) if size > 0} | {9 * grid + 5})


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_pair_is_computed_once(backend, cuda, dtype):
    for size in awkward_sizes(backend.driver):
        x1, x2, y = random_pairs(size, dtype, seed=size)
        arguments = [put(a, cuda) for a in (x1, x2, y)]
        losses, (by_x1, by_x2) = nr.margin_ranking_loss_and_grad(*arguments, 0.5, "none")
        assert_same(losses, reference.losses(x1, x2, y, 0.5))
        expected = reference.slopes(x1, x2, y, 0.5, "none")
        assert_same(by_x1, expected[0])
        assert_same(by_x2, expected[1])
        assert_within(nr.margin_ranking_loss(*arguments, 0.5, reduction="sum"), reference.loss(x1, x2, y, 0.5, "sum"))


@pytest.mark.parametrize("position", range(3))
@pytest.mark.parametrize("dtype", FLOATS)
def test_an_array_that_is_not_aligned_gives_the_same(backend, cuda, dtype, position):
    inputs = random_pairs(101, dtype)
    shifted = [put(a, cuda) for a in inputs]
    shifted[position] = put(np.r_[inputs[position][:1], inputs[position]], cuda)[1:]
    aligned = nr.margin_ranking_loss_and_grad(*(put(a, cuda) for a in inputs), 0.5, "none", target_grad=True)
    unaligned = nr.margin_ranking_loss_and_grad(*shifted, 0.5, "none", target_grad=True)
    for actual, expected in zip(flattened(unaligned), flattened(aligned), strict=True):
        assert_bits(actual, expected)


def flattened(result):
    loss, gradients = result
    return loss, *gradients


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_cuda_and_cpu_agree(cuda, dtype, reduction):
    x1, x2, y = random_pairs((3, 31), dtype)
    for target in (y, y.astype(np.int8), y.astype(np.int64), 1, np.array(-1, dtype), np.array(-1, np.int32)):
        there = [put(a, cuda) if isinstance(a, np.ndarray) else a for a in (x1, x2, target)]
        expected = nr.margin_ranking_loss_and_grad(x1, x2, target, 0.25, reduction, target_grad=True)
        actual = nr.margin_ranking_loss_and_grad(*there, 0.25, reduction, target_grad=True)
        assert_within(actual[0], expected[0], ulps=0 if reduction == "none" else 1)
        for got, want in zip(actual[1][:2], expected[1][:2], strict=True):
            assert_within(got, want, ulps=0)


@pytest.mark.parametrize("shape", [(), (33,)], ids=["0-d", "like"])
def test_upstream_gradients_that_stay_on_the_device(cuda, shape):
    x1, x2, y = random_pairs(33)
    upstream = np.full(shape, 3.0)
    reduction = "none" if shape else "mean"
    there = [put(a, cuda) for a in (x1, x2, y)]
    _, (by_x1, _) = nr.margin_ranking_loss_and_grad(*there, 0.5, reduction, gradient=put(upstream, cuda))
    assert_same(by_x1, reference.slopes(x1, x2, y, 0.5, reduction, upstream)[0])


# ---------------------------------------------------------------- totals


def test_the_same_bits_every_time(backend, cuda):
    arguments = [put(a, cuda) for a in random_pairs(5 * backend.driver.THREADS + 3)]
    totals = {host(nr.margin_ranking_loss(*arguments, 0.5)).tobytes() for _ in range(5)}
    assert len(totals) == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", ["ordinary", "one large", "many magnitudes", "subnormal"])
def test_totals_are_rounded_once(cuda, dtype, case):
    rng = np.random.default_rng(3)
    z = {
        "ordinary": rng.random(500),
        "one large": np.r_[1 / np.finfo(dtype).eps, np.full(499, 0.3)],
        "many magnitudes": 10.0 ** rng.uniform(-30, 30, 500),
        "subnormal": rng.integers(0, 9, 500) * float(np.finfo(dtype).smallest_subnormal),
    }[case].astype(dtype)
    for reduction in ("sum", "mean"):
        actual = nr.margin_ranking_loss(put(z, cuda), put(np.zeros_like(z), cuda), -1, reduction=reduction)
        assert_within(actual, reference.loss(z, np.zeros_like(z), -1, reduction=reduction))


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("special", [None, INF, NAN, 1e-300], ids=str)
def test_totals_whose_sum_overflows(cuda, dtype, special, reduction):
    z = np.full(300, np.finfo(dtype).max)
    if special is not None:
        z[117] = special
    actual = nr.margin_ranking_loss(put(z, cuda), put(np.zeros_like(z), cuda), -1, reduction=reduction)
    assert_within(actual, reference.loss(z, np.zeros_like(z), -1, reduction=reduction))


def test_a_few_blocks_overflow_and_the_others_do_not(backend, cuda):
    z = np.zeros(4 * backend.driver.THREADS * backend.driver.max_blocks(0))
    z[:5] = 1.5e308
    z[-5:] = 1e-300
    actual = nr.margin_ranking_loss(put(z, cuda), put(np.zeros_like(z), cuda), -1)
    assert_within(actual, reference.loss(z, np.zeros_like(z), -1))


@pytest.mark.parametrize("shape", [(0,), (0, 3), (0, 0)], ids=str)
def test_nothing_is_launched_for_nothing(backend, cuda, monkeypatch, shape):
    empty = put(np.empty(shape), cuda)
    monkeypatch.setattr(backend.driver, "launch", None)
    assert host(nr.margin_ranking_loss(empty, empty, 1, reduction="sum")) == 0
    assert np.isnan(host(nr.margin_ranking_loss(empty, empty, 1)))
    losses, gradients = nr.margin_ranking_loss_and_grad(empty, empty, empty, 0.0, "none", target_grad=True)
    assert {tuple(array.shape) for array in (losses, *gradients)} == {shape}
    assert backend.arrays.copy(empty).shape == shape
    assert tuple(backend.arrays.sum_to(empty, (1, *shape[1:]), empty.dtype).shape) == (1, *shape[1:])


# ---------------------------------------------------------------- arrays


@pytest.mark.parametrize("source", [*FLOATS, np.int8, np.int64, np.bool_])
@pytest.mark.parametrize("dtype", FLOATS)
def test_conversions_round_once(backend, cuda, source, dtype):
    exact = np.r_[1 + 2.0**-8 + 2.0**-40, 1 + 2.0**-11 + 2.0**-40, 65504, 65519.9, 65520, 3.39e38, 1e-40, 1e300]
    values = np.r_[exact, -exact, 0, -0.0, INF, -INF, NAN, np.random.default_rng(0).standard_normal(50)]
    with np.errstate(all="ignore"):
        values = (values if np.dtype(source).kind in "fV" else np.arange(-8, 8)).astype(source)
    narrow = [reference.rounded(v if not np.isfinite(v) else reference.exact_sum([v]), dtype) for v in values.tolist()]
    # ml_dtypes rounds twice on the way from float64 to bfloat16
    assert_within(backend.arrays.cast(put(values, cuda), dtype), np.array(narrow, dtype), ulps=dtype.name == "bfloat16")


def test_float64_becomes_bfloat16_in_one_rounding(backend, cuda):
    if reference.BFLOAT16 is None:
        pytest.skip("ml_dtypes is not installed")
    values = np.array([1 + 2.0**-8 + 2.0**-40, 1 + 2.0**-8, 1 + 2.0**-8 - 2.0**-40])
    assert host(backend.arrays.cast(put(values, cuda), reference.BFLOAT16)).tolist() == [1 + 2.0**-7, 1, 1]


@pytest.mark.parametrize(
    "shape, to",
    [
        ((6, 5, 4), (6, 1, 4)),
        ((6, 5, 4), (1, 5, 1)),
        ((6, 5, 4), (1, 1, 1)),
        ((6, 5, 4), ()),
        ((6, 5, 4), (4,)),
        ((3, 200), (3, 1)),
        ((200, 3), (1, 3)),
        ((1, 1), ()),
        ((0, 3), (1, 3)),
        ((0, 3), (0, 1)),
        ((2, 3), (2, 3)),
    ],
    ids=str,
)
def test_sums_over_broadcast_axes(backend, cuda, shape, to):
    a = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    expected = reference.summed_to(a, (1,) * (a.ndim - len(to)) + to, a.dtype).reshape(to)
    assert_within(backend.arrays.sum_to(put(a, cuda), to, a.dtype), expected)


def test_overlap_is_a_matter_of_addresses(backend, cuda):
    a, b = put(np.zeros(8), cuda), put(np.zeros(8), cuda)
    assert not backend.arrays.overlap(a, b)
    assert backend.arrays.overlap(a[2:5], a[4:])
    assert not backend.arrays.overlap(a[:4], a[4:])
    assert not backend.arrays.overlap(a[:0], a)


# ---------------------------------------------------------------- foreign arrays, made up in host memory


class Foreign:
    """An array of another package: NumPy's memory with a CUDA array interface, parts of it replaced."""

    def __init__(self, array, **replaced):
        interface = dict(array.__array_interface__, strides=array.strides, version=3)
        interface["data"] = (interface["data"][0], True)
        interface |= replaced
        self.array = array
        kept = {key: value for key, value in interface.items() if not isinstance(value, str) or value != "missing"}
        self.__cuda_array_interface__ = kept


VIEWS = {
    "reversed": lambda a: a[::-1],
    "steps": lambda a: a[:, ::-2, 1:],
    "transposed": lambda a: a.transpose(2, 0, 1),
    "broadcast": lambda a: np.broadcast_to(a[:1], a.shape),
    "row": lambda a: a[2],
    "cell": lambda a: a[1, 2, 3],
    "empty": lambda a: a[:0],
}


@simulated
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("dtype", ["float64", "int8"])
def test_foreign_views_are_read_where_they_are(backend, view, dtype):
    a = np.asarray(VIEWS[view](np.arange(120).reshape(6, 5, 4).astype(dtype)))
    there = backend.arrays.wrap(Foreign(a))
    assert_same(there, a)
    assert backend.driver.address(there) == a.__array_interface__["data"][0] or not a.size
    assert_same(backend.arrays.copy(there), a)
    wide = np.broadcast_shapes(a.shape, (2, 1, 1, 1))
    if a.size:
        assert_same(backend.arrays.contiguous(there, wide, np.dtype("f4")), np.broadcast_to(a, wide).astype("f4"))


@simulated
def test_foreign_arrays_are_inputs_of_a_loss_and_keep_their_owner(cuda):
    x1, x2, y = random_pairs((4, 6))
    there = [Foreign(a[:, ::-1]) for a in (x1, x2, y)]
    assert_same(nr.margin_ranking_loss(*there, 0.5, reduction="none"), reference.losses(x1, x2, y, 0.5)[:, ::-1])
    tensor = nr.Tensor(Foreign(x1.copy()))
    gc.collect()
    assert_same(tensor, x1)


@simulated
def test_bfloat16_by_its_typestr(backend):
    if reference.BFLOAT16 is None:
        pytest.skip("ml_dtypes is not installed")
    a = np.arange(6).reshape(2, 3).astype(reference.BFLOAT16)
    there = backend.arrays.wrap(Foreign(a.view(np.uint16).T, typestr="<V2"))
    assert there.dtype == reference.BFLOAT16
    assert_bits(there, np.ascontiguousarray(a.T))


@simulated
@pytest.mark.parametrize(
    "replaced, error, words",
    [
        ({"data": (0, False)}, ValueError, "null pointer"),
        ({"data": (None, False)}, ValueError, "null pointer"),
        ({"data": ("0x10", False)}, TypeError, "address"),
        ({"data": 4096}, TypeError, "address"),
        ({"data": (1.5, False)}, TypeError, "address"),
        ({"typestr": "float1"}, TypeError, "typestr"),
        ({"typestr": ">f8"}, TypeError, "byte order"),
        ({"typestr": "|O"}, TypeError, "typestr"),
        ({"typestr": 8}, TypeError, "typestr"),
        ({"typestr": "<c16"}, TypeError, "complex128"),
        ({"strides": (8,)}, ValueError, "lengths"),
        ({"strides": (3, 1)}, ValueError, "not aligned"),
        ({"strides": (2**62, 2**62)}, ValueError, "no memory"),
        ({"strides": "ab"}, TypeError, "strides"),
        ({"shape": (-1, 3)}, ValueError, "at least 0"),
        ({"shape": (2**62, 2**62)}, ValueError, "memory"),
        ({"shape": [2.0, 3]}, TypeError, "shape"),
        ({"shape": "missing"}, TypeError, "no shape"),
        ({"version": 4}, ValueError, "version"),
        ({"version": -1}, ValueError, "version"),
        ({"version": "3"}, ValueError, "version"),
        ({"mask": "a mask"}, TypeError, "mask"),
        ({"stream": 0}, ValueError, "stream"),
        ({"stream": "s"}, ValueError, "stream"),
    ],
    ids=str,
)
def test_a_bad_interface_is_refused_before_its_pointer_is_used(replaced, error, words):
    with pytest.raises(error, match=words):
        nr.Tensor(Foreign(np.ones((2, 3)), **replaced))


@simulated
def test_an_address_that_is_not_aligned_is_refused():
    a = np.zeros(17, np.int8)[1:].view(np.float64)
    with pytest.raises(ValueError, match="not aligned"):
        nr.Tensor(Foreign(a))


@pytest.mark.skipif(SIMULATOR, reason="the simulator has no memory of its own")
@pytest.mark.parametrize("name", ["input1", "out"])
@pytest.mark.parametrize("case", ["in host memory", "longer than its memory", "before its memory", "never allocated"])
def test_memory_that_is_not_on_the_device_is_refused(cuda, case, name):
    host_memory, there = np.ones((2, 3), np.float32), put(np.ones((2, 3), np.float32), cuda)
    interface = dict(there.__cuda_array_interface__)
    _, flag = interface["data"]
    interface |= {
        "in host memory": {"data": (host_memory.ctypes.data, flag)},
        "longer than its memory": {"shape": (2**33, 3)},
        "before its memory": {"strides": (-(2**33) * 4, 4)},
        "never allocated": {"data": (2**20, flag)},
    }[case]
    other = types.SimpleNamespace(__cuda_array_interface__=interface, there=there)
    given = {"input1": there, "input2": there, "target": there, "reduction": "none", name: other}
    with pytest.raises(BufferError, match=rf"^{name} .*(not on its device|allocated to)"):
        nr.margin_ranking_loss(**given)


@simulated
def test_an_interface_that_is_no_dict_is_refused():
    with pytest.raises(TypeError, match="dict"):
        nr.Tensor(types.SimpleNamespace(__cuda_array_interface__=3))


# ---------------------------------------------------------------- DLPack


class Producer:
    """A package that offers DLPack alone."""

    def __init__(self, capsule, device_type=2):
        self.capsule, self.device_type = capsule, device_type

    def __dlpack_device__(self):
        return self.device_type, 0

    def __dlpack__(self, *, stream=None):
        assert stream == 1, "the default stream waits for the producer"
        return self.capsule


@simulated
@pytest.mark.parametrize("dtype", [*FLOATS, "int8"])
def test_dlpack_there_and_back(backend, cuda, dtype):
    a = np.arange(6).reshape(2, 3).astype(dtype)
    there = nr.Tensor(Producer(nr.tensor(a, device=cuda).__dlpack__()))
    assert_bits(there, a)
    assert len(backend.dlpack._given) == 1
    del there
    gc.collect()
    assert not backend.dlpack._given


@simulated
def test_a_capsule_that_nobody_takes_gives_its_memory_back(backend, cuda):
    capsule = nr.ones(3, device=cuda).__dlpack__()
    assert len(backend.dlpack._given) == 1
    del capsule
    gc.collect()
    assert not backend.dlpack._given


@simulated
def test_numpy_understands_our_capsules_and_we_numpys(backend, cuda, monkeypatch):
    monkeypatch.setattr(backend.dlpack, "CUDA", 1)  # the number of host memory
    ours = nr.tensor([[1.0, 2.0, 3.0]], device=cuda)
    assert_same(np.from_dlpack(ours), np.array([[1.0, 2.0, 3.0]]))
    theirs = np.arange(24.0).reshape(4, 6)[::-1, ::2]
    there = backend.foreign.wrap(types.SimpleNamespace(__dlpack__=lambda stream: theirs.__dlpack__()))
    assert_same(there, theirs)


@simulated
def test_a_capsule_is_taken_once(cuda):
    capsule = nr.ones(3, device=cuda).__dlpack__()
    first = nr.Tensor(Producer(capsule))
    with pytest.raises(BufferError, match="has not been used"):
        nr.Tensor(Producer(capsule))
    assert_same(first, np.ones(3))


@simulated
@pytest.mark.parametrize("capsule", [None, "dltensor", 7], ids=repr)
def test_what_is_no_capsule_is_refused(capsule):
    with pytest.raises(BufferError, match="capsule"):
        nr.Tensor(Producer(capsule))


@simulated
def test_a_capsule_of_another_device_is_refused():
    with pytest.raises(BufferError, match="device type 1"):
        nr.Tensor(Producer(np.ones(3).__dlpack__()))


@simulated
@pytest.mark.parametrize("field, value", [("code", 5), ("bits", 4), ("lanes", 2)])
def test_a_dlpack_dtype_that_is_not_known_is_refused(backend, cuda, field, value):
    capsule = nr.ones(3, device=cuda).__dlpack__()
    setattr(backend.dlpack._pointer(id(capsule), b"dltensor").contents.tensor, field, value)
    with pytest.raises(TypeError, match="not known"):
        nr.Tensor(Producer(capsule))


def test_dlpack_does_not_copy_to_another_device(cuda):
    with pytest.raises(BufferError, match="not copied"):
        nr.ones(3, device=cuda).__dlpack__(dl_device=(1, 0))


@simulated
def test_dlpack_copies_when_asked(backend, cuda):
    tensor = nr.ones(3, device=cuda)
    copied = backend.dlpack._pointer(id(capsule := tensor.__dlpack__(copy=True)), b"dltensor").contents.tensor
    assert copied.data != backend.driver.address(tensor.data)
    assert ctypes.string_at(copied.data, 8) == np.float64(1).tobytes()
    del capsule


# ---------------------------------------------------------------- streams


@simulated
def test_streams_wait_for_each_other_and_the_host_for_none(backend, monkeypatch):
    log = []

    class Event:
        def __init__(self):
            made.append(self)

        def record(self, stream):
            log.append(("record", stream))

        def wait(self, stream):
            log.append(("wait", stream))

        def synchronize(self):
            raise AssertionError("the host waits")

    made = []
    monkeypatch.setattr(backend.driver, "new_event", Event)
    monkeypatch.setattr(backend.driver, "_events", backend.driver._Events())
    monkeypatch.setattr(backend.driver, "stream_pointer", lambda stream: stream)
    arrays = [types.SimpleNamespace(stream=stream) for stream in (0, 7, 0, 9, 7)]
    assert backend.driver.common_stream(*arrays) == 7
    assert log == [("record", 0), ("wait", 7), ("record", 9), ("wait", 7)]
    assert backend.driver.common_stream(arrays[0], arrays[2]) == 0
    assert len(made) == 1, "an event for each wait"


@simulated
def test_results_are_on_the_stream_of_their_inputs(backend, cuda):
    stream = backend.driver.cuda.stream()
    x1, x2, y = (put(a, cuda).bind(stream) for a in random_pairs(5))
    loss, gradients = nr.margin_ranking_loss_and_grad(x1, x2, y)
    assert {array.stream for array in (loss, *gradients)} == {stream}


# ---------------------------------------------------------------- memory that calls use again


@pytest.fixture
def few_cells(backend, monkeypatch):
    """Totals come four at a time."""
    monkeypatch.setattr(backend.pool, "_CELLS", 4)
    monkeypatch.setattr(backend.pool, "_kept", backend.pool._Kept())


def calls_in_steady_state(cuda):
    """Return calls that hand nothing back but numbers and what they are given."""
    x1, x2, y = (put(a, cuda) for a in random_pairs(5))
    out = put(np.zeros(5), cuda), put(np.zeros(5), cuda)
    return {
        "pairs": lambda: nr.margin_ranking_loss(x1, x2, y),
        "gradients": lambda: nr.margin_ranking_loss_and_grad(x1, x2, y, out=out),
        "lists": lambda: nr.pairwise_hinge_loss(x1, y, group=[2, 3]),
        "gradients of lists": lambda: nr.pairwise_hinge_loss_and_grad(x1, y, group=[2, 3], out=out[0]),
        "the highest losers": lambda: nr.pairwise_hinge_loss(x1, y, group=[2, 3], losers=1),
    }


@pytest.mark.parametrize("name", ["pairs", "gradients", "lists", "gradients of lists", "the highest losers"])
def test_a_call_repeated_allocates_no_memory(backend, cuda, few_cells, monkeypatch, name):
    call = calls_in_steady_state(cuda)[name]
    call()
    sizes = []
    empty = backend.driver.empty
    monkeypatch.setattr(backend.driver, "empty", lambda shape, *rest: sizes.append(shape) or empty(shape, *rest))
    for _ in range(8):
        call()
    assert sizes == [(4,)] * 2, "totals come many at a time, the rest is kept"


def test_totals_that_share_memory_keep_their_values(cuda, few_cells):
    x1, x2 = (put(np.array([a]), cuda) for a in (1.0, 0.0))
    totals = [nr.margin_ranking_loss(x1, x2, -1, margin=float(k)) for k in range(9)]
    assert [host(total).item() for total in totals] == [1.0 + k for k in range(len(totals))]


def test_a_workspace_grows_and_is_split(backend, cuda):
    rng = np.random.default_rng(0)
    for rows in (3, 40, 2, 70, 40):
        scores, labels = rng.standard_normal(rows), rng.integers(3, size=rows)
        expected = nr.pairwise_hinge_loss_and_grad(scores, labels)
        actual = nr.pairwise_hinge_loss_and_grad(put(scores, cuda), put(labels, cuda))
        for a, b in zip(expected, actual, strict=True):
            np.testing.assert_allclose(host(b), a, rtol=1e-12)


@simulated
def test_a_stream_with_the_handle_of_an_older_one_waits_for_its_last_use(backend, monkeypatch):
    log = []

    class Event:
        def record(self, stream):
            log.append(("record", stream))

        def wait(self, stream):
            log.append(("wait", stream))

    monkeypatch.setattr(backend.driver, "new_event", Event)
    monkeypatch.setattr(backend.driver, "stream_pointer", lambda stream: stream)
    monkeypatch.setattr(backend.pool, "_kept", backend.pool._Kept())
    for stream in (7, 0, 7, 0):
        with backend.pool.workspace(0, stream, (2, 3), (4,)) as (first, second):
            log.append((first.shape, second.shape))
    used = [((2, 3), (4,))]
    on_stream = [("wait", 7), *used, ("record", 7)]
    assert log == [*on_stream, *used, *on_stream, *used]
    assert len(backend.pool._kept.workspaces) == 2
    for stream in range(1, 100):
        with backend.pool.workspace(0, stream, (1,)):
            pass
    assert len(backend.pool._kept.workspaces) == backend.pool._MOST_STREAMS
    with backend.pool.workspace(0, 0, (backend.pool._LARGEST_KEPT // 8 + 1,)):
        pass
    assert (0, 0) not in backend.pool._kept.workspaces, "so much memory is not kept"
