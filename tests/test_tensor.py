"""Tensor: array + device + gradient, and the way back from a loss to its inputs."""

import copy
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest
from helpers import FLOATS, REDUCTIONS, SIMULATOR, assert_bits, assert_same, host, leaf, put, shown

import numbarank as nr

every_float = pytest.mark.parametrize("dtype", FLOATS)


def hinge(device, x1=(1, 2, 9), x2=(3, 1, 1), y=(1, -1, 1), **options):
    """Two leaves and their summed loss: pairs one and two are active, the third is not."""
    a, b = (leaf(np.array(x, np.float64), device) for x in (x1, x2))
    target = leaf(np.array(y, np.float64), device, requires_grad=False)
    options = {"reduction": "sum"} | options
    return a, b, nr.margin_ranking_loss(a, b, target, **options)


SLOPE = np.array([-1.0, 1.0, 0.0])  # of hinge() by its first leaf; the second one's is the negative
LOSS = 2.0 + 1.0


# ---------------------------------------------------------------- construction and attributes


def test_tensor_copies_and_Tensor_wraps(cpu):
    a = np.array([1.0, 2.0])
    assert nr.Tensor(a).data is a
    copied = nr.tensor(a)
    a[0] = 9
    assert_same(copied, np.array([1.0, 2.0]))


def test_Tensor_wraps_a_device_array(cuda):
    a = put(np.array([1.0, 2.0]), cuda)
    assert nr.Tensor(a).data is a
    assert str(nr.Tensor(a).device).startswith("cuda")


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0, 2)], ids=str)
@every_float
def test_attributes(device, dtype, shape):
    x = nr.tensor(np.ones(shape, dtype), device=device)
    assert (x.shape, x.ndim, x.dtype) == (shape, len(shape), dtype)
    assert str(x.device).split(":")[0] == device
    assert x.requires_grad is False
    assert x.grad is None
    assert_same(x, np.ones(shape, dtype))
    assert nr.tensor(np.ones(shape, dtype), device=device, requires_grad=True).requires_grad is True


@pytest.mark.parametrize("data", [[1, 2.5], (1.0, 2.0), [[1], [2]], 3, 2.5], ids=repr)
def test_tensor_of_lists_and_numbers(device, data):
    assert_same(nr.tensor(data, device=device), np.asarray(data))


def test_tensor_of_a_tensor_is_a_new_leaf(device):
    x = leaf(np.array([1.0, 2.0]), device)
    again = nr.tensor(x.detach(), device=device)
    assert_same(again, np.array([1.0, 2.0]))
    assert again.requires_grad is False
    assert again.data is not x.data


@every_float
def test_dtype_argument(device, dtype):
    assert_same(nr.tensor([1, 2.5], dtype=dtype, device=device), np.array([1, 2.5], dtype))


def test_dtype_by_name(device):
    assert nr.tensor([1, 2], dtype="float32", device=device).dtype == np.float32


@pytest.mark.parametrize("make", [nr.zeros, nr.ones, nr.randn], ids=["zeros", "ones", "randn"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0,)], ids=str)
def test_constructors(device, make, shape):
    x = make(*shape, device=device)
    assert isinstance(x, nr.Tensor)
    assert (x.shape, x.dtype, x.requires_grad) == (shape, np.float64, False)
    assert str(x.device).split(":")[0] == device
    other = make(*shape, dtype=np.float32, device=device, requires_grad=True)
    assert (other.shape, other.dtype, other.requires_grad) == (shape, np.float32, True)


def test_constructor_values(device):
    assert_same(nr.zeros(2, 3, device=device), np.zeros((2, 3)))
    assert_same(nr.ones(4, device=device), np.ones(4))


def test_randn_is_normal_and_follows_its_seed(device):
    x = host(nr.randn(200, seed=7, device=device))
    assert_bits(nr.randn(200, seed=7, device=device), x)
    assert (host(nr.randn(200, seed=8, device=device)) != x).any()
    assert (host(nr.randn(200, device=device)) != host(nr.randn(200, device=device))).any()
    # the mean of 200 has a standard error of 0.07, their standard deviation one of 0.05
    assert abs(x.mean()) < 0.35 and abs(x.std() - 1) < 0.25


def test_randn_leaves_the_global_generator_alone():
    np.random.seed(1)
    expected = np.random.random()
    np.random.seed(1)
    nr.randn(3, seed=5)
    nr.randn(3)
    assert np.random.random() == expected


@pytest.mark.parametrize("device_name", ["tpu", "cuda:x", "cuda:-1", "gpu", "", 3.5])
@pytest.mark.parametrize(
    "call", [lambda d: nr.tensor([1.0], device=d), lambda d: nr.ones(1).to(d)], ids=["tensor", "to"]
)
def test_unknown_devices_are_refused(call, device_name):
    with pytest.raises((ValueError, TypeError), match=r"(?s)cpu.*cuda"):
        call(device_name)


WITHOUT_CUDA = """
import numpy as np, numbarank as nr
class Foreign:
    __cuda_array_interface__ = {"shape": (1,), "typestr": "<f4", "data": (1 << 20, False), "version": 3}
x = Foreign()
calls = {
    "tensor": lambda: nr.tensor([1.0], device="cuda"),
    "numbered": lambda: nr.tensor([1.0], device="cuda:0"),
    "zeros": lambda: nr.zeros(3, device="cuda"),
    "randn": lambda: nr.randn(3, device="cuda"),
    "to": lambda: nr.ones(3).to("cuda"),
    "cuda": lambda: nr.ones(3).cuda(),
    "foreign": lambda: nr.margin_ranking_loss(x, x, 1),
}
for name, call in calls.items():
    try:
        call()
    except Exception as error:
        print(name, type(error).__name__, " ".join(str(error).split()))
"""


def test_without_cuda_one_error_names_the_extra(cpu):
    environment = {"CUDA_VISIBLE_DEVICES": "-1", "NUMBA_ENABLE_CUDASIM": "0"}
    lines = run_python(WITHOUT_CUDA, environment).splitlines()
    assert [line.split()[0] for line in lines] == [
        "tensor",
        "numbered",
        "zeros",
        "randn",
        "to",
        "cuda",
        "foreign",
    ]
    assert len({line.split()[1] for line in lines}) == 1, lines
    for line in lines:
        assert "numbarank[cuda12]" in line or "numbarank[cuda13]" in line, line


def run_python(code, environment):
    import os

    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


# ---------------------------------------------------------------- backward


def test_backward_fills_the_gradients(device):
    a, b, loss = hinge(device)
    assert loss.requires_grad is True
    loss.backward()
    assert isinstance(a.grad, nr.Tensor)
    assert str(a.grad.device) == str(a.device)
    assert a.grad.requires_grad is False
    assert_same(a.grad, SLOPE)
    assert_same(b.grad, -SLOPE)


def test_backward_returns_nothing(device):
    _, _, loss = hinge(device)
    assert loss.backward() is None


def test_gradients_accumulate_over_losses(device):
    a, b = (leaf(np.array(x), device) for x in ([1.0, 2.0], [3.0, 1.0]))
    nr.margin_ranking_loss(a, b, 1, reduction="sum").backward()
    assert_same(a.grad, np.array([-1.0, 0.0]))
    nr.margin_ranking_loss(a, b, 1, reduction="sum").backward()
    assert_same(a.grad, np.array([-2.0, 0.0]))
    nr.margin_ranking_loss(b, a, -1, reduction="mean").backward()
    assert_same(a.grad, np.array([-2.5, 0.0]))
    assert_same(b.grad, np.array([2.5, 0.0]))


def test_accumulation_leaves_an_earlier_gradient_array_alone(device):
    a, _, loss = hinge(device)
    loss.backward()
    first = a.grad
    kept = host(first).copy()
    a.grad = None
    nr.margin_ranking_loss(a, leaf(np.full(3, 9.0), device, False), 1, reduction="sum").backward()
    assert_same(first, kept)
    assert_same(a.grad, np.full(3, -1.0))


def test_two_leaves_do_not_share_their_gradient(device):
    a, b, loss = hinge(device)
    loss.backward()
    nr.margin_ranking_loss(a, leaf(np.full(3, 9.0), device, False), 1, reduction="sum").backward()
    assert_same(a.grad, SLOPE - 1)
    assert_same(b.grad, -SLOPE)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_second_backward_is_an_error(device, reduction):
    a, _, loss = hinge(device, reduction=reduction)
    gradient = put(np.ones(3), device) if reduction == "none" else None
    loss.backward(gradient)
    before = host(a.grad).copy()
    with pytest.raises(RuntimeError, match=r"(?i)second|twice|already|again"):
        loss.backward(gradient)
    assert_same(a.grad, before)


def test_a_failed_backward_can_be_repeated_rightly(device):
    a, _, loss = hinge(device, reduction="none")
    with pytest.raises((RuntimeError, ValueError), match="gradient"):
        loss.backward()
    loss.backward(put(np.ones(3), device))
    assert_same(a.grad, SLOPE)


def test_unreduced_loss_needs_a_gradient_of_its_shape(device):
    a, b, loss = hinge(device, reduction="none")
    with pytest.raises((RuntimeError, ValueError), match="gradient"):
        loss.backward()
    with pytest.raises(ValueError, match=r"(?s)gradient.*\(2,\).*\(3,\)|gradient.*\(3,\).*\(2,\)"):
        loss.backward(put(np.ones(2), device))
    assert a.grad is None and b.grad is None


@pytest.mark.parametrize("wrap", [lambda a: a, nr.Tensor], ids=["array", "Tensor"])
def test_gradient_of_an_unreduced_loss(device, wrap):
    a, b, loss = hinge(device, reduction="none")
    upstream = np.array([2.0, -3.0, float("nan")])
    loss.backward(wrap(put(upstream, device)))
    assert_same(a.grad, np.array([-2.0, -3.0, 0.0]))
    assert_same(b.grad, np.array([2.0, 3.0, 0.0]))


@pytest.mark.parametrize("gradient", [2.0, 2, np.float32(2), np.array(2.0)], ids=repr)
def test_gradient_of_a_scalar_loss(device, gradient):
    a, _, loss = hinge(device)
    given = put(gradient, device) if isinstance(gradient, np.ndarray) else gradient
    loss.backward(gradient=given)
    assert_same(a.grad, 2 * SLOPE)


def test_what_requires_no_gradient_gets_none(device):
    a, b = leaf(np.ones(2), device), leaf(np.ones(2), device, requires_grad=False)
    y = leaf(np.ones(2), device, requires_grad=False)
    nr.margin_ranking_loss(a, b, y, 1).backward()
    assert a.grad is not None
    assert b.grad is None and y.grad is None


def test_backward_of_a_loss_that_requires_no_gradient_is_an_error(device):
    x = leaf(np.ones(2), device, requires_grad=False)
    loss = nr.margin_ranking_loss(x, x, x)
    assert loss.requires_grad is False
    with pytest.raises((RuntimeError, ValueError), match=r"requires_grad|require.*grad"):
        loss.backward()
    with pytest.raises((RuntimeError, ValueError)):
        leaf(np.ones(()), device, requires_grad=False).backward()


def test_arrays_beside_a_tensor_that_requires_a_gradient(device):
    a = leaf(np.array([1.0, 2.0]), device)
    loss = nr.margin_ranking_loss(a, put(np.array([3.0, 1.0]), device), 1, reduction="sum")
    assert loss.requires_grad is True
    loss.backward()
    assert_same(a.grad, np.array([-1.0, 0.0]))


def test_only_the_target_requires_a_gradient(device):
    y = leaf(np.array([1.0, 1.0]), device)
    x1, x2 = put(np.array([1.0, 9.0]), device), put(np.array([3.0, 1.0]), device)
    nr.margin_ranking_loss(x1, x2, y, reduction="sum").backward()
    assert_same(y.grad, np.array([2.0, 0.0]))


def test_one_target_tensor_for_all_pairs(device):
    y = leaf(np.array(1.0), device)
    x1, x2 = put(np.array([1.0, 9.0, 0.0]), device), put(np.array([3.0, 1.0, 5.0]), device)
    nr.margin_ranking_loss(x1, x2, y, reduction="sum").backward()
    assert_same(y.grad, np.array(2.0 + 5.0))


def test_broadcast_inputs_get_gradients_of_their_shape(device):
    a, b = leaf(np.zeros((3, 1)), device), leaf(np.ones((1, 4)), device)
    nr.margin_ranking_loss(a, b, leaf(np.ones((1, 1)), device, False), reduction="sum").backward()
    assert_same(a.grad, np.full((3, 1), -4.0))
    assert_same(b.grad, np.full((1, 4), 3.0))


@every_float
def test_gradients_have_their_inputs_dtype(device, dtype):
    a, b = leaf(np.array([1], dtype), device), leaf(np.array([3], np.float64), device)
    nr.margin_ranking_loss(a, b, 1).backward()
    assert_same(a.grad, np.array([-1], dtype))
    assert_same(b.grad, np.array([1], np.float64))


def test_inputs_changed_in_place_give_the_gradient_at_the_changed_values(cpu):
    a, _, loss = hinge(cpu)
    a.data[...] = [9, 9, 0]
    loss.backward()
    assert loss.item() == LOSS
    assert_same(a.grad, np.array([0.0, 1.0, -1.0]))


def test_gradient_and_data_can_be_assigned(device):
    a, b, _ = hinge(device)
    a.grad = nr.tensor([5.0, 5.0, 5.0], device=device)
    nr.margin_ranking_loss(a, b, 1, reduction="sum").backward()
    assert_same(a.grad, np.array([5.0 - 1, 5.0, 5.0]))
    a.grad = None
    assert a.grad is None
    new = put(np.array([9.0, 0.0, 0.0]), device)
    a.data = new
    assert a.data is new
    nr.margin_ranking_loss(a, b, 1, reduction="sum").backward()
    assert_same(a.grad, np.array([0.0, -1.0, -1.0]))


def test_a_step_of_gradient_descent_lowers_the_loss(device):
    rng = np.random.default_rng(0)
    a, b = (leaf(rng.standard_normal(40), device) for _ in range(2))
    losses = []
    for _ in range(5):
        loss = nr.margin_ranking_loss(a, b, 1, margin=1)
        losses.append(loss.item())
        a.grad = b.grad = None
        loss.backward()
        for x in (a, b):
            x.data = put(host(x) - 4 * host(x.grad), device)
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]


def test_the_caller_may_drop_every_name_but_the_leaf(device):
    a = leaf(np.array([1.0]), device)
    loss = nr.margin_ranking_loss(a, nr.tensor([3.0], device=device), nr.tensor([1.0], device=device))
    loss.backward()
    assert_same(a.grad, np.array([-1.0]))


# ---------------------------------------------------------------- arithmetic


def test_a_weighted_sum_of_losses_goes_backward(device):
    a, b = (leaf(np.array(x), device) for x in ([1.0, 2.0], [3.0, 1.0]))
    first = nr.margin_ranking_loss(a, b, 1, reduction="sum")  # 2; slope -1, 0
    second = nr.margin_ranking_loss(a, b, -1, reduction="sum")  # 1; slope 0, 1
    third = nr.margin_ranking_loss(a, b, 1, 3, reduction="mean")  # (5 + 2) / 2; slope -1/2, -1/2
    total = 0.5 * first + second * 3 - third + 7 - (1 - second)
    assert total.item() == 0.5 * 2 + 1 * 3 - 3.5 + 7 - (1 - 1)
    total.backward()
    assert_same(a.grad, np.array([-0.5 + 0.5, 3 + 1 + 0.5]))
    assert_same(b.grad, -np.array([-0.5 + 0.5, 3 + 1 + 0.5]))


@pytest.mark.parametrize(
    ("combine", "value", "factor"),
    [
        (lambda t: t + t, LOSS + LOSS, 2),
        (lambda t: t * t, LOSS * LOSS, 2 * LOSS),
        (lambda t: t - t, 0, 0),
        (lambda t: t + 1, LOSS + 1, 1),
        (lambda t: 1 + t, LOSS + 1, 1),
        (lambda t: t - 1, LOSS - 1, 1),
        (lambda t: 1 - t, 1 - LOSS, -1),
        (lambda t: t * 4, LOSS * 4, 4),
        (lambda t: -0.5 * t, LOSS * -0.5, -0.5),
        (lambda t: np.float32(2) * t, LOSS * 2, 2),
        (lambda t: np.float64(2) * t, LOSS * 2, 2),
        (lambda t: np.int64(2) * t, LOSS * 2, 2),
        (lambda t: np.float32(2) + t, LOSS + 2, 1),
        (lambda t: np.float64(2) - t, 2 - LOSS, -1),
        (lambda t: t * np.float32(2), LOSS * 2, 2),
        (lambda t: -t, -LOSS, -1),
        (lambda t: (t + t) * (t - 1), 2 * LOSS * (LOSS - 1), 4 * LOSS - 2),
        (lambda t: sum([t, t, t]), 3 * LOSS, 3),
    ],
)
def test_arithmetic_with_a_loss(device, combine, value, factor):
    a, b, loss = hinge(device)
    result = combine(loss)
    assert isinstance(result, nr.Tensor)
    assert result.requires_grad is True
    assert result.item() == value
    result.backward()
    assert_same(a.grad, factor * SLOPE)
    assert_same(b.grad, factor * -SLOPE)


def test_a_long_sum_of_losses_goes_backward(cpu):
    a, b = leaf(np.array([1.0]), cpu), leaf(np.array([3.0]), cpu)
    total = 0
    for _ in range(3_000):
        total = total + nr.margin_ranking_loss(a, b, 1)
    total.backward()
    assert_same(a.grad, np.array([-3_000.0]))


def test_a_ladder_of_shared_terms_takes_linear_time(cpu):
    a, _, term = hinge(cpu)
    for _ in range(60):
        term = (term + term) * 0.5
    term.backward()
    assert_same(a.grad, SLOPE)


@pytest.mark.parametrize(
    ("combine", "left", "right"),
    [
        (lambda a, b: a + b, lambda a, b, g: g, lambda a, b, g: g),
        (lambda a, b: a - b, lambda a, b, g: g, lambda a, b, g: -g),
        (lambda a, b: a * b, lambda a, b, g: g * b, lambda a, b, g: g * a),
    ],
    ids=["add", "subtract", "multiply"],
)
@pytest.mark.parametrize(
    "shapes", [((3,), (3,)), ((3, 1), (1, 4)), ((2, 3), ()), ((3,), (2, 3)), ((1,), (5,))], ids=str
)
def test_arithmetic_of_arrays_broadcasts(device, shapes, combine, left, right):
    rng = np.random.default_rng(2)
    a, b = (rng.integers(-5, 5, shape).astype(np.float64) for shape in shapes)
    x, y = leaf(a, device), leaf(b, device)
    result = combine(x, y)
    assert_same(result, combine(a, b))
    upstream = np.asarray(rng.integers(-5, 5, result.shape).astype(np.float64))
    result.backward(put(upstream, device))
    for tensor, slope in ((x, left(a, b, upstream)), (y, right(a, b, upstream))):
        slope = np.broadcast_to(slope, upstream.shape)
        moved = (1,) * (slope.ndim - tensor.ndim) + tensor.shape
        axes = tuple(i for i, (n, m) in enumerate(zip(moved, slope.shape, strict=True)) if n != m)
        assert_same(tensor.grad, np.asarray(slope.sum(axis=axes)).reshape(tensor.shape))


def test_scores_may_be_computed_from_leaves(device):
    w, b = leaf(np.array([1.0, 2.0, 9.0]), device), leaf(np.array([3.0, 1.0, 1.0]), device)
    scores = 2 * w + 1  # 3, 5, 19 against 3, 1, 1 with margin 1: the first pair is active
    loss = nr.margin_ranking_loss(scores, b, 1, 1, reduction="sum")
    assert loss.item() == 1
    loss.backward()
    assert_same(w.grad, np.array([-2.0, 0, 0]))
    assert_same(b.grad, np.array([1.0, 0, 0]))


@pytest.mark.parametrize("number", [2, 2.5, np.float32(2)])
@every_float
def test_arithmetic_with_a_python_number_keeps_the_dtype(device, dtype, number):
    x = leaf(np.array([1, 2], dtype), device)
    assert (x * float(number)).dtype == dtype
    assert (float(number) - x).dtype == dtype
    (x * float(number)).backward(put(np.ones(2, dtype), device))
    assert_same(x.grad, np.full(2, number, dtype))


def test_arithmetic_of_two_devices_is_refused(cuda):
    with pytest.raises((TypeError, ValueError, RuntimeError), match=r"(?s)cpu.*cuda|cuda.*cpu"):
        nr.ones(2) + nr.ones(2, device=cuda)


@pytest.mark.parametrize("other", ["1", None, [1.0], object()], ids=shown)
def test_arithmetic_with_other_things_is_a_type_error(other):
    for combine in (lambda x: x + other, lambda x: other - x, lambda x: x * other):
        with pytest.raises(TypeError):
            combine(nr.ones(1))


@pytest.mark.parametrize("combine", [lambda a, t: a * t, lambda a, t: a + t, lambda a, t: a - t])
def test_an_array_on_the_left_does_not_swallow_the_graph(cpu, combine):
    x = leaf(np.array([1.0, 2.0]))
    try:
        result = combine(np.array([3.0, 4.0]), x)
    except TypeError:
        return
    assert isinstance(result, nr.Tensor) and result.requires_grad


def test_ufuncs_refuse_tensors():
    with pytest.raises(TypeError):
        np.add(np.ones(2), nr.ones(2))
    assert nr.Tensor.__array_ufunc__ is None


# ---------------------------------------------------------------- numbers and text


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)], ids=str)
@every_float
def test_one_element_is_a_number(device, dtype, shape):
    x = nr.tensor(np.full(shape, 2.5, dtype), device=device, requires_grad=True)
    assert type(x.item()) is float and x.item() == 2.5
    assert type(float(x)) is float and float(x) == 2.5
    assert f"{x:.3f}" == "2.500"
    assert f"{x:8.1e}" == " 2.5e+00"


def test_integer_item(device):
    x = nr.tensor(np.array(7, np.int32), device=device)
    assert type(x.item()) is int and x.item() == 7


def test_loss_as_a_number(device):
    _, _, loss = hinge(device)
    assert f"loss {loss:.2f}" == "loss 3.00"
    assert math.sqrt(loss) == math.sqrt(LOSS)


@pytest.mark.parametrize("shape", [(2,), (0,), (2, 1)], ids=str)
def test_several_elements_are_no_number(device, shape):
    x = nr.ones(*shape, device=device)
    for number in (x.item, lambda: float(x)):
        with pytest.raises((TypeError, ValueError, RuntimeError), match="element"):
            number()


def test_repr_shows_values_and_gradient(device):
    x = leaf(np.array([1.25, 2.5]), device)
    for word in ("ensor", "1.25", "2.5", "requires_grad=True"):
        assert word in repr(x)
    assert "requires_grad=True" not in repr(x.detach())
    assert ("cuda" in repr(x)) == (device == "cuda")


def test_str_and_format_without_a_specification(device):
    x = nr.ones(2, device=device)
    assert f"{x}" == str(x)


def test_length(device):
    assert len(nr.ones(3, device=device)) == 3
    assert len(nr.ones(2, 5, device=device)) == 2
    with pytest.raises(TypeError):
        len(nr.tensor(1.0, device=device))


def test_sign(device):
    x = nr.tensor([-2.0, 0.0, 0.5, float("nan")], device=device)
    assert isinstance(x.sign(), nr.Tensor)
    assert_same(x.sign(), np.array([-1.0, 0.0, 1.0, float("nan")]))
    assert str(x.sign().device) == str(x.device)


# ---------------------------------------------------------------- to NumPy, to other devices, to other libraries


def test_numpy_gives_the_array_itself(cpu):
    a = np.array([1.0, 2.0])
    assert nr.Tensor(a).numpy() is a or np.shares_memory(nr.Tensor(a).numpy(), a)


def test_numpy_refuses_what_requires_a_gradient(cpu):
    with pytest.raises((RuntimeError, TypeError), match=r"detach\(\)"):
        leaf(np.ones(2)).numpy()


def test_numpy_refuses_cuda(cuda):
    with pytest.raises((RuntimeError, TypeError), match=r"cpu\(\)"):
        nr.ones(2, device=cuda).numpy()
    assert_same(nr.ones(2, device=cuda).cpu().numpy(), np.ones(2))


def test_detach_shares_the_array_and_forgets_the_graph(device):
    x = leaf(np.ones(2), device)
    assert x.detach().requires_grad is False
    assert x.detach().data is x.data
    _, _, loss = hinge(device)
    assert loss.detach().requires_grad is False
    assert loss.detach().item() == LOSS


def test_array_protocol(cpu):
    a = np.array([1.0, 2.0])
    x = nr.Tensor(a)
    assert np.shares_memory(np.asarray(x), a)
    assert not np.shares_memory(np.array(x), a)
    assert_same(np.asarray(x, np.float32), np.array([1, 2], np.float32))
    assert not np.shares_memory(x.__array__(copy=True), a)
    assert np.shares_memory(x.__array__(copy=False), a)
    assert x.__array__(np.float32).dtype == np.float32


@pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) < "2.0.0", reason="older NumPy copies where it has to")
def test_array_protocol_refuses_a_copy_it_may_not_make(cpu):
    with pytest.raises(ValueError):
        nr.ones(2).__array__(np.float32, copy=False)


def test_array_protocol_refuses_cuda(cuda):
    with pytest.raises((RuntimeError, TypeError), match=r"cpu\(\)"):
        np.asarray(nr.ones(2, device=cuda))


def test_dlpack_round_trip_shares_memory(cpu):
    a = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    x = nr.Tensor(a)
    assert x.__dlpack_device__() == (1, 0)
    there = np.from_dlpack(x)
    assert there.dtype == np.float32
    assert np.shares_memory(there, a)
    assert_same(nr.Tensor(there), a)


def test_cuda_array_interface_is_absent_on_the_cpu(cpu):
    assert not hasattr(nr.ones(2), "__cuda_array_interface__")


@pytest.mark.skipif(SIMULATOR, reason="the simulator's arrays have no DLPack")
def test_dlpack_device_on_cuda(cuda):
    assert tuple(nr.ones(2, device=cuda).__dlpack_device__()) == (2, 0)


def test_to_the_same_device(device):
    x = nr.tensor([1.0, 2.0], device=device)
    there = x.to(device)
    assert str(there.device) == str(x.device)
    assert_same(there, np.array([1.0, 2.0]))


def test_there_and_back(cuda):
    x = nr.tensor([1.0, 2.0])
    for there in (x.to("cuda"), x.to("cuda:0"), x.cuda()):
        assert isinstance(there, nr.Tensor)
        assert str(there.device).startswith("cuda")
        for back in (there.cpu(), there.to("cpu")):
            assert str(back.device) == "cpu"
            assert type(back.data) is np.ndarray
            assert_same(back, np.array([1.0, 2.0]))


def test_a_copy_on_the_device_does_not_follow_the_host(cuda):
    x = nr.tensor([1.0, 2.0])
    there = x.cuda()
    x.data[0] = 9
    assert_same(there, np.array([1.0, 2.0]))


# ---------------------------------------------------------------- integers


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint8, bool])
@pytest.mark.parametrize("make", [nr.zeros, nr.ones], ids=["zeros", "ones"])
def test_only_floats_require_gradients(device, make, dtype):
    with pytest.raises(TypeError, match=r"requires_grad|require.*grad"):
        make(2, dtype=dtype, device=device, requires_grad=True)


def test_integer_tensors_are_targets(device):
    a = leaf(np.array([1.0, 2.0], np.float32), device)
    y = nr.tensor(np.array([1, -1], np.int8), device=device)
    assert y.dtype == np.int8
    loss = nr.margin_ranking_loss(a, nr.tensor(np.array([3.0, 1.0], np.float32), device=device), y, reduction="sum")
    assert_same(loss, np.array(3, np.float32))
    loss.backward()
    assert_same(a.grad, np.array([-1, 1], np.float32))
    assert y.grad is None


# ---------------------------------------------------------------- the module


@pytest.mark.parametrize("copied", [lambda m: pickle.loads(pickle.dumps(m)), copy.deepcopy, copy.copy])
def test_module_can_be_pickled_and_copied(copied):
    module = copied(nr.MarginRankingLoss(0.5, reduction="sum"))
    assert (module.margin, module.reduction) == (0.5, "sum")
    assert module(np.array([1.0]), np.array([3.0]), 1) == 2.5


@pytest.mark.parametrize("name", ["margin", "reduction"])
def test_module_attributes_are_read_only(name):
    module = nr.MarginRankingLoss(0.5, reduction="sum")
    with pytest.raises(AttributeError):
        setattr(module, name, "mean")
    assert (module.margin, module.reduction) == (0.5, "sum")


def test_module_repr_shows_margin_and_reduction():
    text = repr(nr.MarginRankingLoss(0.5, reduction="sum"))
    assert text.startswith("MarginRankingLoss(")
    assert "margin=0.5" in text and "reduction='sum'" in text


# ---------------------------------------------------------------- copies of Tensors


@pytest.mark.parametrize("requires_grad", [False, True])
@every_float
def test_a_leaf_can_be_pickled(cpu, dtype, requires_grad):
    x = nr.tensor(np.array([1, 2], dtype), requires_grad=requires_grad)
    again = pickle.loads(pickle.dumps(x))
    assert_same(again, np.array([1, 2], dtype))
    assert again.requires_grad is requires_grad
    again.data[0] = 9
    assert_same(x, np.array([1, 2], dtype))
