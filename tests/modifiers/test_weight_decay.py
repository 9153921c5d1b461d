import pytorch_lightning as pl

from tests.toys import fit
from winnow.modifiers.weight_decay import WeightDecay


class Decays(pl.Callback):
    def __init__(self):
        self.values = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.values.append(tuple(group["weight_decay"] for group in optimizer.param_groups))


def test_the_decay_changes_at_its_epoch_and_biases_and_norms_stay_without():
    watch = Decays()
    fitted = fit(
        WeightDecay(name="weight_decay", weight_decay=0.2, start_epoch=0.6),
        epochs=1,
        callbacks=[watch],
        optimizer={"weight_decay": 0.05},
    )
    assert watch.values == [(0.05, 0.0)] * 3 + [(0.2, 0.0)] * 2
    assert [(row["step"], row["change"]) for row in fitted.events] == [(3, "weight decay 0.2")]


def test_a_decay_set_where_there_was_none_still_spares_biases_and_norms():
    watch = Decays()
    fit(
        WeightDecay(name="weight_decay", weight_decay=0.1, start_epoch=-1),
        epochs=1,
        callbacks=[watch],
        optimizer={"weight_decay": 0.0},
    )
    assert watch.values == [(0.1, 0.0)] * 5


def test_after_its_window_the_decay_of_the_optimizer_holds_again():
    watch = Decays()
    modifier = WeightDecay(name="weight_decay", weight_decay=0.2, start_epoch=0.2, end_epoch=0.6)
    fit(modifier, epochs=1, callbacks=[watch], optimizer={"weight_decay": 0.05})
    assert watch.values == [(0.05, 0.0), (0.2, 0.0), (0.2, 0.0), (0.05, 0.0), (0.05, 0.0)]
