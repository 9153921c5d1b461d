import json

import pytest
import pytorch_lightning as pl
import torch
from safetensors.torch import load_file
from torch import nn

from tests.toys import TINY, changed, every_epoch, fit, own_data, review_tables, run, run_command, toy_data, toy_model
from winnow.data.batching import LengthGroupedBatches
from winnow.errors import UserError
from winnow.models.teacher import Teacher
from winnow.modifiers.distillation import Distillation
from winnow.modifiers.hidden_distillation import HiddenDistillation
from winnow.modifiers.layer_dropping import LayerDropping

STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


@pytest.fixture(scope="module")
def data():
    return toy_data()


class CountingTeacher(Teacher):
    calls = 0

    def forward(self, **inputs):
        self.calls += 1
        return super().forward(**inputs)


def teacher_of(data, **changes):
    return CountingTeacher(toy_model(data.task, seed=5, **changes))


def hidden(teacher, **changes):
    return HiddenDistillation(**{"name": "hidden", "weight": 1.0, "teacher": teacher, **changes})


def logits(teacher, **changes):
    settings = {"name": "distillation", "hardness": 1.0, "temperature": 2.0, "teacher": teacher}
    return Distillation(**{**settings, **changes})


class Losses(pl.Callback):
    def __init__(self):
        self.values = []

    def on_train_batch_end(self, trainer, pl_module, outputs, *args):
        self.values.append(float(outputs["loss"]))


def losses_of(data, *modifiers, epochs=1, **settings):
    losses = Losses()
    model = settings.pop("model", None) or toy_model(data.task, **STILL)
    fit(*modifiers, data=data, model=model, epochs=epochs, callbacks=[losses], **settings)
    return losses.values


def states(model, batch):
    """The outputs of each layer, as transformers itself gives them."""
    inputs = {key: batch[key] for key in ("input_ids", "attention_mask", "token_type_ids")}
    with torch.no_grad():
        return model.eval()(**inputs, output_hidden_states=True).hidden_states[1:]


@pytest.mark.parametrize("weight", [0.5, 2.0])
@pytest.mark.parametrize(
    ("teacher_layers", "layers", "pairs"),
    [(2, "auto", [(0, 0), (1, 1)]), (6, "auto", [(0, 2), (1, 5)]), (3, {1: 0}, [(1, 0)])],
)
def test_the_loss_grows_by_the_mean_distance_of_the_paired_layers_without_padding(
    weight, teacher_layers, layers, pairs
):
    data = toy_data(batch_size=40)  # texts of all lengths in one batch
    teacher = teacher_of(data, num_hidden_layers=teacher_layers)
    batch = next(iter(data.train_dataloader()))
    mask = batch["attention_mask"].bool()
    assert not mask.all()
    mine, theirs = states(toy_model(data.task, **STILL), batch), states(teacher.model, batch)
    expected = sum(((mine[i] - theirs[j])[mask] ** 2).mean() for i, j in pairs) / len(pairs)
    first, plain = losses_of(data, hidden(teacher, weight=weight, layers=layers))[0], losses_of(data)[0]
    assert first - plain == pytest.approx(weight * float(expected), rel=1e-4)


def test_a_student_that_is_its_teacher_has_no_distance(data):
    assert losses_of(data, hidden(Teacher(toy_model(data.task, **STILL))))[0] == losses_of(data)[0]


def test_layers_that_were_dropped_are_skipped_by_the_rest(data):
    modifier = hidden(teacher_of(data, num_hidden_layers=6))
    model = toy_model(data.task, num_hidden_layers=6)
    LayerDropping(name="layers", keep=[0, 1, 4]).match(model)
    modifier.match(model)
    assert modifier.pairs == {0: 0, 1: 1, 2: 4}


def test_a_student_cut_out_of_its_teacher_has_no_distance_in_the_first_layers(data):
    teacher = Teacher(toy_model(data.task, num_hidden_layers=4, **STILL))
    student = toy_model(data.task, num_hidden_layers=4, **STILL)
    dropping, first = LayerDropping(name="layers", keep=[0, 1, 3]), hidden(teacher, layers={0: 0, 1: 1})
    cut = toy_model(data.task, num_hidden_layers=4, **STILL)
    plain = losses_of(data, LayerDropping(name="layers", keep=[0, 1, 3]), model=cut)[0]
    assert losses_of(data, dropping, first, model=student)[0] == plain


def test_one_forward_pass_of_the_teacher_serves_both_distillations(data):
    teacher = teacher_of(data)
    losses_of(data, logits(teacher), hidden(teacher))
    assert teacher.calls == 5


def test_it_adds_to_the_loss_that_is_left_when_the_teacher_alone_counts(data):
    teacher = teacher_of(data)
    both = losses_of(data, logits(teacher), hidden(teacher))[0]
    alone = losses_of(data, hidden(teacher))[0] - losses_of(data)[0]
    assert both - losses_of(data, logits(teacher))[0] == pytest.approx(alone, rel=1e-4)
    assert Distillation.order < HiddenDistillation.order


@pytest.mark.parametrize("accumulate", [1, 2])
def test_it_acts_in_its_window_to_the_step(data, accumulate):
    teacher = teacher_of(data)
    modifier = hidden(teacher, start_epoch=1, end_epoch=2)
    fitted = fit(modifier, data=data, epochs=3, accumulate_grad_batches=accumulate)
    assert teacher.calls == 5
    first, last = modifier.window.start, modifier.window.end
    recorded = [(row["step"], row["change"]) for row in fitted.events]
    assert recorded == [
        (first, "learns from the teacher's hidden states"),
        (last, "no longer learns from the hidden states"),
    ]
    assert recorded == [(event.step, event.change) for event in modifier.events()]
    curve = [modifier.curves(step)["weight of the hidden states"] for step in (first - 1, first, last - 1, last)]
    assert curve == [0, 1, 1, 0]


def test_before_its_window_the_loss_is_as_without_it(data):
    plain, late = losses_of(data, epochs=2), losses_of(data, hidden(teacher_of(data), start_epoch=1), epochs=2)
    assert late[:5] == plain[:5]
    assert late[5] > plain[5]


def test_another_width_is_reached_by_a_projection_that_is_learnt_and_not_saved_with_the_model(data, tmp_path):
    modifier = hidden(teacher_of(data, hidden_size=24, num_attention_heads=3), weight=10.0)
    model = toy_model(data.task)
    names = set(model.state_dict())
    fitted = fit(modifier, data=data, model=model, epochs=4, callbacks=[every_epoch(tmp_path), losses := Losses()])
    projection = fitted.module.get_parameter("hidden_projection.weight")
    assert projection.shape == (24, 16)
    assert losses.values[-1] < losses.values[0]
    optimized = {id(p) for group in fitted.trainer.optimizers[0].param_groups for p in group["params"]}
    assert optimized == {id(p) for p in fitted.module.parameters()}
    checkpoint = torch.load(tmp_path / "epoch=3.ckpt", weights_only=True)["state_dict"]
    assert torch.equal(checkpoint["hidden_projection.weight"], projection)
    assert set(checkpoint) - {"model." + name for name in names} == {"hidden_projection.weight"}
    assert set(model.state_dict()) == names


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists")
def test_a_run_that_goes_on_ends_with_the_same_weights(data, tmp_path, monkeypatch):
    monkeypatch.setattr(LengthGroupedBatches, "set_epoch", lambda self, epoch: None)  # each epoch has the same batches

    def trained(**settings):
        modifier = hidden(teacher_of(data, hidden_size=24, num_attention_heads=3), start_epoch=0.6)
        model = toy_model(data.task, **STILL)
        return fit(modifier, data=toy_data(), model=model, callbacks=[every_epoch(tmp_path)], **settings).module

    whole, resumed = trained().state_dict(), trained(resume=tmp_path / "epoch=1.ckpt").state_dict()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_nothing_stays_hooked_to_the_models_after_the_training(data):
    teacher = teacher_of(data)
    fitted = fit(hidden(teacher), data=data, epochs=1)
    hooked = [m for model in (fitted.model, teacher.model) for m in model.modules() if m._forward_hooks]
    assert hooked == []


class NoLayers(nn.Module):
    config = None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight": 0}, "weight must be a number above 0, got 0"),
        ({"layers": "even"}, "layers must be auto, or a mapping from layers of the student .*, got 'even'"),
        ({"layers": {}}, "layers must be auto, or a mapping .*, got {}"),
        ({"layers": {2: 0}}, r"hidden\.layers: the student has no layer 2; it has layers 0 to 1"),
        ({"layers": {0: 3}}, r"hidden\.layers: the teacher has no layer 3; it has layers 0 to 2"),
        ({"layers": {"first": 0}}, r"hidden\.layers must be auto, or a mapping .*, got {'first': 0}"),
    ],
)
def test_what_cannot_be_is_refused(data, changes, message):
    with pytest.raises(UserError, match=message):
        hidden(teacher_of(data, num_hidden_layers=3), **changes).match(toy_model(data.task))


def test_a_mapping_from_a_missing_layer_is_refused_before_there_is_a_teacher(data):
    with pytest.raises(UserError, match="the student has no layer 2; it has layers 0 to 1"):
        hidden(None, layers={2: 9}).match(toy_model(data.task))
    hidden(None).match(toy_model(data.task))


def test_models_without_a_list_of_layers_are_refused(data):
    with pytest.raises(UserError, match=r"the model \(NoLayers\) has no list of encoder layers"):
        hidden(teacher_of(data)).match(NoLayers())
    with pytest.raises(UserError, match=r"the teacher \(NoLayers\) has no list of encoder layers"):
        hidden(Teacher(NoLayers())).match(toy_model(data.task))


@pytest.mark.parametrize("task", ["text_classification", "masked_lm"])
def test_a_run_learns_from_the_layers_of_a_deeper_and_wider_teacher(tmp_path, task):
    review_tables(tmp_path / "data")
    data = ["task=masked_lm", f"task.data.path={tmp_path}/data", "task.data.batch_size=8", *TINY]
    arguments = data if task == "masked_lm" else own_data(tmp_path / "data")
    wider = changed(arguments, "model.config.num_hidden_layers=4", "model.config.hidden_size=24")
    run("train", *wider, "recipe=dense", "teacher=none", "recipe.num_epochs=1",
        "hydra.run.dir=teacher", folder=tmp_path)  # fmt: skip
    run("train", *arguments, "recipe=prune80", "teacher=checkpoint", "teacher.name=teacher",
        "recipe.num_epochs=1", "trainer.precision=bf16-mixed", "hydra.run.dir=run", folder=tmp_path)  # fmt: skip
    row = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (row["status"], row["distilled"], row["recipe"]) == ("ok", True, "prune80")
    assert not [name for name in load_file(tmp_path / "run" / "model" / "model.safetensors") if "projection" in name]


@pytest.mark.slow
def test_data_parallel_processes_wait_for_no_projection_outside_the_window(tmp_path):
    """Nor for parameters that are frozen for a while."""
    review_tables(tmp_path / "data")
    arguments = [*own_data(tmp_path / "data"), f"output_dir={tmp_path}"]
    wider = changed(arguments, "model.config.hidden_size=24")
    run("train", *wider, "recipe=dense", "teacher=none", "recipe.num_epochs=1",
        "hydra.run.dir=teacher", folder=tmp_path)  # fmt: skip
    parallel = changed(arguments, "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")
    ended = run_command("train", *parallel, "recipe=prune80", "recipe.num_epochs=3", "teacher=checkpoint",
                        f"teacher.name={tmp_path}/teacher", "recipe.hidden_distillation.start_epoch=1",
                        "recipe.hidden_distillation.end_epoch=2", "+modifier@recipe.frozen=frozen",
                        "recipe.frozen.params=['.*embeddings.*']", "recipe.frozen.end_epoch=1",
                        f"hydra.run.dir={tmp_path}/parallel")  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert json.loads((tmp_path / "parallel" / "result.json").read_text())["status"] == "ok"
