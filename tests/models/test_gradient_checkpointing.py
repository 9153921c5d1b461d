import pytest
import torch
from transformers import AlbertConfig, AlbertModel

from tests.modifiers.test_quantization import qat
from tests.toys import ENCODER_PATTERN, every_epoch, fit, toy_data, toy_model
from winnow.errors import UserError
from winnow.models.gradient_checkpointing import enable_gradient_checkpointing
from winnow.models.teacher import Teacher
from winnow.modifiers.distillation import Distillation
from winnow.modifiers.hidden_distillation import HiddenDistillation
from winnow.modifiers.movement import MovementPruning
from winnow.training.random_state import RandomState


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists")
def test_weights_masks_and_observers_are_those_without_it_also_after_a_resume(tmp_path):
    def trained(recomputed, resume=None):
        data = toy_data()
        model, teacher = toy_model(data.task), Teacher(toy_model(data.task, seed=3))
        calls = []
        model.bert.encoder.layer[0].intermediate.register_forward_hook(lambda *_: calls.append(1))
        if recomputed:
            enable_gradient_checkpointing(model)
        modifiers = [
            MovementPruning(name="pruning", params=[ENCODER_PATTERN], final_sparsity=0.5, start_epoch=0.4, end_epoch=2),
            Distillation(name="distillation", teacher=teacher, hardness=0.5, temperature=2.0),
            HiddenDistillation(name="hidden", teacher=teacher, weight=1.0),
            qat(),
        ]
        checkpoints = [RandomState(), every_epoch(tmp_path)] if recomputed else []
        settings = {"epochs": 3, "precision": "bf16-mixed", "callbacks": checkpoints, "resume": resume}
        return fit(*modifiers, data=data, model=model, **settings).module.state_dict(), len(calls)

    whole, passes = trained(recomputed=False)
    recomputed, more_passes = trained(recomputed=True)
    resumed, _ = trained(recomputed=True, resume=tmp_path / "epoch=0.ckpt")
    assert more_passes - passes == 15  # one for each step
    torch.testing.assert_close(recomputed, whole, rtol=0, atol=0)
    torch.testing.assert_close(resumed, whole, rtol=0, atol=0)


def test_a_model_whose_layers_cannot_be_computed_again_is_refused():
    model = AlbertModel(AlbertConfig(vocab_size=8, hidden_size=4, num_attention_heads=1, intermediate_size=4))
    with pytest.raises(UserError, match="transformers has no gradient checkpointing for albert models; leave it out"):
        enable_gradient_checkpointing(model)
