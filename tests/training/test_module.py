import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from tests.toys import OPTIMIZER, fit, toy_data, toy_model
from winnow.modifiers.modifier import Modifier
from winnow.training.module import FineTuner


def test_biases_and_norms_are_not_decayed():
    fitted = fit(epochs=1, optimizer={"weight_decay": 0.3})
    names = {id(p): name for name, p in fitted.model.named_parameters()}
    decayed, plain = fitted.trainer.optimizers[0].param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.3, 0.0)
    assert all(names[id(p)].endswith(".weight") and "LayerNorm" not in names[id(p)] for p in decayed["params"])
    assert all(names[id(p)].endswith(".bias") or "LayerNorm" in names[id(p)] for p in plain["params"])
    assert len(decayed["params"]) + len(plain["params"]) == len(names)


class Norms(pl.Callback):
    def __init__(self):
        self.values = []

    def on_before_zero_grad(self, trainer, pl_module, optimizer):
        gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
        if gradients:
            self.values.append(float(nn.utils.get_total_norm(gradients)))


@pytest.mark.parametrize("limit", [0.001, 0])
def test_gradients_are_clipped_to_the_limit_and_0_means_never(limit):
    norms = Norms()
    fit(epochs=1, callbacks=[norms], optimizer={"max_grad_norm": limit})
    assert norms.values
    if limit:
        assert norms.values == pytest.approx([limit] * len(norms.values), rel=1e-2)
    else:
        assert max(norms.values) > 0.01


class Halve(Modifier):
    order = 1

    def adjust_loss(self, loss, outputs, batch):
        assert outputs.logits.shape == (len(batch["labels"]), 2)
        return loss / 2


class AddOne(Modifier):
    order = 2

    def adjust_loss(self, loss, outputs, batch):
        return loss + 1


def test_modifiers_adjust_the_loss_one_after_the_other():
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    data = toy_data()
    batch = next(iter(data.train_dataloader()))
    plain, adjusted = [
        fit(*modifiers, data=data, model=toy_model(data.task, **still), epochs=1, limit_train_batches=1).module
        for modifiers in ([], [Halve(name="halve"), AddOne(name="one")])
    ]
    assert len(batch["labels"]) == 8
    assert float(adjusted.progress["loss"]) == pytest.approx(float(plain.progress["loss"]) / 2 + 1)


def test_validation_metrics_cover_the_whole_split_and_are_reset_each_time():
    data = toy_data()
    module = FineTuner(toy_model(data.task).eval(), task=data.task, optimizer=OPTIMIZER, validation=data.validation)
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    right = total = 0
    with torch.no_grad():
        for batch in data.eval_dataloader("validation"):
            logits = data.task.outputs(module.model, batch).logits
            right += int((logits.argmax(-1) == batch["labels"]).sum())
            total += len(batch["labels"])
    for _ in range(2):
        result = trainer.validate(module, data, verbose=False)
        assert result[0]["val/accuracy"] == pytest.approx(right / total)
