import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForMaskedLM, AutoModelForQuestionAnswering

from winnow.errors import UserError
from winnow.models.encoder_layers import keep_layers, kept_layers, layer_list

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "vocab_size": 50,
    "pad_token_id": 0,
}
NAMES = {
    "bert": "bert.encoder.layer",
    "roberta": "roberta.encoder.layer",
    "distilbert": "distilbert.transformer.layer",
    "electra": "electra.encoder.layer",
}


def model_of(kind, auto_model=AutoModelForMaskedLM):
    return auto_model.from_config(AutoConfig.for_model(kind, **SMALL))


def bert_base():
    with torch.device("meta"):
        return AutoModelForQuestionAnswering.from_config(AutoConfig.for_model("bert", vocab_size=30522))


@pytest.mark.parametrize(
    ("kept", "parameters"),
    [
        (None, 108_893_186),
        ([0, 1, 3, 4, 6, 7, 8, 10, 11], 87_629_570),
        ([0, 2, 4, 7, 9, 11], 66_365_954),
        ([0, 6, 11], 45_102_338),
        ([0], 30_926_594),
    ],
)
def test_bert_base_for_questions_is_left_with_the_published_numbers_of_parameters(kept, parameters):
    model = bert_base()
    if kept:
        keep_layers(model, kept)
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize("kind", NAMES)
def test_what_is_saved_opens_with_no_key_too_many_or_too_few_and_says_the_same(kind, tmp_path):
    model = model_of(kind).eval()
    name, layers = layer_list(model)
    assert name == NAMES[kind]
    weights = [layer.state_dict() for layer in layers]
    keep_layers(model, [1, 3])
    assert model.config.num_hidden_layers == len(layer_list(model)[1]) == 2
    assert kept_layers(model) == ([1, 3], 4)
    model.save_pretrained(tmp_path)
    opened, report = AutoModelForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    for layer, before in zip(layer_list(opened)[1], (weights[1], weights[3]), strict=True):
        assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())
    inputs = {"input_ids": torch.tensor([[5, 6, 7]])}
    assert torch.equal(opened.eval()(**inputs).logits, model(**inputs).logits)
    assert kept_layers(opened) == ([0, 1], 2)  # a model of its own


def test_layers_that_know_their_number_are_numbered_anew():
    model = model_of("bert")
    keep_layers(model, [1, 3])
    assert [layer.attention.self.layer_idx for layer in layer_list(model)[1]] == [0, 1]


def test_the_hidden_states_are_those_of_the_layers_that_are_left():
    model = model_of("roberta")
    keep_layers(model, [0, 2, 3])
    assert len(model(input_ids=torch.tensor([[5, 6]]), output_hidden_states=True).hidden_states) == 4


def test_to_keep_the_same_layers_again_changes_nothing():
    model = model_of("bert")
    keep_layers(model, [1, 3])
    left = list(layer_list(model)[1])
    keep_layers(model, [1, 3])
    assert list(layer_list(model)[1]) == left


def test_to_keep_other_layers_afterwards_is_refused():
    model = model_of("bert")
    keep_layers(model, [1, 3])
    with pytest.raises(
        UserError, match=r"layers were dropped already \(1, 3 of 4 are left\); drop layers once in a recipe"
    ):
        keep_layers(model, [0, 1])


def test_a_model_whose_layers_share_their_weights_is_refused():
    with pytest.raises(UserError, match=r"the model \(AlbertForMaskedLM\) has no list of encoder layers; use another"):
        layer_list(model_of("albert"))


def test_a_layer_does_not_take_the_place_of_one_with_other_parameters():
    model = model_of("bert")
    layer_list(model)[1][0].attention.output.LayerNorm = nn.Identity()
    with pytest.raises(
        UserError, match=r"layer 1 of BertForMaskedLM cannot take the place of layer 0, .*; keep layer 0"
    ):
        keep_layers(model, [1, 3])
    keep_layers(model, [0, 3])


def test_kept_layers_keep_their_kind_of_attention(tmp_path):
    """In ModernBERT every third layer is global; the first has no norm before its attention."""
    model = AutoModelForMaskedLM.from_config(AutoConfig.for_model("modernbert", **SMALL, local_attention=4)).eval()
    assert model.config.layer_types == ["full_attention", "sliding_attention", "sliding_attention", "full_attention"]
    keep_layers(model, [0, 2, 3])
    assert model.config.layer_types == ["full_attention", "sliding_attention", "full_attention"]
    model.save_pretrained(tmp_path)
    opened = AutoModelForMaskedLM.from_pretrained(tmp_path).eval()
    assert [layer.attention_type for layer in layer_list(opened)[1]] == model.config.layer_types
    ids = torch.arange(5, 25)[None]  # longer than the window
    found = model(input_ids=ids).logits
    assert torch.equal(opened(input_ids=ids).logits, found)
    layer_list(opened)[1][1].attention_type = "full_attention"
    assert not torch.equal(opened(input_ids=ids).logits, found)
