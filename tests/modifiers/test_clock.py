import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.toys import fit, toy_data
from winnow.config.trainer import Trainer
from winnow.errors import UserError
from winnow.files.conf_folder import CONF
from winnow.modifiers.clock import Clock, recipe_clock
from winnow.modifiers.modifier import trainer_clock


def updates(window, total):
    return [step for step in range(total + 1) if window.is_update(step)]


@pytest.mark.parametrize(("step", "epoch"), [(0, 0.0), (5, 0.5), (10, 1.0), (33, 3.3)])
def test_at_step_k_the_epoch_is_k_over_the_steps_per_epoch(step, epoch):
    clock = Clock(steps_per_epoch=10, total_steps=40)
    assert clock.epoch(step) == epoch
    assert clock.step(epoch) == step


@pytest.mark.parametrize(
    ("steps_per_epoch", "update_frequency", "expected"), [(10, 0.1, 31), (100, 0.01, 301), (100, 0.05, 61), (5, 1, 4)]
)
def test_updates_from_epoch_1_to_4_are_counted_in_whole_steps(steps_per_epoch, update_frequency, expected):
    """SparseML's drift of floats gave 23 and 282 for the first two."""
    clock = Clock(steps_per_epoch=steps_per_epoch, total_steps=5 * steps_per_epoch)
    assert len(updates(clock.window(1, 4, update_frequency), clock.total_steps)) == expected


def test_a_window_that_ends_with_the_training_updates_at_its_very_last_step():
    """SparseML stops an update short of it, at 0.6 linear or 0.7875 cubic of 0.8."""
    window = Clock(steps_per_epoch=5, total_steps=20).window(0, 4, 1)
    assert updates(window, 20) == [0, 5, 10, 15, 20]
    assert [window.progress(step) for step in updates(window, 20)] == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_a_start_epoch_of_minus_one_is_the_first_step():
    """SparseML interpolates its ramp from epoch -1."""
    window = Clock(steps_per_epoch=10, total_steps=40).window(-1, 2, 1)
    assert window == Clock(steps_per_epoch=10, total_steps=40).window(0, 2, 1)
    assert window.progress(0) == 0.0


def test_an_end_epoch_of_minus_one_never_ends():
    window = Clock(steps_per_epoch=10, total_steps=40).window(1, -1)
    assert not window.contains(9)
    assert all(window.contains(step) for step in range(10, 40))


@pytest.mark.parametrize("epoch", [0, 1, 2.5, 4])
def test_a_window_without_length_is_one_event_that_is_done_at_once(epoch):
    window = Clock(steps_per_epoch=10, total_steps=40).window(epoch, epoch, 0.1)
    assert updates(window, 40) == [10 * epoch]
    assert window.progress(window.start) == 1.0


@pytest.mark.parametrize("update_frequency", [0.3, 0.7, 5.0])
def test_the_end_is_an_update_even_where_the_frequency_does_not_divide_the_window(update_frequency):
    window = Clock(steps_per_epoch=10, total_steps=40).window(1, 3, update_frequency)
    assert updates(window, 40)[0] == 10
    assert updates(window, 40)[-1] == 30


def test_without_a_frequency_there_is_an_update_at_both_ends():
    assert updates(Clock(steps_per_epoch=10, total_steps=40).window(1, 3), 40) == [10, 30]


def test_a_frequency_below_a_step_updates_at_each_step():
    assert updates(Clock(steps_per_epoch=10, total_steps=40).window(1, 2, 0.001), 40) == list(range(10, 21))


def test_a_window_contains_its_start_and_not_its_end():
    window = Clock(steps_per_epoch=10, total_steps=40).window(1, 2)
    assert [window.contains(step) for step in (9, 10, 19, 20)] == [False, True, True, False]


@given(
    steps_per_epoch=st.integers(1, 50),
    epochs=st.integers(1, 10),
    ends=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    update_frequency=st.floats(0.001, 20),
)
def test_every_window_within_the_run_ends_in_an_update_at_full_progress(
    steps_per_epoch, epochs, ends, update_frequency
):
    clock = Clock(steps_per_epoch=steps_per_epoch, total_steps=steps_per_epoch * epochs)
    start, end = sorted(epochs * fraction for fraction in ends)
    window = clock.window(start, end, update_frequency)
    due = updates(window, clock.total_steps)
    assert due[0] == window.start
    assert due[-1] == window.end <= clock.total_steps
    assert window.progress(due[-1]) == 1.0


@pytest.mark.parametrize(("accumulate", "steps_per_epoch"), [(1, 5), (2, 3), (3, 2), (5, 1), (9, 1)])
def test_the_clock_counts_the_optimizer_steps_that_are_really_taken_under_accumulation(accumulate, steps_per_epoch):
    fitted = fit(data=toy_data(rows=40, batch_size=8), epochs=2, accumulate_grad_batches=accumulate)
    clock = trainer_clock(fitted.trainer)
    assert clock == Clock(steps_per_epoch=steps_per_epoch, total_steps=2 * steps_per_epoch)
    assert fitted.trainer.global_step == clock.total_steps


def test_the_clock_counts_limited_batches():
    fitted = fit(data=toy_data(rows=40, batch_size=8), epochs=3, limit_train_batches=2)
    assert trainer_clock(fitted.trainer) == Clock(steps_per_epoch=2, total_steps=6)
    assert fitted.trainer.global_step == 6


def test_what_recurs_does_not_drift_from_its_epochs():
    """A cycle of 4 of 30 epochs in 1,000 steps takes 133.33 of them; seven of them, not eight, fit between 2 and 30."""
    clock = Clock(steps_per_epoch=1000 / 30, total_steps=1000)
    assert clock.window(2, 26, 4).updates() == [67, 200, 334, 467, 600, 734, 867]


@given(st.integers(0, 50), st.integers(0, 60), st.floats(1.0, 70.0))
def test_the_updates_of_a_window_rise_from_its_start_to_its_end(start, length, frequency):
    window = Clock(steps_per_epoch=1, total_steps=200).window(start, start + length, frequency)
    steps = window.updates()
    assert steps == [step for step in range(200) if window.is_update(step)]
    assert steps == sorted(set(steps))
    assert steps[-1] == start + length
    assert steps[0] == start


SHIPPED = yaml.safe_load((CONF / "trainer/default.yaml").read_text())


def clock_of(batches, num_epochs, **trainer):
    return recipe_clock(batches, num_epochs, Trainer.read({**SHIPPED, **trainer}, "trainer"))


@pytest.mark.parametrize(
    ("trainer", "expected"),
    [
        ({}, Clock(10, 40)),
        ({"accumulate_grad_batches": 3}, Clock(4, 16)),  # the rest of an epoch is a step too
        ({"limit_train_batches": 7}, Clock(7, 28)),
        ({"limit_train_batches": 0.55}, Clock(5, 20)),
        ({"max_steps": 40}, Clock(10, 40)),
        ({"max_steps": 99}, Clock(10, 40)),
        ({"max_steps": 20, "scale_recipe": True}, Clock(5, 20)),
    ],
)
def test_the_clock_of_a_run_is_known_before_it_starts(trainer, expected):
    assert clock_of(10, 4, **trainer) == expected


def test_steps_that_end_before_the_recipe_are_refused():
    with pytest.raises(UserError) as refused:
        clock_of(1000, 4, max_steps=20)
    assert str(refused.value) == (
        "trainer.max_steps=20 ends before the recipe does: 4 epochs of 1,000 steps are 4,000. Lower recipe.num_epochs, "
        "or run the whole recipe in 20 steps with trainer.scale_recipe=true."
    )
