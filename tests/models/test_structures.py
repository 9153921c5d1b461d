import copy

import pytest
import torch

from tests.deployment.toys import family, inputs_of, logits
from tests.toys import toy_data, toy_model
from winnow.errors import UserError
from winnow.models.encoder_layers import keep_layers
from winnow.models.structures import (
    BiasOnly,
    kept_structures,
    padded_state,
    remove_structures,
    rows_of,
    structure_blocks,
)


def all_of(model):
    return {block: list(range(block.count)) for block in structure_blocks(model)}


@pytest.mark.parametrize("name", ["bert", "distilbert", "roberta", "electra"])
def test_each_layer_has_a_block_of_heads_and_one_of_neurons(name):
    model = family(name, layers=3)
    blocks = structure_blocks(model)
    assert [(block.layer, block.kind) for block in blocks] == [(i, k) for i in range(3) for k in ("heads", "neurons")]
    for block in blocks:
        rows = block.count * block.width
        assert all(model.get_submodule(name).out_features == rows for name in block.inputs)
        assert model.get_submodule(block.output).in_features == rows


def test_the_rows_of_a_head_are_neighbours_and_those_of_a_neuron_are_one():
    heads, neurons = structure_blocks(toy_model(toy_data().task))[:2]
    assert heads.width == 8  # 16 features, 2 heads
    assert rows_of(heads, [1]).tolist() == list(range(8, 16))
    assert rows_of(neurons, [2, 5]).tolist() == [2, 5]


@pytest.mark.parametrize("name", ["bert", "distilbert"])
@pytest.mark.parametrize("kind", ["heads", "neurons"])
def test_a_removed_structure_contributes_nothing_and_the_others_what_they_did(name, kind):
    """A model with zeros in the columns that read a structure is the reference."""
    model = family(name, layers=2)
    kept = all_of(model)
    block = next(block for block in kept if block.kind == kind)
    kept[block] = kept[block][1:]
    reference = copy.deepcopy(model)
    with torch.no_grad():
        reference.get_submodule(block.output).weight[:, : block.width] = 0
    remove_structures(model, kept)
    batch = inputs_of(model)
    torch.testing.assert_close(logits(model, batch), logits(reference, batch), rtol=1e-5, atol=1e-6)


def test_structures_are_numbered_as_in_the_stock_model_however_often_some_are_removed():
    model = family("bert", layers=2)
    once, kept = copy.deepcopy(model), all_of(model)
    block = structure_blocks(model)[1]
    for numbers in ([1, 2, 5, 7], [2, 7]):
        kept[block] = numbers
        remove_structures(model, kept)
    remove_structures(once, kept)
    assert kept_structures(model) == kept
    for name, weight in once.state_dict().items():
        assert torch.equal(weight, model.state_dict()[name]), name


def test_an_empty_block_adds_its_bias_and_has_no_other_parameter():
    model = family("bert", layers=2)
    kept = all_of(model)
    for block in structure_blocks(model)[:2]:
        kept[block] = []
    remove_structures(model, kept)
    left = [name for name, _ in model.named_parameters() if ".layer.0." in name and "LayerNorm" not in name]
    assert [name.split(".layer.0.")[1] for name in left] == ["attention.output.dense.bias", "output.dense.bias"]
    output = model.get_submodule(structure_blocks(family("bert", layers=2))[1].output)
    assert isinstance(output, BiasOnly)
    hidden = torch.zeros(2, 3, len(output.bias))
    assert torch.equal(output.train()(hidden), output.bias.expand(2, 3, -1))


def test_parameters_stay_the_same_objects_and_lose_their_gradients():
    model = family("bert", layers=2)
    before = dict(model.named_parameters())
    next(iter(model.train()(**inputs_of(model)).values())).sum().backward()
    kept = all_of(model)
    block = structure_blocks(model)[1]
    kept[block] = [0, 1]
    remove_structures(model, kept)
    assert all(parameter is before[name] for name, parameter in model.named_parameters())
    assert before[f"{block.output}.weight"].grad is None
    assert before[f"{block.output}.weight"].shape[1] == 2


def test_padding_puts_rows_and_columns_where_they_were():
    model = family("bert", layers=2)
    whole = {name: value.clone() for name, value in model.state_dict().items()}
    kept = all_of(model)
    block = structure_blocks(model)[1]
    kept[block] = [3, 4]
    remove_structures(model, kept)
    padded = padded_state(model, model.state_dict())
    weight = padded[f"{block.output}.weight"]
    assert torch.equal(weight[:, 3:5], whole[f"{block.output}.weight"][:, 3:5])
    assert int(weight.count_nonzero()) == int(weight[:, 3:5].count_nonzero())
    assert {name: value.shape for name, value in padded.items()} == {n: v.shape for n, v in whole.items()}


def test_dropped_layers_have_no_blocks():
    model = family("bert", layers=3)
    keep_layers(model, [0, 2])
    assert [block.layer for block in structure_blocks(model)] == [0, 0, 1, 1]


def test_a_model_with_other_layers_is_refused():
    model = family("bert", layers=2)
    model.bert.encoder.layer[0].intermediate.dense = torch.nn.Identity()
    with pytest.raises(UserError, match=r"the heads and neurons of BertFor\w+ cannot be removed"):
        structure_blocks(model)
