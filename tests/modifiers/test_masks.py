import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForMaskedLM

from tests.toys import BERT, ENCODER_PATTERN, toy_data, toy_model
from winnow.errors import UserError
from winnow.modifiers.masks import PruningMasks, encoder_weights, linear_weights, match_linear_weights


@pytest.fixture(scope="module")
def model():
    return toy_model(toy_data().task)


@pytest.fixture
def pruned():
    """Two linear weights of which half is masked, with AdamW after a step."""
    layers = nn.ModuleList([nn.Linear(6, 4), nn.Linear(4, 2)])
    optimizer = torch.optim.AdamW(layers.parameters(), lr=0.1, weight_decay=0.1)
    layers[1](layers[0](torch.randn(3, 6))).sum().backward()
    optimizer.step()
    masks = PruningMasks({"a": layers[0].weight, "b": layers[1].weight})
    keep = [torch.rand(p.shape) < 0.5 for p in masks.parameters.values()]
    masks.update(keep, optimizer)
    return layers, optimizer, masks, keep


def test_linear_weights_are_those_of_every_linear_layer_and_nothing_else(model):
    names = set(linear_weights(model))
    assert {"bert.pooler.dense.weight", "classifier.weight"} < names
    assert len(names) == 2 * 6 + 2
    assert not any("embeddings" in name or "LayerNorm" in name or name.endswith("bias") for name in names)


def test_a_decoder_that_is_tied_to_the_embeddings_is_left_out():
    names = set(linear_weights(BertForMaskedLM(BertConfig(vocab_size=50, **{**BERT, "model_type": "bert"}))))
    assert "cls.predictions.decoder.weight" not in names
    assert "cls.predictions.transform.dense.weight" in names


def test_encoder_weights_are_six_matrices_a_layer(model):
    names = list(encoder_weights(model))
    assert len(names) == 12
    assert all(name.startswith("bert.encoder.layer.") for name in names)


def test_a_pattern_matches_whole_names(model):
    assert set(match_linear_weights(model, [ENCODER_PATTERN])) == set(encoder_weights(model))
    one = "bert.encoder.layer.0.attention.self.query.weight"
    assert list(match_linear_weights(model, [r".*layer\.0.*query\.weight"])) == [one]
    with pytest.raises(UserError):
        match_linear_weights(model, [r"encoder"])


def test_layer_1_is_not_layer_10():
    model = nn.Module()
    model.layer = nn.ModuleList([nn.Linear(2, 2) for _ in range(11)])
    assert list(match_linear_weights(model, [r"layer\.1\..*"])) == ["layer.1.weight"]


def test_a_weight_that_two_patterns_match_counts_once(model):
    assert len(match_linear_weights(model, [ENCODER_PATTERN, r".*query\.weight"])) == 12


def test_a_pattern_that_matches_nothing_is_refused_with_names_that_there_are(model):
    with pytest.raises(UserError, match=r"'bart\.\*' matches none of the 14 linear weights.*bert\.encoder\.layer\.0"):
        match_linear_weights(model, [ENCODER_PATTERN, "bart.*"])


def test_a_pattern_that_is_no_regular_expression_is_refused(model):
    with pytest.raises(UserError, match=r"'\*\.weight' is not a regular expression"):
        match_linear_weights(model, ["*.weight"])


def test_updating_zeroes_the_pruned_weights_and_their_moments(pruned):
    _, optimizer, masks, keep = pruned
    for weight, mask in zip(masks.parameters.values(), keep, strict=True):
        assert torch.count_nonzero(weight[~mask]) == 0
        assert torch.count_nonzero(weight[mask]) == mask.sum()
        for moment in ("exp_avg", "exp_avg_sq"):
            assert torch.count_nonzero(optimizer.state[weight][moment][~mask]) == 0
            assert torch.count_nonzero(optimizer.state[weight][moment][mask]) == mask.sum()
        assert optimizer.state[weight]["step"] == 1


def test_an_adamw_step_leaves_pruned_weights_at_exactly_zero(pruned):
    layers, optimizer, masks, keep = pruned
    before = [weight.detach().clone() for weight in masks.parameters.values()]
    for _ in range(20):
        optimizer.zero_grad()
        layers[1](layers[0](torch.randn(3, 6))).square().sum().backward()
        masks.apply_to_gradients()
        optimizer.step()
    for weight, mask, old in zip(masks.parameters.values(), keep, before, strict=True):
        assert torch.count_nonzero(weight[~mask]) == 0
        assert (weight[mask] != old[mask]).all()


def test_pruned_weights_have_no_part_in_the_gradient_norm(pruned):
    layers, _, masks, keep = pruned
    layers.zero_grad()
    layers[1](layers[0](torch.randn(3, 6))).square().sum().backward()
    alive = [weight.grad[mask] for weight, mask in zip(masks.parameters.values(), keep, strict=True)]
    biases = [layer.bias.grad for layer in layers]
    expected = torch.cat([g.flatten() for g in [*alive, *biases]]).norm()
    masks.apply_to_gradients()
    assert float(nn.utils.get_total_norm([p.grad for p in layers.parameters()])) == pytest.approx(float(expected))


def test_a_parameter_without_a_gradient_is_passed_over(pruned):
    layers, _, masks, _ = pruned
    layers.zero_grad(set_to_none=True)
    layers[0](torch.randn(3, 6)).sum().backward()
    masks.apply_to_gradients()
    assert layers[1].weight.grad is None


def test_zeros_and_sparsity_are_counted_in_the_weights():
    weights = {"a": nn.Parameter(torch.tensor([[0.0, 1.0], [0.0, 2.0]])), "b": nn.Parameter(torch.ones(1, 6))}
    masks = PruningMasks(weights)
    assert masks.zeros() == {"a": 2, "b": 0}
    assert masks.sparsity() == 0.2


def test_masks_come_back_from_their_state_with_plain_types(pruned, tmp_path):
    _, _, masks, keep = pruned
    torch.save(masks.state_dict(), tmp_path / "state.pt")
    fresh = PruningMasks({name: nn.Parameter(torch.ones_like(p)) for name, p in masks.parameters.items()})
    fresh.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for weight in fresh.parameters.values():
        weight.grad = torch.ones_like(weight)
    fresh.apply_to_gradients()
    for weight, mask in zip(fresh.parameters.values(), keep, strict=True):
        assert torch.equal(weight.grad, mask.float())


def test_before_the_first_update_nothing_is_pruned():
    masks = PruningMasks({"a": nn.Parameter(torch.ones(2, 2))})
    masks.apply_to_gradients()
    assert masks.zeros() == {"a": 0}
    masks.load_state_dict(masks.state_dict())
    assert masks.state_dict() == {}
