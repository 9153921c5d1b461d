import pytest
from torch import nn

from tests.toys import every_epoch, fit, toy_data
from winnow.config.modifiers import WindowSettings
from winnow.config.recipe import Recipe
from winnow.errors import UserError
from winnow.modifiers.modifier import Modifier, build_modifiers
from winnow.values import PositiveOrNull


class DiarySettings(WindowSettings):
    update_frequency: PositiveOrNull = None


class Diary(Modifier[DiarySettings]):
    """Notes each step at which it acts."""

    Settings = DiarySettings

    def __init__(self, **settings):
        super().__init__(**settings)
        self.steps = []

    def at_step(self, step, trainer, pl_module):
        assert step == trainer.global_step
        self.steps.append(step)


@pytest.mark.parametrize("accumulate", [1, 2, 3])
def test_a_modifier_acts_once_before_the_first_and_once_after_each_optimizer_step(accumulate):
    diary = Diary(name="diary")
    fitted = fit(diary, epochs=2, accumulate_grad_batches=accumulate)
    assert fitted.trainer.global_step == 2 * -(-5 // accumulate)
    assert diary.steps == list(range(fitted.trainer.global_step + 1))


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists")
def test_in_a_run_that_goes_on_it_acts_at_the_steps_that_are_left(tmp_path):
    fit(Diary(name="diary"), epochs=3, callbacks=[every_epoch(tmp_path)])
    diary = Diary(name="diary")
    fit(diary, epochs=3, callbacks=[every_epoch(tmp_path)], resume=tmp_path / "epoch=0.ckpt")
    assert diary.steps == list(range(6, 16))


def test_the_window_is_in_steps_of_the_real_training():
    diary = Diary(name="diary", start_epoch=1, end_epoch=2, update_frequency=0.4)
    fit(diary, epochs=3, data=toy_data(rows=80), accumulate_grad_batches=2)
    assert (diary.window.start, diary.window.end, diary.window.interval) == (5, 10, 2)


def test_two_modifiers_of_one_class_are_told_apart_by_their_names():
    assert Diary(name="first").state_key != Diary(name="second").state_key


def test_the_order_of_modifiers_comes_from_code_not_from_the_recipe(configured):
    recipe = configured("recipe=gmp80", "teacher=self").recipe.plain()
    nodes = {name: node for name, node in recipe.items() if isinstance(node, dict) and "_target_" in node}
    others = {name: node for name, node in recipe.items() if name not in nodes}
    assert set(nodes) == {"pruning", "distillation", "learning_rate"}
    for names in (["pruning", "distillation"], ["distillation", "pruning"]):
        built = build_modifiers(
            Recipe.read({**others, **{name: nodes[name] for name in names}}), teacher=nn.Linear(1, 1)
        )
        assert [modifier.name for modifier in built] == ["pruning", "distillation"]


def recipe_with(**node):
    """A recipe with one modifier that is not shipped."""
    optimizer = {"learning_rate": 1e-3}
    return Recipe.read({"name": "mine", "num_epochs": 3, "optimizer": optimizer, "diary": node})


def test_a_modifier_of_the_user_is_built_by_its_full_name_and_its_own_class_checks_its_settings():
    target = f"{Diary.__module__}.Diary"
    (modifier,) = build_modifiers(recipe_with(_target_=target, start_epoch=1, update_frequency=0.4))
    assert (type(modifier).__name__, modifier.name, modifier.settings.window()) == ("Diary", "diary", (1, -1, 0.4))
    with pytest.raises(UserError, match=r"recipe\.diary\.update_frequency must be a number above 0, or null, got 0"):
        build_modifiers(recipe_with(_target_=target, update_frequency=0))
    with pytest.raises(UserError, match=r"recipe\.diary\.frequency is not a setting; recipe\.diary has"):
        build_modifiers(recipe_with(_target_=target, frequency=1))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            "os.system",
            r"recipe\.diary\._target_: os\.system is not a subclass of winnow\.modifiers\.modifier",
        ),
        ("pathlib.Path", r"pathlib\.Path is not a subclass"),
        ("no_such_module.Diary", r"no_such_module\.Diary cannot be imported \(No module named 'no_such_module'\)"),
        ("pathlib.Diary", r"pathlib\.Diary cannot be imported"),
    ],
)
def test_a_target_that_is_no_modifier_is_refused(target, message):
    with pytest.raises(UserError, match=message):
        build_modifiers(recipe_with(_target_=target))


def test_without_a_name_a_modifier_has_that_of_its_class():
    assert Diary().name == "Diary"
    with pytest.raises(UserError, match=r"Diary\.start_epoch must be an epoch, 0 or more, or -1, .* got -3"):
        Diary(start_epoch=-3)
