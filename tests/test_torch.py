"""numbarank.torch against torch itself: values, gradients, and what torch does with an operator."""

import copy
import functools
import itertools
import pickle
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
import reference
from helpers import REDUCTIONS, assert_same, assert_within, imported, needs_bfloat16, shown

import numbarank as nr

torch = imported("torch")

from torch.nn import functional as F  # noqa: E402

import numbarank.torch as nr_torch  # noqa: E402
from numbarank.torch._memory import array_of  # noqa: E402
from numbarank.torch._operators import margin_ranking, pairwise_hinge  # noqa: E402

pytestmark = pytest.mark.usefixtures("cpu")

# torch compiles parts of its own with torch.jit, of which it warns
torch_jit_warns = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
needs_compiler = pytest.mark.skipif(not shutil.which("g++"), reason="inductor needs a C++ compiler: there is no g++")
every_reduction = pytest.mark.parametrize("reduction", REDUCTIONS)
MARGIN = 0.25


@functools.cache
def internal(module):
    return pytest.importorskip(
        f"torch.testing._internal.{module}",
        reason=f"torch.testing._internal.{module} cannot be imported here: no samples of torch's own",
        exc_type=ImportError,
    )


def array(tensor):
    """The memory of a tensor, bfloat16 as ml_dtypes has it."""
    tensor = tensor.detach()
    if tensor.dtype is torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(reference.BFLOAT16)
    return tensor.numpy()


def pairs(shape=(7,), dtype=torch.float64, seed=0):
    """Leaves that require grad: two of ordinary scores, and a target of 1 and -1."""
    generator = torch.Generator().manual_seed(seed)
    x1, x2, y = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(3))
    return [tensor.to(dtype).requires_grad_() for tensor in (x1, x2, y.sign())]


def backward(loss, inputs, upstream=None, **options):
    """The gradients by the inputs; None where there is none."""
    upstream = torch.ones_like(loss) if upstream is None else upstream
    return torch.autograd.grad(loss, inputs, upstream, allow_unused=True, **options)


def assert_torchs(loss, inputs, expected, theirs, reduction):
    """A loss and its gradients against torch's, as near as docs/semantics.md says."""
    assert (loss.dtype, loss.shape) == (expected.dtype, expected.shape)
    assert_within(array(loss), array(expected), 0 if reduction == "none" else 4)
    for mine, other in zip(backward(loss, inputs), backward(expected, theirs), strict=True):
        assert_within(array(mine), array(other), 1 if reduction == "mean" else 0)


# ---------------------------------------------------------------- torch's own samples


def samples(dtype):
    """The inputs on which torch tests its margin_ranking_loss: tensors and keywords."""
    invocations = internal("common_methods_invocations")
    (info,) = [info for info in invocations.op_db if info.name == "nn.functional.margin_ranking_loss"]
    if dtype not in info.dtypes:
        pytest.skip(f"torch has no samples of {dtype}")
    for sample in info.reference_inputs("cpu", dtype, requires_grad=dtype.is_floating_point):
        yield [tensor.detach() for tensor in (sample.input, *sample.args)], sample.kwargs


def leaves(tensors, dtype=None):
    return [tensor.detach().clone().to(dtype or tensor.dtype).requires_grad_() for tensor in tensors]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_torchs_samples_give_torchs_values_and_gradients(dtype):
    shapes = set()
    for tensors, settings in samples(dtype):
        ours, theirs = leaves(tensors), leaves(tensors)
        loss, expected = nr_torch.margin_ranking_loss(*ours, **settings), F.margin_ranking_loss(*theirs, **settings)
        is_broadcast = any(tensor.shape != torch.broadcast_shapes(*(t.shape for t in tensors)) for tensor in tensors)
        if is_broadcast:  # such gradients are sums, which are not promised to the bit
            torch.testing.assert_close([loss, *backward(loss, ours)], [expected, *backward(expected, theirs)])
        else:
            assert_torchs(loss, ours, expected, theirs, settings["reduction"])
        shapes.add(tuple(tensors[0].shape))
    assert {(), (5,), (5, 5), (5, 5, 5)} <= shapes


@pytest.mark.parametrize(
    "dtype", [torch.float16, pytest.param(torch.bfloat16, marks=needs_bfloat16)], ids=["float16", "bfloat16"]
)
def test_half_samples_are_rounded_once_where_torch_rounds_often(dtype):
    count = 0
    for tensors, settings in samples(dtype):
        ours, wide = leaves(tensors), leaves(tensors, torch.float32)
        loss, expected = nr_torch.margin_ranking_loss(*ours, **settings), F.margin_ranking_loss(*wide, **settings)
        assert loss.dtype is dtype
        assert_within(array(loss), array(expected.to(dtype)), 0 if settings["reduction"] == "none" else 1)
        for mine, other in zip(backward(loss, ours), backward(expected, wide), strict=True):
            assert_within(array(mine), array(other.to(dtype)), 1)
        count += 1
    assert count >= 24


@pytest.mark.parametrize("dtype", [torch.int64, torch.int8], ids=str)
def test_integer_samples_count_as_float64(dtype):
    count = 0
    for tensors, settings in samples(dtype):
        loss = nr_torch.margin_ranking_loss(*tensors, **settings)
        expected = F.margin_ranking_loss(*(tensor.double() for tensor in tensors), **settings)
        assert_within(array(loss), array(expected), 0 if settings["reduction"] == "none" else 4)
        count += 1
    assert count >= 24


def test_what_torch_refuses_is_refused():
    invocations = internal("common_methods_invocations")
    (info,) = [info for info in invocations.op_db if info.name == "nn.functional.margin_ranking_loss"]
    errors = [error.sample_input for error in info.error_inputs("cpu")]
    assert len(errors) >= 2
    for sample in errors:
        with pytest.raises(ValueError, match=r"reduction is 'abc'|same number of dimensions"):
            nr_torch.margin_ranking_loss(sample.input, *sample.args, **sample.kwargs)


def test_torchs_module_samples():
    modules = internal("common_modules")
    (info,) = [info for info in modules.module_db if info.module_cls is torch.nn.MarginRankingLoss]
    inputs = info.module_inputs_func(info, "cpu", torch.float32, requires_grad=True, training=True)
    for sample in inputs:
        settings, tensors = sample.constructor_input.kwargs, sample.forward_input.args
        criterion, theirs = nr_torch.MarginRankingLoss(**settings), torch.nn.MarginRankingLoss(**settings)
        scores = list(tensors[:2])
        loss, expected = criterion(*tensors), theirs(*tensors)
        assert_torchs(loss, scores, expected, scores, criterion.reduction)
    assert len(inputs) >= 5


# ---------------------------------------------------------------- values and gradients


SPECIAL = [0.0, -0.0, 1.0, -1.0, 1e-45, 3e38, float("inf"), -float("inf"), float("nan")]


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("margin", [0.0, 1.0, float("nan"), -float("inf")])
def test_special_values_and_upstream_gradients(margin, create_graph):
    """The mask comes first: a NaN from above does not reach an inactive pair."""
    grid = torch.tensor(list(itertools.product(SPECIAL, SPECIAL, [1.0, -1.0])), dtype=torch.float32).T.contiguous()
    upstream = torch.tensor(SPECIAL).repeat(grid.shape[1])[: grid.shape[1]]
    ours, theirs = leaves(grid), leaves(grid)
    loss = nr_torch.margin_ranking_loss(*ours, margin, reduction="none")
    expected = F.margin_ranking_loss(*theirs, margin, reduction="none")
    assert_same(array(loss), array(expected))
    mine = backward(loss, ours, upstream, create_graph=create_graph)
    for gradient, other in zip(mine, backward(expected, theirs, upstream), strict=True):
        assert gradient.requires_grad == create_graph
        assert_same(array(gradient), array(other))


@pytest.mark.parametrize("factor", [float("nan"), float("inf"), -2.5, 0.0])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_a_factor_of_the_loss(factor, reduction):
    ours, theirs = pairs(), pairs()
    loss = nr_torch.margin_ranking_loss(*ours, MARGIN, reduction=reduction) * factor
    expected = F.margin_ranking_loss(*theirs, MARGIN, reduction=reduction) * factor
    for mine, other in zip(backward(loss, ours), backward(expected, theirs), strict=True):
        assert_within(array(mine), array(other), 1)


@every_reduction
@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 2)], ids=str)
def test_only_some_inputs_require_a_gradient(wanted, reduction):
    results = []
    for loss in (nr_torch.margin_ranking_loss, F.margin_ranking_loss):
        inputs = [tensor.detach() for tensor in pairs(dtype=torch.float32)]
        for i in wanted:
            inputs[i].requires_grad_()
        loss(*inputs, MARGIN, reduction=reduction).sum().backward()
        results.append([tensor.grad for tensor in inputs])
    for i, (mine, other) in enumerate(zip(*results, strict=True)):
        assert (mine is not None) == (other is not None) == (i in wanted)
        if mine is not None:
            assert_within(array(mine), array(other), 1 if reduction == "mean" else 0)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64], ids=str)
def test_integer_targets(dtype):
    x1, x2, y = pairs(dtype=torch.float32)
    target = y.detach().to(dtype)
    loss, expected = nr_torch.margin_ranking_loss(x1, x2, target), F.margin_ranking_loss(x1, x2, target)
    assert_torchs(loss, (x1, x2), expected, (x1, x2), "mean")


def test_a_target_without_dimensions_stands_for_every_pair():
    x1, x2, _ = pairs()
    one = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    loss = nr_torch.margin_ranking_loss(x1, x2, one, MARGIN, reduction="sum")
    expected = F.margin_ranking_loss(x1, x2, torch.broadcast_to(one, x1.shape), MARGIN, reduction="sum")
    torch.testing.assert_close([loss, *backward(loss, (x1, x2, one))], [expected, *backward(expected, (x1, x2, one))])


VIEWS = {
    "transposed": ((5, 3), lambda tensor: tensor.T),
    "steps": ((10,), lambda tensor: tensor[::2]),
    "expanded": ((1, 4), lambda tensor: tensor.expand(3, 4)),
    "negative": ((4,), lambda tensor: torch.complex(tensor, tensor).conj().imag),
}


@pytest.mark.parametrize("view", VIEWS)
def test_views(view):
    shape, make = VIEWS[view]
    ours, theirs = pairs(shape), pairs(shape)
    loss = nr_torch.margin_ranking_loss(*map(make, ours), MARGIN, reduction="none")
    expected = F.margin_ranking_loss(*map(make, theirs), MARGIN, reduction="none")
    torch.testing.assert_close(loss, expected, rtol=0, atol=0)
    torch.testing.assert_close(backward(loss, ours), backward(expected, theirs))


@every_reduction
def test_no_pairs(reduction):
    ours, theirs = pairs((0, 3)), pairs((0, 3))
    loss = nr_torch.margin_ranking_loss(*ours, reduction=reduction)
    expected = F.margin_ranking_loss(*theirs, reduction=reduction)
    assert_torchs(loss, ours, expected, theirs, reduction)


def test_the_same_tensor_twice():
    x, _, y = pairs()
    nr_torch.margin_ranking_loss(x, x, y, MARGIN).backward()
    assert_same(array(x.grad), np.zeros(7))


def test_memory_is_shared_and_left_alone():
    """The kernel reads the tensors where they are: no copy of a gigabyte, and inference tensors too."""
    tensors = [tensor.detach() for tensor in pairs()]
    before = [tensor.clone() for tensor in tensors]
    for tensor in tensors:
        assert array_of(tensor).__array_interface__["data"][0] == tensor.data_ptr()
    with torch.inference_mode():
        nr_torch.margin_ranking_loss(*(tensor + 0 for tensor in tensors))
    nr_torch.margin_ranking_loss(*tensors)
    torch.testing.assert_close(tensors, before, rtol=0, atol=0)


def test_inputs_changed_in_place_are_noticed():
    x1, x2, y = (tensor.detach() for tensor in pairs())
    loss = nr_torch.margin_ranking_loss(x1.requires_grad_(), x2, y)
    x2.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


# ---------------------------------------------------------------- weights, and a margin for each pair


def doubles(*values):
    return torch.tensor(values, dtype=torch.float64)


WEIGHTS, MARGINS = doubles(1, 0, 0.5, 3, 0, 2, 0.1), doubles(0.5, 1, -0.25, 0, 2, 0.3, 1)
ROW, COLUMN = doubles(2, 0, 0.5)[None], doubles(1, 0.5, 0, 4)[:, None]
EACH = {
    "weights": ([(7,)] * 3, MARGIN, WEIGHTS),
    "margins": ([(7,)] * 3, MARGINS, None),
    "both": ([(7,)] * 3, MARGINS, WEIGHTS),
    "0-d": ([(7,)] * 3, torch.tensor(0.5), torch.tensor(3)),
    "broadcast": ([(4, 1), (1, 3), (4, 3)], COLUMN, ROW),
    "broadcast pairs": ([(1, 3)] * 3, 3.0, COLUMN * ROW),
    "pairs without axes": ([()] * 3, torch.tensor(3.0), torch.tensor(0.5)),
}
every_case = pytest.mark.parametrize("name", EACH)


def case(name):
    """Leaves for the pairs, a margin and weights."""
    shapes, margin, weights = EACH[name]
    return [pairs(shape, seed=seed)[seed] for seed, shape in enumerate(shapes)], margin, weights


def in_torch(inputs, margin, weights, reduction):
    """The weighted loss written with what torch has."""
    x1, x2, y = inputs
    if isinstance(margin, torch.Tensor):
        losses = (margin - y * (x1 - x2)).clamp_min(0)
    else:
        losses = F.margin_ranking_loss(x1, x2, y, margin, reduction="none")
    ones = torch.ones_like(losses)
    weights = ones if weights is None else ones * weights
    losses = weights * losses
    return losses if reduction == "none" else losses.sum() / (weights.sum() if reduction == "mean" else 1)


@every_reduction
@every_case
def test_weights_and_margins_give_torchs_values_and_gradients(name, reduction):
    (ours, margin, weights), (theirs, *_) = case(name), case(name)
    loss = nr_torch.margin_ranking_loss(*ours, margin, reduction=reduction, weights=weights)
    expected = in_torch(theirs, margin, weights, reduction)
    upstream = expected.detach() + 2
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(backward(loss, ours, upstream), backward(expected, theirs, upstream))


@every_reduction
@every_case
def test_weighted_gradients_of_gradients_are_torchs(name, reduction):
    def here(inputs, margin, weights, reduction):
        return nr_torch.margin_ranking_loss(*inputs, margin, reduction=reduction, weights=weights)

    results = []
    for loss in (in_torch, here):
        inputs, margin, weights = case(name)
        value = loss(inputs, margin, weights, reduction)
        upstream = torch.full_like(value, 3.0, requires_grad=True)
        first = backward(value, inputs, upstream, create_graph=True)
        penalty = sum((gradient * gradient).sum() for gradient in first)
        results.append([*first, *backward(penalty, [*inputs, upstream])])
    torch.testing.assert_close(*results)
    assert results[0][-1].abs().sum() > 0


@every_reduction
def test_weighted_gradcheck_and_gradgradcheck(reduction):
    inputs, margin, weights = case("both")
    loss = functools.partial(nr_torch.margin_ranking_loss, margin=margin, reduction=reduction, weights=weights)
    assert torch.autograd.gradcheck(loss, inputs)
    assert torch.autograd.gradgradcheck(loss, inputs)


@pytest.mark.parametrize("create_graph", [False, True])
@every_reduction
def test_a_pair_of_weight_0_has_gradients_of_0_whatever_it_holds(reduction, create_graph):
    nan, inf = float("nan"), float("inf")
    x1, x2, y = doubles(inf, 1, nan, 0, 1), doubles(1, inf, 0, 0, 2), doubles(1, 1, 1, nan, 1)
    margin, inputs = doubles(0, nan, 0, inf, 0.5), leaves((x1, x2, y))
    loss = nr_torch.margin_ranking_loss(*inputs, margin, reduction=reduction, weights=doubles(0, 0, 0, 0, 2))
    upstream = torch.ones_like(loss)
    if reduction == "none":
        upstream[:4] = inf
    first = backward(loss, inputs, upstream, create_graph=create_graph)
    scale = 1.0 if reduction == "mean" else 2.0
    for gradient, last in zip(first, (-scale, scale, scale), strict=True):
        assert gradient.tolist() == [0, 0, 0, 0, last]
    if create_graph:
        second = backward(sum((gradient * gradient).sum() for gradient in first), inputs)
        assert all(torch.isfinite(gradient).all() and not gradient[:4].any() for gradient in second)


@pytest.mark.parametrize("create_graph", [False, True])
def test_weights_that_are_all_0_have_no_mean_and_no_gradients(create_graph):
    inputs, upstream = pairs(), torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    loss = nr_torch.margin_ranking_loss(*inputs, 1.0, weights=torch.zeros(7))
    first = backward(loss, inputs, upstream, create_graph=create_graph)
    assert torch.isnan(loss) and not any(gradient.any() for gradient in first)
    if create_graph:
        assert backward(sum(gradient.sum() for gradient in first), [upstream])[0].item() == 0


@pytest.mark.parametrize("create_graph", [False, True])
def test_weights_may_add_up_to_more_than_half_types_can_hold(create_graph):
    x1, x2, y = pairs((70_000,), torch.float16)
    weights = torch.full((70_000,), 2.0, dtype=torch.float16)
    loss = nr_torch.margin_ranking_loss(x1, x2, y, 9.0, weights=weights) * 1024
    gradient = backward(loss, [x1], create_graph=create_graph)[0]
    assert_within(array(gradient.abs()), np.full(70_000, 1024 / 70_000, np.float16), 1)


def test_integer_weights_and_margins():
    x1, x2, y = pairs(dtype=torch.float32)
    weights, margin = torch.arange(7), torch.arange(7, dtype=torch.int8)
    loss = nr_torch.margin_ranking_loss(x1, x2, y, margin, weights=weights)
    expected = nr_torch.margin_ranking_loss(x1, x2, y, margin.float(), weights=weights.float())
    assert_same(array(loss), array(expected))
    assert_same(array(backward(loss, [x1])[0]), array(backward(expected, [x1])[0]))


@torch_jit_warns
@pytest.mark.parametrize(
    ("name", "backend"),
    [("both", "aot_eager"), ("0-d", "aot_eager"), pytest.param("broadcast", "inductor", marks=needs_compiler)],
)
def test_compiled_weights_and_margins(name, backend):
    torch._dynamo.reset()

    def step(x1, x2, y, margin, weights):
        each = nr_torch.margin_ranking_loss(x1, x2, y, margin, reduction="none", weights=weights).cos()
        return each.sum() * nr_torch.MarginRankingLoss(MARGIN)(x1, x2, y, weights=weights)

    results = []
    for function in (step, torch.compile(step, fullgraph=True, backend=backend)):
        inputs, margin, weights = case(name)
        loss = function(*inputs, margin, weights)
        results.append([loss, *backward(loss, inputs)])
    torch.testing.assert_close(*results)


class WeightedLoss(torch.nn.Module):
    def forward(self, x1, x2, y, margin, weights):
        return nr_torch.margin_ranking_loss(x1, x2, y, margin, weights=weights)


@torch_jit_warns
def test_exported_weights_and_margins():
    inputs, margin, weights = case("both")
    exported = torch.export.export(WeightedLoss(), (*leaves(inputs), margin, weights)).module()
    actual, expected = (backward(loss(*inputs, margin, weights), inputs) for loss in (exported, WeightedLoss()))
    torch.testing.assert_close(actual, expected)


def test_weights_and_margins_widen_the_losses_of_meta_tensors():
    x = torch.empty(1, 3, dtype=torch.float16, device="meta")
    margin, weights = torch.empty(4, 1, device="meta"), torch.empty(1, 1, device="meta", dtype=torch.float64)
    loss = nr_torch.margin_ranking_loss(x, x, x, margin, reduction="none", weights=weights)
    assert (loss.shape, loss.dtype) == ((4, 3), torch.float16)
    assert nr_torch.margin_ranking_loss(x, x, x, reduction="none", weights=margin).shape == (4, 3)
    assert nr_torch.margin_ranking_loss(x, x, x, weights=margin).shape == ()
    with pytest.raises(ValueError, match=r"weights \(4,\);.*same number of dimensions: reshape weights"):
        nr_torch.margin_ranking_loss(x, x, x, weights=margin[:, 0])
    with pytest.raises(ValueError, match=r"margin \(4,\);.*same number of dimensions: reshape margin"):
        nr_torch.margin_ranking_loss(x, x, x, margin[:, 0])
    one, leaf = torch.tensor(1.0), x.clone().requires_grad_()  # numbers in host memory fit every device
    loss = nr_torch.margin_ranking_loss(leaf, x, one, one, weights=one)
    (gradient,) = backward(loss, [leaf], create_graph=True)
    assert (gradient.device.type, gradient.shape, gradient.dtype) == ("meta", (1, 3), torch.float16)
    with pytest.raises(ValueError, match=r"target \(\); all need the same number of dimensions: reshape input2"):
        nr_torch.margin_ranking_loss(x, x[0], x[0, 0])
    with pytest.raises(ValueError, match="target is on meta, weights is on cpu; all must be on one device"):
        nr_torch.margin_ranking_loss(x, x, x, weights=torch.ones(4, 1))


@pytest.mark.parametrize("create_graph", [False, True])
def test_autocast_computes_weights_in_float32_too(create_graph):
    inputs, margin, weights = case("both")
    inputs, margin, weights = leaves(inputs, torch.float16), margin.half(), weights.half()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = nr_torch.margin_ranking_loss(*inputs, margin, weights=weights)
    expected = in_torch(leaves(inputs, torch.float32), margin.float(), weights.float(), "mean")
    assert_within(array(loss), array(expected), 8)
    wide = leaves(inputs, torch.float32)
    expected = backward(in_torch(wide, margin.float(), weights.float(), "mean"), wide)
    for mine, other in zip(backward(loss, inputs, create_graph=create_graph), expected, strict=True):
        assert_within(array(mine), array(other.half()), 1)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"weights": WEIGHTS.clone().requires_grad_()}, TypeError, r"weights requires a gradient.*weights\.detach\(\)"),
        ({"margin": MARGINS.clone().requires_grad_()}, TypeError, r"margin requires a gradient.*margin\.detach\(\)"),
        ({"margin": torch.tensor(1.0, requires_grad=True)}, TypeError, "margin requires a gradient"),
        ({"weights": -WEIGHTS}, ValueError, r"weights\[0\] is -1.0; weights must be 0 or more"),
        ({"weights": WEIGHTS[:5]}, ValueError, r"weights \(5,\); they do not broadcast"),
        ({"weights": WEIGHTS[:, None]}, ValueError, "reshape"),
        ({"margin": MARGINS[:5]}, ValueError, r"margin \(5,\); they do not broadcast"),
        ({"weights": WEIGHTS > 0}, TypeError, "weights has dtype bool"),
        ({"margin": MARGINS > 0}, TypeError, "margin has dtype bool"),
        ({"margin": torch.tensor(True)}, TypeError, "margin has dtype bool"),
        ({"weights": WEIGHTS.numpy()}, TypeError, r"weights is a numpy\.ndarray"),
        ({"margin": MARGINS.numpy()}, TypeError, r"margin is a numpy\.ndarray"),
    ],
    ids=str,
)
def test_what_is_no_weight_and_no_margin(settings, error, words):
    with pytest.raises(error, match=words):
        nr_torch.margin_ranking_loss(*pairs(), **settings)


# ---------------------------------------------------------------- outside of graphs


@pytest.fixture
def calls(monkeypatch):
    """The names of numbarank's functions that are called; the operators must not be."""
    names = []

    def spy(name, function, *arguments, **keywords):
        names.append(name)
        return function(*arguments, **keywords)

    def refuse(*arguments):
        pytest.fail("the call goes through the dispatcher")

    for operator in (margin_ranking, pairwise_hinge):
        for name in (operator.name, f"{operator.name}_and_grad"):
            monkeypatch.setattr(nr, name, functools.partial(spy, name, getattr(nr, name)))
        monkeypatch.setattr(operator, "operator", refuse)
        monkeypatch.setattr(operator, "gradient_operator", refuse)
    return names


def losses_of(reduction="mean"):
    """Each loss as a function of its scores, its name, and leaves for them."""
    x1, x2, y = pairs()
    y = y.detach()
    return [
        (lambda a, b: nr_torch.margin_ranking_loss(a, b, y, 1.0, reduction=reduction), "margin_ranking", (x1, x2)),
        (lambda a: nr_torch.pairwise_hinge_loss(a, y, reduction=reduction), "pairwise_hinge", (x1,)),
    ]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_loss_and_gradients_come_from_one_pass(calls, reduction):
    for loss, name, inputs in losses_of(reduction):
        calls.clear()
        (3 * loss(*inputs)).backward()
        assert calls == [f"{name}_loss_and_grad"]


def test_gradients_of_each_loss_come_later_and_without_the_dispatcher(calls):
    for loss, name, inputs in losses_of("none"):
        for upstream in (lambda losses: losses.sum(), lambda losses: losses @ torch.ones_like(losses)):
            calls.clear()
            upstream(loss(*inputs)).backward()
            assert calls == [f"{name}_loss", f"{name}_loss_and_grad"]


def test_no_gradients_are_computed_where_none_is_required(calls):
    for loss, name, inputs in losses_of():
        with torch.no_grad():
            assert not loss(*inputs).requires_grad
        with torch.inference_mode():
            assert loss(*inputs).is_inference()
        assert not loss(*(tensor.detach() for tensor in inputs)).requires_grad
        assert set(calls) == {f"{name}_loss"}
        calls.clear()


def test_threads_that_go_backward_at_once_have_gradients_of_their_own():
    scores, other, target = torch.ones(20_000, requires_grad=True), torch.zeros(20_000), torch.ones(20_000)
    upstream, expected = torch.tensor(3.0), torch.full((20_000,), -3.0)
    with ThreadPoolExecutor(2) as pool:
        for _ in range(100):
            loss, barrier = nr_torch.margin_ranking_loss(scores, other, target, 2.0, reduction="sum"), Barrier(2)

            def go_backward(_, loss=loss, barrier=barrier):
                barrier.wait()
                return torch.autograd.grad(loss, scores, upstream, retain_graph=True)[0]

            first, second = pool.map(go_backward, range(2))
            assert torch.equal(first, expected) and torch.equal(second, expected)
            assert first.data_ptr() != second.data_ptr()


@pytest.mark.parametrize("factor", [1, 2, -3])
def test_gradients_are_scaled_where_they_are_and_handed_over(factor):
    for loss, _, inputs in losses_of("sum"):
        value = loss(*inputs)
        gradients, expected = value.grad_fn.gradients, [factor * gradient for gradient in value.grad_fn.gradients]
        addresses = [gradient.data_ptr() for gradient in gradients]
        del gradients
        (value if factor == 1 else factor * value).backward()
        assert [tensor.grad.data_ptr() for tensor in inputs] == addresses
        torch.testing.assert_close([tensor.grad for tensor in inputs], expected, rtol=0, atol=0)
        assert not hasattr(value.grad_fn, "gradients")
        with pytest.raises(RuntimeError, match="backward through the graph a second time"):
            value.backward()
        for tensor in inputs:
            tensor.grad = None


@every_reduction
def test_a_graph_that_is_kept_gives_the_same_gradients_again(reduction):
    for loss, _, inputs in losses_of(reduction):
        value = loss(*inputs)
        upstream = torch.ones_like(value)
        first = backward(value, inputs, upstream, retain_graph=True)
        kept = [gradient.clone() for gradient in first]
        twice = backward(value, inputs, 2 * upstream, retain_graph=True)
        torch.testing.assert_close([*first], kept, rtol=0, atol=0)  # they are the caller's own
        torch.testing.assert_close([*twice], [2 * gradient for gradient in kept], rtol=0, atol=0)
    x1, x2, y = pairs()
    value = nr_torch.margin_ranking_loss(x1, x2, y, 1.0)
    once = backward(value, (x1, x2, y), create_graph=True)
    assert all(gradient.requires_grad for gradient in once)
    torch.testing.assert_close(backward(value, (x1, x2, y)), tuple(gradient.detach() for gradient in once))


def test_halves_are_rounded_once_whatever_comes_from_above():
    x1, x2, y = pairs((50_000,), torch.float16)  # of 1 / 50,000 they hold nine bits
    (gradient,) = backward(nr_torch.margin_ranking_loss(x1, x2, y, 9.0) * 4096, [x1])
    assert_within(array(gradient.abs()), np.full(50_000, 4096 / 50_000, np.float16), 0)


def test_hooks_see_and_change_gradients():
    x1, x2, y = pairs()
    seen = []
    x1.register_hook(lambda gradient: gradient.mul_(2))
    value = nr_torch.margin_ranking_loss(x1, x2, y.detach(), 9.0, reduction="sum")
    value.register_hook(lambda upstream: seen.append(upstream.item()) or 3 * upstream)
    value.backward()
    assert seen == [1.0]
    assert x1.grad.abs().tolist() == [6.0] * 7
    assert x2.grad.abs().tolist() == [3.0] * 7


def test_checkpointed_losses():
    x1, x2, y = pairs()

    def loss(x1, x2, y):
        return nr_torch.margin_ranking_loss(2 * x1, x2, y, 1.0) + nr_torch.pairwise_hinge_loss(3 * x1, y)

    value = torch.utils.checkpoint.checkpoint(loss, x1, x2, y, use_reentrant=False)
    torch.testing.assert_close(backward(value, (x1, x2)), backward(loss(x1, x2, y), (x1, x2)))


def test_modes_and_classes_see_the_operators():
    from torch.utils._python_dispatch import TorchDispatchMode

    class Names(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
            seen.append(str(function))
            return function(*arguments, **(keywords or {}))

    class Functions(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, arguments=(), keywords=None):
            seen.append(str(function))
            return function(*arguments, **(keywords or {}))

    class Scores(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, arguments=(), keywords=None):
            seen.append(str(function))
            return super().__torch_function__(function, types, arguments, keywords or {})

    for loss, name, inputs in losses_of():
        seen = []
        with Names():
            loss(*inputs).backward()
            loss(*(tensor.detach() for tensor in inputs))
        assert seen.count(f"numbarank.{name}_loss.default") == 2
        assert seen.count(f"numbarank.{name}_loss_backward.default") == 1
        seen.clear()
        loss(*(tensor.detach().as_subclass(Scores) for tensor in inputs))
        assert f"numbarank.{name}_loss.default" in seen
        seen.clear()
        with Functions():
            loss(*inputs)
        assert f"numbarank.{name}_loss.default" in seen
        value = loss(*inputs)
        seen.clear()
        with Names():
            value.backward()
        assert f"numbarank.{name}_loss_backward.default" in seen


def test_fake_tensors_and_fake_modes_hold_no_values():
    from torch._subclasses import FakeTensor, FakeTensorMode

    mode = FakeTensorMode(allow_non_fake_inputs=True)
    for loss, _, inputs in losses_of():
        value = loss(*map(mode.from_tensor, inputs))
        assert isinstance(value, FakeTensor) and value.requires_grad
        with mode:
            assert isinstance(loss(*(tensor.detach() for tensor in inputs)), FakeTensor)
            assert isinstance(backward(loss(*inputs), inputs)[0], FakeTensor)


@torch_jit_warns
@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:DeprecationWarning")
def test_a_traced_function_computes_anew():
    for loss, _, inputs in losses_of():
        inputs = [tensor.detach() for tensor in inputs]
        traced = torch.jit.trace(loss, inputs, check_trace=False)
        others = [tensor.flip(0) * 3 for tensor in inputs]
        assert_same(array(traced(*others)), array(loss(*others)))
        assert traced(*others) != loss(*inputs)


def test_batched_gradients_are_refused_and_not_mixed_up():
    x1, x2, y = pairs()
    for reduction, upstream in (("none", torch.eye(7)), ("mean", torch.ones(7))):
        loss = nr_torch.margin_ranking_loss(x1, x2, y, 9.0, reduction=reduction)
        with pytest.raises(RuntimeError, match="Batching rule not implemented"):
            torch.autograd.grad(loss, [x1], upstream.double(), is_grads_batched=True)


# ---------------------------------------------------------------- derivatives


@every_reduction
def test_gradcheck_and_gradgradcheck(reduction):
    inputs = pairs((3,))
    loss = functools.partial(nr_torch.margin_ranking_loss, margin=0.3, reduction=reduction)
    assert torch.autograd.gradcheck(loss, inputs)
    assert torch.autograd.gradgradcheck(loss, inputs)


@every_reduction
def test_gradients_of_gradients_are_torchs(reduction):
    results = []
    for loss in (nr_torch.margin_ranking_loss, F.margin_ranking_loss):
        inputs = pairs((4, 1))[:1] + pairs((1, 3))[1:2] + pairs((4, 3))[2:]
        value = loss(*inputs, MARGIN, reduction=reduction)
        first = backward(value, inputs, upstream=value.detach() + 2, create_graph=True)
        penalty = sum((gradient * gradient).sum() for gradient in first)
        results.append([value, *first, *backward(penalty, inputs)])
    torch.testing.assert_close(*results)
    assert results[0][-1].abs().sum() > 0


@torch_jit_warns
def test_forward_mode_is_refused_and_not_dropped():
    x1, x2, y = (tensor.detach() for tensor in pairs())
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x1, torch.ones_like(x1))
        with pytest.raises(NotImplementedError, match="jvp"):
            nr_torch.margin_ranking_loss(dual, x2, y)
        with pytest.raises(NotImplementedError, match="jvp"):
            nr_torch.pairwise_hinge_loss(dual, y)


@pytest.mark.parametrize("transform", [torch.func.grad, torch.func.vmap], ids=["grad", "vmap"])
def test_transforms_of_functions_are_refused(transform):
    _, x2, y = (tensor.detach() for tensor in pairs())
    with pytest.raises(RuntimeError, match="functorch transforms"):
        transform(lambda x1: nr_torch.margin_ranking_loss(x1, x2, y))(torch.zeros(7, 7))


# ---------------------------------------------------------------- the operators


def operator_samples():
    lists = torch.randn(5, dtype=torch.float64, requires_grad=True), torch.tensor([1, 0, 2, 0, 1])
    group, qid, mask = torch.tensor([2, 3]), torch.tensor([4, 4, 7, 7, 7]), torch.ones(1, 5, dtype=torch.bool)
    rows = torch.randn(1, 5, dtype=torch.float64, requires_grad=True), lists[1][None]
    x1, x2, y = pairs()
    detached, upstream = [tensor.detach() for tensor in (x1, x2, y)], torch.tensor(2.0).double()
    weights = torch.tensor([1.0, 0, 2, 3, 1, 0, 1])
    ops = torch.ops.numbarank
    return {
        "pairs": (ops.margin_ranking_loss, (x1, x2, y, None, None, 0.3, "mean")),
        "broadcast": (ops.margin_ranking_loss, (*pairs((4, 1))[:2], *pairs((1, 3))[2:], None, None, 0.3, "none")),
        "mixed": (ops.margin_ranking_loss, (x1.detach().float(), x2, y.detach().long(), None, None, 0.3, "none")),
        "integers": (ops.margin_ranking_loss, (*(tensor.long() for tensor in detached), None, None, 0.3, "none")),
        "0-d": (ops.margin_ranking_loss, (x1, x2, torch.tensor(1.0), None, None, 0.3, "sum")),
        "margins": (ops.margin_ranking_loss, (x1, x2, y, weights, None, 0.0, "mean")),
        "weights": (ops.margin_ranking_loss, (x1, x2, y, torch.tensor(0.3), weights, 0.0, "mean")),
        "both": (ops.margin_ranking_loss, (*pairs((1, 3)), torch.rand(4, 3), torch.rand(4, 1), 0.0, "none")),
        "gradients": (ops.margin_ranking_loss_backward, (upstream, *detached, None, None, 0.3, "mean", 3)),
        "weighted": (ops.margin_ranking_loss_backward, (upstream, *detached, weights, weights, 0.0, "mean", 2)),
        "group": (ops.pairwise_hinge_loss, (*lists, None, group, None, lists[1] + 1.0, 1.0, 1, None, "none")),
        "qid": (ops.pairwise_hinge_loss, (*lists, qid, None, None, None, 1.0, 2, None, "mean")),
        "where": (ops.pairwise_hinge_loss, (*rows, None, None, mask, None, 1.0, 1, None, "none")),
        "one loser": (ops.pairwise_hinge_loss, (*lists, None, group, None, None, 1.0, 1, 1, "mean")),
        "a share": (ops.pairwise_hinge_loss, (*lists, None, group, None, None, 1.0, 1, 0.5, "none")),
        "gradient of lists": (
            ops.pairwise_hinge_loss_backward,
            (upstream, lists[0].detach(), lists[1], None, group, None, None, 1.0, 2, 2, "mean", 1),
        ),
        "one list": (ops.pairwise_hinge_loss, (*lists, None, None, None, None, 1.0, 1, None, "none")),
    }


@pytest.mark.parametrize("name", operator_samples())
def test_opcheck(name):
    operator, arguments = operator_samples()[name]
    assert set(torch.library.opcheck(operator.default, arguments).values()) == {"SUCCESS"}


@torch_jit_warns
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=needs_compiler)])
def test_compile_forward_and_backward_in_one_graph(backend):
    torch._dynamo.reset()
    scores = torch.nn.Linear(3, 1, dtype=torch.float64)
    criterion, lists = nr_torch.MarginRankingLoss(MARGIN), nr_torch.PairwiseHingeLoss(reduction="none")
    labels, group = torch.tensor([1, 0, 2, 0]), torch.tensor([2, 2])

    def step(liked, disliked, target):
        ranks = lists(scores(liked).squeeze(1), labels, group=group)
        return 2 * criterion(scores(liked), scores(disliked), target) + ranks.sum()

    batch = [torch.randn(4, 3, dtype=torch.float64) for _ in range(2)] + [torch.ones(4, 1, dtype=torch.float64)]
    results = []
    for function in (step, torch.compile(step, fullgraph=True, backend=backend)):
        scores.zero_grad()
        loss = function(*batch)
        loss.backward()
        results.append([loss.detach(), scores.weight.grad.clone()])
    torch.testing.assert_close(*results)
    assert results[0][1].abs().sum() > 0


@torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True)
def test_compiled_groups_by_their_ids_have_a_length_known_at_run_time():
    torch._dynamo.reset()
    scores, labels = torch.tensor([2.0, 1.5, 0.0, 1.0, 3.0]), torch.tensor([1, 2, 0, 0, 1])
    loss = torch.compile(
        lambda qid: nr_torch.pairwise_hinge_loss(scores, labels, qid=qid, reduction="none"),
        fullgraph=True,
        backend="aot_eager",
    )
    assert loss(torch.tensor([4, 4, 4, 9, 9])).tolist() == [1.5, 0.0]
    assert loss(torch.tensor([1, 2, 2, 3, 3])).tolist() == [0.0, 0.0, 0.0]


class ScorerAndLoss(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scores = torch.nn.Linear(3, 1)
        self.criterion, self.lists = nr_torch.MarginRankingLoss(MARGIN), nr_torch.PairwiseHingeLoss()

    def forward(self, liked, disliked, target):
        scores = self.scores(liked)
        return self.criterion(scores, self.scores(disliked), target) + self.lists(scores.squeeze(1), target.squeeze(1))


@torch_jit_warns
def test_exported_programs_hold_the_operators_and_can_be_trained():
    model, batch = ScorerAndLoss(), (torch.randn(4, 3), torch.randn(4, 3), torch.tensor([[1.0], [-1], [1], [-1]]))
    exported = torch.export.export(model, batch).module()
    code = exported.code
    assert "torch.ops.numbarank.margin_ranking_loss.default" in code
    assert "torch.ops.numbarank.pairwise_hinge_loss.default" in code
    actual, expected = (torch.autograd.grad(module(*batch), [*module.parameters()]) for module in (exported, model))
    torch.testing.assert_close(actual, expected)
    assert expected[0].abs().sum() > 0


def test_meta_tensors_have_the_shape_and_dtype_of_the_result():
    x1, x2, y = (torch.empty(4, 3, dtype=dtype, device="meta") for dtype in (torch.float32, torch.float64, torch.int8))
    x1.requires_grad_()
    loss = nr_torch.margin_ranking_loss(x1, x2, y, reduction="none")
    assert (loss.device.type, loss.shape, loss.dtype) == ("meta", (4, 3), torch.float64)
    loss.sum().backward()
    assert (x1.grad.shape, x1.grad.dtype) == ((4, 3), torch.float32)
    ranks = nr_torch.pairwise_hinge_loss(x1, y, reduction="none")
    assert (ranks.device.type, ranks.shape, ranks.dtype) == ("meta", (4,), torch.float32)


# ---------------------------------------------------------------- autocast


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
def test_autocast_computes_in_float32_as_torch_does(dtype, create_graph):
    ours, theirs = pairs((200,), dtype), pairs((200,), dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, expected = nr_torch.margin_ranking_loss(*ours, MARGIN), F.margin_ranking_loss(*theirs, MARGIN)
        ranks = nr_torch.pairwise_hinge_loss(ours[0], ours[2])
    assert loss.dtype == expected.dtype == ranks.dtype == torch.promote_types(dtype, torch.float32)
    assert_within(array(loss), array(expected), 8)
    mine = backward(loss, ours, create_graph=create_graph)
    for gradient, other in zip(mine, backward(expected, theirs), strict=True):
        assert_within(array(gradient), array(other), 1 if dtype.itemsize > 2 else 0)


# ---------------------------------------------------------------- modules


def test_modules_are_torchs_own():
    criterion = nr_torch.MarginRankingLoss(0.5, reduction="sum")
    assert isinstance(criterion, torch.nn.MarginRankingLoss)
    assert repr(criterion) == "MarginRankingLoss(margin=0.5, reduction='sum')"
    ranks = nr_torch.PairwiseHingeLoss(0.5, power=2, reduction="none")
    assert isinstance(ranks, torch.nn.Module)
    assert repr(ranks) == "PairwiseHingeLoss(margin=0.5, power=2, reduction='none')"
    hardest = nr_torch.PairwiseHingeLoss(losers=np.int8(1))
    assert repr(hardest) == "PairwiseHingeLoss(margin=1.0, power=1, reduction='mean', losers=1)"
    x1, x2, y = pairs()
    for module, arguments in ((criterion, (x1, x2, y)), (ranks, (x1, y)), (hardest, (x1, y))):
        assert module.state_dict() == {}
        for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            assert repr(twin) == repr(module)
            assert_same(array(twin(*arguments)), array(module(*arguments)))


@pytest.mark.parametrize("arguments", list(itertools.product([None, True, False], repeat=2)), ids=str)
def test_legacy_arguments_translate_and_warn_as_torchs(arguments):
    if arguments == (None, None):
        assert nr_torch.MarginRankingLoss(0.0, None, None, "sum").reduction == "sum"
        return
    with pytest.warns(UserWarning, match="please use reduction=") as theirs:
        expected = torch.nn.MarginRankingLoss(0.5, *arguments, "sum")
    with pytest.warns(UserWarning, match="please use reduction=") as ours:
        criterion = nr_torch.MarginRankingLoss(0.5, *arguments, "sum")
    assert (criterion.reduction, criterion.margin) == (expected.reduction, 0.5)
    assert [str(warning.message) for warning in ours] == [str(warning.message) for warning in theirs]
    x1, x2, y = pairs()
    with pytest.warns(UserWarning, match="please use reduction="):
        loss = nr_torch.margin_ranking_loss(x1, x2, y, 0.5, *arguments)
    assert_same(array(loss), array(criterion(x1, x2, y)))


def test_the_scorer_of_the_torch_js_page_learns_to_rank():
    """128 features, 64 hidden units, and pairs of a liked and a disliked item; as on docs/torch.md."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(128, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
        taste = torch.randn(128)
        liked, disliked = torch.randn(532, 128) + taste / 4, torch.randn(532, 128) - taste / 4
        criterion = nr_torch.MarginRankingLoss(margin=0.2)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        held_out, target = slice(500, None), torch.ones(32, 1)
        ranked_rightly = [(model(liked[held_out]) > model(disliked[held_out])).float().mean().item()]
        for _ in range(60):
            rows = torch.randint(500, (32,))
            loss = criterion(model(liked[rows]), model(disliked[rows]), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        ranked_rightly.append((model(liked[held_out]) > model(disliked[held_out])).float().mean().item())
    assert ranked_rightly[0] < 0.9
    assert ranked_rightly[1] == 1.0


# ---------------------------------------------------------------- errors


def test_scores_of_two_axes_and_a_target_of_one_say_what_to_reshape():
    scores, target = torch.zeros(32, 1), torch.ones(32)
    message = r"input1 has shape \(32, 1\).*target \(32,\).*reshape target with target.reshape\(\(32, 1\)\)"
    with pytest.raises(ValueError, match=message):
        nr_torch.margin_ranking_loss(scores, scores, target)
    with pytest.raises(ValueError, match=message):
        nr_torch.margin_ranking_loss(scores.to("meta"), scores.to("meta"), target.to("meta"))
    assert nr_torch.margin_ranking_loss(scores, scores, target.reshape((32, 1)), 0.5).item() == 0.5


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"target": torch.ones(7, dtype=torch.bool)}, TypeError, "target has dtype bool"),
        ({"target": torch.ones(7, dtype=torch.uint8)}, TypeError, "target has dtype uint8"),
        ({"input1": torch.ones(7, dtype=torch.complex64)}, TypeError, "input1 has dtype complex64"),
        ({"input2": torch.ones(5)}, ValueError, "do not broadcast"),
        ({"reduction": "average"}, ValueError, "reduction is 'average'"),
        ({"input1": np.ones(7)}, TypeError, r"input1 is a numpy\.ndarray"),
        ({"input2": torch.ones(7, device="meta")}, ValueError, "input2 is on meta, target is on cpu; all must be on"),
        ({"input1": torch.eye(7).to_sparse()}, TypeError, "input1 has the layout torch.sparse_coo"),
    ],
    ids=str,
)
def test_what_is_refused(change, error, words):
    x1, x2, y = (tensor.detach() for tensor in pairs())
    with pytest.raises(error, match=words):
        nr_torch.margin_ranking_loss(**{"input1": x1, "input2": x2, "target": y} | change)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: nr_torch.MarginRankingLoss(reduction="average"), ValueError, "reduction is 'average'"),
        (lambda: nr_torch.MarginRankingLoss(margin="1"), TypeError, "margin"),
        (lambda: nr_torch.PairwiseHingeLoss(power=3), ValueError, "power"),
        (lambda: nr_torch.PairwiseHingeLoss(margin=float("inf")), ValueError, "margin"),
        (lambda: nr_torch.PairwiseHingeLoss(losers=0), ValueError, "losers is 0; it must be None"),
        (lambda: nr_torch.PairwiseHingeLoss(losers="all"), TypeError, "losers is 'all'; it must be None"),
    ],
    ids=["reduction", "margin", "power", "infinite margin", "losers", "losers as text"],
)
def test_settings_are_checked_at_construction(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_bfloat16_without_ml_dtypes_names_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    ones = torch.ones(2, dtype=torch.bfloat16)
    with pytest.raises(TypeError, match=r"needs the package ml_dtypes: pip install 'numbarank\[torch\]'"):
        nr_torch.margin_ranking_loss(ones, ones, ones)


# ---------------------------------------------------------------- lists


def lists():
    scores = torch.tensor([2.0, 1.5, 0.0, 1.0, 3.0], dtype=torch.float64, requires_grad=True)
    return scores, torch.tensor([1, 2, 0, 0, 1]), torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0])


@every_reduction
@pytest.mark.parametrize("power", [1, 2])
def test_lists_give_numbaranks_values_and_gradients(power, reduction):
    scores, labels, weights = lists()
    loss = nr_torch.pairwise_hinge_loss(
        scores, labels, group=[3, 2], margin=2.0, power=power, weights=weights, reduction=reduction
    )
    upstream = torch.full_like(loss, -3.0)
    expected, gradient = nr.pairwise_hinge_loss_and_grad(
        array(scores),
        array(labels),
        group=[3, 2],
        margin=2.0,
        power=power,
        weights=array(weights),
        reduction=reduction,
        gradient=array(upstream),
    )
    assert_same(array(loss), expected)
    assert_within(array(backward(loss, [scores], upstream)[0]), gradient, 0 if reduction == "none" else 1)
    assert np.abs(gradient).sum() > 0


GROUPS = {
    "group": {"group": torch.tensor([3, 2])},
    "a list": {"group": [3, 2]},
    "Groups": {"group": nr.Groups(group=[3, 2])},
    "qid": {"qid": torch.tensor([4, 4, 4, 9, 9])},
    "ids in a list": {"qid": [4, 4, 4, 9, 9]},
    "an array backwards": {"group": np.array([2, 3])[::-1]},
    "text": {"qid": ["tea", "tea", "tea", "shoes", "shoes"]},
    "an array of text": {"qid": np.array(["tea", "tea", "tea", "shoes", "shoes"])},
    "dates": {"qid": np.array(["2020-01-02"] * 3 + ["2020-01-01"] * 2, "datetime64[D]")},
    "unsigned": {"qid": np.array([2**63 + 1] * 3 + [2**63] * 2, np.uint64)},
    "unsigned in a list": {"qid": [2**64 - 1] * 3 + [1] * 2},
}


@pytest.mark.parametrize("name", GROUPS)
def test_groups_of_every_kind(name):
    scores, labels, _ = lists()
    loss = nr_torch.PairwiseHingeLoss(reduction="none")(scores, labels, **GROUPS[name])
    assert loss.tolist() == [1.5, 0.0]
    assert backward(loss, [scores])[0].tolist() == [1.0, -1.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("name", ["qid", "group"])
def test_groups_of_pandas_are_read_in_their_order(name):
    values = {"qid": ["tea", "tea", "tea", "shoes", "shoes"], "group": [3, 2]}[name]
    series = imported("pandas").Series(values, index=range(len(values))[::-1])
    scores, labels, _ = lists()
    assert nr_torch.pairwise_hinge_loss(scores, labels, **{name: series}, reduction="none").tolist() == [1.5, 0.0]


@pytest.mark.parametrize(
    ("groups", "error", "message"),
    [
        ({"qid": torch.tensor([2.0**24, 2.0**24 + 1, 1, 1, 1])}, ValueError, r"qid\[0\] is 16777216 in float32, which"),
        ({"qid": ["a", None, "b", "b", "b"]}, ValueError, r"qid\[1\] is None, which is missing"),
        ({"qid": [3, 2]}, ValueError, "qid has 2 ids and scores has 5 rows; .*, pass it as group"),
        ({"group": [4, 4, 4, 9, 9]}, ValueError, "add up to 30 and scores has 5 rows; .*, pass it as qid"),
        ({"group": ["a", "b"]}, TypeError, "group has dtype <U1; .*, pass it as qid"),
        ({"group": {"a": 3, "b": 2}.values()}, TypeError, r"group is a dict_values; .*: pass list\(group\)"),
        ({"qid": (i for i in range(5))}, TypeError, r"qid is a generator; .*: pass list\(qid\)"),
    ],
    ids=shown,
)
def test_groups_that_are_refused(groups, error, message):
    scores, labels, _ = lists()
    with pytest.raises(error, match=message):
        nr_torch.pairwise_hinge_loss(scores, labels, **groups)


def test_a_column_of_scores_is_no_table_of_lists():
    scores, labels = torch.tensor([[2.0], [1.5], [0.0]], requires_grad=True), torch.tensor([[1], [2], [0]])
    for loss in (nr_torch.pairwise_hinge_loss, nr_torch.PairwiseHingeLoss(reduction="none")):
        with pytest.raises(
            ValueError, match=r"scores has shape \(3, 1\), 3 lists of one row each.*scores.reshape\(-1\)"
        ):
            loss(scores, labels)
    with pytest.raises(ValueError, match=r"labels \(3,\); they must be equal, .*: pass scores.reshape\(-1\)"):
        nr_torch.pairwise_hinge_loss(scores, labels[:, 0])
    loss = nr_torch.pairwise_hinge_loss(scores.reshape(-1), labels.reshape(-1), reduction="sum")
    loss.backward()
    assert (loss.item(), scores.grad.tolist()) == (1.5, [[1.0], [-1.0], [0.0]])


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_groups_are_not_checked_again(monkeypatch, reduction):
    (scores, labels, _), groups = lists(), nr.Groups(group=[3, 2])
    monkeypatch.setattr(nr.Groups, "__init__", lambda *arguments, **keywords: pytest.fail("they were checked"))
    loss = nr_torch.pairwise_hinge_loss(scores, labels, group=groups, reduction=reduction)
    assert loss.tolist() == (0.375 if reduction == "mean" else [1.5, 0.0])
    assert backward(loss, [scores])[0].any()


def test_compiled_lists_take_groups_as_a_constant():
    torch._dynamo.reset()
    (scores, labels, _), groups = lists(), nr.Groups(group=[3, 2])
    step = torch.compile(
        lambda scores: nr_torch.pairwise_hinge_loss(scores, labels, group=groups, reduction="none"),
        fullgraph=True,
        backend="aot_eager",
    )
    assert step(scores).tolist() == [1.5, 0.0]


def test_lists_as_rows_with_a_mask():
    scores = torch.tensor([[2.0, 1.5, 0.0], [1.0, 3.0, 9.0]], requires_grad=True)
    labels, where = torch.tensor([[1, 2, 0], [0, 1, 0]]), torch.tensor([[True] * 3, [True, True, False]])
    loss = nr_torch.pairwise_hinge_loss(scores, labels, where=where, reduction="sum")
    loss.backward()
    assert loss.item() == 1.5
    assert scores.grad.tolist() == [[1.0, -1.0, 0.0], [0.0, 0.0, 0.0]]


@needs_bfloat16
def test_lists_in_bfloat16():
    scores = torch.tensor([2.0, 1.5, 0.0], dtype=torch.bfloat16, requires_grad=True)
    loss = nr_torch.pairwise_hinge_loss(scores, torch.tensor([1.0, 2.0, 0.0], dtype=torch.bfloat16), reduction="none")
    loss.sum().backward()
    assert (loss.dtype, loss.tolist()) == (torch.bfloat16, [1.5])
    assert (scores.grad.dtype, scores.grad.tolist()) == (torch.bfloat16, [1.0, -1.0, 0.0])


def test_gradients_of_lists_are_checked_once_and_refused_twice():
    scores, labels, weights = lists()
    loss = functools.partial(nr_torch.pairwise_hinge_loss, labels=labels, power=2, weights=weights)
    assert torch.autograd.gradcheck(loss, [scores])
    (gradient,) = backward(loss(scores), [scores], create_graph=True)
    with pytest.raises(RuntimeError, match="gradient of pairwise_hinge_loss cannot be differentiated"):
        gradient.sum().backward()


HARD = torch.tensor([2.0, 1.5, 0.0, 3.0]), torch.tensor([1, 2, 0, 0])
CHOICES = [(None, 6.0), (1, 4.5), (2, 6.0), (0.5, 6.0), (0.25, 4.5), (1.0, 6.0)]


@pytest.mark.parametrize(("losers", "expected"), [*CHOICES, (np.uint64(1), 4.5), (np.float32(0.25), 4.5)], ids=str)
def test_losers_in_forward_and_backward(losers, expected):
    """1 is one loser, 1.0 is all of them."""
    scores, labels = HARD[0].clone().requires_grad_(), HARD[1]
    for loss in (
        nr_torch.pairwise_hinge_loss(scores, labels, losers=losers, reduction="sum"),
        nr_torch.PairwiseHingeLoss(reduction="sum", losers=losers)(scores, labels),
    ):
        _, gradient = nr.pairwise_hinge_loss_and_grad(array(scores), array(labels), losers=losers, reduction="sum")
        assert loss.item() == expected
        assert_same(array(backward(loss, [scores])[0]), gradient)
        assert gradient.any()


def test_gradients_with_losers_are_checked_once_and_refused_twice():
    scores, labels, weights = lists()
    loss = functools.partial(nr_torch.pairwise_hinge_loss, labels=labels, power=2, weights=weights, losers=1)
    assert torch.autograd.gradcheck(loss, [scores])
    (gradient,) = backward(loss(scores), [scores], create_graph=True)
    with pytest.raises(RuntimeError, match="gradient of pairwise_hinge_loss cannot be differentiated"):
        gradient.sum().backward()


def test_compiled_losers():
    """The choice is a constant of a graph, or a number that comes in."""
    torch._dynamo.reset()
    scores, labels = HARD[0].clone().requires_grad_(), HARD[1]

    def step(scores, losers):
        return nr_torch.pairwise_hinge_loss(scores, labels, losers=losers, reduction="sum")

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    for losers, expected in CHOICES:
        loss = compiled(scores, losers)
        assert loss.item() == expected
        assert_same(array(backward(loss, [scores])[0]), array(backward(step(scores, losers), [scores])[0]))
    module = torch.compile(nr_torch.PairwiseHingeLoss(reduction="sum", losers=1), fullgraph=True, backend="aot_eager")
    assert module(*HARD).item() == 4.5


def test_exported_losers():
    exported = torch.export.export(nr_torch.PairwiseHingeLoss(reduction="sum", losers=1), HARD).module()
    assert exported(*HARD).item() == 4.5


def test_losers_of_meta_tensors():
    scores, labels = (tensor.to("meta") for tensor in HARD)
    assert nr_torch.pairwise_hinge_loss(scores, labels, losers=0.5, reduction="none").shape == (1,)
    with pytest.raises(ValueError, match=r"losers is 1\.5; it must be None"):
        nr_torch.pairwise_hinge_loss(scores, labels, losers=1.5)


@pytest.mark.parametrize(
    ("losers", "error"),
    [(0, ValueError), (1.5, ValueError), (True, TypeError), ("all", TypeError), (torch.tensor(1), TypeError)],
    ids=str,
)
def test_what_is_no_choice_of_losers(losers, error):
    def loss(scores):
        return nr_torch.pairwise_hinge_loss(scores, HARD[1], losers=losers)

    for function in (loss, torch.compile(loss, backend="aot_eager")):
        torch._dynamo.reset()
        with pytest.raises(error, match=r"losers is .*; it must be None"):
            function(HARD[0])
    torch._dynamo.reset()
    with pytest.raises(RuntimeError, match=r"losers is .*; it must be None"):  # torch.compile's own, about ours
        torch.compile(loss, fullgraph=True, backend="aot_eager")(HARD[0])


def test_weights_have_no_gradient():
    scores, labels, weights = lists()
    with pytest.raises(TypeError, match=r"weights requires a gradient.*weights\.detach\(\)"):
        nr_torch.pairwise_hinge_loss(scores, labels, weights=weights.requires_grad_())


# ---------------------------------------------------------------- retrieval


PLACES = (torch.tensor([4, 0, 0, 2, 1]), torch.tensor([3, 8, 1, 0, 5]))
HIDDEN = (torch.tensor([0, 0, 4]), torch.tensor([2, 8, 4]))


def embeddings(dtype=torch.float64):
    """Leaves: queries, items and a bias."""
    generator = torch.Generator().manual_seed(3)
    shapes = (5, 3), (9, 3), (9,)
    return [torch.randn(s, generator=generator, dtype=torch.float64).to(dtype).requires_grad_() for s in shapes]


def stored_scores(queries, items, bias, weights, losers, power, reduction):
    """The loss written with what torch has, from the table of scores."""
    scores = queries @ items.T + (0 if bias is None else bias)
    label, negative = (torch.zeros(scores.shape, dtype=bool) for _ in range(2))
    label[PLACES], negative[HIDDEN] = True, True
    negative = ~(negative | label)
    if losers is not None:
        highest = scores.masked_fill(~negative, -torch.inf).topk(losers).indices
        negative &= torch.zeros_like(negative).scatter(1, highest, True)
    each = torch.zeros_like(scores)
    each[PLACES] = torch.ones(5, dtype=scores.dtype) if weights is None else weights
    counts = each[:, :, None] * (label[:, :, None] & negative[:, None, :])
    losses = counts * (1 - scores[:, :, None] + scores[:, None, :]).clamp_min(0) ** power
    return {"none": losses.sum((1, 2)), "sum": losses.sum(), "mean": losses.sum() / counts.sum()}[reduction]


@every_reduction
@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("losers", [None, 2])
@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 0.0, 2.0, 0.5, 3.0], dtype=torch.float64)], ids=str)
def test_retrieval_gives_the_values_and_gradients_of_torch_and_of_numbarank(reduction, power, losers, weights):
    settings = {"power": power, "losers": losers, "reduction": reduction, "weights": weights}
    for count in (2, 3):
        inputs = embeddings()[:count]
        queries, items, bias = [*inputs, None][:3]
        loss = nr_torch.retrieval_hinge_loss(queries, items, PLACES, bias=bias, exclude=HIDDEN, **settings)
        expected = stored_scores(queries, items, bias, **settings)
        upstream = torch.linspace(-2, 3, 5, dtype=torch.float64) if reduction == "none" else doubles(-1.7)[0]
        mine = backward(loss, inputs, upstream)
        torch.testing.assert_close([loss, *mine], [expected, *backward(expected, inputs, upstream)])
        assert all(gradient.any() for gradient in mine)
        host = [None if tensor is None else array(tensor) for tensor in (queries, items, bias)]
        options = settings | {"weights": None if weights is None else array(weights), "gradient": array(upstream)}
        value, gradients = nr.retrieval_hinge_loss_and_grad(*host[:2], PLACES, bias=host[2], exclude=HIDDEN, **options)
        assert_same(array(loss), value)
        for gradient, other in zip(mine, gradients, strict=True):
            np.testing.assert_allclose(array(gradient), other, 1e-12, 1e-12)


@every_reduction
def test_gradients_of_retrieval_are_checked_once_and_refused_twice(reduction):
    def loss(queries, items, bias):
        return nr_torch.retrieval_hinge_loss(queries, items, PLACES, bias=bias, power=2, reduction=reduction)

    inputs = embeddings()
    assert torch.autograd.gradcheck(loss, inputs)
    gradients = backward(loss(*inputs), inputs, create_graph=True)
    for mine, other in zip(gradients, backward(loss(*inputs), inputs), strict=True):
        torch.testing.assert_close(mine.detach(), other, rtol=0, atol=0)
        with pytest.raises(RuntimeError, match="gradient of retrieval_hinge_loss cannot be differentiated"):
            mine.sum().backward(retain_graph=True)


@every_reduction
@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 2)], ids=str)
def test_only_some_inputs_of_retrieval_require_a_gradient(wanted, reduction):
    ours, theirs = (
        [tensor.detach().requires_grad_(i in wanted) for i, tensor in enumerate(embeddings())] for _ in "ab"
    )
    loss = nr_torch.retrieval_hinge_loss(*ours[:2], PLACES, exclude=HIDDEN, bias=ours[2], reduction=reduction)
    loss.sum().backward()
    stored_scores(*theirs, None, None, 1, reduction).sum().backward()
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine.grad is None) == (other.grad is None)
        if mine.grad is not None:
            torch.testing.assert_close(mine.grad, other.grad)


def test_retrieval_takes_one_pass(monkeypatch):
    """'mean' and 'sum' compute loss and gradients together, 'none' the gradients later; the loss alone without any."""
    seen = []
    for name in ("retrieval_hinge_loss", "retrieval_hinge_loss_and_grad"):
        function = getattr(nr, name)
        monkeypatch.setattr(nr, name, lambda *args, f=function, n=name, **named: (seen.append(n), f(*args, **named))[1])
    queries, items, _ = embeddings()
    for reduction in REDUCTIONS:
        nr_torch.retrieval_hinge_loss(queries, items, PLACES, reduction=reduction).sum().backward()
        both = ["retrieval_hinge_loss"] * (reduction == "none") + ["retrieval_hinge_loss_and_grad"]
        assert seen == both
        seen.clear()
        for context in (torch.no_grad(), torch.inference_mode()):
            with context:
                assert not nr_torch.retrieval_hinge_loss(queries, items + 0, PLACES, reduction=reduction).requires_grad
        nr_torch.retrieval_hinge_loss(queries.detach(), items.detach(), PLACES, reduction=reduction)
        assert seen == ["retrieval_hinge_loss"] * 3
        seen.clear()


@pytest.mark.parametrize("factor", [float("inf"), -2.5, 0.0])
def test_a_graph_of_retrieval_that_is_kept_gives_the_same_gradients_again(factor):
    inputs = embeddings()
    loss = nr_torch.retrieval_hinge_loss(*inputs[:2], PLACES, bias=inputs[2], power=2) * factor
    first, second = (backward(loss, inputs, retain_graph=True) for _ in range(2))
    torch.testing.assert_close(first, second, equal_nan=True)


def csr(places):
    table = torch.zeros(5, 9)
    table[places] = 1
    return table.to_sparse_csr()


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta:UserWarning")
def test_positives_of_every_kind():
    queries, items, _ = embeddings()
    expected = nr_torch.retrieval_hinge_loss(queries, items, PLACES, exclude=HIDDEN)
    for kind in (csr, lambda places: [part.tolist() for part in places], lambda places: tuple(map(array, places))):
        loss = nr_torch.retrieval_hinge_loss(queries, items, kind(PLACES), exclude=kind(HIDDEN))
        torch.testing.assert_close(loss, expected, rtol=0, atol=0)
    with pytest.raises(ValueError, match=r"positives has shape \(5, 9\)"):
        nr_torch.retrieval_hinge_loss(queries[:2], items, csr(PLACES))


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta:UserWarning")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int32, torch.bool], ids=str)
def test_zeros_stored_in_a_csr_tensor_do_not_count(dtype):
    queries, items, _ = embeddings()
    values = csr(PLACES).to_dense().flatten().to(dtype)
    everywhere = torch.arange(0, 46, 9), torch.arange(9).repeat(5)
    stored = torch.sparse_csr_tensor(*everywhere, values, (5, 9), check_invariants=True)
    expected = nr_torch.retrieval_hinge_loss(queries, items, PLACES)
    loss = nr_torch.retrieval_hinge_loss(queries, items, stored, exclude=stored)
    torch.testing.assert_close(loss, expected, rtol=0, atol=0)
    weights = torch.rand(45, dtype=torch.float64)
    torch.testing.assert_close(
        nr_torch.retrieval_hinge_loss(queries, items, stored, weights=weights),
        nr_torch.retrieval_hinge_loss(queries, items, PLACES, weights=weights.view(5, 9)[PLACES]),
    )


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta:UserWarning")
@pytest.mark.parametrize("value", [-1.0, torch.nan])
def test_numbers_below_zero_in_a_csr_tensor_are_refused(value):
    queries, items, _ = embeddings()
    positives = csr(PLACES)
    positives.values()[2] = value
    with pytest.raises(ValueError, match=rf"^positives.values\(\)\[2\] is {value}; entries above 0 count") as caught:
        nr_torch.retrieval_hinge_loss(queries, items, positives)
    eval(str(caught.value).partition("set these to 0 with ")[2])  # in place
    loss = nr_torch.retrieval_hinge_loss(queries, items, positives)
    order = (PLACES[0] * 9 + PLACES[1]).argsort()[[0, 1, 3, 4]]
    expected = nr_torch.retrieval_hinge_loss(queries, items, tuple(part[order] for part in PLACES))
    torch.testing.assert_close(loss, expected, rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta:UserWarning")
@pytest.mark.filterwarnings("ignore:Sparse CSC tensor support is in beta:UserWarning")
def test_other_kinds_of_tensors_as_positives():
    queries, items, _ = embeddings()
    expected, table = nr_torch.retrieval_hinge_loss(queries, items, PLACES), csr(PLACES).to_dense()
    for positives, words in (
        (table.to_sparse(), "the layout torch.sparse_coo; it must be torch.sparse_csr: pass "),
        (table.to_sparse_csc(), "the layout torch.sparse_csc; it must be torch.sparse_csr: pass "),
        (table - (table == 0).float(), "it must be a pair of index tensors, (queries, items), or a CSR matrix: pass "),
        (torch.stack(PLACES, 1), "it must be a pair of index tensors, (queries, items), or a CSR matrix: pass "),
        (torch.stack(PLACES), "it must be a pair of index tensors, (queries, items), or a CSR matrix: pass "),
    ):
        with pytest.raises(TypeError, match=re.escape(words)) as caught:
            nr_torch.retrieval_hinge_loss(queries, items, positives)
        loss = nr_torch.retrieval_hinge_loss(queries, items, eval(str(caught.value).partition(words)[2]))
        torch.testing.assert_close(loss, expected, rtol=0, atol=0)


@pytest.mark.parametrize("changed", ["queries", "weights", "positives", "exclude"])
def test_inputs_of_retrieval_changed_in_place_are_noticed(changed):
    queries, items, _ = embeddings()
    places, hidden = (tuple(part.clone() for part in pair) for pair in (PLACES, HIDDEN))
    tensors = {"queries": queries * 1, "positives": places, "exclude": hidden, "weights": torch.ones(5)}
    loss = nr_torch.retrieval_hinge_loss(items=items, reduction="none", **tensors)
    tensor = tensors[changed]
    with torch.no_grad():
        (tensor[1] if isinstance(tensor, tuple) else tensor).add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.sum().backward()


@every_reduction
@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float16, pytest.param(torch.bfloat16, marks=needs_bfloat16)], ids=str
)
def test_retrieval_in_smaller_types_and_autocast(dtype, reduction):
    inputs = embeddings(dtype)
    wide = [tensor.detach().float().requires_grad_() for tensor in inputs]

    def loss(queries, items, bias):
        return nr_torch.retrieval_hinge_loss(queries, items, PLACES, bias=bias, power=2, reduction=reduction)

    expected = loss(*wide)
    upstream = torch.full_like(expected, 0.3)
    gradients = backward(expected, wide, upstream)
    value = loss(*inputs)
    torch.testing.assert_close(value, expected.to(dtype))
    torch.testing.assert_close(backward(value, inputs, upstream.to(dtype)), tuple(g.to(dtype) for g in gradients))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(*inputs)
    torch.testing.assert_close(value, expected, rtol=0, atol=0)
    torch.testing.assert_close(backward(value, inputs, upstream), tuple(g.to(dtype) for g in gradients))


def test_views_of_queries_and_integer_items():
    (queries, _, _), items = embeddings(), torch.arange(27).reshape(3, 9).T
    negative = torch.complex(queries, queries).conj().imag
    (mine,), (other,) = (
        backward(nr_torch.retrieval_hinge_loss(given, items, PLACES), [queries]) for given in (negative, -queries)
    )
    torch.testing.assert_close(mine, other, rtol=0, atol=0)
    assert mine.any()


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # torch's own look
def test_compiled_functions_break_their_graph_at_retrieval():
    torch._dynamo.reset()
    inputs = embeddings()

    def step(queries, items, bias):
        return nr_torch.retrieval_hinge_loss(queries * 2, items, PLACES, bias=bias) * 3

    mine, expected = torch.compile(step, backend="aot_eager")(*inputs), step(*inputs)
    torch.testing.assert_close([mine, *backward(mine, inputs)], [expected, *backward(expected, inputs)])
    torch._dynamo.reset()
    with pytest.raises(torch._dynamo.exc.Unsupported):
        torch.compile(step, backend="aot_eager", fullgraph=True)(*inputs)


@torch_jit_warns
def test_transforms_and_forward_mode_of_retrieval_are_refused():
    queries, items, _ = (tensor.detach() for tensor in embeddings())

    def loss(queries):
        return nr_torch.retrieval_hinge_loss(queries, items, PLACES)

    for transformed, given in ((torch.func.grad(loss), queries), (torch.func.vmap(loss), queries[None])):
        with pytest.raises(RuntimeError, match="must override the setup_context staticmethod"):
            transformed(given)
    with torch.autograd.forward_ad.dual_level(), pytest.raises(NotImplementedError, match="jvp"):
        loss(torch.autograd.forward_ad.make_dual(queries, queries))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"queries": torch.zeros(5, 3, device="meta")}, TypeError, r"queries is on meta.*pass queries\.cpu\(\)"),
        ({"bias": torch.zeros(9, device="meta")}, TypeError, r"bias is on meta.*pass bias\.cpu\(\)"),
        ({"weights": torch.ones(5, device="meta")}, TypeError, r"weights is on meta.*pass weights\.cpu\(\)"),
        (
            {"positives": (PLACES[0], PLACES[1].to("meta"))},
            TypeError,
            r"positives\[1\] is on meta.*positives\[1\]\.cpu",
        ),
        (
            {"weights": torch.ones(5, requires_grad=True)},
            TypeError,
            r"weights requires a gradient.*weights\.detach\(\)",
        ),
        ({"items": torch.eye(3).to_sparse()}, TypeError, r"items has the layout torch.sparse_coo.*items\.to_dense\(\)"),
        ({"items": np.zeros((9, 3))}, TypeError, r"items is a numpy\.ndarray; it must be a torch.Tensor"),
        ({"items": None}, TypeError, "items is None; it must be a torch.Tensor"),
        ({"positives": torch.eye(5, 9)}, TypeError, "positives is a torch.Tensor; it must be a pair of index tensors"),
        ({"items": torch.zeros(9, 4)}, ValueError, "equally long"),
        ({"reduction": "average"}, ValueError, "reduction is 'average'"),
        ({"losers": 0}, ValueError, "losers is 0"),
    ],
    ids=str,
)
def test_what_retrieval_refuses(change, error, words):
    queries, items, _ = embeddings()
    with pytest.raises(error, match=words):
        nr_torch.retrieval_hinge_loss(**{"queries": queries, "items": items, "positives": PLACES} | change)
