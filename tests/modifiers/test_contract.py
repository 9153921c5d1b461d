"""What happens is recorded by the base class and must be what was planned."""

import pytest
import pytorch_lightning as pl
import torch

from tests.toys import ENCODER_PATTERN, every_epoch, fit, toy_data, toy_model
from winnow.modifiers.gmp import MagnitudePruning
from winnow.modifiers.masks import encoder_weights
from winnow.modifiers.modifier import Event, Modifier


class Pruner(Modifier):
    """Plans to prune half of each encoder matrix at step 5.

    Args:
        step: at which it prunes.
        fraction: that it prunes.
        returns_zeros: whether ``at_step`` returns the measured zeros.
    """

    def __init__(self, step=5, fraction=0.5, returns_zeros=False):
        super().__init__(name="toy")
        self.step, self.fraction, self.returns_zeros = step, fraction, returns_zeros

    def match(self, model):
        self.weights = encoder_weights(model)

    def matched(self):
        return self.weights

    def events(self):
        yield Event(5, "prunes", 0.5)

    @torch.no_grad()
    def at_step(self, step, trainer, pl_module):
        if step != self.step:
            return None
        zeros = {name: round(self.fraction * weight.numel()) for name, weight in self.weights.items()}
        for name, weight in self.weights.items():
            weight.view(-1)[: zeros[name]] = 0.0
        return zeros if self.returns_zeros else None


@pytest.mark.parametrize("returns_zeros", [True, False])
def test_the_base_records_a_planned_event_whether_or_not_the_modifier_returns_zeros(returns_zeros):
    modifier = Pruner(returns_zeros=returns_zeros)
    fitted = fit(modifier, epochs=2)
    row = {"step": 5, "epoch": 1.0, "modifier": "toy", "change": "prunes", "sparsity": 0.5, "learning_rate": 0.01}
    assert fitted.events == [row]
    modifier.check()


class Silent(Pruner):
    """Never lets the base class act."""

    def on_train_batch_end(self, *args):
        pass


class Idle(Modifier):
    def events(self):
        yield Event(5, "sets something")


@pytest.mark.parametrize(
    ("modifier", "message"),
    [
        (
            lambda: Pruner(fraction=0.25),
            r"toy: step 5: planned 'prunes' to a sparsity of 0\.5000, but .* 0\.2500",
        ),
        (
            lambda: Pruner(fraction=0.75),
            r"toy: step 5: planned 'prunes' to a sparsity of 0\.5000, but .* 0\.7500",
        ),
        (lambda: Pruner(step=6), r"toy: step 5: planned 'prunes' to a sparsity of 0\.5000, but measured 0\.0000"),
        (
            lambda: Pruner(step=3, returns_zeros=True),
            r"toy: step 3: planned nothing, but 'prunes' happened to a sparsity of 0\.5000",
        ),
        (lambda: Pruner(step=7, returns_zeros=True), r"toy: step 5: planned 'prunes' .* but measured 0\.0000"),
        (lambda: Silent(), r"toy: step 5: planned 'prunes', but it did not happen"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*overrides")
def test_a_run_that_differs_from_its_plan_fails_with_the_step_and_both_values(modifier, message):
    modifier = modifier()
    fitted = fit(modifier, epochs=2)
    modifier._last_step = fitted.trainer.global_step
    with pytest.raises(RuntimeError, match=message):
        modifier.check()


def test_events_after_the_end_of_the_training_are_not_missed():
    class Stop(pl.Callback):
        def on_train_batch_end(self, trainer, *args):
            trainer.should_stop = True

    modifier = Idle(name="idle")
    fit(modifier, Stop(), epochs=3, limit_train_batches=3)
    assert modifier.recorded == []
    modifier.check()


def test_a_pruning_that_the_training_did_not_finish_fails():
    class Stop(pl.Callback):
        def on_train_batch_end(self, trainer, *args):
            trainer.should_stop = True

    modifier = MagnitudePruning(name="pruning", params=[ENCODER_PATTERN], final_sparsity=0.5, end_epoch=2)
    fit(modifier, Stop(), epochs=3)
    with pytest.raises(RuntimeError, match="pruning: training ended at step 1, before the modifier had finished"):
        modifier.check()


def test_zeros_of_the_starting_model_may_exceed_the_plan():
    data = toy_data()
    model = toy_model(data.task)
    with torch.no_grad():
        for weight in encoder_weights(model).values():
            weight.view(-1)[: weight.numel() // 2] = 0.0
    modifier = MagnitudePruning(
        name="pruning", params=[ENCODER_PATTERN], final_sparsity=0.75, start_epoch=0.4, end_epoch=2
    )
    fitted = fit(modifier, data=data, model=model, epochs=2)
    assert fitted.events[0]["sparsity"] > next(modifier.events()).sparsity
    modifier.check()


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists")
def test_a_resumed_run_keeps_the_events_before_its_checkpoint(tmp_path):
    fit(Pruner(), epochs=3, callbacks=[every_epoch(tmp_path)])
    resumed = Pruner()
    fitted = fit(resumed, epochs=3, callbacks=[every_epoch(tmp_path)], resume=tmp_path / "epoch=1.ckpt")
    assert [row["step"] for row in fitted.events] == [5]
    resumed.check()
