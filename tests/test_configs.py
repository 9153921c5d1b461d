"""Every shipped file of conf/ composes with every other, passes the check, and builds what it names."""

import itertools
import os
import re

import pytest
from hydra.errors import HydraException

from tests.toys import toy_data, toy_model
from winnow.config.checks import check
from winnow.errors import UserError
from winnow.files.conf_folder import CONF
from winnow.files.hub import work_offline_without_a_connection
from winnow.functional.schedule import SHAPES
from winnow.models.teacher import Teacher
from winnow.modifiers.modifier import build_modifiers
from winnow.tasks.task import build_task


def names(group):
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


TASKS, MODELS = names("task"), names("model")
TEACHERS = [name for name in names("teacher") if name != "textattack_rotten_tomatoes"]  # a checkpoint with a name
FAMILIES = [name for name in names("recipe") if name != "sparseml"]  # which needs a file
RECIPES = [re.sub(r"(prune|gmp|oneshot|cyclic|movement|acdc|obs)", r"\g<1>80", name) for name in FAMILIES]
RECIPES = [re.sub(r"^fast", "fast4", name) for name in RECIPES]
RECIPES = [re.sub(r"transfer(?=.*_quant)", "transfer90", name.replace("layers", "layers6")) for name in RECIPES]
HUB_TEACHER = ["teacher.name=someone/model"]


def overrides(task, recipe, teacher, model):
    """The overrides of a command line."""
    chosen = [f"task={task}", f"recipe={recipe}", f"teacher={teacher}", f"model={model}"]
    return chosen + (HUB_TEACHER if teacher == "checkpoint" else [])


@pytest.fixture(scope="module")
def teacher():
    return Teacher(toy_model(toy_data().task))


def test_tasks_recipes_teachers_and_models_are_shipped():
    glue = ["cola", "mnli", "mrpc", "qnli", "qqp", "rte", "sst2", "stsb", "wnli"]
    assert set(glue) | {"demo", "rotten_tomatoes", "text_classification", "masked_lm"} <= set(TASKS)
    assert {"question_answering", "squad", "squad_v2", "demo_questions"} <= set(TASKS)
    assert {"token_classification", "conll2003", "wnut17", "demo_entities"} <= set(TASKS)
    assert {"dense", "dense_1epoch", "dense_10epochs", "prune", "gmp", "oneshot"} <= set(FAMILIES)
    assert {"cyclic", "movement", "acdc", "obs"} <= set(FAMILIES)
    assert {f"prune_{rest}" for rest in ("1of2", "8of10", "18of30", "quant", "block4_quant")} <= set(FAMILIES)
    assert {"layers", "layers_dense", "layers_quant", "layers_prune", "layers_prune_18of30"} <= set(FAMILIES)
    assert {"fast", "fast_quant", "fast_sparse"} <= set(FAMILIES)
    assert {"transfer", "transfer_13epochs", "transfer_quant", "transfer_block4_quant"} <= set(FAMILIES)
    assert {"quant", "ptq"} <= set(FAMILIES)
    assert {"none", "dense", "self", "checkpoint"} <= set(TEACHERS)
    assert {"tiny", "bert_base", "bert_large", "distilbert", "roberta_base", "minilm"} <= set(MODELS)
    assert {"modernbert_base", "deberta_v3_base", "xlm_roberta_base", "albert_base", "mpnet_base"} <= set(MODELS)
    assert {model for _, model in PAIRS} == set(MODELS)


COMBINATIONS = list(itertools.product(RECIPES, TEACHERS))
PAIRS = [(task, MODELS[(i + turn) % len(MODELS)]) for i, task in enumerate(TASKS) for turn in range(9)]


def cells(recipe):
    """Task, teacher and model of each composition of a recipe; together they have nine models for every task."""
    turns = zip(PAIRS, itertools.cycle(COMBINATIONS), strict=False)
    return [(task, teacher, model) for (task, model), (name, teacher) in turns if name == recipe]


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_composes_with_every_teacher_task_and_model_and_builds_what_it_names(configured, teacher, recipe):
    """Every task meets nine models, and every recipe every teacher."""
    for task, kind, model in cells(recipe):
        config = configured(*overrides(task, recipe, kind, model))
        check(config)
        assert (config.task.name, config.recipe.name) == (task, recipe)
        modifiers = {m.name: m for m in build_modifiers(config.recipe, teacher=teacher)}
        assert ("distillation" in modifiers) == (kind != "none" and recipe != "ptq")
        learns_states = bool(re.search(r"fast|prune80($|_quant|_block4)", recipe))
        assert ("hidden_distillation" in modifiers) == (kind != "none" and learns_states)
        assert ("pruning" in modifiers) == bool(re.search(r"[a-z]80|transfer|sparse", recipe))
        assert ("structure" in modifiers) == recipe.startswith("fast")
        assert ("layers" in modifiers) == recipe.startswith("layers")
        assert ("quantization" in modifiers) == recipe.endswith(("quant", "ptq", "sparse"))


def test_there_are_enough_pairs_of_task_and_model_for_all_recipes_and_teachers():
    assert len(PAIRS) >= len(COMBINATIONS)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_builds(configured, task):
    section = configured(f"task={task}").task
    assert list(build_task(section).metric_names) == list(section.metrics)


@pytest.mark.parametrize("kind", TEACHERS)
def test_the_kind_of_a_teacher_is_the_name_of_its_file(configured, kind):
    assert configured(f"teacher={kind}", *(HUB_TEACHER if kind == "checkpoint" else [])).teacher.kind == kind


@pytest.mark.parametrize("group", sorted(path.name for path in CONF.iterdir() if path.is_dir()))
def test_the_first_line_of_each_file_is_its_name_and_purpose(group):
    for name in names(group):
        text = (CONF / group / f"{name}.yaml").read_text()
        assert text.removeprefix("# @package _global_\n").startswith(f"# conf/{group}/{name}.yaml: "), (group, name)


@pytest.mark.parametrize("recipe", [name for name in RECIPES if re.search(r"prune|oneshot|cyclic", name)])
def test_only_the_one_shot_family_prunes_in_one_step(configured, recipe):
    pruning = configured(f"recipe={recipe}").recipe.plain()["pruning"]
    assert pruning["final_sparsity"] == 0.8
    assert (pruning["start_epoch"] == pruning["end_epoch"]) == recipe.startswith("oneshot")
    assert pruning["shape"] in SHAPES


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name.startswith("layers")])
def test_a_recipe_of_fewer_layers_trains_as_the_recipe_in_the_rest_of_its_name(configured, recipe):
    rest = recipe.partition("_")[2]
    plain = configured(f"recipe={ {'': 'prune80', 'quant': 'prune80_quant'}.get(rest, rest) }").recipe.plain()
    shallow = configured(f"recipe={recipe}").recipe.plain()
    assert shallow["num_epochs"] == plain["num_epochs"]
    assert shallow.get("pruning") == (plain["pruning"] if "prune" in recipe else None)


def test_the_number_of_a_transfer_is_the_sparsity_that_its_model_must_have(configured):
    plain, named = configured("recipe=transfer").recipe.plain(), configured("recipe=transfer80").recipe.plain()
    assert (plain["pruning"]["min_sparsity"], named["pruning"]["min_sparsity"]) == (0, 0.8)
    assert named == {**plain, "name": "transfer80", "pruning": named["pruning"]}


@pytest.mark.parametrize(
    ("recipe", "epochs", "start", "frozen"),
    [
        ("prune80_quant", 8, 6, 7),
        ("layers6_quant", 8, 6, 7),
        ("transfer80_quant", 13, 8, 12),
        ("quant", 3, 1, 2),
        ("fast4_quant", 4, 2, 3),
        ("fast16_sparse", 8, 6, 7),
    ],
)
@pytest.mark.parametrize("times", [1, 3])
def test_the_epochs_of_quantisation_scale_with_the_recipe(configured, recipe, epochs, start, frozen, times):
    quantization = configured(f"recipe={recipe}", f"recipe.num_epochs={times * epochs}").recipe.plain()["quantization"]
    assert quantization["start_epoch"] == pytest.approx(times * start)
    assert quantization["disable_observer_epoch"] == pytest.approx(times * frozen)


@pytest.mark.parametrize(
    ("recipe", "stages", "epochs"),
    [
        *[("fast2", 1, 3), ("fast4", 2, 4), ("fast8", 3, 5), ("fast9", 4, 6)],
        *[("fast4_quant", 1, 4), ("fast8_quant", 2, 5), ("fast16_quant", 3, 6), ("fast17_quant", 4, 7)],
        *[("fast10_sparse", 1, 7), ("fast16_sparse", 2, 8), ("fast40_sparse", 3, 9)],
    ],
)
@pytest.mark.parametrize("times", [1, 3])
def test_a_faster_model_has_more_stages_an_epoch_apart_and_epochs_to_recover(configured, recipe, stages, epochs, times):
    assert configured(f"recipe={recipe}").recipe.num_epochs == epochs
    modifiers = configured(f"recipe={recipe}", f"recipe.num_epochs={times * epochs}").recipe.modifiers
    structure, cycles = modifiers["structure"], modifiers["learning_rate_stages"]
    assert (structure.stages, structure.start_epoch) == (stages, 0)
    assert structure.end_epoch == pytest.approx(times * (stages - 1))
    assert (cycles.end_epoch, cycles.cycle_epochs) == (structure.end_epoch, pytest.approx(times))
    assert modifiers["learning_rate"].start_epoch == structure.end_epoch
    if "pruning" in modifiers:
        assert modifiers["pruning"].start_epoch == structure.end_epoch
        assert modifiers["pruning"].end_epoch == pytest.approx(times * (stages + 2))


@pytest.mark.parametrize("name", ["fast10", "fast10_quant", "fast10_sparse"])
def test_a_fast_recipe_measures_latency_in_the_engine_and_precision_that_it_deploys(configured, name):
    modifiers = configured(f"recipe={name}").recipe.modifiers
    structure = modifiers["structure"]
    assert (structure.precision == "int8") == ("quantization" in modifiers)
    assert (structure.engine == "sparse") == ("pruning" in modifiers)
    assert structure.block4_sparsity == getattr(modifiers.get("pruning"), "final_sparsity", 0)
    assert modifiers["distillation"].start_from_teacher


def test_a_fast_recipe_without_training_removes_structures_only(configured):
    recipe = configured("recipe=fast4", "recipe.num_epochs=0").recipe
    assert list(recipe.modifiers) == ["structure"]


@pytest.mark.parametrize(("name", "section"), [("fast4_quant", "quantization"), ("fast10_sparse", "pruning")])
def test_zeros_and_quantisation_need_training(configured, name, section):
    with pytest.raises(UserError, match=rf"num_epochs is 0, but recipe\.{section} needs training; leave it out with"):
        configured(f"recipe={name}", "recipe.num_epochs=0")


def test_a_learning_rate_has_no_effect_without_training(configured):
    typed = ["recipe=fast4", "recipe.num_epochs=0", "recipe.learning_rate.warmup=0.1"]
    with pytest.raises(
        UserError, match=r"^recipe\.learning_rate\.warmup=0\.1 has no effect: with recipe\.num_epochs=0"
    ):
        check(configured(*typed), typed)


def test_a_quantised_recipe_prunes_in_the_same_epochs_as_the_plain_one(configured):
    plain, longer = configured("recipe=prune80").recipe.plain(), configured("recipe=prune80_quant").recipe.plain()
    changed = {"name": "prune80_quant", "num_epochs": 8, "quantization": longer["quantization"]}
    pruning = {**plain["pruning"], "end_epoch": pytest.approx(2.0), "update_frequency": pytest.approx(1.0)}
    assert longer == {**plain, **changed, "pruning": pruning}


@pytest.mark.parametrize("family", ["prune80", "transfer80"])
def test_a_recipe_of_blocks_is_the_quantised_one_with_blocks_and_embeddings_of_four_bits(configured, family):
    plain = configured(f"recipe={family}_quant").recipe.plain()
    blocks = configured(f"recipe={family}_block4_quant").recipe.plain()
    pruning, quantization = {**plain["pruning"]}, {**plain["quantization"]}
    assert (pruning["structure"], quantization["embedding_bits"]) == ("unstructured", 8)
    pruning["structure"], quantization["embedding_bits"] = "block4", 4
    named = {"name": f"{family}_block4_quant", "pruning": pruning, "quantization": quantization}
    assert blocks == {**plain, **named}


@pytest.mark.parametrize("level", ["80", "90"])
def test_a_quantised_transfer_has_the_published_schedule(configured, level):
    recipe = configured(f"recipe=transfer{level}_quant", "model=bert_base").recipe.plain()
    rate = recipe["learning_rate"]
    assert (rate["schedule"], rate["initial_learning_rate"], rate["final_learning_rate"]) == ("linear", 1.5e-4, 0)
    assert (rate["warmup"], recipe["pruning"]["min_sparsity"]) == (0, int(level) / 100)
    assert (recipe["distillation"]["hardness"], recipe["distillation"]["temperature"]) == (1, 2)


@pytest.mark.parametrize("trainer", names("trainer"))
@pytest.mark.parametrize("logger", names("logger"))
def test_every_trainer_composes_with_every_logger(configured, trainer, logger):
    check(configured(f"trainer={trainer}", f"logger={logger}"))


def test_glue_has_the_metrics_of_its_leaderboard(configured):
    sections = {task: configured(f"task={task}").plain()["task"] for task in TASKS}
    metrics = {task: section["metrics"] for task, section in sections.items()}
    assert set(metrics["mrpc"]) == set(metrics["qqp"]) == {"accuracy", "f1"}
    assert "matthews_correlation" in metrics["cola"]
    assert set(metrics["stsb"]) == {"pearson", "spearmanr"}
    assert all("accuracy" in metrics[task] for task in ("sst2", "mnli", "qnli", "rte", "wnli"))
    assert sections["mnli"]["data"]["validation"] == ["validation_matched", "validation_mismatched"]
    assert [task for task in TASKS if sections[task].get("regression")] == ["stsb"]


@pytest.mark.parametrize("override", ["task=sst3", "teacher=denser", "model=bert", "experiment=squad_layer"])
def test_an_unknown_option_is_refused_by_hydra(hydra_compose, override):
    with pytest.raises(HydraException, match=r"Available options"):
        hydra_compose(override)


def test_a_mistyped_setting_is_refused_by_hydra(hydra_compose):
    with pytest.raises(HydraException, match="final_sparsty"):
        hydra_compose("recipe.pruning.final_sparsty=0.9")


def test_the_demo_opens_no_connection(configured, monkeypatch):
    monkeypatch.setattr("socket.create_connection", lambda *args, **kwargs: pytest.fail("a connection was opened"))
    work_offline_without_a_connection(configured().hub_names)


def test_without_a_connection_to_the_hub_the_libraries_work_offline(configured, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr("socket.create_connection", refuse)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    work_offline_without_a_connection(configured("task=sst2").hub_names)
    assert os.environ.pop("HF_HUB_OFFLINE") == "1"
