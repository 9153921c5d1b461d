import torch
from torch import nn

from tests.toys import toy_data, toy_model
from winnow.models.fake_quant import ActivationFakeQuant, QuantizedLinear
from winnow.models.least_error_ranges import set_least_error_ranges
from winnow.models.quantized_model import insert_fake_quant, quantizable, quantizers, set_fake_quant


def observing(model):
    names = list(quantizable(model))
    insert_fake_quant(model, names, weight_bits=8, per_channel=True, reduce_range=False)
    set_fake_quant(model, observer_enabled=True, fake_quant_enabled=False)
    return model


def calibrated(data, **changes):
    model = observing(toy_model(data.task, **changes).eval())
    set_least_error_ranges(model, data.task, list(data.train_dataloader()))
    return model


def test_query_key_and_value_share_the_grid_of_their_input():
    model = calibrated(toy_data())
    attention = model.bert.encoder.layer[0].attention.self
    inputs = [each.input_quantizer for each in (attention.query, attention.key, attention.value)]
    assert len({(float(each.scale), int(each.zero_point)) for each in inputs}) == 1
    assert inputs[0].scale != model.bert.encoder.layer[0].intermediate.dense.input_quantizer.scale


def test_large_values_without_influence_on_the_outputs_are_clipped():
    data = toy_data()
    model = observing(toy_model(data.task).eval())
    layer = model.bert.encoder.layer[0]
    with torch.no_grad():
        layer.intermediate.dense.bias[:2] += 50.0  # two neurons with large values,
        layer.output.dense.weight[:, 0] = 0.0  # the first of which nothing reads
    observed = layer.output.dense.input_quantizer
    set_least_error_ranges(model, data.task, list(data.train_dataloader()))
    assert observed.maximum > 45.0
    with torch.no_grad():
        layer.output.dense.weight[:, 1] = 0.0
    set_least_error_ranges(model, data.task, list(data.train_dataloader()))
    assert observed.maximum < 10.0


def test_padding_does_not_count():
    data = toy_data(rows=8)
    (batch,) = data.train_dataloader()
    padded = {name: torch.nn.functional.pad(batch[name], (0, 9)) for name in ("input_ids", "attention_mask")}
    grids = []
    for each in (batch, padded):
        model = observing(toy_model(data.task).eval())
        set_least_error_ranges(model, data.task, [each])
        grids.append({name: q.maximum for name, q in quantizers(model).items() if isinstance(q, ActivationFakeQuant)})
    assert grids[0].keys() == grids[1].keys()
    for name, maximum in grids[0].items():
        torch.testing.assert_close(grids[1][name], maximum, rtol=0.02, atol=0.0)  # one candidate may tie with another


def test_the_outputs_change_less_than_with_the_range_of_all_values():
    data = toy_data(rows=64)
    batches = list(data.train_dataloader())
    model = toy_model(data.task).eval()
    layer = model.bert.encoder.layer[1]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)  # larger than at the start of training, so that logits vary
        layer.intermediate.dense.bias[0] = 200.0  # a large value with little influence
        layer.output.dense.weight[:, 0] *= 1e-5
        exact = torch.cat([data.task.outputs(model, batch).logits for batch in batches])
        observing(model)

    @torch.no_grad()
    def error():
        set_fake_quant(model, observer_enabled=False, fake_quant_enabled=False)
        layer.output.dense.input_quantizer.fake_quant_enabled = True
        found = torch.cat([data.task.outputs(model, batch).logits for batch in batches])
        set_fake_quant(model, observer_enabled=True, fake_quant_enabled=False)
        return float((found - exact).square().mean())

    with torch.no_grad():
        for batch in batches:
            data.task.outputs(model, batch)
    whole = error()
    set_least_error_ranges(model, data.task, batches)
    assert error() < 0.01 * whole


def test_calibration_is_equal_to_the_bit_when_it_is_repeated_and_leaves_no_hooks():
    first, second = (calibrated(toy_data()) for _ in range(2))
    for name, quantizer in quantizers(first).items():
        assert torch.equal(quantizer.scale, quantizers(second)[name].scale)
        assert not quantizer._forward_hooks
    assert all(parameter.grad is None for parameter in first.parameters())


def test_an_activation_that_nothing_reads_keeps_the_range_of_its_observer():
    data = toy_data()
    model = observing(toy_model(data.task).eval())
    linear = model.bert.encoder.layer[0].output.dense
    assert isinstance(linear, QuantizedLinear)
    nn.init.zeros_(linear.weight)
    set_least_error_ranges(model, data.task, list(data.train_dataloader()))
    assert linear.input_quantizer.maximum > 0
    assert linear.input_quantizer.scale == (linear.input_quantizer.maximum - linear.input_quantizer.minimum) / 255
