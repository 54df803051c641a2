"""What holds for any shapes and values, NaN, infinities, signed zeros and subnormals among them."""

import numpy as np
import pytest
import reference
from helpers import REDUCTIONS, SIMULATOR, assert_gradient, assert_same, assert_within, host, leaf, put
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import numbarank as nr

REAL = [np.dtype("float32"), np.dtype("float64")]
MARGINS = st.sampled_from([0.0, 1.0, -1.0, 0.1]) | st.floats(width=32)
LONGEST = 40 if SIMULATOR else 200


def scores(dtype, shape, **limits):
    """Ordinary, huge, tiny and special numbers."""
    width = {"float64": 64, "float16": 16}.get(dtype.name, 32)
    anything = st.floats(width=width, **limits)
    few = st.sampled_from([0.0, -0.0, 1.0, 1.5, 2.0, -1.0])
    arrays = hnp.arrays(f"float{width}", shape, elements=few | anything)
    return arrays if dtype != reference.BFLOAT16 else arrays.map(to_bfloat16)


def to_bfloat16(a):
    with np.errstate(all="ignore"):
        return a.astype(reference.BFLOAT16)


def targets(dtype, shape):
    return hnp.arrays(dtype, shape, elements=st.sampled_from([1, -1]))


def other_targets(dtype, shape):
    return hnp.arrays(dtype, shape, elements=st.floats(width=8 * dtype.itemsize) | st.sampled_from([1.0, 0.0, -0.0]))


@st.composite
def same_shape(draw, dtypes=REAL, make_targets=targets, **limits):
    dtype = draw(st.sampled_from(dtypes))
    shape = draw(st.integers(0, LONGEST) | hnp.array_shapes(min_dims=0, max_dims=3, max_side=6))
    target_dtype = dtype if make_targets is other_targets else draw(st.sampled_from([dtype, np.dtype("int8")]))
    return (
        *(draw(scores(dtype, shape, **limits)) for _ in range(2)),
        draw(make_targets(target_dtype, shape)),
    )


@st.composite
def broadcastable(draw, **limits):
    ndim = draw(st.integers(0, 3))
    shapes = draw(
        hnp.mutually_broadcastable_shapes(num_shapes=3, min_dims=ndim, max_dims=ndim, min_side=0, max_side=4)
    ).input_shapes
    dtypes = [draw(st.sampled_from(REAL)) for _ in range(2)]
    x1, x2 = (draw(scores(dtype, shape, **limits)) for dtype, shape in zip(dtypes, shapes, strict=False))
    shape = draw(st.sampled_from([shapes[2], ()]))
    return x1, x2, draw(targets(draw(st.sampled_from([*REAL, np.dtype("int8")])), shape))


def loss_and_grads(arrays, margin, reduction, device, **options):
    return nr.margin_ranking_loss_and_grad(
        *(put(a, device) for a in arrays), margin, reduction, target_grad=True, **options
    )


def check(arrays, margin, reduction, device):
    loss, grads = loss_and_grads(arrays, margin, reduction, device)
    again = nr.margin_ranking_loss(*(put(a, device) for a in arrays), margin, reduction=reduction)
    expected = reference.loss(*arrays, margin, reduction)
    for result in (loss, again):
        assert_within(result, expected, 0 if reduction == "none" else 1)
    for grad, full, like in zip(grads, reference.slopes(*arrays, margin, reduction), arrays, strict=True):
        assert_gradient(grad, full, like, 2 if reduction == "mean" else 0)


@given(arrays=same_shape(), margin=MARGINS, reduction=st.sampled_from(REDUCTIONS))
def test_pairs(device, arrays, margin, reduction):
    check(arrays, margin, reduction, device)


@given(
    arrays=same_shape(dtypes=list(reference.FLOATS[2:])),
    margin=MARGINS,
    reduction=st.sampled_from(REDUCTIONS),
)
def test_pairs_of_halves(device, arrays, margin, reduction):
    check(arrays, margin, reduction, device)


@given(arrays=same_shape(make_targets=other_targets), margin=MARGINS)
def test_any_target(cpu, arrays, margin):
    check(arrays, margin, "none", cpu)


@given(
    arrays=broadcastable(min_value=-(2.0**100), max_value=2.0**100),
    margin=st.floats(-4, 4),
    reduction=st.sampled_from(REDUCTIONS),
)
def test_broadcasts(device, arrays, margin, reduction):
    check(arrays, margin, reduction, device)


@given(arrays=broadcastable(), margin=MARGINS)
def test_broadcast_losses_of_special_values(device, arrays, margin):
    loss = nr.margin_ranking_loss(*(put(a, device) for a in arrays), margin, reduction="none")
    assert_same(loss, reference.loss(*arrays, margin, "none"))


@given(losses=st.sampled_from(REAL).flatmap(lambda dtype: scores(dtype, st.integers(1, LONGEST))).map(np.abs))
def test_sums_and_means_are_exact_to_an_ulp(device, losses):
    arrays = [put(np.zeros_like(losses), device), put(losses, device), 1]
    exact = reference.exact_sum(losses)
    for reduction, expected in (("sum", exact), ("mean", exact / losses.size)):
        assert_within(
            nr.margin_ranking_loss(*arrays, reduction=reduction), reference.rounded(expected, losses.dtype), 1
        )


@given(arrays=same_shape(), margin=MARGINS)
def test_losses_are_never_negative(device, arrays, margin):
    loss = host(nr.margin_ranking_loss(*(put(a, device) for a in arrays), margin, reduction="none"))
    assert not (loss < 0).any()


@given(arrays=same_shape(), margin=MARGINS)
def test_swapping_the_inputs_and_the_target_changes_nothing(device, arrays, margin):
    x1, x2, y = arrays
    loss, grads = loss_and_grads((x1, x2, y), margin, "none", device)
    swapped, back = loss_and_grads((x2, x1, -y), margin, "none", device)
    assert_same(swapped, host(loss))
    assert_same(back[0], host(grads[1]))
    assert_same(back[1], host(grads[0]))


@given(arrays=same_shape(), margin=MARGINS)
def test_gradients_of_the_inputs_are_opposite(device, arrays, margin):
    _, (by_x1, by_x2, _) = loss_and_grads(arrays, margin, "none", device)
    if by_x1.dtype == by_x2.dtype:
        assert_same(by_x1, -host(by_x2))


@given(arrays=same_shape(make_targets=lambda dtype, shape: hnp.arrays(REAL[0], shape, elements=st.just(1.0))))
def test_backward_gives_the_gradients_of_one_pass(device, arrays):
    tensors = [leaf(a, device) for a in arrays]
    loss = nr.margin_ranking_loss(*tensors, 0.5, reduction="sum")
    loss.backward()
    _, grads = loss_and_grads(arrays, 0.5, "sum", device)
    for tensor, grad in zip(tensors, grads, strict=True):
        assert_same(tensor.grad, host(grad))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@given(arrays=same_shape(), margin=MARGINS, data=st.data())
def test_upstream_gradients(device, reduction, arrays, margin, data):
    x1, x2, y = arrays
    if reduction == "none":
        upstream = data.draw(scores(x1.dtype, x1.shape))
    else:
        upstream = data.draw(st.floats(-1e6, 1e6, width=32) | st.just(float("nan")))
    moved = put(upstream, device) if reduction == "none" else upstream
    _, grads = loss_and_grads(arrays, margin, reduction, device, gradient=moved)
    slopes = reference.slopes(x1, x2, y, margin, reduction, upstream)
    for grad, full, like in zip(grads, slopes, arrays, strict=True):
        assert_gradient(grad, full, like, 2 if reduction == "mean" else 0)
