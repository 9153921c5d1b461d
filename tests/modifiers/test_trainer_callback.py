"""Modifiers in a transformers.Trainer."""

import pytest
import torch
from datasets import Dataset
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainingArguments,
    set_seed,
)

import winnow
from tests.toys import BERT, zeros_of
from winnow.data.tiny_tokenizer import tiny_tokenizer
from winnow.errors import UserError
from winnow.modifiers.distillation import Distillation
from winnow.modifiers.gmp import MagnitudePruning
from winnow.modifiers.masks import encoder_weights
from winnow.modifiers.quantization import QuantizationAwareTraining
from winnow.modifiers.trainer_callback import ModifierCallback

ROWS = {"input_ids": [[2, i % 7 + 5, i % 5 + 5, 3] for i in range(16)], "labels": [i % 2 for i in range(16)]}


def model(seed=0, **settings):
    set_seed(seed)
    return BertForSequenceClassification(BertConfig(**BERT, vocab_size=16, **settings))


def train(student, folder, *modifiers, resume=None, metrics=None, **settings):
    arguments = {
        **{"output_dir": str(folder), "report_to": "none", "use_cpu": True, "disable_tqdm": True},
        **{"num_train_epochs": 4, "per_device_train_batch_size": 4, "save_strategy": "epoch", "learning_rate": 1e-2},
    }
    trainer = Trainer(
        student,
        TrainingArguments(**{**arguments, **settings}),
        train_dataset=Dataset.from_dict(ROWS),
        eval_dataset=Dataset.from_dict(ROWS),
        compute_metrics=metrics,
        callbacks=[ModifierCallback(modifiers)] if modifiers else [],
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def recipe(teacher=None):
    pruning = MagnitudePruning(final_sparsity=0.8, start_epoch=0.5, end_epoch=3.0, update_frequency=0.25)
    rounding = QuantizationAwareTraining(start_epoch=3.0, disable_observer_epoch=3.5)
    return [Distillation(teacher=teacher or model(9)), rounding, pruning]


@pytest.mark.parametrize("epoch", [2, 3])  # in the middle of pruning, and where quantisation begins
def test_a_training_reaches_its_sparsity_and_ends_with_the_same_weights_when_it_is_resumed(tmp_path, epoch):
    whole, resumed = model(), model(seed=5)
    train(whole, tmp_path, *recipe())
    train(resumed, tmp_path, *recipe(), resume=str(tmp_path / f"checkpoint-{4 * epoch}"))
    assert all(zeros_of(weight) == round(0.8 * weight.numel()) for weight in encoder_weights(whole).values())
    others = resumed.state_dict()
    assert all(torch.equal(value, others[name]) for name, value in whole.state_dict().items())


def test_micro_batches_are_distilled_as_one_batch(tmp_path):
    """Distilled to half: of a step's loss a micro-batch adds its share of the labels, to both parts."""
    settings = {"num_train_epochs": 1, "max_grad_norm": 0.0, "optim": "sgd", "save_strategy": "no"}
    states = []
    for size, parts in ((8, 1), (4, 2)):
        student = model(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
        modifier = Distillation(teacher=model(9), hardness=0.5)
        step = {"per_device_train_batch_size": size, "gradient_accumulation_steps": parts}
        train(student, tmp_path, modifier, **settings, **step)
        states.append(student.state_dict())
    assert not torch.equal(states[0]["classifier.bias"], model().state_dict()["classifier.bias"])
    assert all(torch.allclose(value, states[1][name], atol=1e-6) for name, value in states[0].items())


def test_the_best_model_is_one_that_is_pruned(tmp_path):
    settings = {"eval_strategy": "epoch", "load_best_model_at_end": True, "metric_for_best_model": "score"}
    scores = iter([0.9, 0.8, 0.7, 0.6])
    student = model()
    trainer = train(student, tmp_path, *recipe()[-1:], metrics=lambda _: {"score": next(scores)}, **settings)
    assert trainer.state.best_metric == 0.7  # of epoch 3, in which pruning ends
    assert all(zeros_of(weight) == round(0.8 * weight.numel()) for weight in encoder_weights(student).values())


def test_a_saved_model_opens_without_winnow_and_with_it_as_it_was_trained(tmp_path):
    student = model()
    train(student, tmp_path, *recipe(), save_strategy="no")
    winnow.save_model(student.eval(), tiny_tokenizer(), tmp_path / "pruned")
    opened = AutoModelForSequenceClassification.from_pretrained(tmp_path / "pruned")
    assert all(zeros_of(weight) >= round(0.8 * weight.numel()) for weight in encoder_weights(opened).values())
    text = torch.tensor([[2, 7, 8, 3]])
    assert torch.equal(winnow.load(tmp_path / "pruned")(text).logits, student(text).logits)


def test_what_cannot_work_is_refused(tmp_path):
    train(model(), tmp_path, *recipe()[-1:])
    (tmp_path / "checkpoint-8/modifiers.pt").unlink()
    with pytest.raises(UserError, match=r"modifiers.pt is missing, so the modifiers cannot go on from step 8\."):
        train(model(), tmp_path, *recipe()[-1:], resume=str(tmp_path / "checkpoint-8"))
    with pytest.raises(UserError, match="the model returned no loss to adjust"):
        train(model(), tmp_path / "smooth", *recipe()[:1], label_smoothing_factor=0.1)
    with pytest.raises(UserError, match="end_epoch is 3, but the training ends after 2 epochs"):
        train(model(), tmp_path / "short", *recipe()[-1:], num_train_epochs=2)
