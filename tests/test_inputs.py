"""Every refused argument: the error names the argument, what came and what would do."""

import decimal
import fractions
import itertools

import numpy as np
import pytest
import reference
from helpers import FLOATS, REDUCTIONS, SIGNED_INTEGERS, assert_bits, assert_same, needs_bfloat16, put, shown

import numbarank as nr

NAMES = ("input1", "input2", "target")
every_name = pytest.mark.parametrize("name", NAMES)


def call_with(name, value, function=nr.margin_ranking_loss, **options):
    good = {"input1": np.ones(2), "input2": np.ones(2), "target": np.ones(2)}
    return function(**(good | {name: value} | options))


class Duck:
    """An array of some other framework: it can be converted, and should not be, silently."""

    def __init__(self, values):
        self._values = np.asarray(values, np.float64)
        self.shape, self.ndim, self.dtype = self._values.shape, self._values.ndim, self._values.dtype

    def __array__(self, dtype=None, copy=None):
        return self._values

    def __len__(self):
        return len(self._values)

    def __getitem__(self, index):
        return self._values[index]

    def __float__(self):
        return float(self._values)


class InterfaceDuck(Duck):
    @property
    def __array_interface__(self):
        return self._values.__array_interface__


# ---------------------------------------------------------------- types of objects


@every_name
@pytest.mark.parametrize("duck", [Duck, InterfaceDuck])
@pytest.mark.parametrize("module", ["jaxlib._jax", "torch", "dask.array.core", "somewhere"])
def test_duck_arrays_are_refused_by_name(name, duck, module):
    cls = type("Array", (duck,), {"__module__": module})
    with pytest.raises(TypeError, match=f"(?s){name}.*Array"):
        call_with(name, cls([1.0, 1.0]))


@every_name
@pytest.mark.parametrize(
    "value",
    [
        None,
        "ab",
        b"ab",
        {1.0: 2.0},
        {1.0, 2.0},
        object(),
        iter([1.0, 2.0]),
        len,
        np.float64,
        fractions.Fraction(1, 2),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_objects_are_refused(name, value):
    with pytest.raises(TypeError, match=name):
        call_with(name, value)


ONE_BY_ONE = {
    "generator": (lambda values: (value for value in values), "list({})"),
    "map": (lambda values: map(float, values), "list({})"),
    "iterator": (iter, "list({})"),
    "values of a dict": (lambda values: dict(enumerate(values)).values(), "list({})"),
    "keys of a dict": (lambda values: dict.fromkeys(values).keys(), "list({})"),
    "dict": (lambda values: dict(enumerate(values)), "list({}.values())"),
    "set": (set, "a list, since a set has no order"),
}
LISTS = {
    "input1": lambda x: nr.margin_ranking_loss(x, np.zeros(2), 1, reduction="sum"),
    "input2": lambda x: nr.margin_ranking_loss(np.zeros(2), x, -1, reduction="sum"),
    "target": lambda x: nr.margin_ranking_loss(np.zeros(2), np.zeros(2), x, margin=0.5, reduction="sum"),
    "margin": lambda x: nr.margin_ranking_loss(np.zeros(2), np.zeros(2), 1, margin=x, reduction="sum"),
    "weights": lambda x: nr.margin_ranking_loss(np.zeros(2), np.ones(2), 1, weights=x, reduction="sum"),
    "gradient": lambda x: nr.margin_ranking_loss_and_grad([0.0, 0], [1.0, 1], 1, reduction="none", gradient=x),
    "scores": lambda x: nr.pairwise_hinge_loss(x, [1, 0]),
    "labels": lambda x: nr.pairwise_hinge_loss(np.zeros(2), x),
    "where": lambda x: nr.pairwise_hinge_loss(np.zeros(2), np.zeros(2), where=x),
    "qid": lambda x: nr.pairwise_hinge_loss(np.zeros(2), np.arange(2), qid=x),
    "group": lambda x: nr.pairwise_hinge_loss(np.zeros(3), np.arange(3), group=x),
}


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize(("make", "advice"), ONE_BY_ONE.values(), ids=ONE_BY_ONE.keys())
def test_what_hands_out_its_elements_one_by_one_is_sent_to_list(name, make, advice):
    with pytest.raises(TypeError, match=rf"^{name} is a ") as error:
        LISTS[name](make([1, 2]))
    assert str(error.value).endswith(f": pass {advice.format(name)}")


@pytest.mark.parametrize("name", ["scores", "labels", "qid", "group", "input1", "margin"])
def test_the_advice_to_pass_a_list_works(cpu, name):
    values = {"a": 1, "b": 2}.values()
    expected = {"scores": 2.0, "labels": 1.0, "qid": 0.0, "group": 1.0, "input1": 0.0, "margin": 3.0}
    assert LISTS[name](list(values)) == expected[name]


@every_name
def test_masked_arrays_are_refused(name):
    masked = np.ma.masked_array([1.0, 2.0], [True, False])
    with pytest.raises(TypeError, match=f"(?si){name}.*mask"):
        call_with(name, masked)


@every_name
@pytest.mark.parametrize("value", [["a", "b"], [None, 1.0], [1j, 2.0], [decimal.Decimal(1)] * 2, [{}, {}]], ids=str)
def test_lists_of_other_things_are_refused(name, value):
    with pytest.raises(TypeError, match=name):
        call_with(name, value)


@every_name
def test_ragged_lists_are_refused(name):
    with pytest.raises((TypeError, ValueError), match=name):
        call_with(name, [[1.0, 2.0], [3.0]])


# ---------------------------------------------------------------- dtypes

REFUSED = {
    "bool": np.array([True, False]),
    "object": np.array([1.0, 2.0], object),
    "<U1": np.array(["a", "b"]),
    "|S1": np.array([b"a", b"b"]),
    "datetime64": np.array(["2020-01-01", "2020-01-02"], "datetime64[D]"),
    "timedelta64": np.array([1, 2], "timedelta64[s]"),
    "complex64": np.ones(2, np.complex64),
    "complex128": np.ones(2, np.complex128),
    "V8": np.zeros(2, "V8"),
    r"\('a'": np.zeros(2, [("a", "f4"), ("b", "f4")]),
}
if np.dtype(np.longdouble) != np.float64:
    REFUSED[np.dtype(np.longdouble).name] = np.ones(2, np.longdouble)
if reference.ml_dtypes:
    for small in ("float8_e4m3fn", "float8_e5m2", "int4"):
        REFUSED[small] = np.ones(2, getattr(reference.ml_dtypes, small))


@pytest.mark.parametrize(("came", "value"), REFUSED.items(), ids=REFUSED.keys())
@every_name
def test_dtypes_are_refused_by_name(name, came, value):
    allowed = r"(?=.*float32|.*float64|.*floating|.*astype)"
    words = rf"(?s)^{allowed}(?=.*\b{name}\b).*({came}|structured|string|str|bytes|void)"
    for function in (nr.margin_ranking_loss, nr.margin_ranking_loss_and_grad):
        with pytest.raises(TypeError, match=words):
            call_with(name, value, function)


@pytest.mark.parametrize("value", [np.array([True, False]), [True, False], True, np.True_, np.array(True)], ids=repr)
def test_bool_target_says_how_to_mend_it(value):
    with pytest.raises(TypeError, match=r"(?s)target.*bool.*\+1.*-1.*2 \* target"):
        call_with("target", value)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64])
@pytest.mark.parametrize("shape", [(), (2,)], ids=str)
def test_unsigned_target_says_how_to_mend_it(dtype, shape):
    with pytest.raises(TypeError, match=f"(?s)target.*{np.dtype(dtype)}.*astype"):
        call_with("target", np.ones(shape, dtype))


@pytest.mark.parametrize("name", ["input1", "input2"])
def test_bool_scores(name):
    with pytest.raises(TypeError, match=f"(?s){name}.*bool"):
        call_with(name, np.array([True, False]))


@every_name
@pytest.mark.parametrize("dtype", [*FLOATS, *SIGNED_INTEGERS])
def test_every_allowed_dtype_is_taken(device, name, dtype):
    given = {key: put(np.ones(2), device) for key in NAMES} | {name: put(np.ones(2, dtype), device)}
    assert_same(nr.margin_ranking_loss(**given, margin=1, reduction="sum"), np.array(2.0))


def test_tensors_of_refused_dtypes(device):
    y = nr.tensor(np.array([True, False]), device=device)
    x = nr.ones(2, device=device)
    with pytest.raises(TypeError, match=r"(?s)target.*bool"):
        nr.margin_ranking_loss(x, x, y)


ADVICE = {
    "complex": (np.ones(2, complex), "{name}.real"),
    "text": (np.array(["a", "b"]), "turn the text into numbers"),
    "bytes": (np.array([b"a", b"b"]), "turn the text into numbers"),
    "dates": (np.array([1, 2], "M8[s]"), "subtract a date"),
    "time spans": (np.array([1, 2], "m8[s]"), "a unit of time"),
    "records": (np.ones(2, "f4,f4"), "one of its fields"),
    "objects": (np.ones(2, object), "numpy.asarray({name}, float)"),
}


@every_name
@pytest.mark.parametrize(("value", "advice"), ADVICE.values(), ids=ADVICE.keys())
def test_advice_fits_the_dtype(name, value, advice):
    with pytest.raises(TypeError) as error:
        call_with(name, value)
    assert advice.format(name=name) in str(error.value)
    assert ("astype(float)" in str(error.value)) is False


def test_advice_about_small_floats_is_to_convert_them():
    if reference.ml_dtypes is None:
        pytest.skip("ml_dtypes is not installed")
    with pytest.raises(TypeError, match=r"numpy\.asarray\(input1, float\)"):
        call_with("input1", np.ones(2, reference.ml_dtypes.float8_e5m2))


# ---------------------------------------------------------------- arrays in odd layouts


class Sub(np.ndarray):
    def __array_finalize__(self, parent):
        self.unit = "m"


def field_of_records(a):
    records = np.zeros(a.shape, [("flag", "i1"), ("value", a.dtype)])
    records["value"] = a
    return records["value"]


def turned(a):
    backwards = (slice(None, None, -1),) * a.ndim
    return a[backwards].copy()[backwards]


ODD = {
    "subclass": lambda a: a.view(Sub),
    "records": lambda a: a.view(np.recarray),
    "field of records": field_of_records,
    "every axis backwards": turned,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "dtype with metadata": lambda a: a.astype(np.dtype(a.dtype, metadata={"unit": "m"})),
    "big-endian backwards": lambda a: turned(a.astype(a.dtype.newbyteorder(">"))),
}


@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (3, 0)], ids=str)
@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
@every_name
def test_odd_layouts_give_the_same(cpu, name, odd, shape):
    rng = np.random.default_rng(1)
    arrays = {key: np.asarray(rng.integers(-3, 4, shape) * 1.0) for key in NAMES}
    given = arrays | {name: odd(arrays[name])}
    for reduction in REDUCTIONS:
        loss, gradients = call_with(
            name,
            given[name],
            nr.margin_ranking_loss_and_grad,
            reduction=reduction,
            **{key: given[key] for key in NAMES if key != name},
        )
        assert_same(loss, reference.loss(*arrays.values(), 0.0, reduction))
        for gradient, expected in zip(gradients, reference.gradients(*arrays.values(), 0.0, reduction), strict=False):
            assert type(gradient) is np.ndarray
            assert_same(gradient, expected)


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
def test_odd_upstream_gradients_give_the_same(cpu, odd):
    x1, x2, upstream = np.zeros(4), np.ones(4), np.array([1.0, -2.0, 0.5, 0.0])
    _, (by_x1, _) = nr.margin_ranking_loss_and_grad(x1, x2, 1, reduction="none", gradient=odd(upstream))
    assert_same(by_x1, -upstream)


@pytest.mark.parametrize("dtype", [">i4", ">i8", ">i2"])
def test_big_endian_integer_targets(cpu, dtype):
    x1, x2 = np.array([1.0, 2.0]), np.array([3.0, 1.0])
    assert_same(nr.margin_ranking_loss(x1, x2, np.array([1, -1], dtype), reduction="none"), np.array([2.0, 1.0]))


def test_arrays_of_64_axes(cpu):
    x1, x2 = np.full((1,) * 63 + (3,), 1.0), np.full((1,) * 63 + (3,), 3.0)
    assert nr.margin_ranking_loss(x1, x2, 1) == 2
    with pytest.raises(ValueError, match="at most 32 axes"):
        nr.margin_ranking_loss(x1, x2[..., :1], 1)


@pytest.mark.parametrize("n", [2**20, 2**31, 2**40])
def test_broadcasts_that_no_memory_holds(cpu, n):
    rows, columns = np.broadcast_to(1.0, (n, 1)), np.broadcast_to(1.0, (1, n))
    with pytest.raises((ValueError, MemoryError)):
        nr.margin_ranking_loss(rows, columns, 1)


# ---------------------------------------------------------------- lists


@pytest.mark.parametrize("sequence", [list, tuple])
def test_lists_may_hold_arrays_and_numpys_numbers(cpu, sequence):
    values = sequence([np.array([1.0, 2.0]), [np.float64(3.0), 4]])
    loss = nr.margin_ranking_loss(values, [[3.0, 1.0], [4.0, 9.0]], [[1, 1], [1, 1]], reduction="none")
    assert_same(loss, np.array([[2.0, 0.0], [1.0, 5.0]]))


@every_name
@pytest.mark.parametrize("value", [None, "1", b"1", Duck([1.0]), nr.ones(1), {1.0}, range(2)], ids=shown)
def test_lists_hold_nothing_that_is_converted_behind_the_back(name, value):
    for holder in ([value], (1.0, value), [[1.0], [value]]):
        with pytest.raises(TypeError, match=f"{name} does not make an array: it holds a"):
            call_with(name, holder)


# ---------------------------------------------------------------- buffers


def buffers_that_overlap(n=8):
    """Pairs of a buffer and an input of n elements, and all the memory behind them."""
    for start in (-8, -7, -1, 0, 1, 4, 7, 8):
        memory = np.arange(5.0 * n)
        yield f"from {start}", memory[n + start :][:n], memory[n : 2 * n], memory, abs(start) < n
    memory = np.arange(5.0 * n)
    yield "every second", memory[n : 2 * n], memory[: 2 * n : 2], memory, True
    yield "backwards", memory[n : 2 * n], memory[2 * n - 1 : n - 1 : -1], memory, True
    yield "one element for all", memory[n : 2 * n], np.broadcast_to(memory[n + 3 : n + 4], (n,)), memory, True
    yield "its last byte", memory[n : 2 * n], memory.view("i1")[16 * n - 1 :][:n], memory, True
    yield "the byte behind it", memory[n : 2 * n], memory.view("i1")[16 * n :][:n], memory, False
    table = np.arange(4.0 * n).reshape(n, 4)
    yield "in the gaps", table[3, 2:].reshape(1, 2), table[:, :2], table, False


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("case", list(buffers_that_overlap()), ids=lambda case: case[0])
def test_overlap_goes_by_addresses(cpu, place, case):
    _, buffer, source, memory, overlaps = case
    x = [np.zeros(buffer.shape), np.zeros(buffer.shape)]
    other = np.full(buffer.shape, 7.0)
    before = memory.copy()
    out = (buffer, other) if place == 0 else (other, buffer)
    if overlaps:
        with pytest.raises(ValueError, match=rf"out\[{place}\] shares memory with target"):
            nr.margin_ranking_loss_and_grad(*x, source, out=out)
        assert_bits(memory, before)
        assert (other == 7).all()
    elif source.shape == buffer.shape:
        expected = source.copy()
        nr.margin_ranking_loss_and_grad(*x, source, reduction="sum", out=out)
        assert_same(out[0], -expected * 1.0)
        assert_same(out[1], expected * 1.0)
    else:
        nr.margin_ranking_loss_and_grad(*x, source, 1.0, reduction="sum", out=out)
        assert_same(out[0], -source.sum(axis=0, keepdims=True))


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(range(3), 2)))
def test_buffers_that_overlap_each_other(cpu, first, second):
    memory = np.full(24, 7.0)
    out = [np.full(4, 7.0) for _ in range(3)]
    out[first], out[second] = memory[4:8], memory[7:11]
    x = np.zeros(4)
    low, high = sorted((first, second))
    with pytest.raises(ValueError, match=rf"out\[{high}\] shares memory with out\[{low}\]"):
        nr.margin_ranking_loss_and_grad(x, x, x, out=out, target_grad=True)
    assert (memory == 7).all() and all((buffer == 7).all() for buffer in out)


UNFIT = {
    "memory map": lambda path: (np.memmap(path, np.float64, "w+", shape=4), TypeError),
    "subclass": lambda path: (np.full(4, 7.0).view(Sub), TypeError),
    "masked": lambda path: (np.ma.masked_array(np.full(4, 7.0)), TypeError),
    "list": lambda path: ([7.0] * 4, TypeError),
    "0-d": lambda path: (np.array(7.0), ValueError),
    "scalar": lambda path: (np.float64(7), TypeError),
    "row": lambda path: (np.full((1, 4), 7.0), ValueError),
    "big-endian": lambda path: (np.full(4, 7.0).astype(">f8"), TypeError),
    "strided": lambda path: (np.full(8, 7.0)[::2], ValueError),
    "backwards": lambda path: (np.full(4, 7.0)[::-1], ValueError),
    "one element for all": lambda path: (np.broadcast_to(np.array([7.0]), 4), ValueError),
    "read-only": lambda path: (np.frombuffer(np.full(4, 7.0).tobytes()), ValueError),
    "unaligned": lambda path: (np.full(33, 7, np.int8)[1:].view(np.float64), ValueError),
}


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("make", UNFIT.values(), ids=UNFIT.keys())
def test_unfit_buffers_are_left_as_they_are(cpu, make, place, tmp_path):
    buffer, error = make(tmp_path / "memory")
    before, other, x = np.array(buffer, copy=True), np.full(4, 7.0), np.zeros(4)
    with pytest.raises(error, match=rf"out\[{place}\]"):
        nr.margin_ranking_loss_and_grad(x, x, 1, out=(buffer, other) if place == 0 else (other, buffer))
    assert np.asarray(buffer).tobytes() == before.tobytes()
    assert (other == 7).all()


def test_errors_found_last_leave_the_buffers_alone(cpu):
    x, out = np.zeros(4), (np.full(4, 7.0), np.full(4, 7.0))
    for options in ({"gradient": np.ones(3)}, {"gradient": np.ones(4, bool)}, {"reduction": "avg"}, {"margin": "1"}):
        with pytest.raises((TypeError, ValueError), match=next(iter(options))):
            nr.margin_ranking_loss_and_grad(x, x, x, out=out, **({"reduction": "none"} | options))
    assert (out[0] == 7).all() and (out[1] == 7).all()


# ---------------------------------------------------------------- Tensors


@needs_bfloat16
@pytest.mark.parametrize(
    ("a", "b", "common"),
    [
        ("float16", "bfloat16", "float32"),
        ("bfloat16", "float16", "float32"),
        ("bfloat16", "float32", "float32"),
        ("float64", "bfloat16", "float64"),
        ("bfloat16", "int8", "float64"),
        ("int64", "bfloat16", "float64"),
        ("bfloat16", "bfloat16", "bfloat16"),
    ],
)
def test_tensors_promote_as_losses_do(device, a, b, common):
    a, b, common = (np.dtype(reference.BFLOAT16 if name == "bfloat16" else name) for name in (a, b, common))
    x = nr.tensor(np.array([2, 3], a), device=device, requires_grad=a.kind != "i")
    y = nr.tensor(np.array([5, 7], b), device=device, requires_grad=b.kind != "i")
    assert_same((x + y).detach(), np.array([7, 10], common))
    assert_same((x - y).detach(), np.array([-3, -4], common))
    product = x * y
    assert_same(product.detach(), np.array([10, 21], common))
    product.backward(put(np.ones(2), device))
    if x.requires_grad:
        assert_same(x.grad, np.array([5, 7], a))
    if y.requires_grad:
        assert_same(y.grad, np.array([2, 3], b))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("number", [3, 2.0, -0.5, np.float32(3), np.int64(7), float("inf")], ids=repr)
def test_tensors_divided_by_numbers(device, dtype, number):
    values = np.array([1, -2, 5], dtype)
    x = nr.tensor(values, device=device, requires_grad=True)
    compute = reference.compute_dtype(dtype)
    quotient = (values.astype(compute) / np.asarray(number).astype(dtype).astype(compute)).astype(dtype)
    assert_same((x / number).detach(), quotient)
    (x / number).backward(put(np.ones(3), device))
    slope = (np.ones(3, compute) / np.asarray(number).astype(dtype).astype(compute)).astype(dtype)
    assert_same(x.grad, slope)


def test_a_tensor_divided_by_0_is_silent(device):
    x = nr.tensor([1.0, 0.0, -1.0], device=device, requires_grad=True)
    assert_same((x / 0).detach(), np.array([np.inf, np.nan, -np.inf]))


def test_integers_divide_as_numpys_do(device):
    assert_same(nr.tensor([1, 2, 3], device=device) / 2, np.array([0.5, 1.0, 1.5]))


def test_a_tensor_is_divided_by_numbers_only(device):
    x = nr.ones(2, device=device)
    with pytest.raises(TypeError, match="by numbers only"):
        x / x
    with pytest.raises(TypeError):
        1 / x


# ---------------------------------------------------------------- margin, reduction, gradient


NOT_REAL = ["1", None, 1j, ["1"], (True, False), np.array(["1", "2"]), np.array([True]), object(), np.complex128(1)]


@pytest.mark.parametrize("margin", NOT_REAL, ids=lambda value: type(value).__name__)
def test_margin_must_be_a_real_number_or_an_array_of_such(device, margin):
    x = put(np.ones(2), device)
    for wrong in (
        lambda: nr.margin_ranking_loss(x, x, x, margin),
        lambda: nr.margin_ranking_loss_and_grad(x, x, x, margin),
        lambda: nr.MarginRankingLoss(margin),
    ):
        with pytest.raises(TypeError, match=r"(?s)margin.*number"):
            wrong()


@pytest.mark.parametrize("margin", [1, 1.0, np.float32(1), np.int8(1), np.float16(1)], ids=repr)
def test_margin_may_be_any_real_number(device, margin):
    x = put(np.ones(2, np.float32), device)
    assert_same(nr.margin_ranking_loss(x, x, x, margin), np.array(1, np.float32))
    assert_same(nr.MarginRankingLoss(margin)(x, x, x), np.array(1, np.float32))


@pytest.mark.parametrize("gradient", ["1", 1j, object(), np.array(["a", "b"])], ids=lambda g: type(g).__name__)
@pytest.mark.parametrize("reduction", ["none", "sum"])
def test_gradient_must_be_real(device, gradient, reduction):
    x = put(np.ones(2), device)
    with pytest.raises(TypeError, match="gradient"):
        nr.margin_ranking_loss_and_grad(x, x, x, reduction=reduction, gradient=gradient)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_gradient_of_a_reduced_loss_is_one_number(device, reduction):
    x = put(np.ones(2), device)
    with pytest.raises((ValueError, TypeError), match="gradient"):
        nr.margin_ranking_loss_and_grad(x, x, x, reduction=reduction, gradient=put(np.ones(2), device))


def test_reductions_are_listed():
    with pytest.raises(ValueError, match=r"(?s)reduction.*'avg'|'avg'.*reduction") as error:
        call_with("target", 1, reduction="avg")
    for word in ("none", "mean", "sum"):
        assert f"'{word}'" in str(error.value)


class EqualToAll:
    def __eq__(self, other):
        return True

    def __hash__(self):
        return hash("mean")


@pytest.mark.parametrize(
    "wrong", [np.array("mean"), np.array(["mean", "sum"]), b"mean", ["mean"], EqualToAll()], ids=shown
)
def test_what_only_equals_a_reduction_is_none(wrong):
    for call in (nr.margin_ranking_loss, nr.margin_ranking_loss_and_grad):
        with pytest.raises(ValueError, match="reduction is a"):
            call_with("target", 1.0, call, reduction=wrong)
    with pytest.raises(ValueError, match="reduction is a"):
        nr.MarginRankingLoss(reduction=wrong)


def test_numpys_strings_name_a_reduction():
    assert call_with("input2", np.array([3.0, 1.0]), reduction=np.str_("sum")) == 2


# ---------------------------------------------------------------- two devices


@every_name
def test_inputs_on_two_devices(cuda, name):
    with pytest.raises((ValueError, TypeError), match=r"(?s)(?=.*cpu)(?=.*cuda)") as error:
        call_with(name, put(np.ones(2), cuda))
    for word in NAMES:
        assert word in str(error.value)


@every_name
def test_tensors_on_two_devices(cuda, name):
    given = {key: nr.ones(2, device=cuda) for key in NAMES} | {name: nr.ones(2)}
    with pytest.raises((ValueError, TypeError), match=r"(?s)(?=.*cpu)(?=.*cuda)"):
        nr.margin_ranking_loss(**given)


@pytest.mark.parametrize("target", [1, 1.0, np.float32(1), np.int64(1)], ids=repr)
def test_numbers_belong_to_every_device(cuda, target):
    x1, x2 = put(np.ones(2), cuda), put(np.full(2, 3.0), cuda)
    assert_same(nr.margin_ranking_loss(x1, x2, target), np.array(2.0))


# ---------------------------------------------------------------- shapes


@pytest.mark.parametrize("shape", [(5, 3), (3, 3)], ids=str)
def test_target_of_one_dimension_beside_inputs_of_two(device, shape):
    x = put(np.ones(shape), device)
    with pytest.raises(ValueError) as error:
        nr.margin_ranking_loss(x, x, put(np.ones(shape[0]), device))
    text = str(error.value)
    assert text.count(str(shape)) >= 2
    assert f"({shape[0]},)" in text
    assert "target[:, None]" in text or "reshape" in text


@pytest.mark.parametrize(("length", "advice"), [(4, (4, 1)), (3, (1, 3)), (12, (4, 3)), (1, (1, 1))], ids=str)
def test_advice_reshapes_to_what_fits(length, advice):
    x = np.ones((4, 3))
    with pytest.raises(ValueError) as error:
        nr.margin_ranking_loss(x, x, np.ones(length))
    assert str(error.value).endswith(f"reshape target with target.reshape({advice})")
    assert nr.margin_ranking_loss(x, x, np.ones(length).reshape(advice), 1.0) == 1


def test_each_input_keeps_its_own_name_in_a_shape_error(device):
    x1, x2, y = (put(np.ones(n), device) for n in (2, 3, 4))
    with pytest.raises(ValueError, match=r"(?s)input1.*\(2,\).*input2.*\(3,\).*target.*\(4,\)"):
        nr.margin_ranking_loss(x1, x2, y)


# ---------------------------------------------------------------- calling


def test_torch_argument_names_and_order():
    x1, x2 = np.array([1.0]), np.array([3.0])
    by_place = nr.margin_ranking_loss(x1, x2, 1, 0.5, None, None, "sum")
    by_name = nr.margin_ranking_loss(input1=x1, input2=x2, target=1, margin=0.5, reduction="sum")
    assert by_place == by_name == 2.5
    assert nr.MarginRankingLoss(0.5, None, None, "sum")(x1, x2, 1) == 2.5


def test_later_arguments_of_the_and_grad_function_go_by_name():
    x = np.ones(2)
    with pytest.raises(TypeError):
        nr.margin_ranking_loss_and_grad(x, x, x, 0.0, "sum", 2.0)


def test_lists_are_not_changed():
    values = [1.0, 2.0]
    loss, _ = nr.margin_ranking_loss_and_grad(values, [3.0, 1.0], [1, -1], reduction="sum")
    assert loss == 2 + 1
    assert values == [1.0, 2.0]
