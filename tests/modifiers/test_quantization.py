import pytest
import pytorch_lightning as pl
import torch
from transformers import AutoModelForMaskedLM

from tests.toys import ENCODER_PATTERN, every_epoch, fit, planned, toy_data, toy_model, zeros_of
from winnow.errors import UserError
from winnow.models.quantized_model import quantizers
from winnow.models.teacher import Teacher
from winnow.modifiers.clock import Clock
from winnow.modifiers.constant import ConstantPruning
from winnow.modifiers.distillation import Distillation
from winnow.modifiers.gmp import MagnitudePruning
from winnow.modifiers.layer_dropping import LayerDropping
from winnow.modifiers.quantization import PostTrainingQuantization, QuantizationAwareTraining

SHARED = {
    "name": "quantization",
    "submodules": [".*"],
    "exclude": [],
    "weight_bits": 8,
    "per_channel": True,
    "embeddings": True,
    "attention": True,
    "reduce_range": False,
}


def qat(**changes):
    return QuantizationAwareTraining(**{**SHARED, "start_epoch": 1.0, "disable_observer_epoch": 2.4, **changes})


class Phases(pl.Callback):
    """Whether quantisers observe and round in each training batch and each validation, and the grids after a step."""

    def __init__(self):
        self.training, self.validation, self.grids = [], [], []

    def on_before_zero_grad(self, trainer, pl_module, optimizer):
        self.training.append(self._phase(pl_module))
        self.grids.append([q.scale.clone() for q in quantizers(pl_module.model).values()])

    def on_validation_batch_start(self, trainer, pl_module, *args):
        self.validation.append(self._phase(pl_module))

    def _phase(self, pl_module):
        (phase,) = {(q.observer_enabled, q.fake_quant_enabled) for q in quantizers(pl_module.model).values()}
        return phase


def test_quantisers_are_off_then_on_then_frozen():
    watch = Phases()
    fit(qat(), watch, epochs=3, limit_val_batches=1.0)  # five steps an epoch
    assert watch.training == [(False, False)] * 5 + [(True, True)] * 7 + [(False, True)] * 3
    assert watch.validation == [(False, False), (False, True), (False, True)]


def test_frozen_grids_stay_in_every_module_the_head_too():
    watch = Phases()
    fitted = fit(qat(), watch, epochs=3)
    moving, still, last = watch.grids[11], watch.grids[12], watch.grids[-1]  # frozen after the twelfth step
    assert "classifier.input_quantizer" in quantizers(fitted.model)
    assert all(torch.equal(a, b) for a, b in zip(still, last, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(moving, still, strict=True))


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists")
def test_a_run_resumed_at_the_step_that_freezes_the_grids_has_those_of_all_rows(tmp_path):
    settings = {"disable_observer_epoch": 2.0}
    whole = fit(qat(**settings), epochs=3, callbacks=[every_epoch(tmp_path)])
    resumed = fit(qat(**settings), epochs=3, callbacks=[every_epoch(tmp_path)], resume=tmp_path / "epoch=1.ckpt")
    pairs = zip(quantizers(whole.model).items(), quantizers(resumed.model).values(), strict=True)
    assert [name for (name, one), other in pairs if not torch.equal(one.scale, other.scale)] == []
    assert torch.all(whole.model.get_input_embeddings().weight_quantizer.scale < 1)  # 1 is what it begins with


def test_a_run_does_what_its_plan_says():
    modifier = qat()
    fitted = fit(modifier, epochs=3)
    assert fitted.events == planned(modifier)
    assert [(row["step"], row["change"]) for row in fitted.events] == [
        (5, "quantises 19 modules"),
        (12, "freezes the grids"),
    ]


@pytest.mark.parametrize("disable", [-1, 3.0])
def test_grids_may_be_fitted_to_the_end(disable):
    watch, modifier = Phases(), qat(disable_observer_epoch=disable)
    fitted = fit(modifier, watch, epochs=3)
    assert watch.training[-1] == (True, True)
    assert fitted.events == planned(modifier)


def test_the_step_with_which_it_begins_is_not_yet_settled():
    modifier = qat()
    modifier.begin(Clock(steps_per_epoch=5, total_steps=15))
    assert [modifier.is_settled(step) for step in (4, 5, 6, 15)] == [False, False, True, True]


def test_under_accumulation_it_begins_with_the_optimizer_step():
    watch = Phases()
    fit(qat(), watch, epochs=3, accumulate_grad_batches=2)  # three steps an epoch
    assert [on for _, on in watch.training] == [False] * 3 + [True] * 6


def test_it_composes_with_pruning_distillation_and_layer_dropping():
    data = toy_data()
    model = toy_model(data.task)
    teacher = Teacher(toy_model(data.task, seed=3))
    pruning = MagnitudePruning(
        name="pruning", params=[ENCODER_PATTERN], final_sparsity=0.75, start_epoch=0.4, end_epoch=2.0
    )
    modifiers = [
        LayerDropping(name="layers", keep=1),
        pruning,
        Distillation(name="distillation", teacher=teacher, hardness=1.0, temperature=2.0, start_from_teacher=True),
        qat(),
    ]
    fitted = fit(*modifiers, data=data, model=model, epochs=3)
    for modifier in modifiers:
        modifier.check()
    assert len(fitted.encoder()) == 6
    assert all(zeros_of(weight) == round(0.75 * weight.numel()) for weight in fitted.encoder().values())
    for module in fitted.model.modules():
        if hasattr(module, "weight_quantizer"):
            weight = module.weight.detach()
            assert bool((module.weight_quantizer.rounded(weight)[weight == 0] == 0).all())


def test_the_zeros_of_a_sparse_model_stay_through_quantised_training():
    data = toy_data()
    model = toy_model(data.task)
    for name, weight in model.named_parameters():
        if ".layer." in name and weight.ndim == 2:
            weight.data[weight.abs() < weight.abs().quantile(0.75)] = 0.0
    before = {n: (p == 0) for n, p in model.named_parameters() if ".layer." in n and p.ndim == 2}
    fitted = fit(ConstantPruning(name="pruning", params=[ENCODER_PATTERN]), qat(), data=data, model=model, epochs=3)
    after = dict(fitted.model.named_parameters())
    assert all(torch.equal(after[name] == 0, zeros) for name, zeros in before.items())


@pytest.mark.parametrize(
    ("settings", "quantised"),
    [
        ({"embeddings": False}, 16),
        ({"attention": False}, 17),
        ({"submodules": [r".*\.layer\..*"]}, 14),
        ({"exclude": [r"classifier", r".*embeddings.*"]}, 15),
    ],
)
def test_what_is_quantised_can_be_chosen(settings, quantised):
    modifier, model = qat(**settings), toy_model(toy_data().task)
    modifier.match(model)
    assert len(modifier.names) == quantised
    with torch.no_grad():
        model(input_ids=torch.tensor([[2, 5, 3]]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight_bits": 6}, "weight_bits must be 8 or 4, got 6"),
        ({"embedding_bits": 2}, "embedding_bits must be 8 or 4, got 2"),
        (
            {"disable_observer_epoch": 0.5},
            "start_epoch 1 is after disable_observer_epoch 0.5; lower start_epoch or raise",
        ),
        ({"submodules": ["clasifier"]}, "'clasifier' matches none of the 19 modules"),
        ({"exclude": ["encoder"]}, "quantization.exclude: 'encoder' matches none of the 19 modules"),
        ({"exclude": [".*"]}, "quantization.exclude leaves none of the 19 modules to quantise"),
        ({"start_epoch": 3.0, "disable_observer_epoch": -1}, "needs a step between start_epoch 3 and"),
        ({"disable_observer_epoch": 1.0}, "needs a step between start_epoch 1 and"),
    ],
)
def test_what_cannot_be_is_refused(settings, message):
    def rehearsed():
        modifier = qat(**settings)
        modifier.match(toy_model(toy_data().task))
        modifier.begin(Clock(steps_per_epoch=5, total_steps=15))

    with pytest.raises(UserError) as refused:
        rehearsed()
    assert message in str(refused.value)


def test_a_decoder_that_is_tied_to_the_embeddings_is_refused_with_the_remedy():
    config = toy_model(toy_data().task).config
    with pytest.raises(UserError, match=r"exclude=\[cls.predictions.decoder\]"):
        qat().match(AutoModelForMaskedLM.from_config(config))
    qat(exclude=["cls.predictions.decoder"]).match(AutoModelForMaskedLM.from_config(config))


@pytest.mark.parametrize("bits", [8, 4])
def test_the_bits_of_embeddings_reach_the_model_in_training_and_in_calibration(bits):
    for modifier in (qat(embedding_bits=bits), PostTrainingQuantization(**SHARED, embedding_bits=bits)):
        modifier.match(model := toy_model(toy_data().task))
        assert model.bert.embeddings.word_embeddings.weight_quantizer.high == 2 ** (bits - 1) - 1
        assert model.classifier.weight_quantizer.high == 127


def test_calibration_fits_grids_to_so_many_examples_and_rounds():
    data = toy_data()
    model = toy_model(data.task).eval()
    modifier = PostTrainingQuantization(**SHARED, calibration_samples=12, smoothing=False, rounding="nearest")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    modifier.match(model)
    modifier.begin(Clock(steps_per_epoch=5, total_steps=0))
    modifier.without_training(model, data.task, data.train_dataloader())
    assert {int(q.observations) for q in quantizers(model).values()} == {2}  # two batches of eight
    assert all(q.fake_quant_enabled and not q.observer_enabled for q in quantizers(model).values())
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


@pytest.mark.parametrize("changes", [{}, {"ranges": "min_max"}, {"smoothing": False}, {"rounding": "nearest"}], ids=str)
def test_calibration_changes_outputs_little_and_is_equal_to_the_bit_when_it_is_repeated(changes):
    data = toy_data()
    batches = list(data.train_dataloader())
    found = []
    for _ in range(2):
        model = toy_model(data.task).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(std=0.3, generator=torch.Generator().manual_seed(parameter.numel()))
            exact = torch.cat([data.task.outputs(model, batch).logits for batch in batches])
        modifier = PostTrainingQuantization(**SHARED, **changes)
        modifier.match(model)
        modifier.begin(Clock(steps_per_epoch=5, total_steps=0))
        modifier.without_training(model, data.task, batches)
        with torch.no_grad():
            found.append(torch.cat([data.task.outputs(model, batch).logits for batch in batches]))
    assert torch.equal(*found)
    assert (found[0] - exact).abs().mean() < 0.05 * exact.std()
    smooth = [module.smoothing is not None for module in model.modules() if hasattr(module, "smoothing")]
    assert all(smooth) if changes.get("smoothing", "auto") else not any(smooth)
