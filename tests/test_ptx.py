"""Compile gate: every CUDA kernel to PTX and on to machine code, which needs a toolkit and no GPU.

The stand-in device is what numba asks while it compiles a kernel that calls device functions.
"""

import operator
import os
import re
import shutil
import subprocess
import sys
import types

import numba
import numpy as np
import pytest
import reference
from helpers import SIMULATOR

import numbarank
from numbarank._precision import compute_dtype
from numbarank.losses.margin_ranking import FORMULA

if SIMULATOR:
    pytest.skip("numba simulates CUDA in this process and compiles nothing", allow_module_level=True)
if shutil.which("ptxas") is None:
    pytest.skip("no ptxas here: install a CUDA toolkit for this gate", allow_module_level=True)
pytestmark = pytest.mark.environment

HOPPER = (9, 0)
OTHERS = [(8, 0), (10, 0)]
MOST_REGISTERS = 64
HALVES = ["float16"] + ["bfloat16"] * (reference.BFLOAT16 is not None)
FLOATS = ["float32", "float64", *HALVES]
TARGETS = ["like", "int8", "int64", "number", "cell"]
PAIRS = [(dtype, target) for dtype in FLOATS for target in (TARGETS[:2] if dtype in HALVES else TARGETS)]
# which of losses, grad1, grad2 and grad_y are written, and whether a total is added up
PASSES = {
    "none": ((True, False, False, False), False),
    "mean": ((False, False, False, False), True),
    "fused": ((False, True, True, False), True),
    "gradients": ((False, True, True, True), False),
}


@pytest.fixture(scope="module")
def backend():
    """The CUDA backend, imported as if there were a GPU, and taken away again afterwards."""
    from numba import cuda
    from numba.cuda import dispatcher

    device = types.SimpleNamespace(compute_capability=HOPPER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuda, "is_available", lambda: True)
        patch.setattr(dispatcher, "get_current_device", lambda: device)
        from numbarank._cuda import arrays, driver, groups, highest, memory, pairs, retrieval, vectors

        yield types.SimpleNamespace(
            arrays=arrays,
            cuda=cuda,
            device=device,
            driver=driver,
            groups=groups,
            highest=highest,
            memory=memory,
            pairs=pairs,
            retrieval=retrieval,
            vectors=vectors,
        )
    for name in [name for name in sys.modules if name.startswith("numbarank._cuda")]:
        del sys.modules[name]
    del numbarank._cuda


def vector(backend, dtype, ndim=1):
    return numba.types.Array(numba.from_dtype(backend.memory.bits_dtype(np.dtype(dtype))), ndim, "C")


def ptx_of(backend, kernel, signature, capability=HOPPER):
    backend.device.compute_capability = capability
    return backend.cuda.compile_ptx(kernel.py_func, signature, cc=capability)[0]


def assemble(ptx, capability, folder):
    """What ptxas says: registers, stack and spills of a kernel."""
    source = folder / "kernel.ptx"
    source.write_text(ptx)
    architecture = "sm_{}{}".format(*capability)
    command = ["ptxas", "-v", "-warn-spills", f"-arch={architecture}", str(source), "-o", str(folder / "kernel.cubin")]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert "spilled" not in process.stderr.lower(), process.stderr
    assert re.search(r"\b0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads", process.stderr), (
        process.stderr
    )
    return int(re.search(r"Used (\d+) registers", process.stderr)[1])


def toolkit_knows(capability):
    listed = subprocess.run(["ptxas", "--help"], capture_output=True, text=True).stdout
    return "sm_{}{}".format(*capability) in listed


def check(ptx, capability, folder):
    """No call, no local memory, no maximum that would drop NaN, no spill, few registers."""
    assert ".func" not in ptx
    assert not re.search(r"\b(ld|st)\.local", ptx)
    assert not re.search(r"\b(max|min)\.(f32|f64|NaN)", ptx)
    assert assemble(ptx, capability, folder) <= MOST_REGISTERS


def pairs_ptx(backend, dtype, target, wanted, total, *, upstream="number", each=False, width=None, capability=HOPPER):
    """PTX of the kernel that passes over pairs, for inputs of these dtypes."""
    dtype = np.dtype(dtype)
    compute = compute_dtype(dtype)
    number, width = numba.from_dtype(compute), width or backend.vectors.BYTES // dtype.itemsize

    def layout_of(name):
        if name == "number":
            return None, number
        of = {"like": dtype, "cell": compute}.get(name) or np.dtype(name)
        return (of, name == "cell"), vector(backend, of)

    (y, y_type), (u, u_type) = layout_of(target), layout_of(upstream)
    (margin, margin_type), (weights, weights_type) = [(None, number), (None, numba.int64)]
    if each:
        (margin, margin_type), (weights, weights_type) = [((compute, False), vector(backend, compute))] * 2
    divisor, divisor_type = layout_of("cell") if each and upstream == "cell" else (None, number)
    written = tuple(dtype if is_wanted else None for is_wanted in wanted)
    layout = backend.pairs.Layout(dtype, y, margin, weights, u, divisor, written, width)
    results = [vector(backend, dtype) if is_wanted else numba.int64 for is_wanted in wanted]
    partials = vector(backend, np.float64, 2) if total else numba.int64
    scores = vector(backend, dtype)
    signature = (scores, scores, y_type, margin_type, weights_type, u_type, divisor_type, *results, partials)
    return ptx_of(backend, backend.pairs.pairs_kernel(FORMULA, layout, total), signature, capability)


# how a target is read and which results are written do not depend on each other
@pytest.mark.parametrize(
    "dtype, target, name", [(*pair, name) for pair in PAIRS for name in PASSES if pair[1] == "like" or name == "fused"]
)
def test_pairs(backend, tmp_path, dtype, target, name):
    wanted, total = PASSES[name]
    ptx = pairs_ptx(backend, dtype, target, wanted, total)
    check(ptx, HOPPER, tmp_path)
    assert dtype == "float64" or total or ".f64" not in ptx
    assert len(re.findall(r"ld\.global\.nc\.L1::no_allocate\.v4\.u32", ptx)) >= 2 + (target == "like")
    assert len(re.findall(r"st\.global\.cs\.v4\.u32", ptx)) == sum(wanted)


@pytest.mark.parametrize("capability", OTHERS, ids="sm_{0[0]}{0[1]}".format)
@pytest.mark.parametrize("target", ["like", "int8"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_pairs_for_other_architectures(backend, tmp_path, dtype, target, capability):
    if not toolkit_knows(capability):
        pytest.skip("this toolkit does not know the architecture")
    check(pairs_ptx(backend, dtype, target, *PASSES["fused"], capability=capability), capability, tmp_path)


@pytest.mark.parametrize("upstream", ["like", "cell"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pairs_with_an_upstream_array(backend, tmp_path, dtype, upstream):
    ptx = pairs_ptx(backend, dtype, "like", *PASSES["gradients"], upstream=upstream)
    check(ptx, HOPPER, tmp_path)
    assert dtype == "float64" or ".f64" not in ptx


@pytest.mark.parametrize("upstream", ["number", "cell"])
@pytest.mark.parametrize("name", ["mean", "fused"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_pairs_with_a_margin_and_a_weight_for_each(backend, tmp_path, dtype, name, upstream):
    check(pairs_ptx(backend, dtype, "like", *PASSES[name], upstream=upstream, each=True), HOPPER, tmp_path)


@pytest.mark.parametrize("name", ["mean", "gradients"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_pairs_one_by_one(backend, tmp_path, dtype, name):
    check(pairs_ptx(backend, dtype, "like", *PASSES[name], width=1), HOPPER, tmp_path)


@pytest.mark.parametrize("by_weights", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_finish(backend, tmp_path, dtype, by_weights):
    signature = (vector(backend, np.float64, 2), numba.int64, numba.float64, vector(backend, dtype))
    check(ptx_of(backend, backend.pairs.finish_kernel(by_weights), signature), HOPPER, tmp_path)


@pytest.mark.parametrize("is_limited", [False, True], ids=["all losers", "the highest"])
@pytest.mark.parametrize("labels, upstream", [("int64", "number"), ("float32", "cell"), ("int64", "each")])
@pytest.mark.parametrize("extras", [(False,) * 4, (True,) * 4], ids=["plain", "all extras"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_groups(backend, tmp_path, dtype, labels, extras, upstream, is_limited):
    layout = backend.groups.Layout(np.dtype(dtype), *extras, upstream, is_limited)
    numbers, places = vector(backend, "float64"), vector(backend, "int64")
    mask = vector(backend, "bool") if extras[1] else numbers
    signature = (vector(backend, dtype), vector(backend, labels), numbers, mask, numbers, *(places,) * 4)
    signature += (numba.from_dtype(np.dtype(dtype)), numba.float64, numbers, numbers, vector(backend, "float64", 2))
    signature += (numba.types.Tuple([vector(backend, "int64", 2)] * is_limited),)
    check(ptx_of(backend, backend.groups.groups_kernel(layout), signature), HOPPER, tmp_path)


@pytest.mark.parametrize("labels", ["int8", "uint64", "float64"])
@pytest.mark.parametrize("extras", [False, True], ids=["plain", "all extras"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ranks(backend, tmp_path, dtype, labels, extras):
    kernel = backend.highest.rank_kernel(np.dtype(dtype), extras, extras)
    numbers, places, ranking = vector(backend, "float64"), vector(backend, "int64"), vector(backend, "int64", 2)
    rows = vector(backend, dtype), vector(backend, labels), numbers, vector(backend, "bool") if extras else numbers
    check(ptx_of(backend, kernel, (*rows, *(places,) * 3, numba.float64, numba.int64, ranking)), HOPPER, tmp_path)


@pytest.mark.parametrize("labels", ["int8", "uint64", "float32", "float64"])
def test_limits(backend, tmp_path, labels):
    signature = (vector(backend, labels), *(vector(backend, "int64"),) * 3, vector(backend, "int64", 2))
    check(ptx_of(backend, backend.highest.limit_kernel(np.dtype(labels)), signature), HOPPER, tmp_path)


@pytest.mark.parametrize("dtype", FLOATS)
def test_losses_of_groups(backend, tmp_path, dtype):
    sums, flag = vector(backend, "float64", 2), numba.boolean
    signature = vector(backend, "int64"), sums, flag, flag, vector(backend, "float64"), vector(backend, dtype)
    check(ptx_of(backend, backend.groups.finish_kernel(np.dtype(dtype)), signature), HOPPER, tmp_path)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_of_groups(backend, tmp_path, dtype):
    numbers = vector(backend, "float64")
    check(ptx_of(backend, backend.groups.write_kernel(), (numbers, numbers, vector(backend, dtype))), HOPPER, tmp_path)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_retrieval(backend, tmp_path, dtype):
    numbers, places, flag = vector(backend, "float64"), vector(backend, "int64"), numba.boolean
    table, margin, query = vector(backend, dtype, 2), numba.from_dtype(np.dtype(dtype)), numba.uint64
    signature = table, vector(backend, dtype), flag, *(places,) * 5, query, margin, numbers, numbers
    check(ptx_of(backend, backend.retrieval.prepare_kernel(np.dtype(dtype)), signature), HOPPER, tmp_path)
    signature = table, places, places, numbers, flag, numbers, flag, query, margin, flag, flag, *(numbers,) * 3
    check(ptx_of(backend, backend.retrieval.pass_kernel(np.dtype(dtype)), signature), HOPPER, tmp_path)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_highest_scores(backend, tmp_path, dtype):
    places, table = vector(backend, "int64"), vector(backend, dtype, 2)
    signature = (table, vector(backend, dtype), numba.boolean, *(places,) * 4, numba.uint64, numba.int64)
    signature += (*(numba.float64,) * 3, vector(backend, "int64", 2), vector(backend, "int64", 2), table)
    check(ptx_of(backend, backend.retrieval.best_kernel(np.dtype(dtype)), signature), HOPPER, tmp_path)


def test_total_of_losses(backend, tmp_path):
    numbers = vector(backend, "float64")
    check(ptx_of(backend, backend.retrieval.total_kernel(), (numbers, numbers)), HOPPER, tmp_path)


# a half type is widened before anything else, and only bfloat16 asks how wide its source is
GATHERS = [(source, "float64") for source in ("int8", "int64", "bool", *FLOATS)]
GATHERS += [("float64", dtype) for dtype in ("int64", "bool", "float32", *HALVES)]
GATHERS += [(source, HALVES[-1]) for source in ("int8", "int64", "float16", "float32", HALVES[-1])]
GATHERS += [("int64", "int64"), ("float32", "int64"), (HALVES[-1], "bool"), (HALVES[-1], "float16")]


@pytest.mark.parametrize(("source", "dtype"), sorted(set(GATHERS)))
def test_gather(backend, tmp_path, source, dtype):
    kernel = backend.arrays.gather_kernel(np.dtype(source), np.dtype(dtype))
    layout = numba.types.UniTuple(numba.uint64, 3), numba.types.UniTuple(numba.int64, 3)
    check(
        ptx_of(backend, kernel, (vector(backend, source), numba.int64, *layout, vector(backend, dtype))),
        HOPPER,
        tmp_path,
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums(backend, tmp_path, dtype):
    layout = numba.types.UniTuple(numba.uint64, 2), numba.types.UniTuple(numba.int64, 2)
    sizes = (numba.uint64,) * 3
    signature = (vector(backend, dtype), *layout, *layout, *sizes, numba.boolean, vector(backend, np.float64))
    check(ptx_of(backend, backend.arrays.sums_kernel(), signature), HOPPER, tmp_path)


@pytest.mark.parametrize("with_array", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_elementwise(backend, tmp_path, dtype, with_array):
    number = numba.from_dtype(np.dtype(dtype))
    for operation in backend.arrays.OPERATIONS:
        if operation is operator.truediv and dtype == "int64":
            continue  # integers are made floating before they are divided
        kernel = backend.arrays.combine_kernel(operation, with_array)
        signature = (vector(backend, dtype), vector(backend, dtype) if with_array else number, vector(backend, dtype))
        ptx = ptx_of(backend, kernel, signature)
        check(ptx, HOPPER, tmp_path)
        assert dtype == "float64" or ".f64" not in ptx


def test_the_backend_needs_a_gpu_outside_this_gate():
    code = "import numbarank as nr; nr.zeros(2, device='cuda')"
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert "RuntimeError: CUDA cannot be used here" in process.stderr
    assert "numbarank[cuda13]" in process.stderr
