"""Ten thousand random calls of every public function, valid and invalid.

A valid call gives the oracle's answer. An invalid one raises an error of a documented class that names an argument at
fault, and writes nothing. Warnings are errors. The calls are numbered: each can be repeated alone.
"""

import decimal
import math
import warnings

import numpy as np
import pytest
import reference
from helpers import assert_gradient, assert_within, host, in_ci

import numbarank as nr

CALLS, GROUPS = 10_000, 20
DOCUMENTED = (TypeError, ValueError, BufferError)
NAMES = ("input1", "input2", "target")
F8, F4 = np.dtype("float64"), np.dtype("float32")
HALVES = [dtype for dtype in (reference.FLOAT16, reference.BFLOAT16) if dtype]
# each combination of dtypes and options is compiled once: these keep their number to a few dozen
DTYPES = [
    *[(F8, F8, target) for target in (F8, np.dtype("int8"), None)],
    *[(F4, F8, F8), (np.dtype("int32"), F8, F8), (np.dtype("uint8"), F4, None), (np.dtype(">f8"), F8, F8)],
    *[(F4, F4, target) for target in (F4, None)],
    *[(F4, half, F4) for half in HALVES],
    *[(half, half, half) for half in HALVES],
]
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, math.nan, math.inf, -math.inf, 1e-45, 5e-324, 1e38, -3e38, 1.7e308]
MODERATE = [0.0, -0.0, 1.0, -1.0, 0.5, math.nan, math.inf, 1e-45]


# ---------------------------------------------------------------- what is wrong


class Raising:
    def __getattr__(self, name):
        raise ZeroDivisionError(name)

    def __float__(self):
        raise ZeroDivisionError

    def __bool__(self):
        raise ZeroDivisionError

    def __repr__(self):
        raise ZeroDivisionError


WRONG_ARRAYS = [
    lambda a: None,
    lambda a: "text",
    lambda a: b"1",
    lambda a: object(),
    lambda a: Raising(),
    lambda a: {1.0},
    lambda a: len,
    lambda a: np.ndarray,
    lambda a: 10**400,
    lambda a: decimal.Decimal(1),
    lambda a: memoryview(np.ones(3)),
    lambda a: [[1.0, 2.0], [3.0]],
    lambda a: [None, 1.0],
    lambda a: ["1.0"],
    lambda a: [np.ma.masked, 1.0],
    lambda a: [Raising()],
    lambda a: [nr.ones(1, requires_grad=True)],
    lambda a: np.ma.masked_array(a, np.ones(a.shape, bool)),
    lambda a: [np.ma.masked_array(a, False)],
    lambda a: np.ma.masked,
    lambda a: np.ones(a.shape, bool),
    lambda a: np.ones(a.shape, np.complex64),
    lambda a: np.ones(a.shape, object),
    lambda a: np.ones(a.shape, "f4,f4"),
    lambda a: np.ones(a.shape, "datetime64[s]"),
    lambda a: np.ones(a.shape, np.longdouble) if np.longdouble != np.float64 else None,
    lambda a: np.full(a.shape, "1"),
]
WRONG_TARGETS = [*WRONG_ARRAYS, lambda a: np.ones(a.shape, np.uint8), lambda a: np.ones(a.shape, np.uint64), True]
WRONG_NUMBERS = [
    "1",
    None,
    1j,
    [True],
    np.ones(1, bool),
    np.array("1"),
    np.timedelta64(1, "s"),
    b"1",
    True,
    10**400,
    Raising(),
]
WRONG_WEIGHTS = ["1", True, 1j, -1.0, math.nan, [-0.5], np.ones(1, bool), np.ma.masked_array([1.0]), Raising()]
WRONG_REDUCTIONS = ["avg", "", None, 1, b"mean", ["mean"], np.array("mean"), np.array(["mean", "sum"]), Raising()]
WRONG_BUFFERS = {
    "too few": lambda out, memory: out[:1],
    "too many": lambda out, memory: [*out, *out, *out],
    "no list": lambda out, memory: out[0],
    "None among them": lambda out, memory: [None, *out[1:]],
    "the same twice": lambda out, memory: [np.zeros(1)] * len(out) if out[0].shape != (1,) else [out[0]] * len(out),
    "another dtype": lambda out, memory: [out[0].astype(np.int64), *out[1:]],
    "another shape": lambda out, memory: [np.zeros((*out[0].shape, 2), out[0].dtype), *out[1:]],
    "read-only": lambda out, memory: [_read_only(out[0]), *out[1:]],
    "strided": lambda out, memory: [_strided(np.zeros((*out[0].shape, 2), out[0].dtype)), *out[1:]],
    "masked": lambda out, memory: [np.ma.masked_array(out[0]), *out[1:]],
    "an input": lambda out, memory: [memory if memory.dtype == F8 else _read_only(out[0]), *out[1:]],
}


def _read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def _strided(array):
    array.flags.writeable = array.size > 2  # one element or none is contiguous, whatever its strides
    return array[..., 0]


# ---------------------------------------------------------------- what is right, in all its forms


def _unaligned(a):
    memory = np.empty(a.nbytes + 1, np.uint8)
    shifted = memory[1:].view(a.dtype).reshape(a.shape)
    shifted[...] = a
    return shifted


def _reversed(a):
    turned = (slice(None, None, -1),) * a.ndim
    return a[turned].copy()[turned]


FORMS = {
    "as it is": lambda a: a,
    "list": lambda a: a.tolist() if a.dtype == F8 and a.size and a.ndim else a,
    "tuple of arrays": lambda a: tuple(a) if a.dtype == F8 and a.ndim > 1 and a.size else a,
    "read-only": _read_only,
    "reversed": _reversed,
    "columns first": lambda a: np.asarray(a, order="F"),
    "unaligned": _unaligned,
    "subclass": lambda a: a.view(np.matrix) if a.ndim == 2 else a.view(np.recarray),
    "Tensor": nr.Tensor,
}


class Case:
    """One call: its arguments, what they mean, and the names of those at fault."""

    def __init__(self, number):
        self.rng = np.random.default_rng([4, number])
        self.faults = set()
        self.dtypes = self._one_of(DTYPES)
        self.is_half = self.dtypes[0] in HALVES
        self.is_double = F8 in map(reference.native, filter(None, self.dtypes)) or self.dtypes[0].kind in "iu"
        self.style = self._one_of(["loss", "module", "and_grad"] + ["backward"] * self.is_double)
        self.reduction = self._one_of(["sum", "mean"] + ["none"] * (not self.is_half or self.style != "and_grad"))
        self.margin = self._one_of([0.0, 1, 0.1, -1.0, np.float32(0.5), np.array(0.25), math.nan, math.inf, 1e300])
        self.legacy = {}
        if self.style in ("loss", "module") and self._is(0.1):
            self.legacy = {name: self._one_of([None, True, False]) for name in ("size_average", "reduce")}
        self.shapes, self.output = self._draw_shapes()
        self.is_broadcast = len({*self.shapes[:2], self.output}) > 1 or self.shapes[2] not in ((), self.output)
        self.plain = [self._draw_array(i) for i in range(3)]
        self.given = {name: self._draw_form(a) for name, a in zip(NAMES, self.plain, strict=True)}
        self.weights = self._draw_weights() if self.dtypes[:2] == (F8, F8) and self._is(0.3) else None
        self.target_grad = not self.is_double or self._is(0.5)
        self.gradient, self.out = self._draw_gradient(), None
        if self.style == "and_grad" and self._is(0.3):
            like = self.plain[: 2 + self.target_grad]
            self.out = [np.full(np.shape(a), 7, reference.gradient_dtype(a)) for a in like]
        if self._is(0.35):
            self._spoil()

    def _is(self, probability):
        return self.rng.random() < probability

    def _one_of(self, values):
        return values[self.rng.integers(len(values))]

    def _draw_shapes(self):
        ndim = int(self._one_of([0, 1, 1, 1, 2, 2, 3]))
        lengths = [1, 2, 3, 5] if self._is(0.9) else [1, 2, 3, 0]
        output = tuple(int(n) for n in self.rng.permutation(lengths)[:ndim])
        shapes = [output] * 3
        if self._is(0.3) and not self.is_half:
            shapes = [tuple(1 if self._is(0.3) else n for n in output) for _ in range(3)]
        if self.dtypes[2] is None:
            shapes[2] = ()
        return shapes, np.broadcast_shapes(*shapes)

    def _draw_array(self, i):
        dtype, shape = self.dtypes[i], self.shapes[i]
        if dtype is None:
            return self._one_of([1, -1, 1.0, 0.5, np.array(-1.0), np.array(1, np.int32)])
        if dtype.kind in "iu":
            return self.rng.integers(-3 if dtype.kind == "i" else 0, 4, shape).astype(dtype)
        values = self.rng.standard_normal(shape)
        special = np.array(MODERATE if self.is_broadcast else SPECIAL)
        values = np.where(self.rng.random(shape) < self._one_of([0, 0.3]), self.rng.choice(special, shape), values)
        if i == 2 and self._is(0.7):
            values = self.rng.choice([1.0, -1.0], shape)
        with np.errstate(all="ignore"):
            return np.asarray(values).astype(dtype)

    def _draw_weights(self):
        shape = tuple(1 if self._is(0.2) else n for n in self.output)
        return self.rng.choice([0.0, 0.5, 1.0, 3.0], shape if self.output else ())

    def _draw_form(self, a):
        if not isinstance(a, np.ndarray):
            return a
        if a.shape == () and a.dtype == F8 and self._is(0.2):
            return a[()]
        return FORMS[self._one_of(list(FORMS))](a) if self._is(0.6) else a

    def _draw_gradient(self):
        if self._is(0.4) or self.style in ("loss", "module"):
            is_missing = self.style == "backward" and self.reduction == "none" and self.output
            return None if not is_missing else np.ones(self.output)
        number = self._one_of([2, 0.5, -1.0, 0.0, math.nan, math.inf, 5e-324, np.float32(3), np.array(1.5)])
        if self.reduction != "none" or (self.style == "and_grad" and self._is(0.3)):
            return number
        values = self.rng.standard_normal(self.output)
        values[self.rng.random(self.output) < 0.1] = self._one_of([math.nan, 0.0, math.inf])
        return values

    def _spoil(self):
        name = self._one_of(
            ["input1", "input2", "target", "shapes", "margin", "reduction", "gradient", "out", "weights"]
        )
        if name in NAMES:
            self.faults.add(name)
            wrong = self._one_of(WRONG_TARGETS if name == "target" else WRONG_ARRAYS)
            self.given[name] = wrong(np.ones(self.output)) if callable(wrong) else wrong
        elif name == "shapes" and self.output:
            self.faults |= set(NAMES)
            other = self._one_of([(*self.output, 1), (*self.output[:-1], 7), self.output[:-1]])
            if other == () and self._is(0.5):
                other = (7, 7)
            self.given["input1"] = np.ones(other)
            if other[len(self.output) - 1 :] == (7,):  # a length that the others stretch to is no fault
                self.given["input2"] = np.ones((*self.output[:-1], 6))
        elif name == "margin":
            self.faults.add(name)
            self.margin = self._one_of(WRONG_NUMBERS)
        elif name == "reduction" and self._is(0.2) and self.style in ("loss", "module"):
            self.faults.add("reduce")
            self.legacy = {"reduce": Raising()}
        elif name == "reduction" and self._legacy_reduction() is None:
            self.faults.add(name)
            self.reduction = self._one_of(WRONG_REDUCTIONS)
        elif name == "gradient" and self.style in ("and_grad", "backward"):
            self.faults.add(name)
            wrong = ["1", 1j, Raising(), np.ones((*self.output, 7)), np.ma.masked_array(np.ones(self.output)), True]
            self.gradient = self._one_of(wrong)
        elif name == "weights" and self.output and math.prod(self.output):
            self.faults.add(name)
            self.weights = self._one_of(WRONG_WEIGHTS)
        elif name == "out" and self.out is not None:
            self.faults.add(name)
            memory = self.given["input1"]
            memory = memory if type(memory) is np.ndarray else np.zeros(1, np.int8)
            self.out = WRONG_BUFFERS[self._one_of(list(WRONG_BUFFERS))](self.out, memory)

    def _legacy_reduction(self):
        return reference.LEGACY[self.legacy.get("size_average"), self.legacy.get("reduce")]

    def run(self):
        """Call the function; return the loss and the gradients that it gives, each None where it gives none."""
        values = list(self.given.values())
        if self.style == "loss":
            settings = {**self.legacy, "reduction": self.reduction, "weights": self.weights}
            return nr.margin_ranking_loss(*values, self.margin, **settings), [None] * 3
        if self.style == "module":
            criterion = nr.MarginRankingLoss(self.margin, **self.legacy, reduction=self.reduction)
            return criterion(*values, weights=self.weights), [None] * 3
        if self.style == "and_grad":
            options = {"gradient": self.gradient, "out": self.out, "target_grad": self.target_grad}
            options["weights"] = self.weights
            loss, gradients = nr.margin_ranking_loss_and_grad(*values, self.margin, self.reduction, **options)
            assert self.out is None or all(map(_is_buffer, gradients, self.out))
            return loss, [*gradients, None][:3]
        tensors = [nr.tensor(value) for value in values[:2]]
        tensors += [nr.tensor(values[2]) if self.target_grad and isinstance(values[2], np.ndarray) else values[2]]
        for tensor, value in zip(tensors, self.plain, strict=True):
            if isinstance(tensor, nr.Tensor) and reference.native(np.asarray(value).dtype) in reference.FLOATS:
                tensor.requires_grad = True
        loss = nr.margin_ranking_loss(*tensors, self.margin, reduction=self.reduction, weights=self.weights)
        loss.backward(self.gradient)
        return loss, [tensor.grad if isinstance(tensor, nr.Tensor) else None for tensor in tensors]

    def memories(self):
        """The bytes of all arrays that a call may not write to; a wrong weight is found while results are written."""
        arrays = [*self.given.values(), self.gradient, self.weights]
        if self.faults - {"weights"} and isinstance(self.out, list | tuple):
            arrays += self.out
        return [np.asarray(a).tobytes() for a in arrays if isinstance(a, np.ndarray)]

    def check(self, loss, gradients):
        """Compare with the oracle."""
        x1, x2, y = self.plain
        reduction = self._legacy_reduction() or self.reduction
        expected = reference.loss(x1, x2, y, self.margin, reduction, self.weights)
        assert_within(loss, expected, 0 if reduction == "none" else 1)
        upstream = 1.0 if self.gradient is None else self.gradient
        slopes = reference.slopes(x1, x2, y, self.margin, self.reduction, upstream, self.weights)
        for gradient, full, like in zip(gradients, slopes, self.plain, strict=True):
            if gradient is not None and self.reduction == "mean" and np.shape(like) != full.shape:
                _assert_near(gradient, full, like)
            elif gradient is not None:
                assert_gradient(gradient, full, like, 2 if self.reduction == "mean" else 0)


def _is_buffer(gradient, buffer):
    return gradient is buffer or gradient.data is buffer


def _assert_near(gradient, full, like):
    """A mean's slopes may be off by 2 ulp each before they are added up."""
    gradient, shape = host(gradient), np.shape(like)
    expected = reference.summed_to(full, shape, reference.gradient_dtype(like))
    assert (gradient.shape, gradient.dtype) == (expected.shape, expected.dtype)
    with np.errstate(all="ignore"):
        slack = 4 * np.finfo(full.dtype).eps * reference.summed_to(np.abs(full), shape, F8)
        error = np.abs(gradient.astype(F8) - expected.astype(F8))
        assert (~(error > slack) | (gradient == expected)).all()
        assert (np.isnan(gradient) == np.isnan(expected)).all()


def run_case(number):
    """Run one call; return whether it was valid."""
    case = Case(number)
    before = case.memories()
    try:
        loss, gradients = case.run()
    except DOCUMENTED as error:
        assert case.faults, f"a valid call is refused: {error}"
        named = case.faults | ({"data"} if case.style == "backward" else set())
        assert any(name in str(error) for name in named), f"{case.faults} are at fault, not named: {error}"
        return False
    finally:
        assert case.memories() == before, "an array was written to"
    assert not case.faults, f"{case.faults} are at fault, and no error is raised"
    with np.errstate(all="ignore"):
        case.check(loss, gradients)
    return True


@pytest.mark.parametrize("group", [0, *in_ci(range(1, GROUPS))])
def test_random_calls(cpu, group):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "size_average and reduce are legacy", UserWarning)
        valid = 0
        for number in range(group * CALLS // GROUPS, (group + 1) * CALLS // GROUPS):
            try:
                valid += run_case(number)
            except BaseException as error:
                error.add_note(f"repeat it with run_case({number})") if hasattr(error, "add_note") else None
                raise
    assert 0.6 < valid / (CALLS // GROUPS) < 0.9, "too few of one kind"
