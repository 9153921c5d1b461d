import math
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch

from tests.toys import ENCODER_PATTERN, every_epoch, fit, planned, toy_data, toy_model, zeros_of
from winnow.data.batching import LengthGroupedBatches
from winnow.errors import UserError
from winnow.functional.structure import zeros_count
from winnow.modifiers.clock import Clock
from winnow.modifiers.movement import MovementPruning


def movement(**changes):
    settings = {
        "name": "pruning",
        "params": [ENCODER_PATTERN],
        "final_sparsity": 0.75,
        "start_epoch": 0.4,
        "end_epoch": 2.4,
        "update_frequency": 0.2,
    }
    return MovementPruning(**{**settings, **changes})


class Gradients(pl.Callback):
    """Weights and gradients of one matrix before each optimizer step, and how many weights came back."""

    name = "bert.encoder.layer.0.attention.self.query.weight"

    def __init__(self):
        self.seen, self.revived, self.dead = [], [], None

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        weight = pl_module.model.get_parameter(self.name)
        self.seen.append((weight.detach().clone(), weight.grad.clone()))

    def on_train_batch_end(self, trainer, pl_module, *args):
        weights = [p for n, p in pl_module.model.named_parameters() if ".layer." in n and p.ndim == 2]
        now = [(weight == 0).clone() for weight in weights]
        if self.dead:
            self.revived.append(sum(int((old & ~new).sum()) for old, new in zip(self.dead, now, strict=True)))
        self.dead = now


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_weights_with_the_lowest_sums_of_minus_weight_times_gradient_are_pruned(accumulate):
    watch = Gradients()
    modifier = movement(start_epoch=2, end_epoch=2, final_sparsity=0.8)
    data = toy_data()
    model = toy_model(data.task)
    fit(watch, modifier, data=data, model=model, epochs=2, accumulate_grad_batches=accumulate)
    steps = 10 if accumulate == 1 else 6
    assert len(watch.seen) == steps
    scores = sum(-weight * gradient for weight, gradient in watch.seen)
    order = scores.flatten().argsort()
    pruned = model.get_parameter(watch.name).detach().flatten() == 0
    assert set(pruned.nonzero().flatten().tolist()) == set(order[:205].tolist())  # round(256 * .8)
    assert not modifier.own_state().keys() & {f"score of {watch.name}"}


def test_large_weights_are_pruned_where_training_moves_them_towards_zero():
    """A magnitude would keep them."""
    layer = torch.nn.Linear(4, 1, bias=False)
    layer.weight.data = torch.tensor([[5.0, -5.0, 0.1, -0.1]])
    layer.weight.grad = torch.tensor([[1.0, 1.0, 1.0, 1.0]])  # a step makes each smaller
    modifier = movement(params=["0.weight"], final_sparsity=0.5, start_epoch=1, end_epoch=1)
    modifier.match(torch.nn.Sequential(layer))
    modifier.begin(Clock(steps_per_epoch=1, total_steps=2))
    modifier._add_scores()
    assert modifier.scores()[0].tolist() == [pytest.approx([-5.0, 5.0, -0.1, 0.1])]
    assert modifier.new_masks([0.5])[0].tolist() == [[False, True, False, True]]


def test_a_pruned_weight_returns_with_its_value_once_its_score_is_among_the_highest():
    """By hand, -w * g is 3, 2, 1, -4 in the first step and -4, 0, 0, 12 in the second, with the value 4 remembered."""
    layer = torch.nn.Linear(4, 1, bias=False)
    weight = layer.weight
    weight.data = torch.tensor([[1.0, 2.0, -1.0, 4.0]])
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.0)
    trainer = SimpleNamespace(optimizers=[optimizer], global_step=0)
    modifier = movement(params=["0.weight"], final_sparsity=0.25, initial_sparsity=0.25, start_epoch=1, end_epoch=3)
    modifier.match(torch.nn.Sequential(layer))
    modifier.begin(Clock(steps_per_epoch=1, total_steps=4))

    def step(number, gradient):
        weight.grad = torch.tensor([gradient])
        modifier.on_before_optimizer_step(trainer)
        modifier.at_step(number, trainer, None)

    step(1, [-3.0, -1.0, 1.0, 1.0])
    assert weight.tolist() == [[1.0, 2.0, -1.0, 0.0]]
    step(2, [4.0, 0.0, 0.0, -3.0])
    assert weight.grad.tolist() == [[4.0, 0.0, 0.0, 0.0]]  # a pruned weight does not train
    assert weight.tolist() == [[0.0, 2.0, -1.0, 4.0]]


def test_a_step_whose_gradients_are_not_finite_leaves_no_score():
    modifier = movement(params=["0.weight"])
    layer = torch.nn.Linear(2, 2)
    modifier.match(torch.nn.Sequential(layer))
    layer.weight.grad = torch.full((2, 2), math.inf)
    modifier._add_scores()
    assert modifier.scores()[0].tolist() == [[0.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("changes", [
    {}, {"structure": "block4"}, {"structure": "2:4", "final_sparsity": 0.5}, {"scope": "global"},
    {"final_sparsity": {".*query.*": 0.9, r".*\.layer\.1\..*": 0.3}},
    {"update_frequency": 0.01}, {"update_frequency": 5.0}, {"end_epoch": -1}, {"start_epoch": -1},
])  # fmt: skip
def test_a_run_does_what_was_planned_and_ends_at_its_target(changes):
    watch = Gradients()
    modifier = movement(**changes)
    fitted = fit(watch, modifier, epochs=4)
    assert [event for event in fitted.events if event["modifier"] == "pruning"] == planned(modifier)
    assert not any(watch.revived[modifier.window.end :])
    modifier.check()


def test_the_ramp_is_that_of_magnitude_pruning():
    watch = Gradients()
    modifier = movement(start_epoch=1, end_epoch=3, initial_sparsity=0.1, final_sparsity=0.5, update_frequency=1)
    fitted = fit(watch, modifier, epochs=4)
    assert [event["step"] for event in fitted.events] == [5, 10, 15]
    for weight in fitted.encoder().values():
        assert zeros_of(weight) == zeros_count(weight.numel(), 0.5)


def test_before_the_first_step_nothing_is_pruned_as_there_are_no_scores():
    modifier = movement(start_epoch=0, initial_sparsity=0.5)
    fitted = fit(modifier)
    assert fitted.events[0]["step"] == 1
    assert next(modifier.events()).step == 1


@pytest.mark.parametrize("end_epoch", [0, 0.05])
def test_a_window_that_ends_before_the_first_step_is_refused(end_epoch):
    with pytest.raises(
        UserError, match=r"pruning: movement pruning ranks weights by .* before the first step; raise end_epoch"
    ):
        fit(movement(start_epoch=0, end_epoch=end_epoch))


def test_checkpoints_hold_scores_while_they_are_needed_and_not_longer(tmp_path):
    modifier = movement()
    fit(modifier, epochs=3, callbacks=[every_epoch(tmp_path)])
    states = [
        torch.load(tmp_path / f"epoch={epoch}.ckpt", weights_only=True)["callbacks"]["MovementPruning.pruning"]
        for epoch in (0, 2)
    ]
    names = set(modifier.masks.parameters)
    assert set(states[0]["own"]) == {f"{kind}{name}" for name in names for kind in ("", "score of ", "pruned of ")}
    assert set(states[1]["own"]) == names


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists")
@pytest.mark.parametrize("structure", ["unstructured", "block4"])
def test_a_run_that_goes_on_amid_the_ramp_ends_with_the_same_weights_and_masks(tmp_path, monkeypatch, structure):
    monkeypatch.setattr(LengthGroupedBatches, "set_epoch", lambda self, epoch: None)  # each epoch has the same batches
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    data = toy_data()
    modifiers = [movement(structure=structure), movement(structure=structure)]
    model = toy_model(data.task, **still)
    whole = fit(modifiers[0], data=data, model=model, callbacks=[every_epoch(tmp_path)])
    checkpoint = tmp_path / "epoch=1.ckpt"
    model = toy_model(data.task, seed=7, **still)
    resumed = fit(modifiers[1], data=toy_data(), model=model, callbacks=[every_epoch(tmp_path)], resume=checkpoint)
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, resumed.model.state_dict()[name]), name
    first, second = (modifier.own_state() for modifier in modifiers)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert resumed.events == whole.events
