import torch

from tests.models.test_least_error_ranges import calibrated
from tests.toys import toy_data
from winnow.models.fake_quant import QuantizedLinear
from winnow.models.post_training import round_by_outputs, runs_in_sparse_engine, smooth_inputs
from winnow.models.pretrained import load_saved, save_model
from winnow.models.quantized_model import (
    _remove_fake_quant,
    quantizers,
    set_fake_quant,
    set_smoothing,
    smoothing_factors,
)


def outputs(model, data, batches):
    with torch.no_grad():
        return torch.cat([data.task.outputs(model, batch).logits for batch in batches])


def linears(model):
    return [module for module in model.modules() if isinstance(module, QuantizedLinear)]


def test_smoothing_leaves_the_outputs_and_gives_channels_one_range():
    data = toy_data()
    batches, model = list(data.train_dataloader()), calibrated(data)
    set_fake_quant(model, observer_enabled=False, fake_quant_enabled=False)
    exact = outputs(model, data, batches)
    dense = model.bert.encoder.layer[1].intermediate.dense
    original, clipped = dense.weight.detach().clone(), float(dense.input_quantizer.maximum)
    smooth_inputs(model, data.task, batches)
    torch.testing.assert_close(outputs(model, data, batches), exact, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(dense.weight * dense.smoothing, original)
    assert (1 / dense.smoothing).max() <= max(clipped, -float(dense.input_quantizer.minimum)) + 1e-6
    assert (dense.smoothing.max() / dense.smoothing.min()) <= 100.001
    attention = model.bert.encoder.layer[0].attention.self
    assert torch.equal(attention.query.smoothing, attention.key.smoothing)  # they share one quantised input


def test_smoothing_is_undone_with_the_quantisers():
    data = toy_data()
    model = calibrated(data)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    smooth_inputs(model, data.task, list(data.train_dataloader()))
    _remove_fake_quant(model)
    assert not linears(model)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter, before[name])


def test_weights_rounded_by_outputs_are_on_their_grids_and_zeros_stay():
    data = toy_data()
    batches, model = list(data.train_dataloader()), calibrated(data)
    layer = model.bert.encoder.layer[0].output.dense
    with torch.no_grad():
        layer.weight[:, ::2] = 0.0
    round_by_outputs(model, data.task, batches)
    for linear in linears(model):
        torch.testing.assert_close(linear.weight_quantizer.rounded(linear.weight), linear.weight, atol=1e-7, rtol=1e-5)
    assert (layer.weight[:, ::2] == 0).all()
    assert not any(linear._forward_pre_hooks for linear in linears(model))


def test_a_saved_smoothed_model_is_a_plain_one_and_computes_the_same_when_it_is_restored(tmp_path):
    data = toy_data()
    batches, model = list(data.train_dataloader()), calibrated(data)
    plain = outputs(model, data, batches)
    smooth_inputs(model, data.task, batches)
    for quantizer in quantizers(model).values():
        quantizer.observer_enabled = True
    outputs(model, data, batches)
    set_fake_quant(model, observer_enabled=False, fake_quant_enabled=True)
    expected = outputs(model, data, batches)
    save_model(model, data.tokenizer, tmp_path)
    restored = load_saved(tmp_path, data.task)
    torch.testing.assert_close(outputs(restored, data, batches), expected, atol=1e-6, rtol=1e-5)
    assert len(smoothing_factors(restored)) == len(linears(restored))
    for name, linear in ((n, m) for n, m in restored.named_modules() if isinstance(m, QuantizedLinear)):
        assert torch.equal(
            linear.weight_quantizer.codes(linear.weight),
            model.get_submodule(name).weight_quantizer.codes(model.get_submodule(name).weight),
        )
    set_fake_quant(restored, observer_enabled=False, fake_quant_enabled=False)
    torch.testing.assert_close(outputs(restored, data, batches), plain, atol=1e-2, rtol=0.0)


def test_factors_are_replaced_not_multiplied():
    data = toy_data()
    model = calibrated(data)
    linear = linears(model)[0]
    original = linear.weight.detach().clone()
    for factors in (torch.full((16,), 2.0), torch.full((16,), 0.5), None):
        set_smoothing(linear, factors)
    assert torch.equal(linear.weight, original)


def test_models_with_many_empty_blocks_run_in_the_sparse_engine():
    model = calibrated(toy_data())
    assert not runs_in_sparse_engine(model)
    with torch.no_grad():
        for linear in linears(model):
            linear.weight[:, : linear.in_features // 2] = 0.0
    assert runs_in_sparse_engine(model)
