import pytest
import pytorch_lightning as pl
import torch

from tests.toys import ENCODER_PATTERN, every_epoch, fit, planned, toy_data, toy_model, zeros_of
from winnow.data.batching import LengthGroupedBatches
from winnow.functional.structure import zeros_count
from winnow.modifiers.acdc import AlternatingPruning, phases
from winnow.modifiers.clock import Window


def acdc(**changes):
    settings = {
        "name": "pruning",
        "params": [ENCODER_PATTERN],
        "final_sparsity": 0.75,
        "start_epoch": 0,
        "end_epoch": 4,
        "update_frequency": 0.6,  # three steps
    }
    return AlternatingPruning(**{**settings, **changes})


class Watch(pl.Callback):
    """The zeros after every step, and the first moments' at the end of a step."""

    def on_train_start(self, trainer, pl_module):
        self.zeros, self.states = [self._zeros(pl_module)], []

    def on_train_batch_end(self, trainer, pl_module, *args):
        self.zeros.append(self._zeros(pl_module))
        weight = pl_module.model.bert.encoder.layer[0].attention.self.query.weight
        state = trainer.optimizers[0].state.get(weight, {})
        self.states.append({name: value.clone() for name, value in state.items()})

    def _zeros(self, module):
        return sum(zeros_of(p) for n, p in module.model.named_parameters() if ".layer." in n and p.ndim == 2)


@pytest.mark.parametrize(
    ("start", "end", "interval", "expected"),
    [
        (0, 8, 2, {2: True, 4: False, 6: True}),
        (0, 9, 2, {2: True, 4: False, 6: True}),  # a dense phase from 8 to 9 is cut
        (0, 10, 2, {2: True, 4: False, 6: True}),
        (0, 11, 2, {2: True, 4: False, 6: True, 8: False, 10: True}),
        (3, 8, 2, {5: True}),
        (3, 5, 2, {5: True}),  # dense for the whole window
        (3, 5, 20, {5: True}),
        (4, 4, 2, {4: True}),
    ],
)
def test_phases_alternate_from_a_dense_one_and_the_last_is_sparse(start, end, interval, expected):
    """SparseML's own rule for 0..9 by 2 leaves the last phase dense."""
    assert phases(Window(start=start, end=end, interval=interval)) == expected


def test_weights_are_free_in_dense_phases_and_pruned_in_sparse_ones():
    watch = Watch()
    modifier = acdc()
    fitted = fit(modifier, watch, epochs=5)
    due = sum(zeros_count(w.numel(), 0.75) for w in fitted.encoder().values())
    sparse = [*range(3, 7), *range(9, 13), *range(15, 26)]  # the steps 3, 9 and 15 prune; 6, 12 free; 18 is cut
    # At the step that frees the weights they are still zero; the next one moves them.
    assert [step for step, zeros in enumerate(watch.zeros) if zeros == due] == sparse
    assert all(zeros < due / 10 for step, zeros in enumerate(watch.zeros) if step not in sparse)
    modifier.check()


def test_weights_come_back_in_a_dense_phase_and_others_may_be_pruned_in_the_next():
    masks = []

    class Masks(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, *args):
            if trainer.global_step in (3, 9):
                masks.append(torch.cat([p.flatten() != 0 for p in modifier.masks.parameters.values()]))

    modifier = acdc()
    fit(modifier, Masks(), optimizer={"learning_rate": 0.1})
    assert (masks[0] & ~masks[1]).any()
    assert (~masks[0] & masks[1]).any()


def test_moments_are_zeroed_where_weights_are_pruned_and_start_anew_when_they_are_freed():
    watch = Watch()
    modifier = acdc()
    fitted = fit(modifier, watch, epochs=4)
    weight = fitted.model.bert.encoder.layer[0].attention.self.query.weight
    pruning, freeing, after = watch.states[3 - 1], watch.states[6 - 1], watch.states[7 - 1]
    for moment in ("exp_avg", "exp_avg_sq"):
        assert int((pruning[moment] == 0).sum()) >= zeros_count(weight.numel(), 0.75)
    assert freeing == {}
    assert after["step"] == 1


@pytest.mark.parametrize("changes", [
    {}, {"structure": "block4"}, {"structure": "2:4", "final_sparsity": 0.5}, {"scope": "global"},
    {"final_sparsity": {".*query.*": 0.9, r".*\.layer\.1\..*": 0.3}}, {"start_epoch": 1.2, "end_epoch": -1},
    {"update_frequency": 0.01}, {"update_frequency": 50}, {"start_epoch": 1, "end_epoch": 1},
    {"start_epoch": 0, "end_epoch": 0}, {"start_epoch": -1, "end_epoch": 3.4},
])  # fmt: skip
@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_run_does_what_was_planned_and_ends_pruned(changes, accumulate):
    modifier = acdc(**changes)
    fitted = fit(modifier, epochs=4, accumulate_grad_batches=accumulate)
    assert [event for event in fitted.events if event["modifier"] == "pruning"] == planned(modifier)
    modifier.check()


def test_the_model_has_settled_at_the_end_of_the_window():
    modifier = acdc(end_epoch=3)
    fit(modifier)
    assert [modifier.is_settled(step) for step in (0, 9, 14, 15, 20)] == [False, False, False, True, True]


def test_the_curve_is_at_zero_in_dense_phases():
    modifier = acdc()
    fit(modifier)
    curve = [modifier.curves(step)["sparsity"] for step in (0, 2, 3, 5, 6, 8, 9, 12, 15, 20)]
    assert curve == pytest.approx([0, 0, 0.75, 0.75, 0, 0, 0.75, 0, 0.75, 0.75])


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists")
@pytest.mark.parametrize("epoch", [0, 1])  # step 5 is in a sparse phase; 10 is in one after a dense one
@pytest.mark.parametrize("frequency", [0.6, 1.0])  # 1.0: a phase begins at the very step of the checkpoint
def test_a_run_that_goes_on_between_phases_ends_with_the_same_weights_and_masks(
    tmp_path, monkeypatch, epoch, frequency
):
    monkeypatch.setattr(LengthGroupedBatches, "set_epoch", lambda self, epoch: None)  # each epoch has the same batches
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    data = toy_data()
    modifiers = [acdc(update_frequency=frequency), acdc(update_frequency=frequency)]
    model = toy_model(data.task, **still)
    whole = fit(modifiers[0], data=data, model=model, callbacks=[every_epoch(tmp_path)])
    checkpoint = tmp_path / f"epoch={epoch}.ckpt"
    model = toy_model(data.task, seed=7, **still)
    resumed = fit(modifiers[1], data=toy_data(), model=model, callbacks=[every_epoch(tmp_path)], resume=checkpoint)
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, resumed.model.state_dict()[name]), name
    first, second = (modifier.own_state() for modifier in modifiers)
    assert first.keys() == second.keys() != set()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert resumed.events == whole.events
