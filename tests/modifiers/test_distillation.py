import pytest
import pytorch_lightning as pl
import torch

from tests.toys import every_epoch, fit, toy_data, toy_model, toy_task
from winnow.errors import UserError
from winnow.functional.distillation_loss import distillation_loss
from winnow.models.teacher import Teacher
from winnow.modifiers.distillation import Distillation
from winnow.modifiers.modifier import build_modifiers


@pytest.fixture(scope="module")
def data():
    return toy_data()


@pytest.fixture
def teacher(data):
    return CountingTeacher(toy_model(data.task, seed=5))


class CountingTeacher(Teacher):
    calls = 0

    def forward(self, **inputs):
        self.calls += 1
        return super().forward(**inputs)


def distillation(teacher, **changes):
    settings = {"name": "distillation", "hardness": 1.0, "temperature": 2.0, "teacher": teacher}
    return Distillation(**{**settings, **changes})


def weights_after(data, *modifiers, seed=0, **settings):
    fitted = fit(*modifiers, data=data, model=toy_model(data.task, seed=seed), epochs=2, **settings)
    return fitted.model.state_dict()


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


class Losses(pl.Callback):
    def __init__(self):
        self.values = []

    def on_train_batch_end(self, trainer, pl_module, outputs, *args):
        self.values.append(float(outputs["loss"]))


def test_hardness_0_learns_from_the_labels_alone(data, teacher):
    assert same(weights_after(data), weights_after(data, distillation(teacher, hardness=0.0)))


def test_hardness_1_learns_from_the_teacher_alone(data, teacher):
    flipped = toy_data()
    train = flipped.encoded["train"]
    labels = [1 - y for y in train["labels"]]
    flipped.encoded["train"] = train.remove_columns("labels").add_column("labels", labels)
    assert same(weights_after(data, distillation(teacher)), weights_after(flipped, distillation(teacher)))
    assert not same(weights_after(data), weights_after(data, distillation(teacher)))


@pytest.mark.parametrize("hardness", [0.0, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 5.5])
def test_the_loss_is_the_mixture_of_the_label_loss_and_the_distance_to_the_teacher(
    data, teacher, hardness, temperature
):
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    student = toy_model(data.task, **still)
    batch = next(iter(data.train_dataloader()))
    with torch.no_grad():
        logits, target = (data.task.outputs(model, batch).logits for model in (student, teacher))
    kd = float(distillation_loss(logits, target, temperature=temperature))
    label_loss = float(torch.nn.functional.cross_entropy(logits, batch["labels"]))
    losses = Losses()
    fit(
        distillation(teacher, hardness=hardness, temperature=temperature),
        data=data,
        model=student,
        epochs=1,
        callbacks=[losses],
    )
    assert losses.values[0] == pytest.approx((1 - hardness) * label_loss + hardness * kd, rel=1e-4)


def test_a_student_that_starts_as_its_teacher_has_no_loss_at_first(data):
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    losses = Losses()
    fit(
        distillation(Teacher(toy_model(data.task, **still))),
        data=data,
        model=toy_model(data.task, **still),
        epochs=1,
        callbacks=[losses],
    )
    assert losses.values[0] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("start_epoch", "end_epoch", "calls"), [(0.0, -1, 10), (-1, -1, 10), (1, -1, 5), (0.4, 1.2, 4), (0, 1, 5)]
)
def test_the_teacher_is_asked_within_its_window_only(data, teacher, start_epoch, end_epoch, calls):
    weights_after(data, distillation(teacher, start_epoch=start_epoch, end_epoch=end_epoch))
    assert teacher.calls == calls


def test_before_its_window_the_student_learns_from_the_labels(data, teacher):
    losses, plain = Losses(), Losses()
    weights_after(data, distillation(teacher, start_epoch=1), callbacks=[losses])
    weights_after(data, callbacks=[plain])
    assert losses.values[:5] == plain.values[:5]
    assert losses.values[5:] != plain.values[5:]


def test_under_accumulation_the_window_counts_optimizer_steps(data, teacher):
    weights_after(data, distillation(teacher, start_epoch=1), accumulate_grad_batches=2)
    assert teacher.calls == 5


def test_the_teacher_is_not_in_the_checkpoint_nor_in_the_optimizer_and_does_not_change(data, teacher, tmp_path):
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    student = toy_model(data.task)
    fitted = fit(distillation(teacher), data=data, model=student, epochs=1, callbacks=[every_epoch(tmp_path)])

    checkpoint = torch.load(tmp_path / "epoch=0.ckpt", weights_only=True)
    assert {name.removeprefix("model.") for name in checkpoint["state_dict"]} == set(student.state_dict())
    optimized = {id(p) for group in fitted.trainer.optimizers[0].param_groups for p in group["params"]}
    assert optimized == {id(p) for p in student.parameters()}
    assert not optimized & {id(p) for p in teacher.parameters()}
    assert same(before, teacher.state_dict())
    assert not teacher.training
    assert not any(p.requires_grad or p.grad is not None for p in teacher.parameters())


def test_a_regression_is_distilled_on_its_value(data):
    task = toy_task(metrics=["pearson"], regression=True)
    numbers = toy_data(task=task)
    student, teacher = toy_model(task), Teacher(toy_model(task, seed=5))
    batch = next(iter(numbers.train_dataloader()))

    def squared_distance():
        with torch.no_grad():
            mine, theirs = task.outputs(student.eval(), batch), task.outputs(teacher, batch)
            return float((mine.logits - theirs.logits).square().mean())

    with torch.no_grad():
        outputs = task.outputs(student.eval(), batch)
        distance = task.distillation_loss(outputs, task.outputs(teacher, batch), batch, temperature=2.0)
    before = squared_distance()
    assert float(distance) == pytest.approx(before, rel=1e-5)
    fit(distillation(teacher), data=numbers, model=student.train(), epochs=4, optimizer={"learning_rate": 1e-3})
    assert squared_distance() < before


def test_the_modifier_of_a_recipe_holds_the_very_teacher_it_was_given(teacher, configured):
    modifiers = build_modifiers(configured("recipe=gmp80", "teacher=self").recipe, teacher=teacher)
    assert [type(m).__name__ for m in modifiers] == ["LearningRate", "MagnitudePruning", "Distillation"]
    assert modifiers[-1].teacher is teacher


def first_weights(teacher, student, data, **settings):
    """The student's weights before the first step."""
    seen = {}

    class Look(pl.Callback):
        def on_train_start(self, trainer, pl_module):
            seen.update({name: p.detach().clone() for name, p in pl_module.model.named_parameters()})

    fit(distillation(teacher, **settings), data=data, model=student, epochs=1, callbacks=[Look()])
    return seen


@pytest.mark.parametrize("start_from_teacher", [True, False])
def test_a_student_starts_from_its_teacher_only_where_that_is_asked(data, teacher, start_from_teacher):
    student = toy_model(data.task)
    own = {name: p.detach().clone() for name, p in student.named_parameters()}
    teachers = dict(teacher.model.named_parameters())
    first = first_weights(teacher, student, data, start_from_teacher=start_from_teacher)
    expected = teachers if start_from_teacher else own
    assert all(torch.equal(first[name], expected[name]) for name in first)
    assert not same(own, teachers)


def test_a_student_that_started_from_its_teacher_shares_no_memory_with_it(data, teacher):
    before = {name: p.clone() for name, p in teacher.state_dict().items()}
    student = toy_model(data.task)
    fit(distillation(teacher, start_from_teacher=True), data=data, model=student, epochs=1)
    assert same(before, teacher.state_dict())
    assert not same(dict(student.named_parameters()), dict(teacher.model.named_parameters()))


@pytest.mark.parametrize("other", ["shape", "labels"])
def test_a_student_that_differs_from_its_teacher_starts_from_its_own_weights_and_says_so(data, other, capsys):
    if other == "shape":
        teacher = Teacher(toy_model(data.task, seed=5, num_hidden_layers=1))
    else:
        teacher = Teacher(toy_model(data.task, seed=5), order=[1, 0])
    student = toy_model(data.task)
    own = {name: p.detach().clone() for name, p in student.named_parameters()}
    assert same(first_weights(teacher, student, data, start_from_teacher=True), own)
    assert "the student starts from its own weights" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hardness": 2}, r"hardness must be in \[0, 1\], got 2; write 2 % as 0\.02"),
        ({"hardness": -0.5}, r"hardness must be in \[0, 1\], got -0\.5"),
        ({"temperature": 0}, "temperature must be a number above 0, got 0"),
    ],
)
def test_values_out_of_range_are_refused(teacher, changes, message):
    with pytest.raises(UserError, match=message):
        distillation(teacher, **changes)
