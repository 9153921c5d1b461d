import pytest

from tests.toys import every_epoch, fit, toy_data
from winnow.modifiers.modifier import Modifier, build_modifiers


class Diary(Modifier):
    """Notes each step at which it acts."""

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
    recipe = configured("recipe=prune80", "teacher=self")["recipe"]
    nodes = {name: node for name, node in recipe.items() if isinstance(node, dict) and "_target_" in node}
    assert set(nodes) == {"pruning", "distillation", "learning_rate"}
    for names in (["pruning", "distillation"], ["distillation", "pruning"]):
        built = build_modifiers({name: nodes[name] for name in names}, teacher=object())
        assert [modifier.name for modifier in built] == ["pruning", "distillation"]
