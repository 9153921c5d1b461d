import pytest
import torch

from tests.toys import every_epoch, fit, planned, toy_data, toy_model, zeros_of
from winnow.modifiers.clock import Clock
from winnow.modifiers.gmp import MagnitudePruning
from winnow.modifiers.layerwise import LayerwisePruning
from winnow.modifiers.masks import encoder_weights
from winnow.modifiers.obs import SecondOrderPruning

WINDOW = {"name": "pruning", "start_epoch": 0.4, "end_epoch": 2.4, "update_frequency": 1.0, "final_sparsity": 0.75}
KINDS = {
    "layerwise": lambda **changes: LayerwisePruning(**{**WINDOW, "calibration_samples": 16, **changes}),
    "obs": lambda **changes: SecondOrderPruning(**{**WINDOW, "gradients": 16, **changes}),
}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


@pytest.mark.parametrize("changes", [{}, {"structure": "block4"}, {"structure": "2:4", "final_sparsity": 0.5}], ids=str)
def test_a_run_prunes_as_planned_and_pruned_weights_stay_zero(kind, changes):
    modifier = kind(**changes)
    fitted = fit(modifier)
    modifier.check()
    assert fitted.events == planned(modifier)
    expected = 0.5 if "structure" in changes and ":" in changes["structure"] else 0.75
    assert {zeros_of(w) / w.numel() for w in encoder_weights(fitted.model).values()} == {expected}


@pytest.mark.filterwarnings("ignore:Checkpoint directory")
@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_a_run_resumed_before_between_and_after_the_updates_has_equal_weights(kind, tmp_path, epoch):
    def trained(seed, **options):
        data = toy_data()
        model = toy_model(data.task, seed, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
        return fit(kind(), data=data, model=model, callbacks=[every_epoch(tmp_path)], **options)

    whole = trained(0)
    resumed = trained(1, resume=tmp_path / f"epoch={epoch}.ckpt")
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, resumed.model.state_dict()[name]), name


def test_the_memory_is_that_of_a_row_of_the_fisher_matrix_and_of_16_gradients_for_each_weight():
    modifier = KINDS["obs"](block=48, params=[".*"])
    modifier.match(torch.nn.ModuleDict({"layer": torch.nn.ModuleList([torch.nn.Linear(1000, 500)])}))
    assert modifier.cost() == "the gradients of 16 examples, and 0.13 GB"  # 500,000 x (48 + 16) x 4 bytes


def test_memory_for_a_matrix_at_a_time_gives_the_same_weights():
    found = [fit(KINDS["obs"](memory_gigabytes=size)).model.state_dict() for size in (4.0, 1e-9)]
    for name, weight in found[0].items():
        assert torch.equal(weight, found[1][name]), name


def test_without_training_the_hidden_states_change_less_than_by_magnitude():
    data = toy_data()
    batches = list(data.train_dataloader())

    def pruned_states(kind):
        model = toy_model(data.task).eval()
        whole = states(model)
        modifier = kind(name="pruning", start_epoch=0.0, end_epoch=0.0, final_sparsity=0.5)
        modifier.match(model)
        modifier.begin(Clock(steps_per_epoch=5, total_steps=0))
        if isinstance(modifier, LayerwisePruning):
            modifier.calibrate(model, data.task, batches)
            modifier.check_model()
            assert [event["change"] for event in modifier.recorded] == ["prunes"]
        else:
            for weight, mask in zip(modifier.masks.parameters.values(), modifier.new_masks([0.5] * 12), strict=True):
                weight.data *= mask
        return float((states(model) - whole).square().mean())

    @torch.no_grad()
    def states(model):
        found = [model.bert(batch["input_ids"], batch["attention_mask"])[0] for batch in batches]
        return torch.cat([x[batch["attention_mask"] == 1] for x, batch in zip(found, batches, strict=True)])

    assert pruned_states(LayerwisePruning) < 0.5 * pruned_states(MagnitudePruning)
