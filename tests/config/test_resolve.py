import subprocess
import sys

import pytest

from winnow.commands.cli import WORDS
from winnow.config.checks import check
from winnow.config.resolve import run_config, stages_of
from winnow.errors import UserError
from winnow.files.conf_folder import CONF


def test_without_arguments_the_demo_is_pruned_with_a_dense_teacher(configured):
    config = configured()
    check(config)
    assert (config.task.name, config.recipe.name, config.teacher.kind) == ("demo", "prune80", "dense")
    assert config.model.name == "tiny"


def test_one_name_is_read_as_a_list_with_one_name(configured):
    task = configured("task.metrics=f1", "task.data.text_columns=text", "task.data.validation=dev").task
    assert (task.metrics, task.data.text_columns, task.data.validation) == (["f1"], ["text"], ["dev"])
    recipe = configured("+modifier@recipe.frozen=frozen", "recipe.frozen.params=.*embeddings.*").recipe
    assert recipe.modifiers["frozen"].params == [".*embeddings.*"]


@pytest.mark.parametrize(
    ("override", "setting", "value"),
    [
        ("final_sparsity={.*query.*:0.9,.*:0.8}", "final_sparsity", {".*query.*": 0.9, ".*": 0.8}),
        (r"final_sparsity={.*\.layer\.\[0-5\]\..*:0.9}", "final_sparsity", {r".*\.layer\.[0-5]\..*": 0.9}),
        ("structure=2:4", "structure", "2:4"),
        ("structure=[1,4]", "structure", "block4"),
    ],
)
@pytest.mark.parametrize("recipe", ["prune80", "oneshot80", "movement80", "acdc80"])
def test_sparsity_by_pattern_and_structures_can_be_given_on_the_command_line(
    configured, recipe, override, setting, value
):
    sparsity = ["recipe.pruning.final_sparsity=0.5"] * override.startswith("structure=2:4")
    config = configured(f"recipe={recipe}", f"recipe.pruning.{override}", *sparsity)
    check(config)
    assert getattr(config.recipe.modifiers["pruning"], setting) == value


def test_every_task_but_the_demos_starts_from_bert_base(configured):
    assert configured("task=sst2").model.name == "bert-base-uncased"


def test_a_model_on_the_command_line_replaces_that_of_the_demo(configured):
    assert configured("task=demo", "model=minilm").model.config is None


def test_a_dense_recipe_has_no_teacher_unless_one_is_named(configured):
    assert configured("recipe=dense").teacher.kind == "none"
    assert configured("recipe=dense", "teacher=self").teacher.kind == "self"


@pytest.mark.parametrize("recipe", ["prune80", "prune95", "oneshot90"])
@pytest.mark.parametrize("epochs", [1, 3, 10])
def test_the_number_of_epochs_scales_the_windows_of_a_recipe(configured, recipe, epochs):
    shipped = configured(f"recipe={recipe}").recipe
    scaled = configured(f"recipe={recipe}", f"recipe.num_epochs={epochs}").recipe
    assert scaled.num_epochs == epochs
    for name, epoch in shipped.modifiers["pruning"].boundaries().items():
        expected = epoch * epochs / shipped.num_epochs
        assert scaled.modifiers["pruning"].boundaries()[name] == pytest.approx(expected), name


@pytest.mark.parametrize(
    ("speedup", "stages"), [(1.1, 1), (2, 1), (2.1, 2), (4, 2), (4.5, 3), (8, 3), (8.001, 4), (9, 4), (99, 4)]
)
def test_a_larger_speedup_has_more_stages(speedup, stages):
    assert stages_of(speedup) == stages


def test_without_a_teacher_the_modifiers_that_need_one_are_left_out(configured):
    modifiers = {"learning_rate", "distillation", "pruning", "hidden_distillation"}
    for teacher, left_out in (("self", set()), ("none", {"distillation", "hidden_distillation"})):
        recipe = configured("recipe=prune80", f"teacher={teacher}").recipe
        assert set(recipe.modifiers) == modifiers - left_out
        assert recipe.needs_teacher == (teacher == "self")


def test_a_recipe_that_does_not_train_has_no_teacher(configured):
    assert configured("recipe=ptq", "teacher=self").teacher.kind == "none"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["teacher=checkpoint"], r"^teacher\.name must be given: add teacher\.name=VALUE to the command\.$"),
        (["task.name=???"], r"^task\.name must be given: add task\.name=VALUE to the command\.$"),
        (["teacher.kind=${nope}"], r"^teacher\.kind: .*'nope' not found\.$"),
        (["+sead=3"], r"^sead is not a setting; the configuration has .*Did you mean 'seed'\?$"),
        (["recipe.num_epochs=abc"], r"^recipe\.num_epochs must be a whole number, 1 to 10,000, got 'abc'\.$"),
        (["recipe=fast4", "recipe.optimizer.learning_rate=abc"], r"^recipe\.optimizer\.learning_rate must be a number"),
        (["recipe=fast4", "recipe.structure.target_speedup=abc"], r"^recipe\.structure\.target_speedup must be a num"),
        (["+settings={a: b}"], r"^settings is not a setting; the configuration has"),
    ],
)
def test_a_value_that_is_missing_or_unknown_is_named(hydra_compose, overrides, message):
    with pytest.raises(UserError, match=message):
        run_config(hydra_compose(*overrides), overrides)


def test_the_settings_of_a_run_are_its_overrides_beside_the_options(hydra_compose):
    overrides = ["task=sst2", "seed=3", "recipe.num_epochs=4"]
    assert run_config(hydra_compose(*overrides), overrides).settings == {"recipe.num_epochs": "4"}


def test_no_command_imports_a_heavy_library_before_its_settings_are_checked():
    commands = ", ".join(f"winnow.commands.{word}" for word in WORDS)
    heavy = "{'torch', 'transformers', 'datasets', 'pytorch_lightning', 'matplotlib', 'onnx', 'onnxruntime', 'wandb'}"
    code = f"import sys, {commands}; print(sorted({heavy} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=CONF.parent, capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"
