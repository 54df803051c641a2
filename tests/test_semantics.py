"""The behaviour that the library promises, a test for every row, with the expected values written out."""

import warnings

import numpy as np
import pytest
import reference
from helpers import FLOATS, REDUCTIONS, assert_same, assert_within, host, leaf, needs_bfloat16, put, put_unchecked

import numbarank as nr

NAN, INF = float("nan"), float("inf")

# x1, x2, y, margin -> loss, (d/dx1, d/dx2, d/dy); z = -y * (x1 - x2) + margin
ROWS = {
    "a tie is active": ((1, 1, 1, 0), 0, (-1, 1, 0)),
    "z is 0": ((2, 1, 1, 1), 0, (-1, 1, -1)),
    "inactive": ((3, 1, 1, 1), 0, (0, 0, 0)),
    "target 0": ((3, 1, 0, 1), 1, (0, 0, -2)),
    "target 0, negative margin": ((3, 1, 0, -1), 0, (0, 0, 0)),
    "target 2": ((1, 3, 2, 1), 2 * 2 + 1, (-2, 2, 2)),
    "negative margin": ((1, 3, 1, -1), 2 - 1, (-1, 1, 2)),
    "x1 NaN": ((NAN, 3, 1, 1), NAN, (0, 0, NAN)),
    "x2 NaN": ((3, NAN, -1, 1), NAN, (0, 0, NAN)),
    "y NaN": ((1, 3, NAN, 1), NAN, (NAN, NAN, 0)),
    "margin NaN": ((1, 3, 1, NAN), NAN, (0, 0, 0)),
    "margin inf": ((1, 3, 1, INF), INF, (-1, 1, 2)),
    "margin -inf": ((1, 3, 1, -INF), 0, (0, 0, 0)),
    "x1 inf, y 1": ((INF, 3, 1, 0), 0, (0, 0, NAN)),
    "x1 inf, y -1": ((INF, 3, -1, 0), INF, (1, -1, -INF)),
    "both inf": ((INF, INF, 1, 0), NAN, (0, 0, NAN)),
}
rows = pytest.mark.parametrize(("inputs", "loss", "grads"), ROWS.values(), ids=ROWS.keys())
real = pytest.mark.parametrize("dtype", [np.dtype("float32"), np.dtype("float64")], ids=str)
every_float = pytest.mark.parametrize("dtype", FLOATS)
every_reduction = pytest.mark.parametrize("reduction", REDUCTIONS)


def pair(values, dtype, device):
    """x1, x2, y as arrays of one element."""
    return [put(np.array([value], dtype), device) for value in values]


# ---------------------------------------------------------------- values and gradients


@every_float
@rows
def test_value_and_gradients_of_a_pair(device, dtype, inputs, loss, grads):
    *arrays, margin = inputs
    given = pair(arrays, dtype, device)
    alone = nr.margin_ranking_loss(*given, margin, reduction="none")
    assert_same(alone, np.array([loss], dtype))
    actual, slopes = nr.margin_ranking_loss_and_grad(*given, margin, reduction="none", target_grad=True)
    assert_same(actual, np.array([loss], dtype))
    for slope, expected in zip(slopes, grads, strict=True):
        assert_same(slope, np.array([expected], dtype))


@real
@every_reduction
@rows
def test_backward_of_a_pair(device, dtype, reduction, inputs, loss, grads):
    *arrays, margin = inputs
    tensors = [leaf(np.array([value], dtype), device) for value in arrays]
    result = nr.margin_ranking_loss(*tensors, margin, reduction=reduction)
    assert_same(result, np.array([loss] if reduction == "none" else loss, dtype))
    result.backward(np.ones(1, dtype)) if reduction == "none" else result.backward()
    for tensor, expected in zip(tensors, grads, strict=True):
        assert_same(tensor.grad, np.array([expected], dtype))


def extremes(dtype):
    """Rows as above, at the edges of a dtype."""
    tiny, huge = float(np.finfo(dtype).smallest_subnormal), float(np.finfo(dtype).max)
    return {
        "subnormal score": ((tiny, 0, -1, 0), tiny, (1, -1, -tiny)),
        "subnormal difference": ((2 * tiny, tiny, 1, tiny), 0, (-1, 1, -tiny)),
        "subnormal margin": ((1, 1, 1, tiny), tiny, (-1, 1, 0)),
        "just inactive": ((tiny, 0, 1, 0), 0, (0, 0, 0)),
        "subnormal target": ((0, 0.5, tiny, 0), 0, (-tiny, tiny, 0.5)),
        "the difference overflows, right order": ((huge, -huge, 1, 0), 0, (0, 0, NAN)),
        "the difference overflows, wrong order": ((-huge, huge, 1, 0), INF, (-1, 1, INF)),
        "the margin overflows": ((-huge, 0, 1, huge), INF, (-1, 1, huge)),
        "the largest margin is just kept": ((huge, 0, 1, huge), 0, (-1, 1, -huge)),
        "the target overflows": ((2, 0, huge, 0), 0, (0, 0, 0)),
        "the target overflows, wrong order": ((0, 2, huge, 0), INF, (-huge, huge, 2)),
        "y inf": ((1, 3, INF, 0), INF, (-INF, INF, 2)),
        "y inf, inactive": ((3, 1, INF, 0), 0, (NAN, NAN, 0)),
        "x2 inf": ((3, INF, 1, 0), INF, (-1, 1, INF)),
        "everything NaN": ((NAN, NAN, NAN, NAN), NAN, (NAN, NAN, NAN)),
    }


@real
@every_reduction
@pytest.mark.parametrize("row", extremes("f8"))
def test_extremes_of_a_dtype(device, dtype, reduction, row):
    (*values, margin), loss, grads = extremes(dtype)[row]
    shape = (1,) if reduction == "none" else ()
    actual, slopes = nr.margin_ranking_loss_and_grad(*pair(values, dtype, device), margin, reduction, target_grad=True)
    assert_same(actual, np.full(shape, loss, dtype))
    for slope, expected in zip(slopes, grads, strict=True):
        assert_same(slope, np.array([expected], dtype))


# active, inactive (margin 1), a tie, a target of 0 that is active
UPSTREAM_PAIRS = ([1, 3, 2, 1], [3, 1, 2, 3], [1, 1, 1, 0])


def upstream_rows(dtype):
    """upstream gradient -> the gradients of the four pairs by x1 and by y, with margin 0."""
    tiny, huge = float(np.finfo(dtype).smallest_subnormal), float(np.finfo(dtype).max)
    return {
        "0": (0.0, [0, 0, 0, 0], [0, 0, 0, 0]),
        "-0": (-0.0, [0, 0, 0, 0], [0, 0, 0, 0]),
        "NaN": (NAN, [NAN, 0, NAN, NAN], [NAN, 0, NAN, NAN]),
        "inf": (INF, [-INF, 0, -INF, NAN], [INF, 0, NAN, INF]),
        "-inf": (-INF, [INF, 0, INF, NAN], [-INF, 0, NAN, -INF]),
        "subnormal": (tiny, [-tiny, 0, -tiny, 0], [2 * tiny, 0, 0, 2 * tiny]),
        "largest": (huge, [-huge, 0, -huge, 0], [INF, 0, 0, INF]),
    }


@real
@pytest.mark.parametrize("reduction", ["none", "sum"])
@pytest.mark.parametrize("row", upstream_rows("f8"))
def test_upstream_gradients_of_every_kind(device, dtype, reduction, row):
    upstream, by_x1, by_y = upstream_rows(dtype)[row]
    arrays = [np.array(values, dtype) for values in UPSTREAM_PAIRS]
    given = put(np.full(4, upstream, dtype), device) if reduction == "none" else upstream
    _, slopes = nr.margin_ranking_loss_and_grad(
        *(put(a, device) for a in arrays), reduction=reduction, gradient=given, target_grad=True
    )
    tensors = [leaf(a, device) for a in arrays]
    nr.margin_ranking_loss(*tensors, reduction=reduction).backward(given)
    for results in (slopes, [tensor.grad for tensor in tensors]):
        assert_same(results[0], np.array(by_x1, dtype))
        assert_same(results[1], -np.array(by_x1, dtype))
        assert_same(results[2], np.array(by_y, dtype))


@real
def test_margin_is_rounded_to_the_common_dtype_before_it_is_added(device, dtype):
    x1, x2, y = pair([1, 3, 1], dtype, device)
    actual = nr.margin_ranking_loss(x1, x2, y, 0.1, reduction="none")
    assert_same(actual, np.array([2], dtype) + np.array([0.1], dtype))


def test_every_operation_is_rounded_in_the_common_dtype(device):
    x1, x2, y = pair([1 + 2.0**-23, -(2.0**-24), -1], np.float32, device)
    actual = nr.margin_ranking_loss(x1, x2, y, -1.0, reduction="none")
    # exact: 2**-23 + 2**-24; the difference is a tie that rounds to the even 1 + 2**-22
    assert_same(actual, np.array([2.0**-22], np.float32))


@pytest.mark.parametrize(("reduction", "expected"), [("none", []), ("sum", 0), ("mean", NAN)])
@every_float
def test_empty_input(device, dtype, reduction, expected):
    arrays = [put(np.empty(0, dtype), device) for _ in range(3)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(nr.margin_ranking_loss(*arrays, reduction=reduction), np.array(expected, dtype))
        loss, grads = nr.margin_ranking_loss_and_grad(*arrays, reduction=reduction, target_grad=True)
    assert_same(loss, np.array(expected, dtype))
    assert len(grads) == 3
    for grad in grads:
        assert_same(grad, np.empty(0, dtype))


@every_reduction
@real
def test_empty_output_of_broadcast_inputs_gives_zero_gradients(device, dtype, reduction):
    x1, x2, y = (put(np.ones(shape, dtype), device) for shape in [(0, 1), (1, 3), (1, 1)])
    _, grads = nr.margin_ranking_loss_and_grad(x1, x2, y, 1, reduction=reduction, target_grad=True)
    for grad, shape in zip(grads, [(0, 1), (1, 3), (1, 1)], strict=True):
        assert_same(grad, np.zeros(shape, dtype))


@real
@every_reduction
def test_the_same_tensor_twice(device, dtype, reduction):
    x = leaf(np.array([1, -2, 3], dtype), device)
    loss = nr.margin_ranking_loss(x, x, leaf(np.array([1, -1, 1], dtype), device, False), 1, reduction=reduction)
    loss.backward(np.ones(3, dtype)) if reduction == "none" else loss.backward()
    assert_same(x.grad, np.zeros(3, dtype))


@real
def test_upstream_nan_does_not_reach_an_inactive_pair(device, dtype):
    # z is -1 and 1 (margin 1): the first pair is inactive, the second active
    x1, x2, y = (np.array(values, dtype) for values in ([3, 1], [1, 1], [1, 1]))
    upstream = np.array([NAN, NAN], dtype)
    _, (grad1, grad2) = nr.margin_ranking_loss_and_grad(
        *(put(a, device) for a in (x1, x2, y)), 1, reduction="none", gradient=put(upstream, device)
    )
    assert_same(grad1, np.array([0, NAN], dtype))
    assert_same(grad2, np.array([0, NAN], dtype))


@real
@pytest.mark.parametrize("upstream", [NAN, INF])
def test_special_upstream_of_a_sum_does_not_reach_an_inactive_pair(device, dtype, upstream):
    tensor = leaf(np.array([3, 1], dtype), device)
    loss = nr.margin_ranking_loss(tensor, leaf(np.array([1, 1], dtype), device, False), 1, 1, reduction="sum")
    loss.backward(gradient=upstream)
    assert_same(tensor.grad, np.array([0, -upstream], dtype))


@real
def test_mean_divides_the_upstream_gradient_by_the_number_of_pairs(device, dtype):
    x1, x2, y = (put(np.array(values, dtype), device) for values in ([1, 9, 1, 1], [3, 3, 3, 3], [1, 1, 2, 0]))
    _, grads = nr.margin_ranking_loss_and_grad(x1, x2, y, 1, gradient=8.0, target_grad=True)
    d = 8 / 4
    assert_same(grads[0], d * np.array([-1, 0, -2, 0], dtype))
    assert_same(grads[1], d * np.array([1, 0, 2, 0], dtype))
    assert_same(grads[2], d * np.array([2, 0, 2, 2], dtype))


@real
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_reduced_loss_of_special_values(device, dtype, reduction):
    ones = put(np.ones(3, dtype), device)

    def reduced(x2):
        x1 = put(np.zeros(3, dtype), device)
        return nr.margin_ranking_loss(x1, put(np.array(x2, dtype), device), ones, reduction=reduction)

    assert_same(reduced([1, INF, 2]), np.array(INF, dtype))
    assert_same(reduced([1, -INF, 2]), np.array(3 if reduction == "sum" else 1, dtype))
    assert_same(reduced([1, NAN, INF]), np.array(NAN, dtype))
    assert_same(reduced([-1, -2, NAN]), np.array(NAN, dtype))


@real
def test_mean_is_finite_where_the_sum_overflows(device, dtype):
    huge = np.finfo(dtype).max
    x2 = put(np.full(40, huge, dtype), device)
    x1, y = put(np.zeros(40, dtype), device), put(np.ones(40, dtype), device)
    assert_within(nr.margin_ranking_loss(x1, x2, y), np.array(huge, dtype), 1)
    assert_same(nr.margin_ranking_loss(x1, x2, y, reduction="sum"), np.array(INF, dtype))


# ---------------------------------------------------------------- dtypes


@every_float
@every_reduction
def test_loss_and_gradients_keep_the_dtype(device, dtype, reduction):
    arrays = [put(np.array(values, dtype), device) for values in ([1, 2], [3, 1], [1, -1])]
    loss, grads = nr.margin_ranking_loss_and_grad(*arrays, reduction=reduction, target_grad=True)
    assert host(loss).dtype == dtype
    assert [host(grad).dtype for grad in grads] == [dtype] * 3
    assert host(nr.margin_ranking_loss(*arrays, reduction=reduction)).dtype == dtype


PROMOTIONS = [
    ("float32", "float64", "float64"),
    ("float16", "float64", "float64"),
    ("float16", "float32", "float32"),
    pytest.param("bfloat16", "float64", "float64", marks=needs_bfloat16),
    pytest.param("bfloat16", "float32", "float32", marks=needs_bfloat16),
    pytest.param("float16", "bfloat16", "float32", marks=needs_bfloat16),
]


@pytest.mark.parametrize("places", [(0, 1, 1), (1, 0, 1), (1, 1, 0), (0, 0, 1)], ids=str)
@pytest.mark.parametrize(("a", "b", "common"), PROMOTIONS)
def test_floating_arrays_promote(device, a, b, common, places):
    dtypes = [{"bfloat16": reference.BFLOAT16}.get((a, b)[place], (a, b)[place]) for place in places]
    arrays = [put(np.array(v, t), device) for v, t in zip(([1, 2], [3, 1], [1, -1]), dtypes, strict=True)]
    loss, grads = nr.margin_ranking_loss_and_grad(*arrays, 0.5, reduction="none", target_grad=True)
    assert_same(loss, np.array([2.5, 1.5], common))
    for grad, dtype, expected in zip(grads, dtypes, ([-1, 1], [1, -1], [2, -1]), strict=True):
        assert_same(grad, np.array(expected, dtype))


def test_mixed_floats_are_converted_before_they_are_subtracted(device):
    x1, x2 = np.array([0.1], np.float32), np.array([0.2], np.float64)
    loss = nr.margin_ranking_loss(put(x1, device), put(x2, device), 1, reduction="none")
    assert_same(loss, x2 - x1.astype(np.float64))


@every_float
@pytest.mark.parametrize(
    "target",
    [1, 1.0, np.int64(1), np.float64(1), np.array(1.0), np.array(1, np.int8), [1, 1], np.ones(2, np.int64)],
    ids=lambda target: f"{type(target).__name__} {np.asarray(target).dtype} {np.ndim(target)}-d",
)
def test_numbers_0d_targets_and_integer_targets_do_not_promote(device, dtype, target):
    x1, x2 = (put(np.array(values, dtype), device) for values in ([1, 2], [3, 1]))
    if isinstance(target, np.ndarray | list):
        target = put(np.asarray(target), device)
    loss = nr.margin_ranking_loss(x1, x2, target, np.float64(1), reduction="none")
    assert_same(loss, np.array([3, 0], dtype))


def test_a_0d_target_is_rounded_to_the_scores_dtype(device):
    x1, x2 = put(np.zeros(1, np.float32), device), put(np.ones(1, np.float32), device)
    loss = nr.margin_ranking_loss(x1, x2, 0.1, reduction="none")
    assert_same(loss, np.array([0.1], np.float32))


def test_floating_target_array_promotes(device):
    x1, x2 = put(np.zeros(2, np.float32), device), put(np.ones(2, np.float32), device)
    loss = nr.margin_ranking_loss(x1, x2, put(np.array([1.0, 0.1]), device), reduction="none")
    assert_same(loss, np.array([1, 0.1], np.float64))


def test_python_number_beside_a_0d_array_does_not_promote(device):
    x1 = put(np.array(1, np.float32), device)
    assert_same(nr.margin_ranking_loss(x1, 3.5, 1), np.array(2.5, np.float32))


@pytest.mark.parametrize("integer", ["int8", "int16", "int32", "int64"])
def test_gradient_of_an_integer_input_is_float64(device, integer):
    x1 = put(np.array([1, 2], np.float32), device)
    x2, y = (put(np.array(values, integer), device) for values in ([3, 1], [1, -1]))
    loss, grads = nr.margin_ranking_loss_and_grad(x1, x2, y, reduction="none", target_grad=True)
    assert_same(loss, np.array([2, 1], np.float64))
    assert_same(grads[0], np.array([-1, 1], np.float32))
    assert_same(grads[1], np.array([1, -1], np.float64))
    assert_same(grads[2], np.array([2, -1], np.float64))


def test_integer_target_gradient_is_float64_beside_float32_scores(device):
    x1, x2, y = (put(np.array(v, t), device) for v, t in (([1], "f4"), ([3], "f4"), ([1], "i4")))
    loss, grads = nr.margin_ranking_loss_and_grad(x1, x2, y, target_grad=True)
    assert_same(loss, np.array(2, np.float32))
    assert [host(grad).dtype for grad in grads] == [np.float32, np.float32, np.float64]
    assert_same(grads[2], np.array([2], np.float64))


@pytest.mark.parametrize(
    ("dtype", "margin", "expected"),
    [
        # float32 all the way: 1 + 2**-11 is rounded once, at the store, to the even neighbour
        pytest.param("float16", 2.0**-11, 1, id="float16"),
        pytest.param(reference.BFLOAT16, 2.0**-8, 1, id="bfloat16", marks=needs_bfloat16),
    ],
)
def test_half_types_are_computed_in_float32(device, dtype, margin, expected):
    x1, x2, y = (put(np.array([value], dtype), device) for value in (0, 1, 1))
    assert_same(nr.margin_ranking_loss(x1, x2, y, margin, reduction="none"), np.array([expected], dtype))
    # the margin's 2**-11 (2**-8) is lost in half precision; in float32 it survives until -1 takes the 1 away
    x1, x2 = put(np.array([1], dtype), device), put(np.array([-margin], dtype), device)
    loss = nr.margin_ranking_loss(x1, x2, put(np.array([-1], dtype), device), -1.0, reduction="none")
    assert_same(loss, np.array([margin], dtype))


@needs_bfloat16
def test_the_margin_of_halves_is_not_rounded_to_them(device):
    x1, x2 = (put(np.array([value], reference.BFLOAT16), device) for value in (1.703125, 0))
    for margin, gradient in [(1.7, 0), (1.703125, -1), (np.array([1.7], reference.BFLOAT16), -1)]:
        margin = put(margin, device) if isinstance(margin, np.ndarray) else margin
        loss, (by_x1, _) = nr.margin_ranking_loss_and_grad(x1, x2, 1, margin)
        assert (float(host(loss)), float(host(by_x1)[0])) == (0, gradient)


@pytest.mark.parametrize("dtype", FLOATS[2:])
def test_sum_of_halves_is_a_sum_of_unrounded_losses(device, dtype):
    eps = 2.0**-10 if dtype == np.float16 else 2.0**-7
    x1, x2, y = (put(np.full(3, value, dtype), device) for value in (1, -0.375 * eps, -1))
    # each loss is 1 + 0.375 eps, which the half type rounds to 1; three make 3 + 1.125 eps, nearest to 3 + 2 eps
    assert_same(nr.margin_ranking_loss(x1, x2, y, reduction="none"), np.ones(3, dtype))
    assert_same(nr.margin_ranking_loss(x1, x2, y, reduction="sum"), np.array(3 + 2 * eps, dtype))


def test_half_overflow_is_infinite_and_silent(device):
    big = np.finfo(np.float16).max
    x1, x2, y = (put(np.array([value], np.float16), device) for value in (-big, big, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for reduction in REDUCTIONS:
            expected = np.array([INF] if reduction == "none" else INF, np.float16)
            assert_same(nr.margin_ranking_loss(x1, x2, y, reduction=reduction), expected)


# ---------------------------------------------------------------- what comes back


@every_float
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_reduced_numpy_arrays_give_a_numpy_scalar(cpu, dtype, reduction):
    arrays = [np.ones(3, dtype) for _ in range(3)]
    assert type(nr.margin_ranking_loss(*arrays, reduction=reduction)) is dtype.type
    loss, grads = nr.margin_ranking_loss_and_grad(*arrays, reduction=reduction)
    assert type(loss) is dtype.type
    assert [type(grad) for grad in grads] == [np.ndarray, np.ndarray]


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0,)], ids=str)
def test_unreduced_numpy_arrays_give_an_array(cpu, shape):
    arrays = [np.ones(shape) for _ in range(3)]
    loss = nr.margin_ranking_loss(*arrays, reduction="none")
    assert type(loss) is np.ndarray
    assert loss.shape == shape


@every_reduction
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)], ids=str)
def test_device_arrays_give_device_arrays(cuda, reduction, shape):
    arrays = [put(np.ones(shape), cuda) for _ in range(3)]
    loss, grads = nr.margin_ranking_loss_and_grad(*arrays, 1, reduction=reduction)
    results = [loss, *grads, nr.margin_ranking_loss(*arrays, 1, reduction=reduction)]
    assert [type(result) for result in results] == [type(arrays[0])] * 4
    assert [result.shape for result in results] == [
        shape if reduction == "none" else (),
        shape,
        shape,
        shape if reduction == "none" else (),
    ]


@every_reduction
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_tensor_among_the_inputs_gives_a_tensor(device, reduction, place):
    inputs = [put(np.ones(3), device) for _ in range(3)]
    inputs[place] = nr.Tensor(inputs[place])
    loss = nr.margin_ranking_loss(*inputs, 1, reduction=reduction)
    assert isinstance(loss, nr.Tensor)
    assert type(loss.data) is (np.ndarray if device == "cpu" else type(put(np.ones(3), device)))
    assert loss.data.shape == ((3,) if reduction == "none" else ())
    assert_same(loss, {"none": np.ones(3), "sum": np.array(3.0), "mean": np.array(1.0)}[reduction])


def test_lists_become_numpy_arrays(cpu):
    loss = nr.margin_ranking_loss([2, 1.5, 3], [1, 2, 1], [1, 1, 1], 1, reduction="none")
    assert_same(loss, np.array([0, 1.5, 0]))
    loss = nr.margin_ranking_loss([[1, 2]], [[3, 1]], [[1, -1]], reduction="none")
    assert_same(loss, np.array([[2.0, 1.0]]))


def test_numbers_are_scores_too(cpu):
    loss = nr.margin_ranking_loss(1, 3.5, 1)
    assert type(loss) is np.float64
    assert loss == 2.5


# ---------------------------------------------------------------- different from torch, on purpose


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32])
def test_integer_scores_are_promoted_to_float64_first(device, dtype):
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    x1, x2 = put(np.array([low, high], dtype), device), put(np.array([high, low], dtype), device)
    loss = nr.margin_ranking_loss(x1, x2, 1, reduction="none")
    assert_same(loss, np.array([float(high) - float(low), 0]))


@pytest.mark.parametrize("dtype", [np.int8, np.int64])
def test_integer_scores_beside_float32_make_float64(device, dtype):
    x1, x2 = put(np.array([1], dtype), device), put(np.array([0.1], np.float32), device)
    loss = nr.margin_ranking_loss(x1, x2, -1, reduction="none")
    assert_same(loss, np.array([1 - float(np.float32(0.1))]))


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64])
def test_signed_integer_target_is_used_as_it_is(device, dtype):
    lowest = np.iinfo(dtype).min
    y = put(np.array([1, -1, 0, 2, lowest], dtype), device)
    x1, x2 = put(np.ones(5, np.float32), device), put(np.zeros(5, np.float32), device)
    loss, (grad1, _) = nr.margin_ranking_loss_and_grad(x1, x2, y, 1, reduction="none")
    assert_same(loss, np.array([0, 2, 1, 0, np.float32(1) - np.float32(lowest)], np.float32))
    assert_same(grad1, np.array([-1, 1, 0, 0, -float(lowest)], np.float32))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64])
def test_unsigned_target_is_refused(device, dtype):
    x = put(np.ones(2), device)
    with pytest.raises(TypeError, match=f"(?s)target.*{np.dtype(dtype)}.*(astype|signed)"):
        nr.margin_ranking_loss(x, x, put(np.ones(2, dtype), device))


def test_bool_target_is_refused(device):
    x = put(np.ones(2), device)
    with pytest.raises(TypeError, match=r"(?s)target.*bool.*2 \*"):
        nr.margin_ranking_loss(x, x, put(np.array([True, False]), device))


@pytest.mark.parametrize("name", ["input1", "input2"])
@pytest.mark.parametrize("dtype", ["bool", "complex64", "complex128"])
def test_scores_of_other_dtypes_are_refused(device, name, dtype):
    good = put(np.ones(2), device)
    arguments = {"input1": good, "input2": good, "target": 1} | {name: put_unchecked(np.ones(2, dtype), device)}
    with pytest.raises(TypeError, match=f"(?s){name}.*{dtype}"):
        nr.margin_ranking_loss(**arguments)


@pytest.mark.parametrize("dtype", [np.int8, np.int64])
def test_integer_tensor_cannot_require_a_gradient(device, dtype):
    with pytest.raises(TypeError, match=f"{np.dtype(dtype)}"):
        nr.tensor(np.ones(2, dtype), device=device, requires_grad=True)


@pytest.mark.parametrize("reduction", ["average", "Mean", "", None, 1])
def test_invalid_reduction_is_refused_at_construction_and_at_the_call(device, reduction):
    x = put(np.ones(2), device)
    for wrong in (
        lambda: nr.MarginRankingLoss(reduction=reduction),
        lambda: nr.margin_ranking_loss(x, x, x, reduction=reduction),
        lambda: nr.margin_ranking_loss_and_grad(x, x, x, reduction=reduction),
    ):
        with pytest.raises(ValueError, match=r"(?s)none.*mean.*sum|mean.*sum.*none|none.*sum.*mean"):
            wrong()


# ---------------------------------------------------------------- shapes


@pytest.mark.parametrize(
    ("shapes", "output"),
    [
        (((4, 1), (1, 6), (1, 1)), (4, 6)),
        (((3,), (1,), (3,)), (3,)),
        (((1,), (1,), (5,)), (5,)),
        (((2, 1, 3), (1, 4, 1), (2, 4, 3)), (2, 4, 3)),
        (((2, 3), (2, 3), ()), (2, 3)),
        (((1, 3), (2, 1), ()), (2, 3)),
        (((), (), ()), ()),
        (((0, 3), (1, 3), (1, 1)), (0, 3)),
    ],
    ids=str,
)
@every_reduction
def test_broadcasting(device, shapes, output, reduction):
    rng = np.random.default_rng(1)
    # quarters of small integers: every result is exact, whatever the order of adding
    x1, x2 = (rng.integers(-8, 8, shape) / 4 for shape in shapes[:2])
    y = rng.choice([-1.0, 1.0], shapes[2])
    arrays = [put(np.asarray(a), device) for a in (x1, x2, y)]
    loss, grads = nr.margin_ranking_loss_and_grad(*arrays, 0.25, reduction=reduction, target_grad=True)

    pairs = np.maximum(0, -y * (x1 - x2) + 0.25)
    assert pairs.shape == output
    if reduction == "none":
        assert_same(loss, pairs)
    elif pairs.size:
        assert_same(loss, np.asarray(pairs.sum() if reduction == "sum" else pairs.sum() / pairs.size))
    assert [host(grad).shape for grad in grads] == list(shapes)
    scale = 1 / pairs.size if reduction == "mean" and pairs.size else 1
    active = (-y * (x1 - x2) + 0.25 >= 0) * scale
    for grad, slope, shape in zip(grads, (active * -y, active * y, -active * (x1 - x2)), shapes, strict=True):
        moved = (1,) * (len(output) - len(shape)) + shape
        axes = tuple(i for i, (n, m) in enumerate(zip(moved, output, strict=True)) if n != m)
        np.testing.assert_allclose(host(grad), slope.sum(axis=axes).reshape(shape), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("target", [1, -1.0, np.array(-1), np.array(1, np.float32)], ids=repr)
@every_reduction
def test_one_target_stands_for_every_pair(device, target, reduction):
    x1, x2 = np.array([[1.0, 2.0, 5.0], [4.0, 4.0, 0.0]]), np.array([[3.0, 1.0, 2.0], [4.0, 3.0, 6.0]])
    given = put(target, device) if isinstance(target, np.ndarray) else target
    loss = nr.margin_ranking_loss(put(x1, device), put(x2, device), given, 1, reduction=reduction)
    pairs = np.maximum(0, -float(target) * (x1 - x2) + 1)
    expected = {"none": pairs, "sum": pairs.sum(), "mean": pairs.sum() / 6}[reduction]
    assert_within(loss, np.asarray(expected), 1)


SHAPES = {
    "(N, D) with a (N,) target": ((4, 3), (4, 3), (4,)),
    "(N, N) with a (N,) target": ((4, 4), (4, 4), (4,)),
    "inputs of two ndims": ((4,), (4, 1), (4,)),
    "0-d input beside a 1-d input": ((), (4,), (4,)),
    "target of one more dimension": ((4,), (4,), (4, 1)),
    "lengths that do not broadcast": ((3,), (4,), (3,)),
    "inner lengths that do not broadcast": ((2, 3), (2, 3), (2, 2)),
    "empty against three": ((0,), (3,), (1,)),
}


@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("call", [nr.margin_ranking_loss, nr.margin_ranking_loss_and_grad])
def test_wrong_shapes_are_named(device, call, shapes):
    arrays = [put(np.ones(shape), device) for shape in shapes]
    with pytest.raises(ValueError) as error:
        call(*arrays)
    for word in [str(shape) for shape in shapes] + ["input1", "input2", "target"]:
        assert word in str(error.value)


def test_the_commonest_shape_error_says_what_to_reshape(device):
    x = put(np.ones((4, 3)), device)
    with pytest.raises(ValueError, match=r"(?s)target.*(reshape|\[:, None\]|newaxis|\(4, 1\))"):
        nr.margin_ranking_loss(x, x, put(np.ones(4), device))


@every_reduction
def test_inputs_are_never_written_to(device, reduction):
    arrays = [np.array([1.0, -2.0, NAN]), np.array([0.5, INF, 2.0]), np.array([1.0, -1.0, 1.0])]
    given = [put(a.copy(), device) for a in arrays]
    nr.margin_ranking_loss(*given, 1, reduction=reduction)
    nr.margin_ranking_loss_and_grad(*given, 1, reduction=reduction, target_grad=True)
    for before, after in zip(arrays, given, strict=True):
        assert_same(after, before)


# ---------------------------------------------------------------- reduction and the legacy arguments


def test_mean_is_the_default(device):
    x1, x2, y = (put(np.array(values), device) for values in ([1.0, 2.0], [3.0, 1.0], [1.0, 1.0]))
    assert_same(nr.margin_ranking_loss(x1, x2, y), np.array((2 + 0) / 2))
    assert nr.MarginRankingLoss().reduction == "mean"
    assert nr.MarginRankingLoss().margin == 0


LEGACY = [(key, reduction) for key, reduction in reference.LEGACY.items() if reduction]


@pytest.mark.parametrize("given", REDUCTIONS)
@pytest.mark.parametrize(("legacy", "reduction"), LEGACY, ids=lambda value: str(value))
def test_legacy_arguments_override_and_warn(device, legacy, reduction, given):
    size_average, reduce = legacy
    x1, x2, y = (put(np.array(values), device) for values in ([1.0, 2.0], [3.0, 1.0], [1.0, -1.0]))
    expected = np.asarray({"none": [2.0, 1.0], "sum": 2.0 + 1.0, "mean": (2.0 + 1.0) / 2}[reduction])
    with pytest.warns(UserWarning, match=f"reduction.*{reduction}"):
        assert_same(nr.margin_ranking_loss(x1, x2, y, 0.0, size_average, reduce, given), expected)
    with pytest.warns(UserWarning, match=f"reduction.*{reduction}"):
        module = nr.MarginRankingLoss(0.0, size_average, reduce, given)
    assert module.reduction == reduction
    assert_same(module(x1, x2, y), expected)


@pytest.mark.parametrize(
    ("legacy", "reduction"),
    [
        ({"size_average": 0}, "sum"),
        ({"size_average": 1}, "mean"),
        ({"size_average": ""}, "sum"),
        ({"reduce": 0}, "none"),
        ({"reduce": "yes"}, "mean"),
        ({"size_average": 0, "reduce": 1}, "sum"),
    ],
    ids=str,
)
def test_legacy_arguments_count_by_their_truth(legacy, reduction):
    with pytest.warns(UserWarning, match=reduction):
        assert nr.MarginRankingLoss(**legacy).reduction == reduction


@pytest.mark.parametrize("call", ["MarginRankingLoss(reduce=True)", "margin_ranking_loss(1.0, 2.0, 1, reduce=True)"])
def test_legacy_warning_points_at_the_callers_line(call):
    with pytest.warns(UserWarning) as caught:
        exec(compile(f"nr.{call}", "the caller", "exec"), {"nr": nr})
    assert [warning.filename for warning in caught] == ["the caller"]


@every_reduction
def test_without_legacy_arguments_nothing_warns(device, reduction):
    x = put(np.array([INF, -INF, NAN, 3e38, -3e38], np.float32), device)
    y = put(np.array([-3e38, INF, 1, -3e38, 3e38], np.float32), device)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for margin in (0.0, 1e300, NAN, -INF):
            nr.MarginRankingLoss(margin, reduction=reduction)(x, y, 1)
            loss, _ = nr.margin_ranking_loss_and_grad(x, y, y, margin, reduction=reduction, target_grad=True)
    assert host(loss).dtype == np.float32
