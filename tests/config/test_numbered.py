import json

import pytest
from hydra.errors import HydraException, MissingConfigException

from tests.toys import failure, run, run_command
from winnow.commands.hydra_errors import describe_hydra
from winnow.config.numbered import is_recipe, names_like
from winnow.errors import UserError
from winnow.files.conf_folder import CONF

FAMILIES = sorted(path.stem for path in (CONF / "recipe").glob("*.yaml"))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("prune85", {"pruning.final_sparsity": 0.85, "num_epochs": 6, "optimizer.learning_rate": 8e-5}),
        ("prune85", {"pruning.end_epoch": 2.0, "pruning.update_frequency": 1.0, "hidden_distillation.weight": 1.0}),
        ("oneshot73", {"pruning.final_sparsity": 0.73, "pruning.end_epoch": 0, "optimizer.learning_rate": 3e-5}),
        ("prune64_18of30", {"pruning.final_sparsity": 0.64, "pruning.start_epoch": 2, "pruning.end_epoch": 20}),
        ("prune97_8of10", {"pruning.final_sparsity": 0.97, "num_epochs": 10, "pruning.end_epoch": 8}),
        ("prune5_1of2", {"pruning.final_sparsity": 0.05, "pruning.start_epoch": 0, "pruning.end_epoch": 1}),
        ("layers5", {"layers.keep": 5, "num_epochs": 6, "optimizer.learning_rate": 8e-5}),
        ("layers12_dense", {"layers.keep": 12, "num_epochs": 3, "optimizer.learning_rate": 5e-5}),
        ("layers6_prune83", {"layers.keep": 6, "pruning.final_sparsity": 0.83, "num_epochs": 6}),
        ("layers6_prune83_18of30", {"layers.keep": 6, "pruning.final_sparsity": 0.83, "num_epochs": 30}),
        ("prune80_quant", {"pruning.final_sparsity": 0.8, "num_epochs": 8, "quantization.start_epoch": 6}),
        ("gmp85", {"pruning.start_epoch": 0.3, "pruning.end_epoch": 3.3, "distillation.start_from_teacher": True}),
        ("cyclic93", {"pruning.final_sparsity": 0.93, "pruning.initial_sparsity": 0.7, "pruning.end_epoch": 26}),
        ("cyclic93", {"learning_rate.end_epoch": 2, "learning_rate_cycles.cycle_epochs": 4, "num_epochs": 30}),
        (
            "movement70",
            {"pruning.final_sparsity": 0.7, "pruning._target_": "winnow.modifiers.movement.MovementPruning"},
        ),
        ("acdc60", {"pruning.final_sparsity": 0.6, "pruning.end_epoch": 3.6, "pruning.start_epoch": 0}),
        ("transfer85", {"pruning.min_sparsity": 0.85, "num_epochs": 8, "learning_rate.warmup": 0.06}),
        ("transfer85_quant", {"pruning.min_sparsity": 0.85, "num_epochs": 13, "learning_rate.warmup": 0.0}),
        ("prune87_block4_quant", {"pruning.final_sparsity": 0.87, "pruning.structure": "block4", "num_epochs": 8}),
        ("transfer85_block4_quant", {"pruning.min_sparsity": 0.85, "quantization.embedding_bits": 4}),
        ("layers4_quant", {"layers.keep": 4, "num_epochs": 8, "quantization.start_epoch": 6.0}),
        ("fast4", {"structure.target_speedup": 4, "num_epochs": 4, "structure.end_epoch": 1.0}),
        ("fast16_quant", {"structure.target_speedup": 16, "structure.stages": 3, "structure.precision": "int8"}),
        (
            "fast10_sparse",
            {"structure.target_speedup": 10, "structure.engine": "sparse", "pruning.final_sparsity": 0.5},
        ),
        ("transfer85_13epochs", {"pruning.min_sparsity": 0.85, "num_epochs": 13, "learning_rate.warmup": 0.0}),
    ],
)
def test_the_number_in_a_name_becomes_the_setting_of_its_family(configured, name, settings):
    recipe = configured(f"recipe={name}", "teacher=dense", "model=bert_base").recipe.plain()
    assert recipe["name"] == name
    for path, value in settings.items():
        found = recipe
        for key in path.split("."):
            found = found[key]
        assert found == (pytest.approx(value) if isinstance(value, float) else value), path


def test_settings_and_modifiers_can_be_typed_after_a_numbered_recipe(configured):
    typed = ["recipe=gmp85", "recipe.num_epochs=12", "recipe.pruning.scope=global", "modifier@recipe.pruning=acdc"]
    recipe = configured(*typed).recipe.plain()
    assert (recipe["num_epochs"], recipe["pruning"]["scope"]) == (12, "global")
    assert recipe["pruning"]["_target_"] == "winnow.modifiers.acdc.AlternatingPruning"
    assert recipe["pruning"]["final_sparsity"] == 0.85


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["recipe=prune"], r"recipe=prune needs a sparsity in its name, such as prune80\."),
        (["recipe=prune_18of30"], r"recipe=prune_18of30 needs a sparsity in its name, such as prune80_18of30\."),
        (["recipe=layers"], r"recipe=layers needs the number of layers to keep in its name, such as layers6\."),
        (["recipe=fast"], r"recipe=fast needs a speedup in its name, such as fast4\."),
        (["recipe=fast_sparse"], r"recipe=fast_sparse needs a speedup in its name, such as fast4_sparse\."),
        (["recipe=layers_prune83"], r"needs the number of layers to keep in its name, such as layers6_prune83\."),
        (["recipe=layers6_prune"], r"recipe=layers6_prune needs a sparsity in its name, such as layers6_prune80\."),
    ],
)
def test_a_family_without_its_number_is_refused(configured, overrides, message):
    with pytest.raises(UserError, match=message):
        configured(*overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        ["recipe=prune", "recipe.pruning.final_sparsity=0.855"],
        ["recipe=layers", "recipe.layers.drop=[1]"],
        ["recipe=transfer"],
        ["recipe=fast", "recipe.structure.target_speedup=2.5"],
    ],
)
def test_a_family_may_go_without_a_number_where_it_needs_none_or_the_command_line_sets_it(configured, overrides):
    assert f"recipe={configured(*overrides).recipe.name}" == overrides[0]


MISTYPED = [
    ("prune8O", "prune80"),
    ("prunee80", "prune80"),
    ("prune08", "prune8"),
    ("prune100", "prune80"),
    ("prune85_qant", "prune85_quant"),
    ("layer6", "layers6"),
    ("layers6_prun97", "layers6_prune97"),
    ("prune64_18of3O", "prune64_18of30"),
    ("denze", "dense"),
    ("fas4", "fast4"),
    ("fast4_qant", "fast4_quant"),
    ("fast1o_sparse", "fast10_sparse"),
]


@pytest.mark.parametrize(("name", "meant"), MISTYPED)
def test_a_mistyped_name_is_refused_with_the_families_and_the_nearest_valid_name(hydra_compose, name, meant):
    assert not is_recipe(name)
    assert is_recipe(meant)
    with pytest.raises(MissingConfigException) as refused:
        hydra_compose(f"recipe={name}")
    message = describe_hydra(refused.value)
    assert message.startswith(f"recipe={name}: there is no such recipe. Did you mean '{meant}'? There are acdc<N>, ")
    assert "layers<N>_prune<N>_18of30, layers<N>_quant, movement<N>, obs<N>, oneshot<N>, prune<N>, " in message
    assert message.endswith("transfer<N>_quant. <N> is a sparsity in percent, a number of layers or a speedup.")
    assert len(message) < 700


@pytest.mark.parametrize(
    "name", ["prune", "layers_prune", "layers6_prune", "prune80_prune90", "transfer_prune80", "x", ""]
)
def test_what_is_no_recipe(name):
    assert not is_recipe(name)


def test_every_suggested_name_is_a_recipe():
    assert all(map(is_recipe, names_like("prune8O_18of30", FAMILIES)))


def test_a_mistyped_name_in_another_group_is_still_refused_by_hydra(hydra_compose):
    with pytest.raises(HydraException, match=r"Could not find 'task/sst3'(.|\n)*Available options in 'task'"):
        hydra_compose("task=sst3")


@pytest.fixture
def own_folder(tmp_path):
    """A folder of a user with a recipe and a family."""
    folder = tmp_path / "my_conf"
    (folder / "recipe").mkdir(parents=True)
    (folder / "recipe/mine.yaml").write_text("defaults: [prune85, _self_]\nname: mine\nnum_epochs: 2\n")
    (folder / "recipe/prune_slow.yaml").write_text("defaults: [prune, _self_]\nname: prune_slow\nnum_epochs: 12\n")
    return folder


@pytest.mark.parametrize(("name", "epochs"), [("mine", 2), ("prune85_slow", 12)])
@pytest.mark.parametrize("way", ["--config-dir", "hydra.searchpath"])
def test_recipes_and_families_of_a_user_run_too(own_folder, way, name, epochs):
    found = ["--config-dir", "my_conf"] if way == "--config-dir" else [f"hydra.searchpath=[file://{own_folder}]"]
    words = [f"recipe={name}", "task.data.max_train_samples=64", "plan.picture=null", "plan.json=plan.json"]
    run("plan", *found, *words, folder=own_folder.parent)
    written = json.loads((own_folder.parent / "plan.json").read_text())
    assert (written["recipe"], written["num_epochs"]) == (name, epochs)


def test_the_recipes_of_a_user_are_listed_for_a_mistyped_name(own_folder):
    message = failure("plan", "--config-dir", "my_conf", "recipe=minne", folder=own_folder.parent)
    assert "Did you mean 'mine'?" in message
    assert ", mine, " in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("default", "message"),
    [
        ("prune8O", "error: recipe=prune8O: there is no such recipe. Did you mean 'prune80'?"),
        ("/modifier@pruning: gpm", "error: modifier=gpm: there is no such modifier. Did you mean 'gmp'?"),
    ],
)
def test_a_mistyped_name_in_a_file_of_a_user_is_the_one_in_the_message(own_folder, default, message):
    (own_folder / "recipe/mine.yaml").write_text(f"defaults: [{default}, _self_]\nname: mine\n")
    assert failure("plan", "--config-dir", "my_conf", "recipe=mine", folder=own_folder.parent).startswith(message)


def test_a_file_of_a_user_with_the_name_of_a_shipped_recipe_is_refused(own_folder):
    file = (own_folder / "recipe/mine.yaml").rename(own_folder / "recipe/prune85.yaml")
    ended = run_command("plan", "--config-dir", str(own_folder), "recipe=prune85")
    assert ended.returncode == 1
    assert ended.stderr == f"error: recipe=prune85 is a shipped recipe, so {file} is not read; rename the file.\n"
