import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.toys import toy_data, toy_model
from winnow.models.fake_quant import (
    ActivationFakeQuant,
    QuantizedEmbedding,
    QuantizedLinear,
    QuantizedMatmuls,
    WeightFakeQuant,
    fake_quant_attention,
)
from winnow.models.quantized_model import insert_fake_quant, quantizable, set_fake_quant


def on(*quantizers):
    for quantizer in quantizers:
        quantizer.observer_enabled = quantizer.fake_quant_enabled = True


def linear(weight, bias, **settings):
    layer = nn.Linear(len(weight[0]), len(weight))
    layer.weight.data, layer.bias.data = torch.tensor(weight), torch.tensor(bias)
    layer.__class__ = QuantizedLinear
    layer.weight_quantizer = WeightFakeQuant(**settings)
    layer.input_quantizer = ActivationFakeQuant()
    layer.register_buffer("smoothing", None)
    return layer


def test_a_quantiser_that_is_off_hands_on_what_it_gets():
    x = torch.randn(3)
    quantizer = ActivationFakeQuant()
    assert quantizer(x) is x
    assert quantizer.observations == 0


def test_the_range_of_activations_is_that_of_the_first_batch_then_an_average():
    quantizer = ActivationFakeQuant()
    quantizer.observer_enabled = True
    quantizer(torch.tensor([-1.0, 3.0]))
    assert (quantizer.minimum.item(), quantizer.maximum.item()) == (-1, 3)
    quantizer(torch.tensor([-2.0, 5.0]))
    assert (quantizer.minimum.item(), quantizer.maximum.item()) == (-1.5, 4)
    torch.testing.assert_close(quantizer.scale, torch.tensor([5.5 / 255]))
    assert quantizer.zero_point.item() == 70  # 69.55


def test_after_a_hundred_batches_each_weighs_a_hundredth():
    quantizer = ActivationFakeQuant()
    quantizer.observer_enabled = True
    quantizer.observations.fill_(500)
    quantizer.maximum.fill_(2.0)
    quantizer(torch.tensor([0.0, 3.0]))
    torch.testing.assert_close(quantizer.maximum, torch.tensor([2.01]))


def test_the_grid_of_weights_is_that_of_the_weights_as_they_are_now():
    quantizer = WeightFakeQuant(channels=2)
    on(quantizer)
    quantizer(torch.tensor([[1.275, -0.5], [0.0, -2.55]]))
    torch.testing.assert_close(quantizer.scale, torch.tensor([0.01, 0.02]))
    quantizer(torch.tensor([[-2.55, 0.0], [1.275, 0.0]]))
    torch.testing.assert_close(quantizer.scale, torch.tensor([0.02, 0.01]))


def test_observed_weights_all_have_a_gradient_frozen_ones_only_within_their_range():
    quantizer = WeightFakeQuant(channels=2)
    on(quantizer)
    weight = torch.tensor([[1.275, -1.275], [0.0, -2.55]], requires_grad=True)
    quantizer(weight).sum().backward()
    assert weight.grad.tolist() == [[1, 1], [1, 1]]
    quantizer.observer_enabled = False
    moved = torch.tensor([[1.275, -1.3], [0.0, -2.56]], requires_grad=True)  # -130 and -128 steps
    quantizer(moved).sum().backward()
    assert moved.grad.tolist() == [[1, 0], [1, 1]]


def test_a_frozen_grid_stays_as_it_is():
    quantizer = WeightFakeQuant()
    on(quantizer)
    quantizer(torch.tensor([1.275]))
    quantizer.observer_enabled = False
    assert quantizer(torch.tensor([5.0])).item() == pytest.approx(1.27)


def test_a_linear_layer_rounds_input_weights_and_bias_as_its_graph_will():
    layer = linear([[1.275, 0.253]], [0.00013])
    on(layer.weight_quantizer, layer.input_quantizer)
    # weights 127 (127.5 is clipped) and 25 hundredths, input 255 and 100 hundredths, bias 1 of 1.3 ten-thousandths
    product = layer(torch.tensor([[2.55, 1.0]]))
    assert layer.weight_quantizer.codes(layer.weight).tolist() == [[127, 25]]
    assert layer.bias_codes().tolist() == [1]
    torch.testing.assert_close(product, torch.tensor([[(127 * 255 + 25 * 100 + 1) * 1e-4]]))


def test_a_table_rounds_the_rows_that_are_looked_up_to_the_grid_of_the_whole():
    table = nn.Embedding(2, 2)
    table.weight.data = torch.tensor([[0.014, 0.0], [1.275, 0.0]])
    table.__class__ = QuantizedEmbedding
    table.weight_quantizer = WeightFakeQuant()
    on(table.weight_quantizer)
    torch.testing.assert_close(table(torch.tensor([0])), torch.tensor([[0.01, 0.0]]))


def test_rows_of_four_bits_have_a_scale_each_that_is_looked_up_with_them():
    table = nn.Embedding(3, 3)
    table.weight.data = torch.tensor([[0.75, -0.31, 0.12], [0.0, 0.0, 0.0], [0.4, -7.5, 0.6]])
    table.__class__ = QuantizedEmbedding
    table.weight_quantizer = WeightFakeQuant(bits=4, channels=3)
    on(table.weight_quantizer)
    rows = table(torch.tensor([[2, 0], [0, 1]]))  # scales 1.0 and 0.1, of integers from -8 to 7
    first, last = [0.7, -0.3, 0.1], [0.0, -8.0, 1.0]
    torch.testing.assert_close(rows, torch.tensor([[last, first], [first, [0.0, 0.0, 0.0]]]))
    torch.testing.assert_close(table.weight_quantizer.scale[[0, 2]], torch.tensor([0.1, 1.0]))
    assert table.weight_quantizer.codes(table.weight).tolist() == [[7, -3, 1], [0, 0, 0], [0, -8, 1]]
    rows.sum().backward()
    assert table.weight.grad.tolist() == [[2, 2, 2], [1, 1, 1], [1, 1, 1]]  # as often as they are looked up


@pytest.mark.parametrize("bits", [8, 4])
def test_weights_take_so_many_values(bits):
    quantizer = WeightFakeQuant(bits=bits)
    on(quantizer)
    values = quantizer(torch.linspace(-1, 1, 5001)).unique()
    assert len(values) in (2**bits - 1, 2**bits)  # the lowest is where rounding errors decide


def attention(products, seed=0):
    module = nn.Module()
    if products is not None:
        module.products = products
    generator = torch.Generator().manual_seed(seed)
    query, key, value = (torch.randn(2, 3, 5, 4, generator=generator) for _ in range(3))
    mask = torch.zeros(2, 1, 5, 5)
    mask[1, :, :, 3:] = torch.finfo(torch.float32).min
    return fake_quant_attention(module, query, key, value, mask, scaling=0.5)[0], (query, key, value, mask)


def test_attention_that_is_off_is_that_of_torch():
    output, (query, key, value, mask) = attention(QuantizedMatmuls())
    theirs = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=0.5)
    torch.testing.assert_close(output, theirs.transpose(1, 2))


def test_attention_multiplies_what_is_on_its_grids():
    products = QuantizedMatmuls()
    on(products.query, products.key, products.probabilities, products.value)
    output, (query, key, value, mask) = attention(products)
    scores = products.query.rounded(query) @ products.key.rounded(key).transpose(2, 3) * 0.5 + mask
    probabilities = products.probabilities.rounded(scores.softmax(-1))
    torch.testing.assert_close(output, (probabilities @ products.value.rounded(value)).transpose(1, 2))
    assert len(probabilities.unique()) <= 256
    assert products.query.codes(query).max() == 255


def test_a_reduced_range_has_half_the_integers():
    products = QuantizedMatmuls(reduce_range=True)
    assert {q.high for q in (products.query, products.key, products.probabilities, products.value)} == {127}


@pytest.fixture(params=[8, 4])
def quantized(request):
    model = toy_model(toy_data().task, num_hidden_layers=1).eval()
    bits = {"weight_bits": request.param, "embedding_bits": request.param}
    insert_fake_quant(model, quantizable(model), **bits, per_channel=True, reduce_range=False)
    return model


IDS = torch.tensor([[2, 5, 9, 7, 3], [2, 8, 4, 3, 0]])
BATCH = {"input_ids": IDS, "attention_mask": (IDS != 0).long()}


@pytest.mark.parametrize(
    ("quantized", "observer_enabled", "fake_quant_enabled"),
    [(8, False, False), (8, True, True), (8, False, True), (4, True, True)],
    indirect=["quantized"],
)
def test_a_model_compiles_whole_in_every_phase(quantized, observer_enabled, fake_quant_enabled):
    set_fake_quant(quantized, observer_enabled=True, fake_quant_enabled=False)
    quantized(**BATCH)
    set_fake_quant(quantized, observer_enabled=observer_enabled, fake_quant_enabled=fake_quant_enabled)
    twin = copy.deepcopy(quantized)  # observing changes both
    compiled = torch.compile(quantized, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(**BATCH).logits, twin(**BATCH).logits)


def test_a_model_trains_in_bfloat16(quantized):
    quantized.train()
    set_fake_quant(quantized, observer_enabled=True, fake_quant_enabled=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        quantized(**BATCH, labels=torch.tensor([0, 1])).loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in quantized.parameters())
    set_fake_quant(quantized, observer_enabled=False, fake_quant_enabled=True)
    assert (quantized.eval()(**BATCH).logits.dtype, quantized.classifier.weight.dtype) == (torch.float32,) * 2
