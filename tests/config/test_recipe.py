import pytest

from winnow.config.modifiers import CustomModifierSettings, MagnitudePruningSettings
from winnow.config.recipe import Recipe
from winnow.errors import UserError
from winnow.files.conf_folder import CONF


@pytest.mark.parametrize("name", ["prune80", "quant", "ptq", "cyclic80", "layers6_prune80", "transfer80", "acdc80"])
def test_a_recipe_gives_back_what_it_was_read_from_and_knows_its_modifiers(configured, name):
    recipe = configured(f"recipe={name}").recipe
    node = recipe.plain()
    recipe = Recipe.read(node)
    assert recipe.plain() == node
    assert list(recipe.plain()) == list(node)
    assert recipe.targets == {key: value["_target_"] for key, value in node.items() if "_target_" in str(value)}
    assert recipe.calibrates == (name == "ptq")


def test_the_settings_of_a_modifier_are_typed(configured):
    recipe = configured("recipe=prune80").recipe
    pruning = recipe.modifiers["pruning"]
    assert isinstance(pruning, MagnitudePruningSettings)
    assert (pruning.final_sparsity, pruning.end_epoch) == (0.8, pytest.approx(2.0))


def test_without_a_teacher_the_modifiers_that_need_one_are_left_out(configured):
    recipe = configured("recipe=prune80", "teacher=dense").recipe
    assert recipe.needs_teacher
    alone = recipe.without_teacher()
    assert not alone.needs_teacher
    assert set(recipe.modifiers) - set(alone.modifiers) == {"distillation", "hidden_distillation"}
    assert alone.plain() == configured("recipe=prune80", "teacher=none").recipe.plain()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "recipe.pruning.final_sparsity=80",
            "recipe.pruning.final_sparsity must be in [0, 1), got 80; write 80 % as 0.8.",
        ),
        (
            "recipe.pruning.final_sparsity={.*query.*:0.8,.*key.*:80}",
            "recipe.pruning.final_sparsity[.*key.*] must be in [0, 1), got 80; write 80 % as 0.8.",
        ),
        (
            "recipe.learning_rate=3e-5",
            "recipe.learning_rate is a group of settings, got 3e-05. Did you mean 'recipe.optimizer.learning_rate'?",
        ),
        (
            "recipe.distillation=1",
            "recipe.distillation is a group of settings, got 1. Set one of them: recipe.distillation.SETTING=VALUE.",
        ),
        ("recipe.num_epochs=-1", "recipe.num_epochs must be a whole number, 1 to 10,000, got -1."),
        ("recipe.num_epochs=2.5", "recipe.num_epochs must be a whole number, 1 to 10,000, got 2.5."),
        (
            "recipe.pruning.end_epoch=7",
            "recipe.pruning.end_epoch is 7, after the end of training at 6; raise recipe.num_epochs or lower "
            "end_epoch.",
        ),
        (
            "recipe.learning_rate.gamma=0.5",
            "recipe.learning_rate.gamma has no effect under schedule=linear; leave it at 0.1.",
        ),
        ("recipe.pruning._target_=7", "recipe.pruning._target_ must be the full name of a class, got 7."),
        (
            "recipe.pruning._target_=winnow.modifiers.gmp.MagnitudPruning",
            "recipe.pruning._target_: there is no modifier winnow.modifiers.gmp.MagnitudPruning. "
            "Did you mean 'winnow.modifiers.gmp.MagnitudePruning'?",
        ),
    ],
)
def test_a_recipe_that_cannot_run_is_refused_with_the_full_path(configured, override, message):
    with pytest.raises(UserError) as refused:
        configured(override)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+recipe.num_epoch=3", r"recipe\.num_epoch is not a setting; recipe has .* Did you mean 'num_epochs'\?"),
        (
            "+recipe.optimizer.learning_rat=3",
            r"recipe\.optimizer\.learning_rat is .* Did you mean 'learning_rate'",
        ),
        (
            "+recipe.pruning.final_sparsty=1",
            r"recipe\.pruning\.final_sparsty is .* Did you mean 'final_sparsity'\?",
        ),
        ("+recipe.pruning2.final_sparsity=0.9", r"recipe\.pruning2 is not a setting"),
    ],
)
def test_an_unknown_setting_is_refused(configured, override, message):
    with pytest.raises(UserError, match=message):
        configured(override)


def test_a_recipe_that_calibrates_does_not_train(configured):
    with pytest.raises(UserError, match=r"recipe\.num_epochs is 2, but a recipe that calibrates does not train; set"):
        configured("recipe=ptq", "recipe.num_epochs=2")


def test_a_modifier_of_the_user_passes_with_its_window_checked(configured):
    node = "{_target_: mine.Noise, start_epoch: 1, size: 3}"
    recipe = configured(f"+recipe.noise={node}").recipe
    assert isinstance(recipe.modifiers["noise"], CustomModifierSettings)
    with pytest.raises(UserError, match=r"recipe\.noise\.start_epoch is 9, after the end of training at 6"):
        configured("+recipe.noise={_target_: mine.Noise, start_epoch: 9}")


@pytest.mark.parametrize("path", sorted((CONF.parent / "tests/sparseml/files").glob("*.yaml")), ids=lambda p: p.stem)
@pytest.mark.parametrize("teacher", ["none", "dense"])
def test_a_translated_recipe_of_sparseml_is_read(configured, path, teacher):
    recipe = configured("recipe=sparseml", f"recipe.path={path}", f"teacher={teacher}").recipe
    assert Recipe.read(recipe.plain()) == recipe
