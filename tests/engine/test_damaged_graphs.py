"""Graphs that are damaged or do not fit together, and inputs of other shapes: an error that says so, never a crash."""

import numpy as np
import pytest
from onnx import helper

from tests.engine.operators import Weights, grids, model_of, packed, random_weights, run, session, to_lanes
from winnow.engine.quantized_graph import Grid

X = Grid(0.25, 3)
LINEAR = random_weights(np.random.default_rng(0), 8, 12)
SQUARE = random_weights(np.random.default_rng(0), 8, 8)
VALUES = np.ones((2, 5, 12), np.float32)
MASK = np.zeros((2, 1, 1, 5), np.float32)


def linear(compiled, constants=LINEAR.constants, x=VALUES, **changes):
    return run("Linear", compiled, [("x", x), *constants], **{**grids(x=X), **LINEAR.attributes, **changes})


def with_constant(place, value):
    constants = list(LINEAR.constants)
    constants[place] = value
    return constants


@pytest.mark.parametrize(
    ("place", "value", "problem"),
    [
        (0, LINEAR.constants[0][:-1], "as many blocks as bits"),
        (0, np.vstack([LINEAR.constants[0]] * 2), "as many blocks as bits"),
        (0, np.zeros((0, 4), np.int8), "as many blocks as bits"),
        (0, LINEAR.constants[0].reshape(-1)[:-1], "as many blocks as bits"),
        (1, np.full_like(LINEAR.constants[1], 255), "as many blocks as bits"),
        (1, LINEAR.constants[1][:-1], "bits of a packed weight do not fit its shape"),
        (1, np.zeros(100, np.uint8), "bits of a packed weight do not fit its shape"),
        (2, LINEAR.scales[:-1], "a scale and a bias for each row"),
        (2, np.float32(1.0), "a scale and a bias for each row"),
        (3, LINEAR.bias[:-1], "a scale and a bias for each row"),
        (3, np.full(8, 2**31 - 1, np.int32), "could overflow"),
        (3, np.full(8, -(2**31), np.int32), "could overflow"),
        (0, LINEAR.constants[0].astype(np.float32), "Type Error"),
        (3, LINEAR.bias.astype(np.float32), "Type Error"),
    ],
)
def test_constants_that_do_not_fit_together(compiled, place, value, problem):
    with pytest.raises(Exception, match=problem):
        linear(compiled, with_constant(place, value))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"rows": 7}, "as many blocks as bits"),
        ({"rows": 0}, "rows is out of range"),
        ({"rows": -8}, "rows is out of range"),
        ({"rows": 2**20 + 1}, "impossible shape"),
        ({"rows": 2**31 - 1}, "impossible shape"),
        ({"rows": 2**40}, "rows is out of range"),
        ({"columns": 10}, "impossible shape"),
        ({"columns": 16}, "fit its shape|blocks as bits"),
        ({"columns": 2**31 - 4}, "impossible shape"),
        ({"rows": 2**20, "columns": 2**20}, "more blocks than can be counted"),
        ({"x_zero_point": 256}, "x_zero_point is out of range"),
        ({"x_zero_point": -1}, "x_zero_point is out of range"),
        ({"x_high": 0}, "x_high is out of range"),
        ({"x_high": 256}, "x_high is out of range"),
        ({"x_scale": 0.0}, "not a positive number"),
        ({"x_scale": -1.0}, "not a positive number"),
        ({"x_scale": float("nan")}, "not a positive number"),
        ({"x_scale": float("inf")}, "not a positive number"),
        ({"x_scale": 1}, "Attribute name and type"),  # an integer
        ({"rows": 8.0}, "Attribute name and type"),
    ],
)
def test_attributes_out_of_range(compiled, changes, problem):
    with pytest.raises(Exception, match=problem):
        linear(compiled, **changes)


@pytest.mark.parametrize("name", ["rows", "columns", "x_scale", "x_zero_point", "x_high"])
def test_a_missing_attribute(compiled, name):
    attributes = {key: value for key, value in (grids(x=X) | LINEAR.attributes).items() if key != name}
    with pytest.raises(Exception, match=name):
        run("Linear", compiled, [("x", VALUES), *LINEAR.constants], **attributes)


@pytest.mark.parametrize("place", range(4))
def test_a_weight_that_is_no_constant(compiled, place):
    constants = list(LINEAR.constants)
    model = model_of(
        "Linear",
        ["x", *constants],
        grids(x=X) | LINEAR.attributes,
        {"x": VALUES},
    )
    entry = model.graph.initializer.pop(place)
    model.graph.input.append(helper.make_tensor_value_info(entry.name, entry.data_type, list(entry.dims)))
    with pytest.raises(Exception, match="not a constant"):
        session(model, compiled)


@pytest.mark.parametrize("shape", [(), (12,), (2, 5, 8), (2, 5, 16), (12, 5)])
def test_an_input_of_another_width(compiled, shape):
    x = np.ones(shape, np.float32)
    if shape == (12,):
        assert linear(compiled, x=x)[0].shape == (8,)
    else:
        with pytest.raises(Exception, match="as many features as the weight has columns"):
            linear(compiled, x=x)


@pytest.mark.parametrize("shape", [(), (5,), (2, 12), (2, 5, 10), (1, 2, 5, 12), (3, 5, 12), (2, 6, 12)])
def test_tokens_that_cannot_be_packed(compiled, shape):
    with pytest.raises(Exception, match="must be \\(batch, tokens, 4 n\\)"):
        run("Pack", compiled, [("x", np.ones(shape, np.float32)), ("mask", MASK)], **grids(x=X))


@pytest.mark.parametrize("shape", [(0, 5, 12), (2, 0, 12), (2, 5, 0)])
def test_nothing_is_packed_as_nothing(compiled, shape):
    x = np.ones(shape, np.float32)
    mask = ("mask", np.zeros((shape[0], 1, 1, shape[1]), np.float32))
    values, _ = run("Pack", compiled, [("x", x), mask], **grids(x=X))
    assert values.size == 0
    assert run("Unpack", compiled, [("values", values), mask])[0].shape == shape


@pytest.mark.parametrize(
    ("values", "mask"),
    [
        ((2, 12, 16), (2, 1, 1, 17)),
        ((2, 12, 16), (3, 1, 1, 5)),
        ((2, 12, 16), (2, 1, 1, 0)),
        ((2, 12, 8), (2, 1, 1, 5)),
        ((2, 12), (2, 1, 1, 5)),
        ((2, 12, 16), (2, 5)),
        ((2, 12, 16), ()),
    ],
)
def test_values_that_cannot_be_unpacked(compiled, values, mask):
    with pytest.raises(Exception, match="sparse engine: "):
        run("Unpack", compiled, [("values", np.ones(values, np.float32)), ("mask", np.zeros(mask, np.float32))])


def activation(compiled, x, weights=LINEAR, **changes):
    attributes = {**grids(x=X, y=X), **weights.attributes, "activation": 1, **changes}
    return run("LinearActivation", compiled, [("x", x), *weights.constants], **attributes)


CODES = packed(np.ones((2, 5, 12)), "")


@pytest.mark.parametrize("shape", [(), (2, 192), (2, 2, 64), (2, 4, 64), (2, 3, 63), (2, 1, 3, 64)])
def test_codes_of_another_shape(compiled, shape):
    with pytest.raises(Exception, match="codes do not have the shape"):
        activation(compiled, np.ones(shape, np.uint8))


def test_no_codes(compiled):
    assert activation(compiled, np.ones((0, 3, 64), np.uint8))[0].shape == (0, 2, 64)


def test_packed_rows_are_a_multiple_of_four(compiled):
    with pytest.raises(Exception, match="multiple of 4"):
        activation(compiled, CODES, random_weights(np.random.default_rng(0), 7, 12))


@pytest.mark.parametrize("number", [-1, 3])
def test_an_unknown_activation(compiled, number):
    with pytest.raises(Exception, match="activation is out of range"):
        activation(compiled, CODES, activation=number)


ONES = np.ones(8, np.float32)


def norm(compiled, residual, gamma=ONES, beta=ONES):
    inputs = [("x", CODES), *LINEAR.constants, ("r", residual), gamma, beta]
    return run("LinearNorm", compiled, inputs, epsilon=1e-5, **grids(x=X, y=X), **LINEAR.attributes)


@pytest.mark.parametrize("shape", [(), (2, 8), (2, 4, 16), (1, 8, 16), (4, 8, 16), (2, 1, 8, 16)])
def test_a_residual_of_another_shape(compiled, shape):
    with pytest.raises(Exception, match="values do not have the shape"):
        norm(compiled, np.ones(shape, np.float32))


@pytest.mark.parametrize("size", [0, 7, 9])
def test_a_norm_of_another_width(compiled, size):
    right, wrong = np.ones((2, 8, 16), np.float32), np.ones(size, np.float32)
    for gamma, beta in ((wrong, ONES), (ONES, wrong)):
        with pytest.raises(Exception, match="as many numbers as a matrix has rows"):
            norm(compiled, right, gamma, beta)


EIGHT = np.ones((2, 5, 8))


def attention(compiled, mask=MASK, weights=(SQUARE,) * 3, codes=EIGHT, **changes):
    every = grids(x=X, query=X, key=X, value=X, probabilities=Grid(1 / 255, 0), y=X)
    attributes = {**every, **SQUARE.attributes, "scale": 0.5, "head_size": 4, **changes}
    constants = [each for layer in weights for each in layer.constants]
    return run("SelfAttention", compiled, [("x", packed(codes, "")), ("mask", mask), *constants], **attributes)


@pytest.mark.parametrize(
    "shape",
    [(), (5,), (2, 5), (2, 1, 5), (1, 1, 1, 5), (3, 1, 1, 5), (2, 1, 5, 5), (2, 2, 1, 5), (2, 1, 1, 17), (2, 1, 1, 0)],
)
def test_a_mask_of_another_shape(compiled, shape):
    with pytest.raises(Exception, match="mask"):
        attention(compiled, np.zeros(shape, np.float32))


@pytest.mark.parametrize("size", [0, 3, 6, 16, -4, 2**20, 2**40])
def test_an_impossible_size_of_a_head(compiled, size):
    with pytest.raises(Exception, match="head"):
        attention(compiled, head_size=size)


def test_attention_of_matrices_of_different_shapes(compiled):
    other = random_weights(np.random.default_rng(0), 16, 8)
    with pytest.raises(Exception, match="sparse engine"):
        attention(compiled, weights=(SQUARE, SQUARE, other))


@pytest.mark.parametrize(("batch", "tokens"), [(0, 5), (2, 0)])
def test_attention_of_nothing(compiled, batch, tokens):
    mask = np.zeros((batch, 1, 1, tokens), np.float32)
    (found,) = attention(compiled, mask, codes=np.ones((batch, tokens, 8)))
    assert found.size == 0


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 3.4e38])
def test_numbers_that_are_none(compiled, instructions, number):
    x = np.full((2, 5, 12), number, np.float32)
    assert np.isfinite(linear(compiled, x=x)[0]).all()  # the highest or the lowest code
    values, codes = run("Pack", compiled, [("x", x), ("mask", MASK)], **grids(x=X))
    np.testing.assert_array_equal(values, to_lanes(x))
    activation(compiled, codes)
    norm(compiled, np.full((2, 8, 16), number, np.float32))
    attention(compiled, np.full((2, 1, 1, 5), number, np.float32))
    strange = Weights(LINEAR.weight, np.full(8, number, np.float32), LINEAR.bias)
    linear(compiled, strange.constants)
    activation(compiled, CODES, strange)


@pytest.mark.parametrize(
    ("kind", "place"), [("Linear", 0), ("Linear", 1), ("Linear", 4), ("Pack", 0), ("Unpack", 0), ("Unpack", 1)]
)
def test_an_input_without_a_name(compiled, kind, place):
    inputs = {"Linear": ["x", *LINEAR.constants], "Pack": ["x", "x"], "Unpack": ["x", "x"]}[kind]
    model = model_of(kind, inputs, grids(x=X) | LINEAR.attributes, {"x": VALUES})
    model.graph.node[0].input[place] = ""
    with pytest.raises(Exception, match=r"(?i)input|missing|constant"):
        session(model, compiled).run(None, {"x": VALUES})


@pytest.mark.parametrize("place", [0, 1])
def test_an_output_without_a_name(compiled, place):
    model = model_of("Pack", ["x", "mask"], grids(x=X), {"x": VALUES, "mask": MASK})
    model.graph.node[0].output[place] = ""
    del model.graph.output[place]
    with pytest.raises(Exception, match=r"(?i)output"):
        session(model, compiled).run(None, {"x": VALUES, "mask": MASK})


def test_a_node_with_too_few_inputs(compiled):
    model = model_of("Linear", ["x", *LINEAR.constants], grids(x=X) | LINEAR.attributes, {"x": VALUES})
    del model.graph.node[0].input[3:]
    with pytest.raises(Exception, match="input"):
        session(model, compiled)
