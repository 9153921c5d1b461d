import copy

import pytest
import torch

from tests.toys import toy_data, toy_model
from winnow.functional.structure import UNSTRUCTURED, Structure
from winnow.modifiers.calibration_texts import some_batches
from winnow.modifiers.masks import encoder_weights
from winnow.modifiers.probe import Probe
from winnow.training.sensitivity import divergence

NAME = "bert.encoder.layer.1.output.dense.weight"


@pytest.fixture
def model():
    model = toy_model(toy_data().task).train(False)
    with torch.no_grad():
        for weight in [*encoder_weights(model).values(), model.classifier.weight]:
            weight.mul_(20)  # new weights are so small that zeros hardly change the outputs
    return model


@pytest.fixture
def probe(model):
    data = toy_data()
    return Probe(data.task, some_batches(data.train_dataloader(), 16), model)


def by_hand(model, probe, zeros):
    """KL(model || model with some weights of NAME at zero), a mean over the texts of the probe."""
    pruned = copy.deepcopy(model)
    with torch.no_grad():
        pruned.get_parameter(NAME).flatten()[zeros] = 0.0
        total = 0.0
        for batch, _ in probe.batches:
            inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
            before, after = (torch.softmax(each(**inputs).logits, dim=-1) for each in (model, pruned))
            total += float((before * (before / after).log()).sum())
    return total / 16


def test_the_divergence_is_the_mean_kl_from_the_unpruned_model(model, probe):
    weight = model.get_parameter(NAME)
    smallest = weight.flatten().abs().argsort()[: round(0.9 * weight.numel())]
    found = divergence(probe, model, {NAME: 0.9}, UNSTRUCTURED)
    assert found == pytest.approx(by_hand(model, probe, smallest), rel=1e-3)
    assert found > 1e-6


def test_blocks_are_pruned_whole(model, probe):
    weight = model.get_parameter(NAME)
    blocks = weight.abs().view(-1, 4).mean(dim=1).argsort()[: weight.numel() // 8]
    zeros = (4 * blocks[:, None] + torch.arange(4)).flatten()
    found = divergence(probe, model, {NAME: 0.5}, Structure(block=4))
    assert found == pytest.approx(by_hand(model, probe, zeros), rel=1e-3)


def test_the_weights_come_back(model, probe):
    before = {name: weight.clone() for name, weight in encoder_weights(model).items()}
    divergence(probe, model, dict.fromkeys(before, 0.9), UNSTRUCTURED)
    assert all(torch.equal(weight, before[name]) for name, weight in encoder_weights(model).items())
    assert divergence(probe, model, dict.fromkeys(before, 0.0), UNSTRUCTURED) == pytest.approx(0.0, abs=1e-7)
