import json
import re

import pytest
import torch

from tests.toys import (
    ENCODER_PATTERN,
    changed,
    every_epoch,
    fit,
    own_data,
    review_tables,
    run,
    toy_data,
    toy_model,
    zeros_of,
)
from winnow.data.batching import LengthGroupedBatches
from winnow.errors import UserError
from winnow.models.encoder_layers import kept_layers, layer_list
from winnow.models.teacher import Teacher
from winnow.modifiers.distillation import Distillation
from winnow.modifiers.gmp import MagnitudePruning
from winnow.modifiers.layer_dropping import LayerDropping, evenly_spread
from winnow.modifiers.modifier import build_modifiers


@pytest.fixture(scope="module")
def data():
    return toy_data()


def deep(data, layers=6, **changes):
    return toy_model(data.task, num_hidden_layers=layers, **changes)


def dropping(**settings):
    return LayerDropping(name="layers", **settings)


def kept_by(model, **settings):
    dropping(**settings).match(model)
    return kept_layers(model)[0]


@pytest.mark.parametrize(
    ("kept", "count", "expected"),
    [
        (6, 12, [0, 2, 4, 7, 9, 11]),
        (9, 12, [0, 1, 3, 4, 6, 7, 8, 10, 11]),
        (3, 12, [0, 6, 11]),
        (1, 12, [0]),
        (2, 12, [0, 11]),
        (5, 6, [0, 1, 2, 4, 5]),
    ],
)
def test_so_many_layers_are_spread_evenly(kept, count, expected):
    assert evenly_spread(kept, count) == expected


def test_as_many_layers_as_asked_are_spread_whatever_the_depth():
    for count in range(2, 49):
        for kept in range(2, count):
            layers = evenly_spread(kept, count)
            assert len(set(layers)) == kept
            assert (layers[0], layers[-1]) == (0, count - 1)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"keep": 3}, [0, 2, 5]),
        ({"keep": [5, 0]}, [0, 5]),
        ({"drop": [1, 3, 5]}, [0, 2, 4]),
        ({"drop": [r"bert\.encoder\.layer\.[345]"]}, [0, 1, 2]),
        ({"drop": [0, r".*\.5"]}, [1, 2, 3, 4]),
    ],
)
def test_layers_are_kept_or_dropped_by_number_count_or_name(data, settings, expected):
    assert kept_by(deep(data), **settings) == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, r"layers: give one of keep and drop, such as layers\.keep=6; got neither"),
        ({"keep": 2, "drop": [1]}, r"give one of keep and drop, .*; got keep=2 and drop=\[1\]"),
        ({"keep": 6}, r"layers\.keep=6 drops none of the 6 layers of the model; keep fewer"),
        ({"keep": 9}, r"layers\.keep=9 drops none of the 6 layers"),
        ({"keep": [0, 6]}, r"layers\.keep=\[0, 6\]: there is no layer 6; the model has layers 0 to 5"),
        ({"drop": [7]}, r"layers\.drop=\[7\]: there is no layer 7; the model has layers 0 to 5"),
        ({"drop": [".*"]}, r"layers\.drop=\['\.\*'\] drops all 6 layers of the model; keep at least one"),
        ({"drop": [r"encoder\.layer\.1"]}, r"matches none of the 6 layers; they look like bert\.encoder\.layer\.0"),
        ({"drop": ["bert.encoder.layer.12"]}, r"Did you mean 'bert\.encoder\.layer\.[12]'"),
        ({"drop": ["("]}, r"drop must be a list of layers, counted from 0, or of regular expressions, got \['\('\]"),
        ({"keep": 0}, r"keep must be a number of layers, 1 or more, or a list of layers, counted from 0, got 0"),
        ({"keep": [-1]}, r"keep must be .*, got \[-1\]"),
        ({"keep": []}, r"keep must be .*, got \[\]"),
        ({"drop": 3}, r"drop must be a list of layers, counted from 0, or of regular expressions, got 3"),
    ],
)
def test_what_cannot_be_dropped_is_refused(data, settings, message):
    with pytest.raises(UserError, match=message):
        kept_by(deep(data), **settings)


def test_the_layers_are_gone_before_pruners_look_for_matrices_and_the_training_records_it(data):
    pruning = MagnitudePruning(name="pruning", params=[ENCODER_PATTERN], final_sparsity=0.5, start_epoch=0, end_epoch=0)
    modifiers = sorted([pruning, dropping(keep=2)], key=lambda modifier: modifier.order)
    fitted = fit(*modifiers, data=data, model=deep(data), epochs=1)
    assert fitted.model.config.num_hidden_layers == 2
    assert {name.split(".")[3] for name in fitted.encoder()} == {"0", "1"}
    assert len(pruning.masks.parameters) == 2 * 6
    assert all(zeros_of(weight) == weight.numel() / 2 for weight in fitted.encoder().values())
    assert fitted.events[0] == {
        "step": 0,
        "epoch": 0.0,
        "modifier": "layers",
        "change": "drops layers 1, 2, 3, 4 of 6",
        "sparsity": None,
        "learning_rate": 0.01,
    }
    assert [event.change for event in modifiers[0].events()] == ["drops layers 1, 2, 3, 4 of 6"]


def test_what_a_plan_asks_of_a_model_without_weights_is_answered(data):
    with torch.device("meta"):
        model = deep(data)
    assert kept_by(model, keep=3) == [0, 2, 5]


def test_the_recipe_names_it_and_orders_it_before_the_pruners(configured):
    recipe = configured("recipe=layers6_prune80", "teacher=none").recipe
    first, *others = [m for m in build_modifiers(recipe) if m.name != "learning_rate"]
    assert (first.name, first.settings.keep, [m.name for m in others]) == ("layers", 6, ["pruning"])


@pytest.mark.parametrize("order", [None, [1, 0]])
def test_the_student_gets_the_weights_of_the_layers_that_it_has_kept(data, order):
    teacher = Teacher(deep(data, seed=5), order)
    student = deep(data)
    dropping(keep=3).match(student)
    assert teacher.give_weights_to(student) == (order is None)
    if order is None:
        theirs = layer_list(teacher.model)[1]
        for layer, original in zip(layer_list(student)[1], (0, 2, 5), strict=True):
            assert all(torch.equal(p, theirs[original].state_dict()[name]) for name, p in layer.state_dict().items())
        assert torch.equal(student.classifier.weight, teacher.model.classifier.weight)


def test_a_teacher_as_shallow_as_the_student_gives_its_own_layers(data):
    teacher, student = Teacher(deep(data, 3, seed=5)), deep(data)
    dropping(keep=3).match(student)
    assert teacher.give_weights_to(student)
    assert all(torch.equal(p, teacher.model.state_dict()[name]) for name, p in student.state_dict().items())


def test_a_teacher_of_another_depth_gives_nothing(data):
    teacher, student = Teacher(deep(data, 5, seed=5)), deep(data)
    dropping(keep=3).match(student)
    assert not teacher.give_weights_to(student)


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists")
def test_a_run_that_goes_on_ends_with_the_same_weights(data, tmp_path, monkeypatch):
    monkeypatch.setattr(LengthGroupedBatches, "set_epoch", lambda self, epoch: None)  # each epoch has the same batches

    def trained(**settings):
        teacher = Teacher(deep(data, seed=5))
        kd = Distillation(name="distillation", teacher=teacher, hardness=0.5, temperature=2.0, start_from_teacher=True)
        model = deep(data, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
        callbacks = [every_epoch(tmp_path)]
        return fit(dropping(keep=3), kd, data=toy_data(), model=model, epochs=3, callbacks=callbacks, **settings).model

    whole = trained()
    resumed = trained(resume=tmp_path / "epoch=0.ckpt")
    assert all(torch.equal(p, whole.state_dict()[name]) for name, p in resumed.state_dict().items())


@pytest.mark.parametrize("teacher", ["dense", "self"])
def test_a_run_trains_and_saves_a_shallower_model(tmp_path, teacher):
    review_tables(tmp_path / "data")
    arguments = changed(own_data(tmp_path / "data"), "model.config.num_hidden_layers=4", f"teacher={teacher}")
    run("train", *arguments, "recipe=layers3", "recipe.num_epochs=1", "dense.num_epochs=1", "recipe.layers.keep=[0,3]",
        "hydra.run.dir=run", folder=tmp_path)  # fmt: skip
    row = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (row["layers"], row["recipe"], row["distilled"]) == (2, "layers3", True)
    assert {name.split(".")[3] for name in row["sparsity_by_layer"]} == {"0", "1"}
    shown = run("evaluate", "run=run", folder=tmp_path)
    accuracy = f"{row['metrics']['accuracy']:.6f}"
    assert re.search(rf"accuracy +{accuracy} +{accuracy}", shown)
