import copy
import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from tests.deployment.toys import family, without_structures
from tests.toys import toy_data, toy_model
from winnow.data.tiny_tokenizer import tiny_tokenizer
from winnow.errors import UserError
from winnow.models.fake_quant import QuantizedLinear
from winnow.models.pretrained import load_saved, save_model
from winnow.models.quantized_model import (
    OTHER,
    QUANTIZERS,
    insert_fake_quant,
    multiplying_modules,
    quantizable,
    quantizers,
    rounded_state,
    set_fake_quant,
)

SETTINGS = {"weight_bits": 8, "per_channel": True, "reduce_range": False}
SHAPE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
SHAPES = {
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24},
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2},
    "electra": {**SHAPE, "embedding_size": 8},  # with a projection
    "albert": {**SHAPE, "embedding_size": 8},
}
IDS = torch.tensor([[2, 5, 9, 7, 3], [2, 8, 4, 3, 1]])


def built(model_type, auto_model=AutoModelForSequenceClassification):
    config = AutoConfig.for_model(
        model_type, vocab_size=64, **SHAPES.get(model_type, SHAPE), bos_token_id=0, eos_token_id=3, pad_token_id=1
    )
    return auto_model.from_config(config).eval()


def quantized(model, ids=IDS, **changes):
    """A model whose grids have been fitted to some ids."""
    insert_fake_quant(model, quantizable(model), **{**SETTINGS, **changes})
    set_fake_quant(model, observer_enabled=True, fake_quant_enabled=True)
    with torch.no_grad():
        for _ in range(3):
            model(input_ids=ids)
    set_fake_quant(model, observer_enabled=False, fake_quant_enabled=True)
    return model


@pytest.mark.parametrize(
    ("model_type", "auto_model", "linear", "embedding"),
    [
        ("bert", AutoModelForSequenceClassification, 14, 3),
        ("bert", AutoModelForQuestionAnswering, 13, 3),
        ("bert", AutoModelForTokenClassification, 13, 3),
        ("roberta", AutoModelForSequenceClassification, 14, 3),
        ("distilbert", AutoModelForSequenceClassification, 14, 2),
        ("distilbert", AutoModelForQuestionAnswering, 13, 2),
        ("electra", AutoModelForTokenClassification, 14, 3),
        ("xlm-roberta", AutoModelForSequenceClassification, 14, 3),
        ("modernbert", AutoModelForSequenceClassification, 10, 1),
        ("eurobert", AutoModelForSequenceClassification, 16, 1),
    ],
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_all_that_multiplies_is_found(model_type, auto_model, linear, embedding, device):
    kinds = list(quantizable(built(model_type, auto_model).to(device)).values())
    assert {kind: kinds.count(kind) for kind in kinds} == {"linear": linear, "embedding": embedding, "attention": 2}


@pytest.mark.parametrize(
    ("model_type", "left"),
    [("mpnet", "mpnet.encoder.layer.0.attention.attn"), ("deberta-v2", "deberta.encoder.layer.0.attention.self")],
)
def test_attention_that_computes_its_own_products_stays_in_floating_point(model_type, left):
    model = built(model_type)
    kinds = multiplying_modules(model)
    others = [name for name, kind in kinds.items() if kind == OTHER]
    assert others == [left, left.replace("0", "1")]
    assert quantizable(model) == {name: kind for name, kind in kinds.items() if name not in others}
    assert "linear" in quantizable(model).values()


def test_a_layer_that_runs_several_times_is_found_once():
    kinds = list(quantizable(built("albert")).values())
    assert {kind: kinds.count(kind) for kind in kinds} == {"embedding": 3, "linear": 9, "attention": 1}


def test_a_model_without_linear_layers_below_its_head_is_refused_by_the_names_of_its_modules():
    with pytest.raises(UserError, match=r"multiply matrices, transformer\.h\.0\.attn\.c_attn \(Conv1D\), "):
        quantizable(built("gpt2"))


def test_looking_for_what_multiplies_changes_nothing():
    model = built("bert").train()
    before = torch.get_rng_state()
    quantizable(model)
    assert model.training
    assert torch.equal(torch.get_rng_state(), before)
    assert not model._forward_hooks
    assert not model._forward_pre_hooks


def test_parameters_stay_the_same_objects_under_the_same_names():
    model = built("bert")
    before, plain = dict(model.named_parameters()), copy.deepcopy(model)
    insert_fake_quant(model, quantizable(model), **SETTINGS)
    after = dict(model.named_parameters())
    assert before.keys() == after.keys()
    assert all(after[name] is before[name] for name in before)
    torch.testing.assert_close(model(input_ids=IDS).logits, plain(input_ids=IDS).logits)  # all is off


def test_a_second_call_gives_new_quantisers_and_leaves_none_of_the_first():
    model = quantized(built("bert"))
    kinds = quantizable(model)
    assert kinds == quantizable(built("bert"))
    before = {name: (each.scale.clone(), each.observations.clone()) for name, each in quantizers(model).items()}
    set_fake_quant(model, observer_enabled=True, fake_quant_enabled=True)
    quantizable(model)
    assert all(torch.equal(each.scale, before[name][0]) for name, each in quantizers(model).items())
    assert all(each.observer_enabled for each in quantizers(model).values())
    left = [name for name in kinds if ".layer.1." in name]
    insert_fake_quant(model, left, **SETTINGS)
    assert {name for name in before if ".layer.1." in name} == set(quantizers(model))
    assert not any(each.observations or each.fake_quant_enabled for each in quantizers(model).values())
    assert quantizable(model) == kinds


@pytest.mark.parametrize("name", ["bert", "distilbert", "roberta", "electra"])
def test_what_is_left_of_a_model_without_heads_and_neurons_is_quantised(name):
    whole, small = (quantizable(each) for each in (family(name, layers=3), without_structures(family(name, layers=3))))
    gone = set(whole) - set(small)
    assert set(small) < set(whole)
    assert len(gone) == 5 + 2  # attention with its linear layers, and two of a feed-forward network
    assert all(".layer.1." in each or ".layer.2." in each for each in gone)


def test_a_state_in_mid_training_loads_strictly():
    model = quantized(built("bert"))
    other = built("bert")
    insert_fake_quant(other, quantizable(other), **SETTINGS)
    other.load_state_dict(model.state_dict(), strict=True)
    set_fake_quant(other, observer_enabled=False, fake_quant_enabled=True)
    assert torch.equal(model(input_ids=IDS).logits, other(input_ids=IDS).logits)


@pytest.fixture(params=[{}, {"embedding_bits": 4}, {"embedding_per_row": False}])
def saved(tmp_path, request):
    data = toy_data()
    model = quantized(toy_model(data.task).eval(), **request.param)
    save_model(model, tiny_tokenizer(), tmp_path)
    return tmp_path, model, data.task


def test_a_saved_model_opens_in_plain_transformers_with_its_weights_on_the_grid(saved):
    folder, model, _ = saved
    plain, report = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert plain.config._attn_implementation == "sdpa"
    weights = dict(plain.named_parameters())
    for name, module in model.named_modules():
        if isinstance(module, QuantizedLinear):
            codes = weights[f"{name}.weight"] / module.weight_quantizer.scale[:, None]
            torch.testing.assert_close(codes, module.weight_quantizer.codes(module.weight).float(), atol=1e-4, rtol=0)
            codes = weights[f"{name}.bias"] / module.bias_scale()
            torch.testing.assert_close(codes, module.bias_codes().float(), atol=1e-2, rtol=1e-6)
    torch.testing.assert_close(plain(input_ids=IDS).logits, model(input_ids=IDS).logits, atol=0.02, rtol=0)


def test_a_loaded_model_computes_what_the_saved_one_did(saved):
    folder, model, task = saved
    loaded = load_saved(folder, task)
    assert not loaded.training
    assert torch.equal(loaded(input_ids=IDS).logits, model(input_ids=IDS).logits)
    assert not torch.equal(
        loaded(input_ids=IDS).logits, AutoModelForSequenceClassification.from_pretrained(folder)(input_ids=IDS).logits
    )
    again = folder / "again"
    save_model(loaded, tiny_tokenizer(), again)
    for file in ("model.safetensors", QUANTIZERS):
        once, twice = load_file(folder / file), load_file(again / file)
        assert once.keys() == twice.keys()
        assert all(torch.equal(once[name], twice[name]) for name in once)


@pytest.mark.parametrize(
    ("saved", "missing"),
    [
        ({"embedding_per_row": False}, {"embedding_per_row": False}),
        ({"embedding_per_row": False}, {"embedding_per_row": False, "embedding_bits": 8}),
        ({"embedding_bits": 4}, {"embedding_per_row": True}),
    ],
    indirect=["saved"],
)
def test_a_file_of_an_older_version_has_a_scale_for_each_row_if_its_embeddings_have_four_bits(saved, missing):
    folder, model, task = saved
    with safe_open(folder / QUANTIZERS, framework="pt") as file:
        settings = json.loads(file.metadata()["quantization"])
    assert {name: settings.pop(name) for name in missing} == missing
    save_file(load_file(folder / QUANTIZERS), folder / QUANTIZERS, metadata={"quantization": json.dumps(settings)})
    assert torch.equal(load_saved(folder, task)(input_ids=IDS).logits, model(input_ids=IDS).logits)


def test_a_float_model_is_saved_without_grids(tmp_path):
    data = toy_data()
    save_model(toy_model(data.task), tiny_tokenizer(), tmp_path)
    assert not (tmp_path / QUANTIZERS).exists()
    assert not quantizers(load_saved(tmp_path, data.task))


def test_zeros_are_saved_as_zeros():
    model = built("bert")
    weight = model.bert.encoder.layer[0].output.dense.weight
    weight.data[weight.abs() < weight.abs().quantile(0.75)] = 0.0
    state = rounded_state(quantized(model))
    rounded = state["bert.encoder.layer.0.output.dense.weight"]
    assert bool((rounded[weight == 0] == 0).all())
    assert not any("quantizer" in name or "products" in name for name in state)


@pytest.mark.parametrize(
    ("changes", "linear", "embedding"),
    [
        ({"per_channel": False}, (127, 1), (127, 64)),
        ({"weight_bits": 4}, (7, 16), (127, 64)),
        ({"embedding_bits": 4}, (127, 16), (7, 64)),
        ({"embedding_per_row": False}, (127, 16), (127, 1)),
        ({}, (127, 16), (127, 64)),
    ],
)
def test_settings_reach_the_kind_of_weights_that_they_are_for(changes, linear, embedding):
    model = quantized(built("bert"), **changes)
    query, table = model.bert.encoder.layer[0].attention.self.query, model.bert.embeddings.word_embeddings
    for module, expected in ((query, linear), (table, embedding)):
        assert (module.weight_quantizer.high, len(module.weight_quantizer.scale)) == expected


def test_of_an_embedding_the_rows_of_a_batch_are_observed_and_all_rows_when_the_observer_is_switched_off():
    model = quantized(built("bert"))
    table = model.bert.embeddings.word_embeddings
    scales = table.weight_quantizer.scale
    set_fake_quant(model, observer_enabled=False, fake_quant_enabled=True)
    before = scales.clone()
    table.weight.data *= 2
    set_fake_quant(model, observer_enabled=True, fake_quant_enabled=True)
    model(input_ids=torch.tensor([[5, 9, 5]]))
    torch.testing.assert_close(scales[[5, 9]], 2 * before[[5, 9]])
    assert torch.equal(scales[[6, 7, 8]], before[[6, 7, 8]])
    set_fake_quant(model, observer_enabled=False, fake_quant_enabled=True)
    torch.testing.assert_close(scales, 2 * before)


def test_a_language_model_is_found_with_its_decoder():
    kinds = quantizable(built("bert", AutoModelForMaskedLM))
    assert kinds["cls.predictions.decoder"] == "linear"
