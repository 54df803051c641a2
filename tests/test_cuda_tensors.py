"""numbarank.torch on CUDA tensors: torch's own on a GPU; under the simulator, tensors in host memory that say cuda."""

import types

import numpy as np
import pytest
from helpers import SIMULATOR, assert_same, imported, needs_bfloat16, random_pairs

import numbarank as nr

torch = imported("torch")

import numbarank.torch as nr_torch  # noqa: E402
from numbarank.torch._memory import array_of  # noqa: E402

pytestmark = pytest.mark.usefixtures("cuda")
STREAM = 7


class HostTensor(torch.Tensor):
    """A tensor in host memory that describes itself as torch's CUDA tensors do."""

    is_cuda = True

    def detach(self):
        return super().detach().as_subclass(HostTensor)

    def new_empty(self, shape, dtype):
        return torch.empty(shape, dtype=dtype).as_subclass(HostTensor)

    @property
    def __cuda_array_interface__(self):
        if self.requires_grad:
            raise RuntimeError("Can't get __cuda_array_interface__ on Variable that requires grad")
        bits = self.view(torch.int16) if self.dtype is torch.bfloat16 else self
        interface = bits.as_subclass(torch.Tensor).numpy().__array_interface__
        typestr = "<V2" if self.dtype is torch.bfloat16 else interface["typestr"]
        return {key: interface[key] for key in ("shape", "strides", "data")} | {"typestr": typestr, "version": 2}

    def __dlpack_device__(self):
        return 2, 0


@pytest.fixture
def to_cuda(monkeypatch):
    """What takes a tensor to the device under test."""
    if not SIMULATOR:
        if not torch.cuda.is_available():
            pytest.skip("this torch has no CUDA")
        return lambda tensor: tensor.cuda()
    current = types.SimpleNamespace(cuda_stream=STREAM)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: current)
    monkeypatch.setattr(torch, "from_dlpack", lambda result: torch.from_numpy(result.cpu().numpy()))
    return lambda tensor: tensor.as_subclass(HostTensor)


def on_host(tensor):
    return tensor.detach().as_subclass(torch.Tensor).cpu()


def results_on(move, arrays, loss, **settings):
    """A loss, and the gradients of its floating inputs, in host memory."""
    leaves = [move(torch.tensor(array)).requires_grad_(array.dtype.kind == "f") for array in arrays]
    value = loss(*leaves, **settings)
    floating = [leaf for leaf in leaves if leaf.requires_grad]
    gradients = torch.autograd.grad(value, floating, torch.full_like(value, 2), allow_unused=True)
    return [on_host(tensor) for tensor in (value, *(g for g in gradients if g is not None))]


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("target", ["float32", "int8"])
def test_pairs_as_on_the_cpu(to_cuda, target, reduction):
    arrays = random_pairs((3, 5), np.float32, target)
    settings = {"margin": 0.5, "reduction": reduction}
    expected = results_on(torch.clone, arrays, nr_torch.margin_ranking_loss, **settings)
    actual = results_on(to_cuda, arrays, nr_torch.margin_ranking_loss, **settings)
    assert len(actual) == (4 if target == "float32" else 3)
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("shape", [(3, 5), (3, 1), (1, 1), ()], ids=str)
def test_weights_and_margins_as_on_the_cpu(to_cuda, shape, reduction):
    arrays, rng = random_pairs((3, 5), np.float32), np.random.default_rng(0)
    margin, weights = torch.tensor(rng.random(shape)), torch.tensor(rng.integers(1, 4, shape))
    if weights.dim():
        weights[0, 0] = 0
    settings = {"margin": margin, "weights": weights, "reduction": reduction}
    expected = results_on(torch.clone, arrays, nr_torch.margin_ranking_loss, **settings)
    there = settings | {"margin": to_cuda(margin), "weights": to_cuda(weights)}
    actual = results_on(to_cuda, arrays, nr_torch.margin_ranking_loss, **there)
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=0, equal_nan=True)


def test_weights_and_margins_on_another_device_are_refused(to_cuda):
    there, here = to_cuda(torch.ones(3)), torch.ones(3)
    for settings in ({"weights": here}, {"margin": here}):
        with pytest.raises(ValueError, match=r"is on cpu; all must be on one device"):
            nr_torch.margin_ranking_loss(there, there, there, **settings)


@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_lists_as_on_the_cpu(to_cuda, reduction):
    rng = np.random.default_rng(0)
    arrays = rng.standard_normal(9), rng.integers(3, size=9)
    settings = {"group": [4, 5], "reduction": reduction}
    expected = results_on(torch.clone, arrays, nr_torch.pairwise_hinge_loss, **settings)
    actual = results_on(to_cuda, arrays, nr_torch.pairwise_hinge_loss, **settings)
    assert len(actual) == 2
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=0)


@needs_bfloat16
def test_bfloat16(to_cuda):
    scores = [to_cuda(torch.tensor(values, dtype=torch.bfloat16)) for values in ([2.0, 1.5], [1.0, 2.0])]
    loss = nr_torch.margin_ranking_loss(*scores, to_cuda(torch.ones(2)), 1.0, reduction="none")
    assert on_host(loss).tolist() == [0.0, 1.5]


def test_memory_and_stream_are_torchs(to_cuda):
    tensor = to_cuda(torch.ones(3, requires_grad=True))
    array = array_of(tensor)
    interface = array.__cuda_array_interface__
    assert interface["data"][0] == tensor.data_ptr()
    assert interface["stream"] == (STREAM if SIMULATOR else torch.cuda.current_stream().cuda_stream or 1)
    assert_same(nr.Tensor(array), np.ones(3, np.float32))


def test_the_default_stream_has_a_number_in_the_interface(to_cuda, monkeypatch):
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: types.SimpleNamespace(cuda_stream=0))
    assert array_of(to_cuda(torch.ones(3))).__cuda_array_interface__["stream"] == 1


def test_tensors_on_two_devices_are_refused(to_cuda):
    there, here = to_cuda(torch.ones(3)), torch.ones(3)
    with pytest.raises(ValueError, match=r"input1 is on cuda:0, input2 is on cpu.*all must be on one device"):
        nr_torch.margin_ranking_loss(there, here, there)
    for target in (torch.tensor(1.0), 1):  # numbers in host memory fit every device
        loss = nr_torch.margin_ranking_loss(there, there, target, 0.5)
        assert on_host(loss).item() == 0.5


def test_ids_of_queries_stay_on_the_host(to_cuda):
    scores = to_cuda(torch.ones(3))
    with pytest.raises(TypeError, match=r"qid is on .*; it must be in host memory: pass qid\.cpu\(\)"):
        nr_torch.pairwise_hinge_loss(scores, scores, qid=scores)
