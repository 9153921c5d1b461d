import copy

import pytest
import torch
from transformers import DebertaV2Config, DebertaV2Model

from tests.deployment.toys import family, inputs_of
from winnow.errors import UserError
from winnow.models.encoder_layers import layer_list
from winnow.models.layer_by_layer import LayerByLayer

NAMES = ["bert", "roberta", "distilbert", "electra"]


def walked(name):
    """A model, a batch, and a walk in which nothing is changed, at each layer."""
    torch.manual_seed(0)
    model = family(name, layers=3)
    batch = inputs_of(model)
    return model, batch, LayerByLayer.from_model(model, [batch])


@pytest.mark.parametrize("name", NAMES)
def test_layer_after_layer_gives_the_hidden_states_of_the_whole_model(name):
    model, batch, walk = walked(name)
    states = model(**batch, output_hidden_states=True).hidden_states
    for layer, before in zip(layer_list(model)[1], states, strict=False):
        torch.testing.assert_close(walk.pruned[0], before)
        walk.advance(layer, copy.deepcopy(layer))
    torch.testing.assert_close(walk.pruned[0], states[-1])
    torch.testing.assert_close(walk.whole[0], states[-1])


@pytest.mark.parametrize("name", NAMES)
def test_linear_layers_are_grouped_by_their_inputs_in_the_order_of_their_calls(name):
    model, _, walk = walked(name)
    layer = layer_list(model)[1][0]
    linear = {module: 0.5 for module in layer.modules() if isinstance(module, torch.nn.Linear)}
    assert [len(group) for group in walk.groups(layer, linear)] == [3, 1, 1, 1]
    assert len(walk.groups(layer, dict(list(linear.items())[1:2]))) == 1


@pytest.mark.parametrize("name", NAMES)
def test_the_inputs_of_a_linear_layer_are_summed_without_padding_beside_those_of_the_other_layer(name):
    model, batch, walk = walked(name)
    layer = layer_list(model)[1][0]
    other = copy.deepcopy(layer)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.1)
    last = walk.groups(layer, {m: 0.5 for m in layer.modules() if isinstance(m, torch.nn.Linear)})[-1][0]
    others = dict(zip(layer.modules(), other.modules(), strict=True))
    found = walk.inputs(layer, other, last, others[last])
    seen = []
    for module, walked_layer in ((last, layer), (others[last], other)):
        hook = module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        args, kwargs = walk.rest[""][0]
        with torch.no_grad():
            walked_layer(walk.pruned[0], *args, **kwargs)
        hook.remove()
    x, z = (each[batch["attention_mask"].bool()].double() for each in seen)
    assert found.tokens == int(batch["attention_mask"].sum())
    torch.testing.assert_close(found.scatter, x.T @ x, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.products, z.T @ x, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.sums, x.sum(dim=0), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.other_sums, z.sum(dim=0), atol=1e-4, rtol=1e-4)


def test_layers_with_other_kinds_of_attention_get_their_own_arguments():
    torch.manual_seed(0)
    model = family("modernbert", layers=3)  # the first is global, the others are local
    batch, seen = inputs_of(model), []
    walk = LayerByLayer.from_model(model, [batch])
    layers = layer_list(model)[1]
    hooks = [layer.register_forward_hook(lambda _, args, output: seen.append(output)) for layer in layers]
    model(**batch)
    for hook in hooks:
        hook.remove()
    for layer, output in zip(layers, seen, strict=True):
        walk.advance(layer, copy.deepcopy(layer))
        torch.testing.assert_close(walk.pruned[0], output)
    assert walk.rest.keys() == {"full_attention", "sliding_attention"}


def test_a_linear_layer_that_is_called_twice_is_grouped_by_its_first_inputs():
    model = family("deberta-v2", layers=1)
    layer = layer_list(model)[1][0]
    linear = {module: 0.5 for module in layer.modules() if isinstance(module, torch.nn.Linear)}
    groups = LayerByLayer.from_model(model, [inputs_of(model)]).groups(layer, linear)
    assert [len(group) for group in groups] == [3, 1, 1, 1]


def test_a_model_that_changes_the_states_between_its_layers_is_refused():
    model = family("deberta-v2", conv_kernel_size=3)
    with pytest.raises(UserError, match="DebertaV2ForSequenceClassification changes the hidden states between its"):
        LayerByLayer.from_model(model, [inputs_of(model)])


def test_a_linear_layer_of_relative_positions_counts_all_its_rows():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    config = DebertaV2Config(vocab_size=60, relative_attention=True, pos_att_type=["p2c", "c2p"], **sizes)
    model = DebertaV2Model(config).eval()
    walk = LayerByLayer.from_model(model, [inputs_of(model)])
    layer = layer_list(model)[1][0]
    whole = copy.deepcopy(layer)
    both = layer.attention.self, whole.attention.self
    found = [
        walk.inputs(layer, whole, *(getattr(attention, name) for attention in both)).tokens
        for name in ("query_proj", "pos_key_proj")
    ]
    assert found == [5 + 3 * 12, 2 * 512]  # the first row of the texts is padded; twice 512 distances
