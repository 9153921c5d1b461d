from types import SimpleNamespace

import pytest
import torch

from tests.toys import OPTIMIZER, fit, model_section, run_command, toy_data, toy_model
from winnow.errors import UserError
from winnow.files.run_files import CHECKPOINTS
from winnow.models.pretrained import load_student, save_model
from winnow.models.teacher import Teacher
from winnow.modifiers.distillation import Distillation
from winnow.modifiers.modifier import Modifier
from winnow.training.evaluation import evaluate
from winnow.training.finite_loss import DivergedError, FiniteLoss
from winnow.training.module import FineTuner
from winnow.training.trainer import build_trainer
from winnow.training.trainer import fit as fit_run


class Broken(Modifier):
    """Adds a number to the loss of one batch, counted from 1, by a function of a weight that is 0 in value."""

    def __init__(self, *, batch, added, **settings):
        super().__init__(name="broken", **settings)
        self.batch, self.added, self.seen = batch, added, 0

    def adjust_loss(self, loss, outputs, batch):
        self.seen += 1
        return loss + self.added(outputs.logits.sum() * 0) if self.seen == self.batch else loss


def nan(zero):
    return zero + float("nan")


def infinite(zero):
    return zero + float("inf")


def infinite_slope(zero):
    return zero.sqrt()


def message(*modifiers, **settings):
    with pytest.raises(DivergedError) as error:
        fit(*modifiers, callbacks=[FiniteLoss(), *settings.pop("callbacks", ())], epochs=2, **settings)
    return str(error.value)


@pytest.mark.parametrize(
    ("added", "fault"),
    [
        (nan, "the loss is nan, not a finite number"),
        (infinite, "the loss is inf, not a finite number"),
        (infinite_slope, "the gradient is NaN or infinite"),
    ],
)
def test_the_first_batch_that_is_not_finite_stops_the_training_with_its_step(added, fault):
    said = message(Broken(batch=7, added=added))
    assert said.startswith(f"step 7 of 10 (epoch 2 of 2): {fault}. The rows of the batch are the train split, row ")
    assert said.endswith("Try a smaller recipe.optimizer.learning_rate (it is 0.01), or check their labels and texts.")


def test_the_rows_of_the_batch_are_named_with_their_texts():
    data = toy_data()
    batches = data.train_dataloader().sampler.batches
    first = next(iter(batches))
    said = message(Broken(batch=1, added=nan), data=data)
    texts = [data.splits["train"][row]["text"] for row in first]
    assert all(
        f"the train split, row {row + 1} '{text[:20]}" in said for row, text in zip(first[:3], texts, strict=False)
    )
    assert f"; others are rows {', '.join(str(row + 1) for row in first[3:])}." in said


def test_a_smaller_learning_rate_is_no_remedy_for_the_first_batch():
    said = message(Broken(batch=1, added=nan), precision="bf16-mixed")
    assert said.endswith("Try trainer.precision=32-true (it is bf16-mixed), or check their labels and texts.")


def test_a_gradient_that_jumps_is_noted_once(capsys):
    class Jumps(Modifier):
        seen = 0

        def adjust_loss(self, loss, outputs, batch):
            self.seen += 1
            return loss * (1e7 if self.seen in (3, 22, 24) else 1)

    fit(Jumps(name="jumps"), callbacks=[FiniteLoss()], epochs=5)
    (note,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("note: "))
    assert note.startswith("note: step 22 of 25 (epoch 5 of 5): the norm of the gradient is ")
    assert note.endswith("Try a smaller recipe.optimizer.learning_rate (it is 0.01).")


def test_a_batch_of_accumulated_ones_stops_the_training_before_the_optimizer_step():
    data = toy_data()
    model = toy_model(data.task)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    said = message(Broken(batch=1, added=nan), data=data, model=model, accumulate_grad_batches=3)
    assert said.startswith("step 1 of 4 (epoch 1 of 2)")
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def test_modifiers_do_not_act_on_weights_that_are_nan():
    class Acts(Modifier):
        steps = ()

        def at_step(self, step, trainer, pl_module):
            self.steps = (*self.steps, step)

    acts = Acts(name="acts")
    with pytest.raises(DivergedError):
        fit(callbacks=[FiniteLoss(), Broken(batch=3, added=nan), acts], epochs=1)
    assert acts.steps == (0, 1, 2)


def test_an_infinite_gradient_is_no_error_in_fp16():
    stub = SimpleNamespace(
        precision="16-mixed",
        current_epoch=0,
        strategy=SimpleNamespace(reduce_boolean_decision=lambda decision, all: decision),
    )
    module = SimpleNamespace(gradient_norm=torch.tensor(float("inf")))
    FiniteLoss().on_train_batch_end(stub, module, {"loss": torch.tensor(0.5)}, {})


@pytest.mark.parametrize("layer", ["classifier.weight", "bert.embeddings.word_embeddings.weight"])
def test_a_teacher_with_infinite_outputs_is_named_as_the_cause(layer):
    data = toy_data()
    teacher = toy_model(data.task)
    teacher.get_parameter(layer).data.fill_(float("inf"))
    distillation = Distillation(name="distillation", teacher=Teacher(teacher), start_from_teacher=False)
    said = message(distillation, data=data)
    assert "the loss is nan, not a finite number, since the outputs of the teacher are NaN or infinite" in said
    assert "learning_rate" not in said


@pytest.fixture
def diverging(configured, tmp_path):
    """Train a toy model by the Trainer of a run, with weights that are infinite after some step."""

    def train(steps):
        config = configured(
            "recipe=dense", "recipe.num_epochs=2", "trainer.accelerator=cpu", "trainer.precision=32-true"
        )
        data = toy_data()
        module = FineTuner(toy_model(data.task), task=data.task, optimizer=OPTIMIZER, validation=data.validation)
        fit_run(
            build_trainer(config, tmp_path, [Explosion(name="explosion", steps=steps)], "val/accuracy"), module, data
        )

    return train


class Explosion(Modifier):
    """Makes a weight infinite after some optimizer steps."""

    def __init__(self, *, steps, **settings):
        super().__init__(**settings)
        self.steps = steps

    def at_step(self, step, trainer, pl_module):
        if step == self.steps:
            pl_module.model.classifier.weight.data.fill_(float("inf"))


def test_weights_that_become_infinite_in_the_last_step_are_an_error(diverging):
    with pytest.raises(DivergedError, match=r"^after step 10 of 10 \(epoch 2 of 2\) the outputs of the model for the "):
        diverging(steps=10)


def test_a_model_that_diverged_is_never_the_best(diverging, tmp_path):
    with pytest.raises(DivergedError):
        diverging(steps=5)
    assert not (tmp_path / CHECKPOINTS / "best.ckpt").exists()


def test_a_model_with_outputs_that_are_nan_has_no_metrics():
    data = toy_data()
    model = toy_model(data.task)
    model.classifier.weight.data.fill_(float("nan"))
    with pytest.raises(UserError, match="the outputs of the model for the validation split are NaN or infinite"):
        evaluate(model, data, data.validation)


def test_a_model_with_a_weight_that_is_nan_is_refused_before_the_training(tmp_path):
    data = toy_data()
    model = toy_model(data.task)
    model.bert.pooler.dense.bias.data[3] = float("nan")
    save_model(model, data.tokenizer, tmp_path)
    with pytest.raises(UserError, match=r"^model.name=.*: the weights are NaN or infinite in bert.pooler.dense.bias; "):
        load_student(model_section(str(tmp_path)), data.task, data.tokenizer)


@pytest.mark.slow
def test_all_processes_of_a_data_parallel_run_stop_at_the_same_step(tmp_path):
    overrides = ["recipe.num_epochs=1", "task.data.max_train_samples=100", "recipe.optimizer.learning_rate=1e30"]
    parallel = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", f"output_dir={tmp_path}"]
    ended = run_command("train", "task=demo", "teacher=none", "recipe=dense", *overrides, *parallel)
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: step 2 of 2 (epoch 1 of 1): the loss is nan")
    assert ended.stderr.count("error: ") == 1
