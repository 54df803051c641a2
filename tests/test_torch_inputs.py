"""numbarank.torch with numbers, lists and what is no tensor: what becomes a tensor, and errors whose advice runs."""

import functools
import re

import numpy as np
import pytest
from helpers import imported, needs_bfloat16

import numbarank as nr

torch = imported("torch")

import numbarank.torch as nr_torch  # noqa: E402

pytestmark = pytest.mark.usefixtures("cpu")

HALF_TYPES = [torch.float16, pytest.param(torch.bfloat16, marks=needs_bfloat16)]
every_dtype = pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *HALF_TYPES], ids=str)
PAIRS = {"input1": torch.tensor([2.0, 1.5, 3.0]), "input2": torch.tensor([1.0, 2.0, 1.0])}
PAIRS |= {"target": torch.tensor([1.0, -1.0, 1.0]), "margin": 1.0}
LISTS = {"scores": torch.tensor([2.0, 1.5, 0.0]), "labels": torch.tensor([1, 2, 0])}
ROWS = {name: tensor[None] for name, tensor in LISTS.items()} | {"where": torch.tensor([[True, True, False]])}
TABLE = {"queries": torch.eye(2), "items": torch.tensor([[2.0, 0.0], [1.5, 1.0], [0.0, 3.0], [0.5, 1.5]])}
TABLE |= {"positives": ([0, 1], [0, 2])}

margin_ranking = nr_torch.margin_ranking_loss
pairwise_hinge = nr_torch.pairwise_hinge_loss
retrieval_hinge = nr_torch.retrieval_hinge_loss


def leaf(*values, dtype=torch.float32):
    return torch.tensor(values, dtype=dtype, requires_grad=True)


def through_operators(function):
    """The function where torch shows what is called, so that calls go through the dispatcher."""

    def call(*arguments, **keywords):
        with torch.overrides.BaseTorchFunctionMode():
            return function(*arguments, **keywords)

    return call


def compiled(function):
    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True, backend="aot_eager")


every_way = pytest.mark.parametrize(
    "way",
    [pytest.param(lambda f: f, id="eager"), pytest.param(through_operators, id="operators"), compiled],
)


# ---------------------------------------------------------------- numbers and lists


def test_the_first_lines_of_the_readme_with_tensors():
    liked, other = torch.tensor([2.0, 1.5, 3.0]), torch.tensor([1.0, 2.0, 1.0], requires_grad=True)
    losses = margin_ranking(liked, other, 1, margin=1.0, reduction="none")
    assert losses.tolist() == [0.0, 1.5, 0.0]
    losses.sum().backward()
    assert other.grad.tolist() == [1.0, 1.0, 0.0]


TARGETS = [(1, 0.5, [-1, -1, 0]), (-1.0, 11 / 6, [1, 1, 1]), ([1, -1, 1], 1 / 6, [-1, 1, 0])]
TARGETS += [((1.0, 1.0, -1.0), 1.5, [-1, -1, 1])]


@every_dtype
@every_way
@pytest.mark.parametrize(("target", "loss", "slopes"), TARGETS, ids=str)
def test_targets_that_are_no_tensors(target, loss, slopes, way, dtype):
    """Their dtype does not promote the loss's."""
    x1, x2 = leaf(2.0, 1.5, 3.0, dtype=dtype), torch.tensor([1.0, 2.0, 1.0], dtype=dtype)
    value = way(lambda x1: margin_ranking(x1, x2, target, 1.0))(x1)
    value.backward()
    assert (value.dtype, x1.grad.dtype) == (dtype, dtype)
    assert value.item() == pytest.approx(loss, rel=4 * torch.finfo(dtype).eps)
    assert [round(3 * slope) for slope in x1.grad.tolist()] == slopes


@every_way
def test_numbers_and_lists_as_margin_and_weights(way):
    x1, x2 = leaf(2.0, 1.5, 3.0), PAIRS["input2"]
    loss = way(lambda x1: margin_ranking(x1, x2, 1, [2, 0.5, 9], weights=[1.0, 3, 0]))(x1)
    loss.backward()
    assert (loss.item(), loss.dtype) == (1.0, torch.float32)
    assert x1.grad.tolist() == [-0.25, -0.75, 0.0]
    once = way(lambda x1: margin_ranking(x1, x2, [1, 1, 1], 1, reduction="sum", weights=2))(x1)
    assert once.item() == 3.0


@every_way
def test_lists_as_labels_weights_and_mask(way):
    scores = leaf(2.0, 1.5, 0.0)
    loss = way(lambda scores: pairwise_hinge(scores, [1, 2, 0], weights=[1.0, 2, 0.5], reduction="sum"))(scores)
    loss.backward()
    assert (loss.item(), loss.dtype) == (3.0, torch.float32)
    assert scores.grad.tolist() == [2.0, -2.0, 0.0]
    masked = way(lambda scores: pairwise_hinge(scores[None], [[1, 2, 0]], where=[[False, True, True]]))(scores)
    assert masked.item() == 0.0


def test_labels_of_lists_keep_what_a_half_type_would_lose():
    scores = torch.tensor([0.0, 0.0], dtype=torch.float16)
    assert pairwise_hinge(scores, [1.0, 1.00001], reduction="sum").item() == 1.0
    assert pairwise_hinge(scores, [1.0, 1.0], reduction="sum").item() == 0.0


def test_lists_as_weights_of_positives():
    loss = retrieval_hinge(**TABLE, weights=[1, 0], reduction="none")
    assert loss.tolist() == [0.5, 0.0]


def test_compiled_targets_that_change():
    """The second number makes torch.compile take them as an argument of the graph."""
    x1, x2 = leaf(2.0, 1.5, 3.0), PAIRS["input2"]
    step = compiled(lambda x1, target: margin_ranking(x1, x2, target, 1.0, reduction="sum"))
    losses = [step(x1, target).item() for target in (1, -1, 1, 0.5, -1.0, [1, -1, 1], [1, 1, -1], [1.0, 1, -1])]
    assert losses == [1.5, 5.5, 1.5, 1.75, 5.5, 0.5, 4.5, 4.5]


def test_exported_targets():
    class Loss(torch.nn.Module):
        def forward(self, x1, x2):
            return margin_ranking(x1, x2, 1, 1.0) + margin_ranking(x1, x2, [1, -1, 1], 1.0)

    inputs = PAIRS["input1"], PAIRS["input2"]
    exported = torch.export.export(Loss(), inputs).module()
    assert exported(*inputs).item() == pytest.approx(2 / 3)


def test_numbers_and_lists_beside_meta_tensors():
    x = torch.empty(3, dtype=torch.float16, device="meta")
    for target in (1, [1, -1, 1], [1.0, -1.0, 1.0]):
        loss = margin_ranking(x, x, target, [1.0, 2, 3], weights=2)
        assert (loss.device.type, loss.dtype) == ("meta", torch.float16)
    assert pairwise_hinge(x, [1, 2, 0], group=[1, 2], reduction="none").shape == (2,)


def test_numbers_and_lists_stay_off_the_default_device():
    with torch.device("meta"):
        loss = margin_ranking(PAIRS["input1"], PAIRS["input2"], 1, [1.0, 1, 1], weights=[1, 1, 1])
        ranks = pairwise_hinge(LISTS["scores"], [1, 2, 0], qid=[4, 4, 4])
    assert (loss.item(), ranks.item()) == (0.5, 0.5)


def test_targets_without_axes_have_a_gradient():
    one = torch.tensor(1.0, requires_grad=True)
    margin_ranking(PAIRS["input1"], PAIRS["input2"], one, 1.0, reduction="sum").backward()
    assert (one.grad.item(), one.grad.dtype) == (-0.5, torch.float32)
    for kind in (torch.int8, torch.int64, torch.float64, torch.bfloat16):
        loss = margin_ranking(leaf(2.0, 1.5, 3.0), PAIRS["input2"], torch.tensor(-1, dtype=kind), 1.0)
        assert (loss.item(), loss.dtype) == (pytest.approx(11 / 6), torch.float32)


def test_numpys_numbers_and_whole_floats():
    """The operators' schemas would refuse them."""
    for way in (lambda function: function, through_operators):
        for target in (np.int8(1), np.uint8(1), np.float64(1)):
            loss = way(margin_ranking)(**PAIRS | {"target": target})
            assert (loss.item(), loss.dtype) == (0.5, torch.float32)
        loss = way(margin_ranking)(**PAIRS | {"margin": np.float32(1)})
        assert loss.item() == pytest.approx(1 / 6)
        assert way(pairwise_hinge)(**LISTS, margin=np.float32(1), power=2.0, reduction="sum").item() == 2.25


# ---------------------------------------------------------------- ids and counts


IDS = {
    "big-endian": np.array([4, 4, 9], ">i4"),
    "backwards": np.array([9, 4, 4])[::-1],
    "read-only": np.broadcast_to(np.array([4]), 3),
    "unsigned": np.array([4, 4, 9], np.ulonglong),
    "floats": np.array([4.0, 4.0, 9.0]),
}


@pytest.mark.parametrize("name", IDS)
def test_ids_in_arrays_and_lists(name):
    loss = pairwise_hinge(**LISTS, qid=IDS[name], reduction="sum")
    assert loss.item() == 1.5
    if name == "big-endian":
        assert pairwise_hinge(**LISTS, group=np.array([1, 2], ">i2"), reduction="none").tolist() == [0.0, 0.0]


def test_masked_ids_are_refused():
    with pytest.raises(TypeError, match=r"qid is a masked array.*qid\.compressed\(\)"):
        pairwise_hinge(**LISTS, qid=np.ma.masked_array([1, 1, 2], [False, True, False]))


# ---------------------------------------------------------------- errors whose advice runs


def follow(function, arguments, name, error, start):
    """Call a function; check how its error begins, do what it says, and return the result and the message."""
    with pytest.raises(error) as raised:
        function(**arguments)
    message = str(raised.value)
    assert message.startswith(f"{name} {start}")
    assert "astype" not in message
    assert raised.value.__suppress_context__ or raised.value.__context__ is None
    code = re.fullmatch(r".*?: pass (.+?)(?: or .+)?", message, re.S)[1]
    value = eval(code, {"torch": torch, "numpy": np, "mask": MASK, **arguments})
    return function(**arguments | {name.partition("[")[0]: value})


MASK = torch.zeros(2, 4, dtype=torch.bool)
MASK[0, 0] = MASK[1, 2] = True


class Series:
    """A vector as pandas has it."""

    def __init__(self, values):
        self.to_numpy = lambda: np.array(values)

    to_numpy = None


def series(values):
    return Series(values)


KINDS = {
    "array": (np.array, "is a numpy.ndarray; it must be a torch.Tensor"),
    "masked": (np.ma.masked_array, "is a numpy.ma.MaskedArray; it must be a torch.Tensor"),
    "series": (series, "is a test_torch_inputs.Series; it must be a torch.Tensor"),
    "numbarank's": (nr.tensor, "is a numbarank._tensor.Tensor; it must be a torch.Tensor"),
    "values of a dict": (
        lambda values: dict(enumerate(values)).values(),
        "is a dict_values; it must be a torch.Tensor",
    ),
    "range": (lambda values: range(3), "is a range; it must be a torch.Tensor"),
}
VECTORS = [(margin_ranking, PAIRS, name) for name in ("input1", "input2", "target", "margin", "weights")]
VECTORS += [(pairwise_hinge, LISTS, name) for name in ("scores", "labels", "weights")]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("function", "arguments", "name"), VECTORS, ids=lambda value: value if type(value) is str else ""
)
def test_arrays_are_refused_and_what_to_pass_is_said(function, arguments, name, kind):
    make, start = KINDS[kind]
    given, values = make([1.0, 1.0, 1.0]), torch.ones(3)
    if kind == "range":
        values = torch.arange(3)
    loss = follow(function, arguments | {name: given}, name, TypeError, start)
    torch.testing.assert_close(loss, function(**arguments | {name: values}), check_dtype=False)


@pytest.mark.parametrize("name", ["input1", "input2", "scores", "queries", "items", "bias"])
@pytest.mark.parametrize("value", [[2.0, 1.5, 3.0], (2, 1, 3), 1, np.float32(1), None, "1", {}], ids=str)
def test_scores_are_tensors(name, value):
    function, arguments = {"i": (margin_ranking, PAIRS), "s": (pairwise_hinge, LISTS)}.get(
        name[0], (retrieval_hinge, TABLE)
    )
    if name in ("items", "bias"):
        function, arguments = retrieval_hinge, TABLE
    if value is None and name == "bias":
        return
    advice = ": pass torch.as_tensor" if not isinstance(value, (str, type(None))) else ""
    with pytest.raises(TypeError, match=rf"^{name} is .*; it must be a torch\.Tensor{re.escape(advice)}"):
        function(**arguments | {name: value})


@pytest.mark.parametrize("name", ["target", "margin", "weights", "labels", "where"])
@pytest.mark.parametrize("value", ["1", object(), {"a": 1}], ids=["text", "object", "dict"])
def test_what_makes_no_tensor_at_all(name, value):
    function, arguments = (pairwise_hinge, LISTS) if name in ("labels", "where") else (margin_ranking, PAIRS)
    with pytest.raises(TypeError, match=rf"^{name} is a .*; it must be a torch\.Tensor, a number or a list of numbers"):
        function(**arguments | {name: value})


@pytest.mark.parametrize("name", ["target", "labels"])
@pytest.mark.parametrize(
    ("value", "words"),
    [
        (["a", "b", "c"], "is a list that makes no tensor"),
        ([[1], [1, 2]], "is a list that makes no tensor"),
        (None, "is None"),
    ],
    ids=str,
)
def test_lists_that_make_no_tensor(name, value, words):
    function, arguments = (pairwise_hinge, LISTS) if name == "labels" else (margin_ranking, PAIRS)
    with pytest.raises(TypeError, match=f"^{name} {words}.*numbers"):
        function(**arguments | {name: value})


@pytest.mark.parametrize("make", [torch.tensor, np.array], ids=["tensors", "arrays"])
def test_lists_of_tensors_say_how_to_stack_them(make):
    given = [make(value) for value in (1.0, -1.0, 1.0)]
    loss = follow(margin_ranking, PAIRS | {"target": given}, "target", TypeError, "is a list of ")
    assert loss.item() == pytest.approx(1 / 6)


BOOLS = torch.tensor([True, False, True])
ONES = torch.ones(3)
DTYPES = [
    (margin_ranking, PAIRS, "target", BOOLS, "has dtype bool; margin ranking needs", 1 / 6),
    (margin_ranking, PAIRS, "target", BOOLS.tolist(), "has dtype bool; margin ranking needs", 1 / 6),
    (margin_ranking, PAIRS, "target", True, "has dtype bool; margin ranking needs", 0.5),
    (margin_ranking, PAIRS, "target", torch.tensor(True), "has dtype bool; margin ranking needs", 0.5),
    (margin_ranking, PAIRS, "target", ONES.to(torch.uint8), "has dtype uint8, which cannot hold -1", 0.5),
    (margin_ranking, PAIRS, "target", torch.tensor(1, dtype=torch.uint16), "has dtype uint16, which cannot", 0.5),
    (margin_ranking, PAIRS, "target", ONES.to(torch.complex64), "has dtype complex64; it must be float64", 0.5),
    (margin_ranking, PAIRS, "target", ONES.to(torch.float8_e4m3fn), "has dtype float8_e4m3fn; it must be", 0.5),
    (margin_ranking, PAIRS, "target", ONES.to_sparse(), "has the layout torch.sparse_coo; it must be dense", 0.5),
    (margin_ranking, PAIRS, "input1", BOOLS, "has dtype bool; it must be a number", 2 / 3),
    (margin_ranking, PAIRS, "weights", BOOLS, "has dtype bool; it must be a number", 0.0),
    (margin_ranking, PAIRS, "weights", BOOLS.tolist(), "has dtype bool; it must be a number", 0.0),
    (margin_ranking, PAIRS, "margin", BOOLS, "has dtype bool; it must be a number", 0.0),
    (margin_ranking, PAIRS, "margin", torch.tensor(True), "has dtype bool; it must be a number", 1 / 6),
    (margin_ranking, PAIRS, "weights", ONES.requires_grad_(), "requires a gradient", 1 / 6),
    (pairwise_hinge, LISTS, "scores", BOOLS, "has dtype bool; it must be a number", 5 / 3),
    (pairwise_hinge, LISTS, "labels", ONES.to(torch.complex64), "has dtype complex64; it must be float64", 0.0),
    (pairwise_hinge, LISTS, "qid", BOOLS[[1, 1, 0]], "has dtype bool; it must hold whole numbers", 1.5),
    (pairwise_hinge, LISTS, "qid", torch.tensor([1.0, 1, 2]).bfloat16(), "has dtype bfloat16; it must hold whole", 1.5),
    (pairwise_hinge, ROWS, "where", torch.tensor([[1, 1, 0]]), "has dtype int64; it must be bool", 1.5),
    (pairwise_hinge, ROWS, "where", [[1, 1, 0]], "has dtype int64; it must be bool", 1.5),
    (pairwise_hinge, ROWS, "weights", ONES[None].detach().to_sparse(), "has the layout torch.sparse_coo", 1.5),
    (retrieval_hinge, TABLE, "queries", torch.eye(2).bool(), "has dtype bool; it must be a number", 1 / 12),
    (retrieval_hinge, TABLE, "bias", torch.zeros(4).bool(), "has dtype bool; it must be a number", 1 / 12),
    (retrieval_hinge, TABLE, "weights", torch.ones(2).bool(), "has dtype bool; it must be a number", 1 / 12),
    (retrieval_hinge, TABLE, "weights", [True, True], "has dtype bool; it must be a number", 1 / 12),
    (retrieval_hinge, TABLE, "weights", torch.ones(2).to_sparse(), "has the layout torch.sparse_coo", 1 / 12),
    (retrieval_hinge, TABLE, "positives", MASK, "is a torch.Tensor; it must be a pair of index tensors", 1 / 12),
    (retrieval_hinge, TABLE, "positives", MASK.int(), "is a torch.Tensor; it must be a pair of index tensors", 1 / 12),
    (retrieval_hinge, TABLE, "positives", MASK.float().to_sparse(), "has the layout torch.sparse_coo; it must", 1 / 12),
    (retrieval_hinge, TABLE, "positives", torch.tensor([[0, 0], [1, 2]]), "is a torch.Tensor; it must be a", 1 / 12),
    (retrieval_hinge, TABLE, "positives", torch.tensor([[0, 1, 1], [0, 2, 2]]), "is a torch.Tensor; it must", 1 / 12),
    (retrieval_hinge, TABLE, "positives[1]", (torch.arange(2), MASK[0]), "has dtype bool; positives must be", 1 / 12),
]


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta:UserWarning")
@pytest.mark.parametrize(
    ("function", "arguments", "name", "value", "start", "expected"),
    DTYPES,
    ids=[f"{row[2]} {row[4]}" for row in DTYPES],
)
def test_advice_about_dtypes_and_layouts_runs_on_tensors(function, arguments, name, value, start, expected):
    arguments = arguments | {name.partition("[")[0]: value}
    assert follow(function, arguments, name, TypeError, start).item() == pytest.approx(expected)


@pytest.mark.parametrize("way", [lambda function: function, through_operators], ids=["eager", "operators"])
def test_a_list_of_another_shape_says_how_to_reshape_it(way):
    x = torch.tensor([[2.0], [1.0]]), torch.tensor([[1.0], [1.5]])
    with pytest.raises(ValueError) as raised:
        way(margin_ranking)(*x, [1, -1], 1.0)
    message = "input1 has shape (2, 1), input2 (2, 1), target (2,); all need the same number of dimensions: reshape "
    assert str(raised.value) == message + "target with target.reshape((2, 1)), after target = torch.as_tensor(target)"
    target = torch.as_tensor([1, -1])
    target = target.reshape((2, 1))
    assert margin_ranking(*x, target, 1.0).item() == 0.25


def test_sorting_the_rows_of_queries_as_the_error_says():
    qid = torch.tensor([1, 2, 1])
    with pytest.raises(ValueError, match=r"^qid has the rows of query 1 apart: .*sort the rows first: ") as raised:
        pairwise_hinge(**LISTS, qid=qid)
    code = re.search(r"order = (.*?), then", str(raised.value))[1]
    order = eval(code, {"numpy": np, "qid": qid})
    scores, labels = LISTS["scores"], LISTS["labels"]
    assert pairwise_hinge(scores[order], labels[order], qid=qid[order], reduction="none").tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    "qid", [["a", "a", "b"], torch.tensor([-1, -1, 3]), Series], ids=["text", "negative", "text series"]
)
def test_ids_that_must_be_numbered_work_or_say_how(qid):
    if qid is Series:
        pandas = imported("pandas")
        qid = pandas.Series(["a", "a", "b"], index=[5, 6, 7])
    call = functools.partial(pairwise_hinge, **LISTS, reduction="none")
    try:
        loss = call(qid=qid)
    except (TypeError, ValueError) as error:
        message = str(error)
        assert message.startswith("qid")
        loss = call(qid=eval(message.partition("queries with ")[2], {"numpy": np, "qid": qid}))
    assert loss.tolist() == [1.5, 0.0]


@pytest.mark.parametrize(
    ("function", "arguments", "words"),
    [
        (
            margin_ranking,
            PAIRS | {"target": torch.ones(3, device="meta")},
            "input1 is on cpu, .* target is on meta; all",
        ),
        (pairwise_hinge, LISTS | {"labels": torch.ones(3, device="meta")}, "scores is on cpu, labels is on meta; all"),
        (pairwise_hinge, LISTS | {"weights": torch.ones(3, device="meta")}, "weights is on meta; all must be on one"),
        (torch.ops.numbarank.margin_ranking_loss, (PAIRS["input1"],) * 2, "target is on meta; all must be on one"),
    ],
    ids=["target", "labels", "weights", "operator"],
)
def test_tensors_on_several_devices(function, arguments, words):
    """A meta tensor among others would make torch hand out memory that nobody has written."""
    with pytest.raises(ValueError, match=words):
        if isinstance(arguments, dict):
            function(**arguments)
        else:
            function(*arguments, torch.ones(3, device="meta"), None, None, 1.0, "none")


@pytest.mark.parametrize("name", ["qid", "group"])
def test_ids_and_counts_are_in_host_memory(name):
    there = torch.ones(3, dtype=torch.int64, device="meta")
    with pytest.raises(TypeError, match=rf"^{name} is on meta; it must be in host memory: pass {name}\.cpu\(\)"):
        pairwise_hinge(**LISTS, **{name: there})
    assert pairwise_hinge(LISTS["scores"].to("meta"), LISTS["labels"].to("meta"), group=there).device.type == "meta"


@pytest.mark.parametrize(
    ("function", "setting", "error", "words"),
    [
        (margin_ranking, {"margin": "1"}, TypeError, "margin is a str; it must be a torch.Tensor, a number or a list"),
        (margin_ranking, {"margin": None}, TypeError, "margin is None; it must be a real number"),
        (margin_ranking, {"margin": 1j}, TypeError, "margin is 1j; it must be a real number"),
        (margin_ranking, {"reduction": 3}, ValueError, "reduction is a int; it must be 'none'"),
        (pairwise_hinge, {"margin": "1"}, TypeError, "margin is '1'; it must be a real number"),
        (pairwise_hinge, {"margin": torch.ones(3)}, TypeError, "margin is .*; it must be a real number"),
        (pairwise_hinge, {"power": "2"}, ValueError, "power is '2'; it must be 1"),
        (pairwise_hinge, {"reduction": None}, ValueError, "reduction is a NoneType; it must be 'none'"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_settings_are_numbaranks_with_the_dispatcher_too(function, setting, error, words):
    arguments = (PAIRS if function is margin_ranking else LISTS) | setting
    for way in (lambda function: function, through_operators):
        with pytest.raises(error, match=f"^{words}"):
            way(function)(**arguments)


def test_compiled_calls_refuse_in_the_same_words():
    torch._dynamo.reset()
    step = torch.compile(lambda target: margin_ranking(PAIRS["input1"], PAIRS["input2"], target), backend="aot_eager")
    with pytest.raises(TypeError, match=r"^target is a numpy\.ndarray; .*: pass torch\.as_tensor\(target\)"):
        step(np.ones(3))
    with pytest.raises(TypeError, match=r"^target has dtype bool; .*: pass 2 \* target\.to\(torch\.int8\) - 1"):
        step(BOOLS)


# ---------------------------------------------------------------- numbarank's own functions


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [("target", BOOLS, 1 / 6), ("target", torch.ones(3, dtype=torch.uint8), 0.5), ("input1", BOOLS, 2 / 3)],
    ids=["bool target", "unsigned target", "bool scores"],
)
def test_numbaranks_functions_speak_torch_to_tensors(name, value, expected):
    arguments = PAIRS | {name: value}
    assert float(follow(nr.margin_ranking_loss, arguments, name, TypeError, "has dtype")) == pytest.approx(expected)
