"""Modifiers in a LightningModule that knows nothing of this project."""

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tests.toys import every_epoch, zeros_of
from winnow.errors import UserError
from winnow.modifiers.acdc import AlternatingPruning
from winnow.modifiers.clock import Clock
from winnow.modifiers.distillation import Distillation
from winnow.modifiers.frozen import FrozenParameters
from winnow.modifiers.gmp import MagnitudePruning
from winnow.modifiers.learning_rate import LearningRate
from winnow.modifiers.movement import MovementPruning
from winnow.modifiers.weight_decay import WeightDecay

QUIET = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}


class Net(pl.LightningModule):
    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(nn.Linear(8, 20), nn.ReLU(), nn.Linear(20, 10))
        self.top = nn.Linear(10, 2)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return nn.functional.cross_entropy(self.top(self.body(x)), y)

    def configure_optimizers(self):
        weights = [p for p in self.parameters() if p.ndim > 1]
        biases = [p for p in self.parameters() if p.ndim == 1]
        groups = [{"params": weights, "weight_decay": 0.1}, {"params": biases, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=0.01)


def train(net, *callbacks, epochs=4, resume=None, **settings):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(40, 8, generator=generator)
    data = TensorDataset(x, (x.sum(dim=1) > 0).long())
    settings |= QUIET
    checkpoints = any(isinstance(c, pl.callbacks.ModelCheckpoint) for c in callbacks)
    trainer = pl.Trainer(max_epochs=epochs, callbacks=list(callbacks), enable_checkpointing=checkpoints, **settings)
    trainer.fit(net, DataLoader(data, batch_size=8), ckpt_path=resume, weights_only=True if resume else None)
    return trainer


def pruning(kind=MagnitudePruning, **changes):
    settings = {"params": [".*"], "final_sparsity": 0.8, "start_epoch": 0.4, "end_epoch": 2.4, "update_frequency": 0.2}
    return kind(**{**settings, **changes})


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists")
@pytest.mark.parametrize("kind", [MagnitudePruning, MovementPruning, AlternatingPruning])
def test_pruning_reaches_its_sparsity_and_a_resumed_run_ends_with_the_same_weights(tmp_path, kind):
    whole, resumed = Net(), Net(seed=7)
    first, second = pruning(kind), pruning(kind)
    trainer = train(whole, first, every_epoch(tmp_path))
    train(resumed, second, every_epoch(tmp_path), resume=tmp_path / "epoch=1.ckpt")
    assert set(first.matched()) == {"body.0.weight", "body.2.weight", "top.weight"}
    for modifier in (first, second):
        assert all(zeros_of(weight) == round(0.8 * weight.numel()) for weight in modifier.matched().values())
        modifier.check()
    assert all(torch.equal(p, resumed.state_dict()[name]) for name, p in whole.state_dict().items())
    assert first.recorded == second.recorded != []
    assert trainer.progress_bar_metrics[f"{kind.__name__}/sparsity"] == pytest.approx(0.8, abs=0.01)


def test_the_weight_decay_of_the_optimizer_applies_again_after_the_window():
    class Decays(pl.Callback):
        def __init__(self):
            self.values = []

        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            self.values.append(tuple(group["weight_decay"] for group in optimizer.param_groups))

    watch = Decays()
    train(Net(), WeightDecay(weight_decay=0.3, start_epoch=0.4, end_epoch=0.8), watch, epochs=1)
    assert watch.values == [(0.1, 0.0)] * 2 + [(0.3, 0.0)] * 2 + [(0.1, 0.0)]


def test_a_learning_rate_and_frozen_parameters_work_too():
    net = Net()
    before = net.top.weight.detach().clone()
    rate = LearningRate(initial_learning_rate=0.1, warmup=0.0)
    frozen = FrozenParameters(params=[r"top\..*"], end_epoch=1.96)  # all ten steps, though not the whole training
    trainer = train(net, rate, frozen, epochs=2)
    assert torch.equal(net.top.weight, before)
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0.0
    for modifier in (rate, frozen):
        modifier.check()


class Regression(pl.LightningModule):
    """One step of gradient descent with rate 0.5 on the squared error of a line without offset, at first y = 0."""

    def __init__(self, returns=lambda loss: loss):
        super().__init__()
        self.model = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.model.weight)
        self.returns = returns

    def training_step(self, batch, batch_idx):
        x, y = batch
        return self.returns((self.model(x) - y).pow(2).mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.5)


def line(slope):
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, slope)
    return model


def step_of(net, *callbacks):
    data = TensorDataset(torch.tensor([[1.0], [3.0]]), torch.tensor([[1.0], [3.0]]))  # y = x
    trainer = pl.Trainer(max_epochs=1, callbacks=list(callbacks), enable_checkpointing=False, **QUIET)
    trainer.fit(net, DataLoader(data, batch_size=2))
    return float(net.model.weight.detach())


@pytest.mark.parametrize("returns", [lambda loss: loss, lambda loss: {"loss": loss, "more": 1}])
def test_a_teacher_adjusts_the_loss_of_a_training_step_that_knows_nothing_of_it(returns):
    # The mean of x^2 is 5, so the gradients are -10 to the labels (y = x) and -20 to the teacher (y = 2 x).
    net = Regression(returns)
    assert step_of(net, Distillation(teacher=line(2.0), hardness=0.25)) == 0.5 * (0.75 * 10 + 0.25 * 20)
    assert step_of(Regression(), Distillation(teacher=line(2.0), hardness=1.0)) == 0.5 * 20
    nn.init.zeros_(net.model.weight)
    assert step_of(net) == 0.5 * 10  # trained again without a teacher, its own loss counts


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        ([pruning(end_epoch=5.0)], "end_epoch is 5, but the training ends after 4 epochs; train longer, or lower"),
        (
            [pruning(), LearningRate(initial_learning_rate=0.1)],
            "LearningRate acts first; put it before MagnitudePruning",
        ),
        (
            [pruning(), pruning(name="again", start_epoch=2.0)],
            "MagnitudePruning and again both control the zeros of body.0.weight and 2 more from epoch 2 on",
        ),
        ([Distillation(teacher=line(1.0), hardness=0.5)], "training_step did not call Net, whose outputs are compared"),
    ],
)
def test_what_cannot_work_is_refused(callbacks, message):
    with pytest.raises(UserError, match=message):
        train(Net(), *callbacks)


def test_a_teacher_is_refused_where_the_loss_that_is_returned_does_not_count():
    net = Regression()
    net.automatic_optimization = False
    with pytest.raises(UserError, match="use automatic optimization"):
        step_of(net, Distillation(teacher=line(2.0)))


def test_a_teacher_that_is_the_student_is_refused():
    net = Regression()
    with pytest.raises(UserError, match=r"the teacher is the model to train; give it a copy"):
        step_of(net, Distillation(teacher=net.model))


def test_a_training_that_is_stopped_early_says_that_it_is_not_pruned():
    class Stop(pl.Callback):
        def on_train_batch_end(self, trainer, *args):
            trainer.should_stop = trainer.global_step >= 5

    with pytest.warns(UserWarning, match="training ended at step 5 of 20, before the modifier had finished"):
        train(Net(), pruning(), Stop())


def test_epochs_are_those_of_the_data_where_only_steps_are_given():
    modifier = pruning()
    train(Net(), modifier, epochs=-1, max_steps=20)
    assert modifier.clock == Clock(steps_per_epoch=5, total_steps=20)
