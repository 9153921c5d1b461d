import copy

import pytest
import torch

from tests.toys import every_epoch, fit, planned, toy_data, toy_model
from winnow.errors import UserError
from winnow.functional.latency_table import LatencyTable
from winnow.models.structures import kept_structures
from winnow.modifiers.clock import Clock
from winnow.modifiers.conflicts import refuse_conflicts
from winnow.modifiers.gmp import MagnitudePruning
from winnow.modifiers.layer_dropping import LayerDropping
from winnow.modifiers.quantization import QuantizationAwareTraining
from winnow.modifiers.structure_choice import sizes
from winnow.modifiers.structured_pruning import StructuredPruning

# Of a model of two layers with two heads and 24 neurons each; the whole model costs 10 + 2 * (4 + 12) = 42.
TABLE = LatencyTable(heads={0: 0.0, 1: 2.0, 2: 4.0}, neurons={n: n / 2 for n in range(0, 25, 4)}, rest=10.0, dense=42.0)


@pytest.fixture(scope="module")
def data():
    return toy_data()


def structure(**settings):
    modifier = StructuredPruning(
        name="structure", **{"target_speedup": 2.0, "restarts": 2, "calibration_samples": 24, **settings}
    )
    modifier.use(TABLE)
    return modifier


def left(model):
    return sizes(kept_structures(model))


def test_the_model_becomes_as_fast_as_asked_for_by_the_table_and_no_faster_than_needed(data):
    fitted = fit(structure(), data=data)
    speedup = TABLE.speedup(left(fitted.model))
    assert 2.0 <= speedup < 2.4  # four neurons, the smallest step, change it by 2 of 21
    assert fitted.model.get_submodule("bert.encoder.layer.0.output.dense").weight.shape[1] == left(fitted.model)[0][1]


def test_removed_parameters_leave_the_optimizer_and_the_others_train_on(data):
    fitted = fit(structure(start_epoch=1.0, end_epoch=1.0), data=data, epochs=2)
    optimizer = fitted.trainer.optimizers[0]
    assert [p for group in optimizer.param_groups for p in group["params"]]
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            assert optimizer.state[parameter]["exp_avg"].shape == parameter.shape
    assert len({id(p) for g in optimizer.param_groups for p in g["params"]}) == len(list(fitted.module.parameters()))


def test_each_stage_goes_a_geometric_step_towards_the_target(data):
    modifier = structure(stages=3, end_epoch=2.0, target_speedup=3.375)
    fit(modifier, data=data)
    assert modifier.targets() == pytest.approx([1.5, 2.25, 3.375])
    predicted = [stage["predicted_speedup"] for stage in modifier.files()["structure.json"]["stages"]]
    assert all(found >= target for found, target in zip(predicted, modifier.targets(), strict=True))
    assert predicted == sorted(predicted)


def test_events_are_recorded_as_planned(data):
    modifier = structure(stages=2, end_epoch=2.0)
    fitted = fit(modifier, data=data)
    assert [event["step"] for event in fitted.events] == [0, 10]
    assert fitted.events == planned(modifier)
    modifier.check()


@pytest.mark.filterwarnings("ignore:Checkpoint directory")
@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_a_run_resumed_before_between_and_after_the_stages_has_equal_weights(tmp_path, epoch):
    def trained(seed, **options):
        data, modifier = toy_data(), structure(stages=2, start_epoch=1.4, end_epoch=2.4)
        model = toy_model(data.task, seed, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
        return fit(modifier, data=data, model=model, callbacks=[every_epoch(tmp_path)], **options), modifier

    whole, first = trained(seed=0)
    resumed, second = trained(seed=7, resume=tmp_path / f"epoch={epoch}.ckpt")
    assert left(resumed.model) == left(whole.model)
    for name, weight in whole.module.state_dict().items():
        assert torch.equal(weight, resumed.module.state_dict()[name]), name
    assert first.files() == second.files()
    assert resumed.events == whole.events


def test_a_target_that_the_whole_model_reaches_removes_nothing(data):
    modifier = structure(target_speedup=1.5)
    modifier.use(LatencyTable(TABLE.heads, TABLE.neurons, TABLE.rest, dense=84.0))
    assert left(fit(modifier, data=data).model) == [(2, 24), (2, 24)]
    [stage] = modifier.files()["structure.json"]["stages"]
    assert (stage["source"], stage["predicted_speedup"]) == ("nothing has to go", 2.0)


def test_a_target_out_of_reach_is_refused_before_the_first_step(data):
    modifier = structure(target_speedup=4.5)
    with pytest.raises(UserError, match=r"target_speedup=4.5 is out of reach: .* would be 4.2 times as fast"):
        fit(modifier, data=data)


def test_a_block_may_go_whole(data):
    fitted = fit(structure(target_speedup=4.0), data=data)  # leaves .5 of 32
    assert (0, 0) in left(fitted.model)
    assert all(p.isfinite().all() for p in fitted.model.parameters())


def test_a_stage_after_everything_is_gone_removes_nothing(data):
    modifier = structure(stages=2, end_epoch=1.0, target_speedup=4.15)  # 4.2 without any structure
    assert left(fit(modifier, data=data, epochs=2).model) == [(0, 0), (0, 0)]
    modifier.check()
    modifier = structure(target_speedup=4.15)
    modifier.match(empty := fit(structure(target_speedup=4.15), data=data, epochs=1).model)
    modifier.begin(Clock(steps_per_epoch=5, total_steps=0))
    modifier.calibrate(empty.train(False), data.task, data.train_dataloader())
    assert modifier.files()["structure.json"]["stages"][0]["source"] == "nothing has to go"


def test_dropped_layers_count_for_the_speedup(data):
    fitted = fit(LayerDropping(name="layers", keep=1), structure(target_speedup=42 / 22), data=data)
    assert left(fitted.model) == [(1, 20)] or TABLE.speedup(left(fitted.model)) >= 42 / 22
    assert len(left(fitted.model)) == 1


def test_the_events_of_quantisation_are_as_planned_although_whole_blocks_go_before_it(data):
    quantization = QuantizationAwareTraining(name="quantization", start_epoch=1.0)
    fitted = fit(structure(target_speedup=4.0), quantization, data=data, epochs=2)
    assert (0, 0) in left(fitted.model)
    assert fitted.events[1:] == planned(quantization)
    quantization.check()


def test_blocks_are_pruned_and_quantised_within_what_stays(data):
    pruning = MagnitudePruning(
        name="pruning", final_sparsity=0.5, structure="block4", start_epoch=1.0, end_epoch=2.0, update_frequency=0.2
    )
    quantization = QuantizationAwareTraining(name="quantization", start_epoch=3.0)
    fitted = fit(structure(end_epoch=1.0, start_epoch=1.0), pruning, quantization, data=data)
    for modifier in (pruning, quantization):
        modifier.check()
    present = {name for name, _ in fitted.model.named_parameters()}
    assert set(pruning.matched()) <= present
    assert all(p.shape == fitted.model.get_parameter(n).shape for n, p in pruning.matched().items())


@pytest.mark.parametrize(
    "other",
    [
        lambda: MagnitudePruning(name="other", final_sparsity=0.5, start_epoch=1.0, end_epoch=3.0),
        lambda: QuantizationAwareTraining(name="other", start_epoch=1.0),
    ],
)
def test_a_modifier_of_weights_that_begins_before_the_last_stage_is_refused(data, other):
    modifiers = [structure(stages=2, end_epoch=2.0), other()]
    for modifier in modifiers:
        modifier.match(toy_model(data.task))
        modifier.begin(Clock(steps_per_epoch=5, total_steps=20))
    with pytest.raises(UserError, match=r"recipe\.structure and recipe\.other both control"):
        refuse_conflicts(modifiers, "recipe.")


def test_without_training_the_model_is_cut_at_once(data):
    model = toy_model(data.task)
    before = copy.deepcopy(model)
    modifier = structure(stages=2)
    modifier.match(model)
    modifier.begin(Clock(steps_per_epoch=5, total_steps=0))
    modifier.calibrate(model.train(False), data.task, data.train_dataloader())
    assert TABLE.speedup(left(model)) >= 2.0
    assert model.num_parameters() < before.num_parameters()
    modifier.check()
