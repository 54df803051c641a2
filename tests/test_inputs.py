"""Every refused argument: the error names the argument, what came and what would do."""

import decimal
import fractions

import numpy as np
import pytest
import reference
from helpers import FLOATS, SIGNED_INTEGERS, assert_same, put

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


class DlpackDuck(Duck):
    """Like the CPU tensors of torch and the arrays of JAX."""

    def __dlpack__(self, **options):
        return self._values.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._values.__dlpack_device__()


class InterfaceDuck(Duck):
    @property
    def __array_interface__(self):
        return self._values.__array_interface__


# ---------------------------------------------------------------- kinds of object


@every_name
@pytest.mark.parametrize("duck", [Duck, DlpackDuck, InterfaceDuck])
@pytest.mark.parametrize("module", ["jaxlib._jax", "torch", "dask.array.core", "somewhere"])
def test_duck_arrays_are_refused_by_name(name, duck, module):
    kind = type("Array", (duck,), {"__module__": module})
    with pytest.raises(TypeError, match=f"(?s){name}.*Array"):
        call_with(name, kind([1.0, 1.0]))


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


@pytest.mark.parametrize("function", [nr.margin_ranking_loss, nr.margin_ranking_loss_and_grad])
@pytest.mark.parametrize(("came", "value"), REFUSED.items(), ids=REFUSED.keys())
@every_name
def test_dtypes_are_refused_by_name(name, came, value, function):
    allowed = r"(?=.*float32|.*float64|.*floating|.*astype)"
    with pytest.raises(TypeError, match=rf"(?s)^{allowed}(?=.*\b{name}\b).*({came}|structured|string|str|bytes|void)"):
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


# ---------------------------------------------------------------- margin, reduction, gradient


NOT_REAL = ["1", None, 1j, [1.0], (1.0, 2.0), np.array([1.0, 2.0]), np.array([1.0]), object(), np.complex128(1)]


@pytest.mark.parametrize("margin", NOT_REAL, ids=lambda value: type(value).__name__)
def test_margin_must_be_a_real_number(device, margin):
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
