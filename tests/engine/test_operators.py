"""Every operator of the sparse engine in ONNX Runtime, against the same computation in NumPy."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf

from tests.engine.operators import (
    LANES,
    Weights,
    assert_codes,
    from_lanes,
    grids,
    lengths_of,
    packed,
    quantized,
    random_weights,
    run,
    to_lanes,
    unpacked,
)
from winnow.engine.quantized_graph import Grid

MASKED = np.finfo(np.float32).min
FEW = settings(max_examples=12)
FEATURES = st.sampled_from([4, 8, 60, 128, 764, 768, 772, 1536, 1540, 3100])
ROWS = st.sampled_from([4, 8, 60, 64, 132, 768])
TOKENS = st.one_of(st.sampled_from([1, 15, 16, 17, 33, 64, 65, 200]), st.integers(1, 200))
EMPTY = st.sampled_from([0.0, 0.3, 0.9, 0.99, 1.0])
SEEDS = st.integers(0, 2**32)
CODE_GRIDS = st.builds(
    Grid, st.sampled_from([2.0**-5, 2.0**-2]), st.sampled_from([0, 1, 100, 128, 255]), st.sampled_from([255, 127, 200])
)
RESULT_GRIDS = st.builds(
    Grid, st.sampled_from([0.0371, 0.713]), st.sampled_from([0, 77, 128, 255]), st.sampled_from([255, 127])
)


@st.composite
def layers(draw, rows=ROWS):
    """Weights of many shapes and sparsities, and the grid of the input."""
    rng = np.random.default_rng(draw(SEEDS))
    weights = random_weights(rng, draw(rows), draw(FEATURES), empty=draw(EMPTY), block=draw(st.booleans()))
    return weights, draw(CODE_GRIDS), rng


def no_mask(x):
    return "mask", np.zeros((len(x), 1, 1, x.shape[1]), np.float32)


def random_codes(rng, batch, tokens, features, grid):
    return rng.integers(0, grid.high + 1, (batch, tokens, features))


def values_near(codes, grid, rng):
    """Values that round to codes, but for the lowest and the highest, which are far outside of the grid."""
    values = (codes - grid.zero_point + rng.choice([-0.25, 0, 0.375], codes.shape)) * grid.scale
    far = rng.choice([1.0, 1e3, 1e9], codes.shape)
    outside = np.where(codes == 0, -far, np.where(codes == grid.high, far, 0.0)) * grid.scale
    return (values + outside).astype(np.float32)


@FEW
@given(layers(rows=st.one_of(ROWS, st.integers(1, 70))), st.integers(1, 5), TOKENS)
def test_a_linear_layer_has_exact_sums(compiled, instructions, layer, batch, tokens):
    weights, grid, rng = layer
    codes = random_codes(rng, batch, tokens, weights.weight.shape[1], grid)
    x = values_near(codes, grid, rng)
    (found,) = run("Linear", compiled, [("x", x), *weights.constants], **grids(x=grid), **weights.attributes)
    sums = weights.sums(codes, grid).astype(np.float32)  # scales are powers of two, so only the sum is rounded
    np.testing.assert_array_equal(found, sums * (np.float32(grid.scale) * weights.scales))


@pytest.mark.parametrize("columns", [4, 768, 1540, 3072])
@pytest.mark.parametrize("high", [127, 255])
@pytest.mark.parametrize("number", [-128, 127, "alternating"])
def test_the_largest_codes_and_weights_have_exact_sums(compiled, instructions, columns, high, number):
    grid = Grid(1.0, 0, high)
    row = np.resize([-128, -128, 127, 127], columns) if number == "alternating" else np.full(columns, number)
    weight = np.tile(row, (8, 1)).astype(np.int8)
    sums = high * weight.astype(np.int64).sum(axis=1)
    weights = Weights(weight, np.ones(8, np.float32), (np.arange(8) - sums).astype(np.int32))  # no result is rounded
    x = np.full((2, 33, columns), 300, np.float32)
    (found,) = run("Linear", compiled, [("x", x), *weights.constants], **grids(x=grid), **weights.attributes)
    np.testing.assert_array_equal(found, np.broadcast_to(np.arange(8), (2, 33, 8)))


@pytest.mark.parametrize("shape", [(24,), (3, 24), (2, 3, 24), (2, 1, 3, 24), (0, 24), (2, 0, 24)])
def test_a_linear_layer_takes_any_number_of_dimensions(compiled, instructions, shape):
    rng, grid = np.random.default_rng(0), Grid(0.25, 3)
    weights = random_weights(rng, 7, 24)
    codes = rng.integers(0, 256, shape)
    x = ((codes - 3) * 0.25).astype(np.float32)
    (found,) = run("Linear", compiled, [("x", x), *weights.constants], **grids(x=grid), **weights.attributes)
    np.testing.assert_array_equal(found, weights.values(codes, grid).astype(np.float32))


@FEW
@given(layers(), st.integers(1, 5), TOKENS, RESULT_GRIDS, st.sampled_from(["none", "gelu", "relu"]))
def test_the_codes_of_an_activation_are_rounded_values(compiled, instructions, layer, batch, tokens, out, activation):
    weights, grid, rng = layer
    codes = random_codes(rng, batch, tokens, weights.weight.shape[1], grid)
    size = {"none": 60.0, "gelu": 3.0, "relu": 60.0}[activation] / math.sqrt(codes.shape[2])
    scales = (weights.scales * size / (grid.high * grid.scale)).astype(np.float32)
    weights = Weights(weights.weight, scales, weights.bias)
    (found,) = run(
        "LinearActivation",
        compiled,
        [("x", packed(codes, instructions)), *weights.constants],
        activation={"none": 0, "gelu": 1, "relu": 2}[activation],
        **grids(x=grid, y=out),
        **weights.attributes,
    )
    values = weights.values(codes, grid)
    expected = {"none": values, "gelu": gelu(values), "relu": np.maximum(values, 0)}[activation]
    error = 1e-6 * np.abs(values).max() + (4e-6 if activation == "gelu" else 0.0)
    assert_codes(unpacked(found, tokens, instructions), expected, out, error)


def gelu(x):
    return x * 0.5 * (1 + erf(x / math.sqrt(2)))


def test_gelu_is_close_everywhere(compiled, instructions):
    # the only weight is 1, so that the value is the code; 1024 layers of other bias see a fine raster of values
    rows, step = 1024, 2**-6
    weight = np.zeros((rows, 4), np.int8)
    bias = np.arange(rows) - rows // 2  # -8 to 8
    weights = Weights(weight, np.full(rows, step, np.float32), bias.astype(np.int32))
    out = Grid(2**-11, 255)  # values near 0 from below
    found, higher = (
        unpacked(
            run(
                "LinearActivation",
                compiled,
                [("x", packed(np.zeros((1, 1, 4)), instructions)), *weights.constants],
                activation=1,
                **grids(x=Grid(1.0, 0), y=grid),
                **weights.attributes,
            )[0],
            1,
            instructions,
        )
        for grid in (out, Grid(2**-5, 10))
    )
    exact = gelu(bias * step)[None, None]
    assert_codes(found, exact, out, 4e-6)
    assert_codes(higher, exact, Grid(2**-5, 10), 4e-6)


@FEW
@given(layers(), st.integers(1, 5), TOKENS, RESULT_GRIDS, st.sampled_from([1e-12, 1e-5, 0.1]))
def test_a_norm_has_the_values_of_float64_and_their_codes(compiled, instructions, layer, batch, tokens, out, epsilon):
    weights, grid, rng = layer
    rows = len(weights.weight)
    codes = random_codes(rng, batch, tokens, weights.weight.shape[1], grid)
    scales = (weights.scales / (grid.high * grid.scale) / math.sqrt(codes.shape[2])).astype(np.float32)
    weights = Weights(weights.weight, scales, weights.bias)
    residual = rng.normal(0.5, 1, (batch, tokens, rows)).astype(np.float32)
    gamma, beta = (rng.normal(center, 0.5, rows).astype(np.float32) for center in (1.0, 0.0))
    values, result = run(
        "LinearNorm",
        compiled,
        [("x", packed(codes, instructions)), *weights.constants, ("r", to_lanes(residual)), gamma, beta],
        epsilon=epsilon,
        **grids(x=grid, y=out),
        **weights.attributes,
    )
    summed = weights.values(codes, grid) + residual
    centred = summed - summed.mean(axis=-1, keepdims=True)
    exact = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + np.float32(epsilon)) * gamma + beta
    np.testing.assert_allclose(from_lanes(values, tokens), exact, rtol=1e-5, atol=1e-5)
    assert_codes(unpacked(result, tokens, instructions), exact, out, 2e-5)


@FEW
@given(SEEDS, st.integers(1, 5), TOKENS, st.sampled_from([4, 12, 64, 384]), RESULT_GRIDS)
def test_pack_and_unpack_are_inverse(compiled, instructions, seed, batch, tokens, features, grid):
    x = np.random.default_rng(seed).normal(0, 30, (batch, tokens, features)).astype(np.float32)
    lengths = [max(1, tokens - 13 * i) for i in range(batch)]
    mask = np.stack([np.where(np.arange(tokens) < length, 0, MASKED) for length in lengths])[:, None, None]
    named = ("mask", mask.astype(np.float32))
    values, codes = run("Pack", compiled, [("x", x), named], **grids(x=grid))
    np.testing.assert_array_equal(values, to_lanes(x, lengths))
    (back,) = run("Unpack", compiled, [("values", values), named])
    np.testing.assert_array_equal(back, from_lanes(values, tokens, lengths))
    found = unpacked(codes, tokens, instructions, lengths)
    for i, length in enumerate(lengths):
        np.testing.assert_array_equal(back[i, :length], x[i, :length])
        assert_codes(found[i, :length], x[i, :length].astype(np.float64), grid)


def test_lanes_without_a_token_have_the_codes_of_zero(compiled, instructions):
    x, grid = np.ones((2, 3, 8), np.float32), Grid(0.5, 7)
    _, codes = run("Pack", compiled, [("x", x), no_mask(x)], **grids(x=grid))
    expected = np.full((2, LANES, 8), 7)
    expected[:, :3] = 9
    np.testing.assert_array_equal(unpacked(codes, LANES, instructions), expected)


def test_values_beyond_any_integer_have_the_outermost_codes(compiled, instructions):
    x = np.array([[[1e20, -1e20, np.inf, -np.inf]]], np.float32)
    for grid in (Grid(2.0**-20, 7), Grid(1.0, 200, 127)):
        _, codes = run("Pack", compiled, [("x", x), no_mask(x)], **grids(x=grid))
        np.testing.assert_array_equal(unpacked(codes, 1, instructions)[0, 0], [grid.high, 0, grid.high, 0])


MASKS = {
    "none": lambda tokens: np.zeros(tokens),
    "end": lambda tokens: np.where(np.arange(tokens) < (tokens + 1) // 2, 0, MASKED),
    "middle": lambda tokens: np.where(np.arange(tokens) // 3 % 2, MASKED, 0),
    "start": lambda tokens: np.where(np.arange(tokens) < tokens // 2, MASKED, 0),
    "all": lambda tokens: np.full(tokens, MASKED),
    "soft": lambda tokens: np.linspace(-3, 1, tokens),
}


class AttentionCase:
    """Random codes, weights and grids of an attention whose scores and results vary over most of their grids."""

    def __init__(self, tokens, mask, high, batch, heads, size, columns, zeros):
        rng = np.random.default_rng(tokens)
        self.mask, self.size, self.lengths = mask, size, lengths_of(mask)
        self.x = Grid(0.03, 90 * high // 255, high)
        self.layers = [random_weights(rng, heads * size, columns, scales=(0.011, 0.007)) for _ in range(3)]
        self.codes = random_codes(rng, batch, tokens, columns, self.x)
        peak = max(np.abs(layer.values(self.codes, self.x)).max() for layer in self.layers)
        self.query, self.key, self.value = (Grid(2.1 * peak / high, zero * high // 255, high) for zero in zeros[:3])
        self.probabilities = Grid(1.003 / (high - zeros[3]), zeros[3], high)  # equal ones are no ties
        self.context = Grid(self.value.scale * 0.9, self.value.zero_point, high)
        self.scale = (6 if tokens % 2 else 100) / (peak**2 * math.sqrt(size))

    def found(self, library, instructions):
        """Codes of the context."""
        weights = [each for layer in self.layers for each in layer.constants]
        (found,) = run(
            "SelfAttention",
            library,
            [("x", packed(self.codes, instructions, self.lengths)), ("mask", self.mask), *weights],
            **grids(x=self.x, query=self.query, key=self.key, value=self.value),
            **grids(probabilities=self.probabilities, y=self.context),
            **self.layers[0].attributes,
            scale=self.scale,
            head_size=self.size,
        )
        return unpacked(found, self.codes.shape[1], instructions, self.lengths)

    def exact(self):
        """The same in float64, but for the scores, which are float32 as in the graph: a mask absorbs them."""
        query, key, value = (
            self.heads(layer.values(self.codes, self.x), grid)
            for layer, grid in zip(self.layers, (self.query, self.key, self.value), strict=True)
        )
        scores = ((query @ key.transpose(0, 1, 3, 2)) * self.scale).astype(np.float32) + self.mask
        powers = np.exp(scores.astype(np.float64) - scores.max(axis=-1, keepdims=True))
        probabilities = restored(powers / powers.sum(axis=-1, keepdims=True), self.probabilities)
        context = (probabilities @ value).transpose(0, 2, 1, 3)
        return quantized(context.reshape(*self.codes.shape[:2], -1), self.context)

    def heads(self, values, grid):
        batch, tokens, _ = values.shape
        return restored(values, grid).reshape(batch, tokens, -1, self.size).transpose(0, 2, 1, 3)


def restored(values, grid):
    return (quantized(values, grid) - grid.zero_point) * np.float64(np.float32(grid.scale))


def assert_nearly_equal_codes(found, exact):
    different = np.abs(found - exact)
    assert different.max() <= 1
    assert different.mean() <= 0.01


def assert_attends(case, compiled, instructions):
    found, exact = case.found(compiled, instructions), case.exact()
    for i, length in enumerate(case.lengths):
        assert_nearly_equal_codes(found[i, :length], exact[i, :length])


ZEROS = [(128, 128, 128, 0), (0, 255, 128, 3), (120, 7, 255, 0), (255, 128, 0, 0)]


@pytest.mark.parametrize("tokens", [1, 15, 16, 17, 64, 65, 130])
@pytest.mark.parametrize("masking", MASKS)
@pytest.mark.parametrize("high", [255, 127])
def test_attention_is_that_of_quantised_tensors(compiled, instructions, tokens, masking, high):
    batch, heads, size, columns = [(2, 3, 32, 60), (3, 5, 4, 8), (1, 1, 64, 100)][tokens % 3]
    rows = [masking, "none", "end"][:batch]
    mask = np.stack([MASKS[each](tokens) for each in rows]).astype(np.float32)[:, None, None]
    for zeros in ZEROS:
        case = AttentionCase(tokens, mask, high, batch, heads, size, columns, zeros)
        assert_attends(case, compiled, instructions)


@pytest.mark.parametrize("high", [255, 127])
@pytest.mark.parametrize("other", ["x", "query", "key", "value", "probabilities"])
def test_one_tensor_of_attention_may_have_codes_of_other_bits(compiled, instructions, high, other):
    # neighbours with the highest codes are the pair of products whose sum has the most bits
    mask = np.zeros((1, 1, 1, 33), np.float32)
    case = AttentionCase(33, mask, high, 1, 3, 32, 60, (0, 0, 128, 0))
    case.query = Grid(case.query.scale / 12, 0, high)
    case.probabilities = Grid((0.01 if other == "probabilities" else 0.2) / high, 0, high)
    case.scale *= 20
    case.context = Grid(case.context.scale * 33, 128, 255)
    grid = getattr(case, other)
    setattr(case, other, Grid(grid.scale, grid.zero_point, 382 - high))
    if other == "x":
        case.codes = case.codes * case.x.high // high
        case.codes[:, ::2] = case.x.high
    assert_attends(case, compiled, instructions)
