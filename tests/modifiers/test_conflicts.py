import pytest

from tests.toys import ENCODER_PATTERN, toy_data, toy_model
from winnow.errors import UserError
from winnow.modifiers.clock import Clock
from winnow.modifiers.conflicts import refuse_conflicts
from winnow.modifiers.gmp import MagnitudePruning
from winnow.modifiers.learning_rate import LearningRate

CLOCK = Clock(steps_per_epoch=10, total_steps=100)


def pruner(name, params=ENCODER_PATTERN, **window):
    settings = {"start_epoch": 0, "end_epoch": 5, **window}
    return MagnitudePruning(name=name, params=[params], final_sparsity=0.5, **settings)


def rate(name, start, end):
    return LearningRate(
        name=name, schedule="constant", initial_learning_rate=1e-4, warmup=0.0, start_epoch=start, end_epoch=end
    )


def together(*modifiers):
    model = toy_model(toy_data().task)
    for modifier in modifiers:
        modifier.match(model)
        modifier.begin(CLOCK)
    refuse_conflicts(modifiers, "recipe.")


def test_two_pruners_of_one_matrix_are_refused():
    with pytest.raises(UserError) as refused:
        together(pruner("first", r".*\.layer\.0\..*"), pruner("second", r".*\.query\.weight", start_epoch=2))
    assert str(refused.value) == (
        "recipe.first and recipe.second both control the zeros of bert.encoder.layer.0.attention.self.query.weight "
        "from epoch 2 on; let one end before the other starts, or give them different params."
    )


def test_two_one_shots_at_the_same_step_are_refused():
    with pytest.raises(UserError, match=r"control the zeros of .* and 11 more from epoch 3 on"):
        together(pruner("a", start_epoch=3, end_epoch=3), pruner("b", start_epoch=3, end_epoch=3))


def test_two_schedules_of_the_learning_rate_at_one_time_are_refused():
    with pytest.raises(UserError, match=r"recipe\.a and recipe\.b both control the learning rate from epoch 4 on"):
        together(rate("a", 0, -1), rate("b", 4, 6))


@pytest.mark.parametrize(
    "modifiers",
    [
        lambda: (pruner("a", r".*\.layer\.0\..*"), pruner("b", r".*\.layer\.1\..*")),
        lambda: (pruner("a", end_epoch=2), pruner("b", start_epoch=2, end_epoch=4)),
        lambda: (rate("a", 0, 4), rate("b", 4, -1)),
        lambda: (rate("a", 0, -1), pruner("b")),
    ],
)
def test_what_differs_in_parameters_time_or_kind_goes_together(modifiers):
    together(*modifiers())
