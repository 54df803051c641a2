"""Margin ranking loss against the NumPy oracle: every device, reduction, dtype and shape."""

import itertools
import types

import numba
import numpy as np
import pytest
import reference
from helpers import (
    FLOATS,
    MANY,
    REDUCTIONS,
    SIGNED_INTEGERS,
    SIMULATOR,
    SIZES,
    assert_bits,
    assert_gradient,
    assert_same,
    assert_within,
    host,
    in_ci,
    leaf,
    put,
    random_pairs,
)

import numbarank as nr
from numbarank.losses import margin_ranking

every_float = pytest.mark.parametrize("dtype", FLOATS)
every_reduction = pytest.mark.parametrize("reduction", REDUCTIONS)
reduced = pytest.mark.parametrize("reduction", ["sum", "mean"])


def check(given, arrays, margin=0.25, reduction="mean", gradient=None):
    """Loss, and loss with its three gradients, of what is given, against the oracle on the NumPy arrays."""
    loss = nr.margin_ranking_loss(*given, margin, reduction=reduction)
    again, grads = nr.margin_ranking_loss_and_grad(
        *given, margin, reduction=reduction, gradient=gradient, target_grad=True
    )
    assert_loss(loss, arrays, margin, reduction)
    assert_loss(again, arrays, margin, reduction)
    upstream = 1.0 if gradient is None else host(gradient)
    slopes = reference.slopes(*arrays, margin, reduction, upstream)
    # 'mean' may round the scale and its product with the slope; 'none' and 'sum' are exact
    ulps = 2 if reduction == "mean" else 0
    for grad, full, like in zip(grads, slopes, arrays, strict=True):
        assert_gradient(grad, full, like, ulps)


def assert_loss(loss, arrays, margin, reduction):
    ulps = 0 if reduction == "none" else 1
    assert_within(loss, reference.loss(*arrays, margin, reduction), ulps)


# ---------------------------------------------------------------- the formula, as plain Python scalars


SPECIAL = [0.0, -0.0, 1.0, -1.0, 2.5, 1e-45, -1e-45, 3e38, float("inf"), -float("inf"), float("nan")]


@pytest.mark.parametrize("scalar", [np.float32, np.float64, float])
@pytest.mark.parametrize("margin", [0.0, 1.0, -1.0, float("nan"), float("inf"), -float("inf")])
def test_formula_of_one_pair(scalar, margin):
    dtype = np.dtype(scalar)
    cases = np.array(list(itertools.product(SPECIAL, SPECIAL, [1.0, -1.0, 0.0, 2.0, float("nan")])), dtype)
    x1, x2, y = cases.T
    with np.errstate(all="ignore"):
        scalars = [(*map(scalar, case), scalar(margin)) for case in cases.tolist()]
        losses = [margin_ranking.value(*case) for case in scalars]
        slopes = [margin_ranking.slope(*case, scalar(3)) for case in scalars]
    assert {type(loss) for loss in losses} == {scalar}
    assert {type(slope) for pair in slopes for slope in pair} == {scalar}
    assert_same(np.array(losses), reference.loss(x1, x2, y, margin, "none"))
    by_x1, _, by_y = reference.slopes(x1, x2, y, margin, "none", 3.0)
    assert_same(np.array([pair[0] for pair in slopes]), by_x1)
    assert_same(np.array([pair[1] for pair in slopes]), by_y)


# ---------------------------------------------------------------- sizes and dtypes


@every_reduction
@pytest.mark.parametrize("size", SIZES)
def test_sizes(device, size, reduction):
    arrays = random_pairs(size, np.float32, seed=size)
    check([put(a, device) for a in arrays], arrays, reduction=reduction)


@reduced
@every_float
def test_dtypes(device, dtype, reduction):
    arrays = random_pairs(MANY, dtype)
    check([put(a, device) for a in arrays], arrays, reduction=reduction)


@every_float
def test_unreduced_dtypes(device, dtype):
    arrays = random_pairs(MANY, dtype)
    check([put(a, device) for a in arrays], arrays, reduction="none")


@pytest.mark.parametrize(
    ("target", "reduction"),
    [
        (np.int8, "none"),
        (np.int8, "sum"),
        (np.int64, "mean"),
        *in_ci((target, "mean") for target in SIGNED_INTEGERS[:-1]),
    ],
)
def test_integer_targets(device, target, reduction):
    arrays = random_pairs(MANY, np.float32, target)
    check([put(a, device) for a in arrays], arrays, reduction=reduction)


@pytest.mark.parametrize("dtype", [FLOATS[0], *FLOATS[2:]])
def test_int8_target_beside_other_floats(device, dtype):
    arrays = random_pairs(MANY, dtype, np.int8)
    check([put(a, device) for a in arrays], arrays)


@pytest.mark.parametrize("dtypes", [("i8", "i8"), ("u1", "f4"), ("f8", "i2")], ids=str)
def test_integer_scores(device, dtypes):
    rng = np.random.default_rng(5)
    x1, x2 = (rng.integers(0, 100, MANY).astype(dtype) for dtype in dtypes)
    arrays = [x1, x2, rng.choice([-1.0, 1.0], MANY)]
    check([put(a, device) for a in arrays], arrays)


@pytest.mark.parametrize("dtypes", list(itertools.permutations(("f2", "f4", "f8"))), ids=str)
def test_mixed_floats(device, dtypes):
    arrays = [a.astype(dtype) for a, dtype in zip(random_pairs(MANY), dtypes, strict=True)]
    check([put(a, device) for a in arrays], arrays)


def test_gradient_of_one_target_is_summed_over_the_pairs(device):
    x1, x2 = (put(np.array(values), device) for values in ([1.0, 9.0, 0.0], [3.0, 1.0, 5.0]))
    for target in (1, 1.0, put(np.array(1.0), device), put(np.array(1, np.int8), device)):
        _, (_, _, by_target) = nr.margin_ranking_loss_and_grad(x1, x2, target, reduction="sum", target_grad=True)
        assert_same(by_target, np.array(2.0 + 5.0))


@pytest.mark.parametrize("dtype", [np.dtype("float64"), np.dtype("float32")], ids=str)
@pytest.mark.parametrize("target", [1, -1.0, 2, 0.3, np.array(-1, np.int8), np.array(0.5)], ids=repr)
def test_one_target_for_all_pairs(device, dtype, target):
    x1, x2, _ = random_pairs(MANY, dtype)
    given = put(target, device) if isinstance(target, np.ndarray) else target
    loss, (grad1, grad2) = nr.margin_ranking_loss_and_grad(
        put(x1, device), put(x2, device), given, 0.25, reduction="sum"
    )
    assert_within(loss, reference.loss(x1, x2, target, 0.25, "sum"), 1)
    by_x1, by_x2, _ = reference.slopes(x1, x2, target, 0.25, "sum")
    assert_same(grad1, by_x1)
    assert_same(grad2, by_x2)


@pytest.mark.parametrize("target", [1, np.int8], ids=["number", "int8"])
@pytest.mark.parametrize("size", SIZES[-1:])
def test_many_pairs_with_other_targets(device, size, target):
    x1, x2, y = random_pairs(size, np.float32, np.int8)
    given = 1 if target == 1 else put(y, device)
    loss = nr.margin_ranking_loss(put(x1, device), put(x2, device), given, 0.25, reduction="sum")
    assert_loss(loss, [x1, x2, 1 if target == 1 else y], 0.25, "sum")


@every_reduction
def test_other_targets(device, reduction):
    rng = np.random.default_rng(6)
    # quarters: z is exact, so that a contracted z cannot fall on the other side of the kink
    x1, x2 = (rng.integers(-40, 40, MANY).astype(np.float32) / 4 for _ in range(2))
    arrays = [x1, x2, rng.integers(-12, 12, MANY).astype(np.float32) / 4]
    check([put(a, device) for a in arrays], arrays, reduction=reduction)


# ---------------------------------------------------------------- shapes and layouts


BROADCASTS = {
    "columns": ((40, 1), (1, 7), (1, 1)),
    "one score against many": ((1,), (130,), (130,)),
    "one target row": ((9, 14), (9, 14), (1, 14)),
    "one target column": ((9, 14), (9, 14), (9, 1)),
    "all in the target": ((1, 1), (1, 1), (9, 14)),
    "three dimensions": ((5, 1, 4), (1, 6, 1), (5, 6, 4)),
    "0-d target": ((11, 3), (1, 3), ()),
    "empty": ((0, 1), (1, 3), (1, 1)),
    "0-d": ((), (), ()),
}


@every_reduction
@pytest.mark.parametrize("dtype", [np.dtype("float32"), np.dtype("float64")], ids=str)
@pytest.mark.parametrize("shapes", BROADCASTS.values(), ids=BROADCASTS.keys())
def test_broadcasts(device, shapes, dtype, reduction):
    arrays = [np.asarray(random_pairs(shape, dtype, seed=i)[i]) for i, shape in enumerate(shapes)]
    check([put(a, device) for a in arrays], arrays, reduction=reduction)


@pytest.mark.parametrize("dtype", FLOATS[2:])
def test_broadcast_halves(device, dtype):
    arrays = [random_pairs(shape, dtype)[i] for i, shape in enumerate(((12, 1), (1, 10), (12, 10)))]
    check([put(a, device) for a in arrays], arrays, reduction="sum")


@pytest.mark.parametrize("reduction", ["none", "sum"])
@every_float
def test_shapes_and_dtypes_of_gradients_take_turns(device, dtype, reduction):
    x1, x2, y = random_pairs((5, 4), dtype)
    calls = [(x1, x2, y), (x1[:, :1].copy(), x2[:1].copy(), y), (x1, x2, y.astype(np.int8)), (x1, x2[:1].copy(), y)]
    for arrays in calls if SIMULATOR else calls + calls[::-1]:
        check([put(a, device) for a in arrays], arrays, reduction=reduction)


def test_broadcast_integer_target(device):
    arrays = [random_pairs((12, 10), np.float32, np.int8)[i] for i in range(3)]
    arrays[2] = arrays[2][:, :1].copy()
    check([put(a, device) for a in arrays], arrays, reduction="sum")


def strided(a):
    return np.repeat(a, 2, axis=-1)[..., ::2]


def transposed(a):
    return np.ascontiguousarray(a.T).T


def with_gaps(a):
    wide = np.empty((*a.shape[:-1], a.shape[-1] + 3), a.dtype)
    wide[..., : a.shape[-1]] = a
    return wide[..., : a.shape[-1]]


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def unaligned(a):
    buffer = np.empty(a.nbytes + 1, np.uint8)[1:]
    odd = buffer.view(a.dtype).reshape(a.shape)
    odd[...] = a
    return odd


LAYOUTS = {
    "strided": strided,
    "reversed": lambda a: np.ascontiguousarray(a[..., ::-1])[..., ::-1],
    "Fortran": np.asfortranarray,
    "transposed": transposed,
    "with gaps": with_gaps,
    "read-only": read_only,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "unaligned": unaligned,
    "list": lambda a: a.tolist(),
}


@every_reduction
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_layouts_of_numpy_arrays(cpu, layout, reduction):
    arrays = random_pairs((24, 35), np.float64)
    given = [layout(a) for a in arrays]
    for actual, expected in zip(given, arrays, strict=True):
        np.testing.assert_array_equal(actual, expected)
    check(given, arrays, reduction=reduction)


@pytest.mark.parametrize("dtype", ["f4", "f2", "i4"])
@pytest.mark.parametrize("layout", [LAYOUTS["strided"], LAYOUTS["big-endian"], LAYOUTS["read-only"]])
def test_layouts_of_numpy_arrays_in_other_dtypes(cpu, layout, dtype):
    x1, x2, y = random_pairs(500, np.float32)
    arrays = [(8 * x1).astype(dtype), (8 * x2).astype(dtype), y.astype(dtype)]
    check([layout(a) for a in arrays], arrays, reduction="sum")


def test_one_odd_array_among_plain_ones(cpu):
    arrays = random_pairs((24, 35), np.float64)
    for place, layout in itertools.product(range(3), (strided, np.asfortranarray, read_only)):
        given = list(arrays)
        given[place] = layout(arrays[place])
        check(given, arrays)


def test_numpy_views_that_already_broadcast(cpu):
    x1, x2, _ = random_pairs((6, 5), np.float64)
    y = np.broadcast_to(np.array([1.0, -1, 1, -1, 1]), (6, 5))
    check([x1, x2, y], [x1, x2, y.copy()])


def test_memory_mapped_arrays(cpu, tmp_path):
    arrays = random_pairs(100, np.float32)
    given = []
    for number, a in enumerate(arrays):
        np.save(tmp_path / f"{number}.npy", a)
        given.append(np.load(tmp_path / f"{number}.npy", mmap_mode="r"))
    assert isinstance(given[0], np.memmap)
    check(given, arrays)


@every_reduction
@pytest.mark.parametrize("view", [lambda a: a[::2], lambda a: a[:, 1:3]], ids=["step", "cut"])
def test_views_of_device_arrays(cuda, view, reduction):
    bases = random_pairs((8, 6), np.float32)
    check([view(put(a, cuda)) for a in bases], [view(a) for a in bases], reduction=reduction)


@every_reduction
def test_transposed_device_arrays(cuda, reduction):
    bases = random_pairs((8, 6), np.float32)
    check([transposed(put(a, cuda)) for a in bases], [a.T for a in bases], reduction=reduction)


def transposed(array):
    """Return a view of a device array, which numba's ``T`` makes on the simulator only."""
    if SIMULATOR:
        return array.T
    rows, columns = array.shape
    interface = dict(array.__cuda_array_interface__, shape=(columns, rows), strides=array.strides[::-1])
    return types.SimpleNamespace(__cuda_array_interface__=interface, array=array)


def test_nothing_comes_to_the_host(cuda, monkeypatch):
    arrays = [put(a, cuda) for a in random_pairs(MANY, np.float32)]

    def refuse(self, *args, **kwargs):
        raise AssertionError("an array was copied to the host")

    with monkeypatch.context() as patch:
        patch.setattr(type(arrays[0]), "copy_to_host", refuse)
        results = [nr.margin_ranking_loss(*arrays, reduction=reduction) for reduction in REDUCTIONS]
        results.append(nr.margin_ranking_loss_and_grad(*arrays, reduction="mean")[1][0])
    assert_loss(results[1], [host(a) for a in arrays], 0.0, "sum")


# ---------------------------------------------------------------- sums and means of hard inputs


def _mixed_magnitudes(rng, n, dtype):
    return 10.0 ** rng.uniform(-30, 30, n)


def _one_huge_then_tiny(rng, n, dtype):
    return np.r_[1e25, rng.uniform(0, 1e-3, n - 1)]


def _tiny_then_huge(rng, n, dtype):
    return np.r_[rng.uniform(0, 1e-3, n - 1), 1e25]


def _huge_in_every_block(rng, n, dtype):
    return np.where(np.arange(n) % 1000 == 7, 2.0**30, rng.uniform(0, 1, n))


def _ascending(rng, n, dtype):
    return np.sort(rng.exponential(1, n))


def _near_the_top(rng, n, dtype):
    return float(np.finfo(dtype).max) * rng.uniform(0.5, 1, n)


def _subnormal(rng, n, dtype):
    return float(np.finfo(dtype).smallest_subnormal) * rng.integers(0, 20, n)


def _some_at_the_top(rng, n, dtype):
    return np.where(np.arange(n) % 10 == 3, float(np.finfo(dtype).max), rng.uniform(0, 1, n))


def _equal_to_a_tenth(rng, n, dtype):
    return np.full(n, 0.1)


HARD = [
    _mixed_magnitudes,
    _one_huge_then_tiny,
    _tiny_then_huge,
    _huge_in_every_block,
    _ascending,
    _near_the_top,
    _subnormal,
    _some_at_the_top,
    _equal_to_a_tenth,
]


@pytest.mark.parametrize("size", [200] if SIMULATOR else [2_000, 50_000, 300_001])
@pytest.mark.parametrize("dtype", [np.dtype("float32"), np.dtype("float64")], ids=str)
@pytest.mark.parametrize("hard", HARD, ids=lambda make: make.__name__.strip("_"))
def test_hard_sums(device, hard, dtype, size):
    losses = hard(np.random.default_rng(size), size, dtype).astype(dtype)
    x1 = np.zeros(size, dtype)
    arrays = [put(a, device) for a in (x1, losses, np.ones(size, dtype))]
    exact = reference.exact_sum(losses)
    for reduction, total in (("sum", exact), ("mean", exact / size)):
        expected = reference.rounded(total, dtype)
        assert_within(nr.margin_ranking_loss(*arrays, reduction=reduction), expected, 1)
        assert_within(nr.margin_ranking_loss_and_grad(*arrays, reduction=reduction)[0], expected, 1)


@pytest.mark.parametrize("dtype", FLOATS[2:])
@reduced
def test_hard_sums_of_halves(device, dtype, reduction):
    rng = np.random.default_rng(8)
    x2 = np.where(np.arange(MANY) % 50 == 3, 1000, rng.uniform(0, 1, MANY)).astype(dtype)
    arrays = [np.zeros(MANY, dtype), x2, np.ones(MANY, np.int8)]
    loss = nr.margin_ranking_loss(*(put(a, device) for a in arrays), 0.001, reduction=reduction)
    assert_within(loss, reference.loss(*arrays, 0.001, reduction), 1)


@reduced
@pytest.mark.parametrize("special", [float("inf"), float("nan")])
@pytest.mark.parametrize("place", [0, 70, MANY - 1])
def test_one_special_loss_among_many(device, special, place, reduction):
    x1, x2, y = random_pairs(MANY, np.float32)
    x2[place], y[place] = special, 1
    loss = nr.margin_ranking_loss(*(put(a, device) for a in (x1, x2, y)), reduction=reduction)
    assert_same(loss, np.array(special, np.float32))


@reduced
def test_one_inactive_infinity_among_many(device, reduction):
    x1, x2, y = random_pairs(MANY, np.float32)
    x1[70], y[70] = np.inf, 1
    loss = nr.margin_ranking_loss(*(put(a, device) for a in (x1, x2, y)), reduction=reduction)
    assert np.isfinite(host(loss))
    assert_within(loss, reference.loss(x1, x2, y, 0.0, reduction), 1)


# ---------------------------------------------------------------- repeatable


@pytest.fixture
def two_threads(cpu):
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("numba has one thread here")
    before = numba.get_num_threads()
    yield
    numba.set_num_threads(before)


@reduced
@pytest.mark.parametrize("dtype", FLOATS[:3])
def test_one_and_two_threads_give_the_same_bits(two_threads, dtype, reduction):
    arrays = random_pairs(400_003, dtype)
    results = []
    for threads in (1, 2, 1, 2):
        numba.set_num_threads(threads)
        loss = nr.margin_ranking_loss(*arrays, 0.1, reduction=reduction)
        again, grads = nr.margin_ranking_loss_and_grad(*arrays, 0.1, reduction=reduction)
        results.append((loss, again, *grads))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert_bits(a, b)


def test_one_and_two_threads_write_the_same_unreduced_losses(two_threads):
    arrays = random_pairs(400_003, np.float32)
    numba.set_num_threads(1)
    one = nr.margin_ranking_loss(*arrays, 0.1, reduction="none")
    numba.set_num_threads(2)
    assert_bits(nr.margin_ranking_loss(*arrays, 0.1, reduction="none"), one)


@every_reduction
def test_repeated_calls_give_the_same_bits(device, reduction):
    arrays = [put(a, device) for a in random_pairs(MANY, np.float32)]
    first = nr.margin_ranking_loss(*arrays, 0.1, reduction=reduction)
    for _ in range(3):
        assert_bits(nr.margin_ranking_loss(*arrays, 0.1, reduction=reduction), first)


@every_reduction
def test_results_do_not_share_memory_with_the_next_call(cpu, reduction):
    arrays = random_pairs(70_000, np.float32)
    loss, grads = nr.margin_ranking_loss_and_grad(*arrays, 0.1, reduction=reduction, target_grad=True)
    kept = [np.array(a) for a in (loss, *grads)]
    others = random_pairs(70_000, np.float32, seed=1)
    nr.margin_ranking_loss_and_grad(*others, 9, reduction=reduction, target_grad=True)
    for a, b in zip(kept, (loss, *grads), strict=True):
        assert_bits(a, b)


def test_inputs_are_not_mutated(cpu):
    for size in (3, 70_000):
        arrays = random_pairs(size, np.float32)
        copies = [a.copy() for a in arrays]
        for reduction in REDUCTIONS:
            nr.margin_ranking_loss(*arrays, 0.1, reduction=reduction)
            nr.margin_ranking_loss_and_grad(*arrays, 0.1, reduction=reduction, target_grad=True)
        for a, b in zip(arrays, copies, strict=True):
            assert_bits(a, b)


# ---------------------------------------------------------------- the module


def test_module_is_the_function(device):
    arrays = [put(a, device) for a in random_pairs(MANY, np.float32)]
    module = nr.MarginRankingLoss(0.5, reduction="sum")
    expected = nr.margin_ranking_loss(*arrays, 0.5, reduction="sum")
    assert_bits(module(*arrays), expected)
    assert_bits(module.forward(*arrays), expected)


# ---------------------------------------------------------------- loss and gradient in one pass


@every_reduction
def test_two_gradients_by_default_three_on_request(device, reduction):
    arrays = [put(a, device) for a in random_pairs(70, np.float32)]
    loss, grads = nr.margin_ranking_loss_and_grad(*arrays, 0.1, reduction)
    more, three = nr.margin_ranking_loss_and_grad(*arrays, 0.1, reduction, target_grad=True)
    assert isinstance(grads, tuple) and len(grads) == 2
    assert isinstance(three, tuple) and len(three) == 3
    assert_bits(more, loss)
    assert_bits(three[0], grads[0])
    assert_bits(three[1], grads[1])


@reduced
@pytest.mark.parametrize("gradient", [2.0, -0.5, 0.0, np.float32(3), 4])
def test_scalar_upstream(device, reduction, gradient):
    arrays = random_pairs(MANY, np.float32)
    check([put(a, device) for a in arrays], arrays, reduction=reduction, gradient=gradient)


@every_float
def test_array_upstream(device, dtype):
    arrays = random_pairs(MANY, dtype)
    upstream = np.random.default_rng(9).standard_normal(MANY).astype(dtype)
    check([put(a, device) for a in arrays], arrays, reduction="none", gradient=put(upstream, device))


def test_array_upstream_of_a_broadcast_loss(device):
    arrays = [random_pairs(shape, np.float32)[i] for i, shape in enumerate(((6, 1), (1, 7), (1, 1)))]
    upstream = np.random.default_rng(9).standard_normal((6, 7)).astype(np.float32)
    check([put(a, device) for a in arrays], arrays, reduction="none", gradient=put(upstream, device))


@pytest.mark.parametrize("shape", [(3,), (5,), (1, 4), (4, 1)], ids=str)
def test_upstream_of_another_shape_is_refused(device, shape):
    arrays = [put(a, device) for a in random_pairs(4, np.float32)]
    with pytest.raises(ValueError, match="gradient"):
        nr.margin_ranking_loss_and_grad(*arrays, reduction="none", gradient=put(np.ones(shape, np.float32), device))


@every_reduction
@every_float
def test_out_buffers_are_filled_and_returned(device, dtype, reduction):
    arrays = random_pairs(MANY, dtype)
    given = [put(a, device) for a in arrays]
    expected, grads = nr.margin_ranking_loss_and_grad(*given, 0.1, reduction)
    out = tuple(put(np.full(MANY, 7, dtype), device) for _ in range(2))
    loss, filled = nr.margin_ranking_loss_and_grad(*given, 0.1, reduction, out=out)
    assert filled[0] is out[0] and filled[1] is out[1]
    assert_bits(loss, expected)
    for a, b in zip(filled, grads, strict=True):
        assert_bits(a, b)


@every_reduction
@pytest.mark.parametrize("weights", [None, np.arange(9, dtype=np.float32)], ids=["", "weights"])
@pytest.mark.parametrize("kind", [tuple, list])
def test_plain_buffers_need_no_preparation(cpu, kind, weights, reduction, monkeypatch):
    monkeypatch.setattr(nr._arguments, "read_out", lambda *_: pytest.fail("plain buffers are prepared"))
    arrays = random_pairs(9, np.float32)
    expected, grads = nr.margin_ranking_loss_and_grad(*arrays, 0.1, reduction, weights=weights)
    out = kind([fresh(9), fresh(9)])
    loss, filled = nr.margin_ranking_loss_and_grad(*arrays, 0.1, reduction, weights=weights, out=out)
    assert type(filled) is tuple and filled[0] is out[0] and filled[1] is out[1]
    for a, b in zip((loss, *filled), (expected, *grads), strict=True):
        assert_bits(a, b)


@pytest.mark.parametrize("place", [0, 1])
def test_plain_buffers_must_not_overlap_the_weights(cpu, place):
    weights, out = np.ones(9, np.float32), [fresh(9), fresh(9)]
    out[place] = weights
    with pytest.raises(ValueError, match=rf"^out\[{place}\] shares memory with weights"):
        nr.margin_ranking_loss_and_grad(*random_pairs(9, np.float32), 0.1, weights=weights, out=out)
    assert_bits(weights, np.ones(9, np.float32))


def test_out_buffers_of_broadcast_inputs(device):
    arrays = [random_pairs(shape, np.float64)[i] for i, shape in enumerate(((6, 1), (1, 7), (1, 1)))]
    out = put(np.full((6, 1), 7.0), device), put(np.full((1, 7), 7.0), device)
    _, filled = nr.margin_ranking_loss_and_grad(*(put(a, device) for a in arrays), 0.1, "sum", out=out)
    assert filled[0] is out[0] and filled[1] is out[1]
    for grad, full, like in zip(filled, reference.slopes(*arrays, 0.1, "sum"), arrays, strict=False):
        assert_gradient(grad, full, like)


def test_out_buffers_of_empty_inputs(device):
    arrays = [put(np.empty(0), device) for _ in range(3)]
    out = tuple(put(np.empty(0), device) for _ in range(2))
    loss, filled = nr.margin_ranking_loss_and_grad(*arrays, reduction="sum", out=out)
    assert host(loss) == 0
    assert filled[0] is out[0] and filled[1] is out[1]


def fresh(n=8, dtype=np.float32):
    return np.full(n, 7, dtype)


def _same_buffer():
    buffer = fresh()
    return buffer, buffer


def _halves_that_overlap():
    buffer = fresh(15)
    return buffer[:8], buffer[7:]


WRONG_BUFFERS = {
    "the same buffer twice": _same_buffer,
    "overlapping buffers": _halves_that_overlap,
    "too short": lambda: (fresh(7), fresh()),
    "another shape": lambda: (fresh().reshape(2, 4), fresh()),
    "another dtype": lambda: (fresh(), fresh(dtype=np.float64)),
    "an integer dtype": lambda: (fresh(dtype=np.int32), fresh()),
    "big-endian": lambda: (fresh(dtype=">f4"), fresh()),
    "strided": lambda: (fresh(16)[::2], fresh()),
    "reversed": lambda: (fresh(), fresh()[::-1]),
    "read-only": lambda: (fresh(), read_only(fresh())),
    "a list": lambda: ([7.0] * 8, fresh()),
    "None": lambda: (fresh(), None),
    "one alone": lambda: (fresh(),),
    "four": lambda: (fresh(), fresh(), fresh(), fresh()),
}


@every_reduction
@pytest.mark.parametrize("make", WRONG_BUFFERS.values(), ids=WRONG_BUFFERS.keys())
def test_wrong_out_buffers_are_refused_before_anything_is_written(cpu, make, reduction):
    arrays = random_pairs(8, np.float32)
    out = make()
    with pytest.raises((ValueError, TypeError), match="out"):
        nr.margin_ranking_loss_and_grad(*arrays, 0.1, reduction, out=out)
    for buffer in out:
        assert buffer is None or (np.asarray(buffer) == 7).all()


@every_float
def test_a_buffer_for_losses_is_filled_and_returned(device, dtype):
    arrays = random_pairs(MANY, dtype)
    given, out = [put(a, device) for a in arrays], put(np.full(MANY, 7, dtype), device)
    assert nr.margin_ranking_loss(*given, 0.1, reduction="none", out=out) is out
    assert_bits(out, nr.margin_ranking_loss(*given, 0.1, reduction="none"))


def test_a_buffer_for_broadcast_losses(device):
    arrays = [random_pairs(shape, np.float64)[i] for i, shape in enumerate(((6, 1), (1, 7), (1, 1)))]
    out = put(np.full((6, 7), 7.0), device)
    nr.margin_ranking_loss(*(put(a, device) for a in arrays), 0.1, reduction="none", out=out)
    assert_loss(out, arrays, 0.1, "none")


@pytest.mark.parametrize(
    "out, arguments, error, message",
    [
        (np.full(8, 7.0), {}, TypeError, "out has dtype float64; the loss has float32"),
        (np.full(7, 7, np.float32), {}, ValueError, r"out has shape \(7,\); the loss has \(8,\)"),
        (np.full(16, 7, np.float32)[::2], {}, ValueError, "out must be writable and C-contiguous"),
        ([7.0] * 8, {}, TypeError, "out is a list; it must be a numpy.ndarray"),
        (np.full(8, 7, np.float32), {"reduction": "mean"}, ValueError, "out is given and reduction is 'mean'"),
        (np.full(8, 7, np.float32), {"input1": nr.zeros(8)}, TypeError, "out is given and an input is a Tensor"),
        (np.full(8, 7, np.float32), {"input2": np.zeros(3)}, ValueError, "do not broadcast"),
    ],
)
def test_a_wrong_buffer_for_losses_is_left_alone(cpu, out, arguments, error, message):
    names = ("input1", "input2", "target")
    arguments = dict(zip(names, random_pairs(8, np.float32), strict=True)) | {"reduction": "none"} | arguments
    with pytest.raises(error, match=message):
        nr.margin_ranking_loss(**arguments, out=out)
    assert (np.asarray(out) == 7).all()


def test_a_buffer_for_losses_must_not_overlap_an_input(cpu):
    x1, x2, y = random_pairs(8, np.float32)
    before = x2.copy()
    with pytest.raises(ValueError, match="out shares memory with input2"):
        nr.margin_ranking_loss(x1, x2, y, reduction="none", out=x2)
    assert_bits(x2, before)


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("victim", [0, 1, 2])
@pytest.mark.parametrize("cut", [slice(0, 8), slice(3, 11)], ids=["all", "part"])
def test_out_buffers_must_not_overlap_an_input(cpu, place, victim, cut):
    arrays = list(random_pairs(8, np.float32))
    memory = np.zeros(11, np.float32)
    memory[:8] = arrays[victim]
    arrays[victim] = memory[:8]
    before, out = memory.copy(), [fresh(), fresh()]
    out[place] = memory[cut]
    with pytest.raises(ValueError, match=r"(?s)out.*(overlap|share)"):
        nr.margin_ranking_loss_and_grad(*arrays, 0.1, out=tuple(out))
    assert_bits(memory, before)
    assert_bits(out[1 - place], fresh())


def test_wrong_inputs_leave_the_buffers_alone(cpu):
    out = fresh(), fresh()
    x1, x2, y = random_pairs(8, np.float32)
    for arguments in ((x1, x2[:5], y), (x1, x2, y > 0), (x1, x2, y, "1"), (x1, x2, y, 0.0, "average")):
        with pytest.raises((ValueError, TypeError)):
            nr.margin_ranking_loss_and_grad(*arguments, out=out)
    assert_bits(out[0], fresh())
    assert_bits(out[1], fresh())


@pytest.mark.parametrize(
    "make",
    [lambda b: (b, b), lambda b: (b[:7], b), lambda b: (put(np.full(8, 7.0), "cuda"), b)],
    ids=["the same buffer twice", "too short", "another dtype"],
)
def test_wrong_device_buffers_are_refused(cuda, make):
    arrays = [put(a, cuda) for a in random_pairs(8, np.float32)]
    buffer = put(fresh(), cuda)
    with pytest.raises((ValueError, TypeError), match="out"):
        nr.margin_ranking_loss_and_grad(*arrays, 0.1, out=make(buffer))
    assert_bits(buffer, fresh())


def test_device_buffers_must_not_overlap_an_input(cuda):
    arrays = [put(a, cuda) for a in random_pairs(8, np.float32)]
    before = host(arrays[1]).copy()
    with pytest.raises(ValueError, match=r"(?s)out.*(overlap|share)"):
        nr.margin_ranking_loss_and_grad(*arrays, 0.1, out=(put(fresh(), cuda), arrays[1]))
    assert_bits(arrays[1], before)


# ---------------------------------------------------------------- central differences


@every_reduction
@pytest.mark.parametrize("margin", [0.5] if SIMULATOR else [0.0, 0.5, -0.5])
@pytest.mark.parametrize("shapes", [((3,), (3,), (3,)), ((3, 1), (1, 2), (1, 1))], ids=str)
def test_gradients_are_central_differences(device, shapes, margin, reduction):
    rng = np.random.default_rng(3)
    arrays = [np.ascontiguousarray(rng.standard_normal(shape)) for shape in shapes]
    output = np.broadcast_shapes(*shapes)
    weights = rng.standard_normal(output) if reduction == "none" else np.array(1.7)
    z = -arrays[2] * (arrays[0] - arrays[1]) + margin
    step = 1e-6
    assert (np.abs(z) > 100 * step).all(), "a pair lies at the kink, where no central difference is meant"

    def total(*moved):
        loss = nr.margin_ranking_loss(*(put(a, device) for a in moved), margin, reduction=reduction)
        return float((weights * host(loss)).sum())

    upstream = put(weights, device) if reduction == "none" else 1.7
    _, grads = nr.margin_ranking_loss_and_grad(
        *(put(a, device) for a in arrays), margin, reduction, gradient=upstream, target_grad=True
    )
    for place, grad in enumerate(grads):
        differences = np.empty(shapes[place])
        for index in np.ndindex(shapes[place]):
            up, down = ([a.copy() for a in arrays] for _ in range(2))
            up[place][index] += step
            down[place][index] -= step
            differences[index] = (total(*up) - total(*down)) / (2 * step)
        np.testing.assert_allclose(host(grad), differences, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("offset", "active"), [(0.0, 1), (-(2.0**-52), 1), (2.0**-52, 0)])
def test_the_kink_itself_is_active(device, offset, active):
    x1, x2, y = (put(np.array([value]), device) for value in (1 + offset, 1.0, 1.0))
    loss, (grad1, grad2) = nr.margin_ranking_loss_and_grad(x1, x2, y, reduction="sum")
    assert host(loss) == max(0.0, -offset)
    assert_same(grad1, np.array([-1.0 * active]))
    assert_same(grad2, np.array([1.0 * active]))


# ---------------------------------------------------------------- uses that the documents promise


def test_three_scores_before_reduction(device):
    x1, x2 = put(np.array([2, 1.5, 3]), device), put(np.array([1.0, 2, 1]), device)
    assert_same(nr.margin_ranking_loss(x1, x2, 1, 1, reduction="none"), np.array([0, 1.5, 0]))


def test_the_first_example_of_the_torch_page(device):
    loss = nr.MarginRankingLoss()
    input1 = nr.randn(3, requires_grad=True, device=device)
    input2 = nr.randn(3, requires_grad=True, device=device)
    target = nr.randn(3, device=device).sign()
    output = loss(input1, input2, target)
    output.backward()
    y = host(target)
    active = -y * (host(input1) - host(input2)) >= 0
    assert set(y) <= {-1.0, 1.0}
    np.testing.assert_allclose(host(input1.grad), np.where(active, -y / 3, 0), rtol=1e-15)
    np.testing.assert_allclose(host(input2.grad), np.where(active, y / 3, 0), rtol=1e-15)


@every_reduction
def test_triplet_margin_loss_on_distances(device, reduction):
    rng = np.random.default_rng(4)
    anchor, positive, negative = rng.standard_normal((3, 40, 6))
    d_positive = np.linalg.norm(anchor - positive, axis=1)
    d_negative = np.linalg.norm(anchor - negative, axis=1)
    # the margin comes last in either formula, but for a rounding
    textbook = np.maximum(0, d_positive - d_negative + 1)
    expected = {"none": textbook, "sum": textbook.sum(), "mean": textbook.mean()}[reduction]
    loss = nr.margin_ranking_loss(put(d_negative, device), put(d_positive, device), 1, 1, reduction=reduction)
    np.testing.assert_allclose(host(loss), expected, rtol=1e-15)
    assert 0 < (textbook > 0).mean() < 1


def test_triplet_through_tensors(device):
    d_positive, d_negative = leaf(np.array([1.0, 2.0]), device), leaf(np.array([1.5, 4.0]), device)
    loss = nr.margin_ranking_loss(d_negative, d_positive, 1, margin=1)
    assert loss.item() == ((1 - 1.5 + 1) + 0) / 2
    loss.backward()
    assert_same(d_positive.grad, np.array([0.5, 0]))
    assert_same(d_negative.grad, np.array([-0.5, 0]))


def test_gradient_buffers_overlap_the_upstream_gradient(device):
    x1, x2, y, upstream = (put(a, device) for a in (*random_pairs(8), np.arange(8.0)))
    before = host(upstream).copy()
    buffers = put(np.zeros(8), device), upstream
    with pytest.raises(ValueError, match=r"out\[1\] shares memory with gradient"):
        nr.margin_ranking_loss_and_grad(x1, x2, y, reduction="none", gradient=upstream, out=buffers)
    assert_bits(upstream, before)
