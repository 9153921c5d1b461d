import pytest
import pytorch_lightning as pl

from tests.toys import fit
from winnow.errors import UserError
from winnow.modifiers.clock import Clock
from winnow.modifiers.learning_rate import LearningRate
from winnow.modifiers.rehearsal import learning_rate


def schedule(name, clock, **settings):
    modifier = LearningRate(
        name="learning_rate", **{"schedule": name, "initial_learning_rate": 1.0, "warmup": 0.0, **settings}
    )
    modifier.begin(clock)
    return modifier


@pytest.mark.parametrize(
    ("name", "settings", "epochs", "step", "rate"),
    [
        # 1.5e-4 to 0 over 13 epochs of 10 steps
        ("linear", {"initial_learning_rate": 1.5e-4}, 13, 0, 1.5e-4),
        ("linear", {"initial_learning_rate": 1.5e-4}, 13, 65, 7.5e-5),
        ("linear", {"initial_learning_rate": 1.5e-4}, 13, 130, 0.0),
        ("cosine", {"initial_learning_rate": 0.01, "final_learning_rate": 0.001}, 10, 0, 0.01),
        ("cosine", {"initial_learning_rate": 0.01, "final_learning_rate": 0.001}, 10, 50, 0.0055),
        ("cosine", {"initial_learning_rate": 0.01, "final_learning_rate": 0.001}, 10, 100, 0.001),
        # cycles of 4 epochs, 40 steps: 8e-5 at their first step, 8e-6 at their last
        ("cyclic_linear", {"initial_learning_rate": 8e-5, "final_learning_rate": 8e-6, "cycle_epochs": 4}, 12, 0, 8e-5),
        (
            "cyclic_linear",
            {"initial_learning_rate": 8e-5, "final_learning_rate": 8e-6, "cycle_epochs": 4},
            12,
            13,
            5.6e-5,
        ),
        (
            "cyclic_linear",
            {"initial_learning_rate": 8e-5, "final_learning_rate": 8e-6, "cycle_epochs": 4},
            12,
            39,
            8e-6,
        ),
        (
            "cyclic_linear",
            {"initial_learning_rate": 8e-5, "final_learning_rate": 8e-6, "cycle_epochs": 4},
            12,
            40,
            8e-5,
        ),
        (
            "cyclic_linear",
            {"initial_learning_rate": 8e-5, "final_learning_rate": 8e-6, "cycle_epochs": 4},
            12,
            120,
            8e-6,
        ),
        ("cyclic_linear", {"cycle_epochs": 0.1}, 2, 7, 1.0),  # cycles of one step
        ("cyclic_cosine", {"cycle_epochs": 1.1}, 12, 16, 0.5),  # 11 steps, the middle is the sixth
        ("constant", {"initial_learning_rate": 3e-5}, 3, 29, 3e-5),
        ("step", {"step_epochs": 2, "gamma": 0.1}, 6, 19, 1.0),
        ("step", {"step_epochs": 2, "gamma": 0.1}, 6, 20, 0.1),
        ("step", {"step_epochs": 2, "gamma": 0.1}, 6, 59, 0.01),
        # a tenth of 100 steps to warm up, then 90 to fall
        ("linear", {"warmup": 0.1}, 10, 0, 0.0),
        ("linear", {"warmup": 0.1}, 10, 5, 0.5),
        ("linear", {"warmup": 0.1}, 10, 10, 1.0),
        ("linear", {"warmup": 0.1}, 10, 55, 0.5),
        ("linear", {"warmup": 0.1}, 10, 100, 0.0),
        ("linear", {"warmup": 1.0}, 10, 50, 0.5),
        ("constant", {"warmup": 0.1}, 10, 5, 0.5),
        # before and after the window the nearest rate in it
        ("linear", {"start_epoch": 2, "end_epoch": 6}, 10, 40, 0.5),
        ("linear", {"start_epoch": 2, "end_epoch": 6, "final_learning_rate": 0.1}, 10, 95, 0.1),
    ],
)
def test_the_rate_of_a_step(name, settings, epochs, step, rate):
    clock = Clock(steps_per_epoch=10, total_steps=10 * epochs)
    assert schedule(name, clock, **settings).rate(step) == pytest.approx(rate, rel=1e-9, abs=1e-15)


class Rates(pl.Callback):
    def __init__(self):
        self.values = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        assert len({group["lr"] for group in optimizer.param_groups}) == 1
        self.values.append(optimizer.param_groups[0]["lr"])


def rates_of(*modifiers, **settings):
    watch = Rates()
    fitted = fit(*modifiers, callbacks=[watch], **settings)
    return watch.values, fitted


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_schedule_counts_optimizer_steps(accumulate):
    modifier = LearningRate(name="learning_rate", schedule="linear", initial_learning_rate=1e-3, warmup=0.0)
    rates, fitted = rates_of(modifier, epochs=2, accumulate_grad_batches=accumulate)
    total = fitted.trainer.global_step
    assert total == 10 // accumulate + accumulate - 1
    assert rates == pytest.approx([1e-3 * (total - step) / total for step in range(total)])


def test_schedules_follow_one_another_and_the_last_rate_stays():
    first = LearningRate(
        name="first",
        schedule="linear",
        initial_learning_rate=0.5,
        final_learning_rate=0.1,
        warmup=0.0,
        end_epoch=0.8,
    )
    second = LearningRate(name="second", schedule="constant", initial_learning_rate=0.02, warmup=0.0, start_epoch=2)
    rates, _ = rates_of(first, second, epochs=3, optimizer={"learning_rate": 9.0})
    assert rates == pytest.approx([0.5, 0.4, 0.3, 0.2] + 6 * [0.1] + 5 * [0.02])


def test_without_a_schedule_the_rate_of_the_optimizer_stays():
    rates, _ = rates_of(epochs=1, optimizer={"learning_rate": 0.003})
    assert rates == [0.003] * 5


def test_its_events_are_the_restarts_and_are_reported_as_they_happen():
    modifier = LearningRate(
        name="learning_rate",
        schedule="cyclic_linear",
        initial_learning_rate=1e-3,
        warmup=0.0,
        cycle_epochs=1,
        start_epoch=1,
    )
    _, fitted = rates_of(modifier, epochs=4)
    assert [(event.step, event.change) for event in modifier.events()] == [
        (5, "learning rate: cyclic linear"),
        (10, "learning rate restarts"),
        (15, "learning rate restarts"),
    ]
    assert [(row["step"], row["change"]) for row in fitted.events] == [
        (event.step, event.change) for event in modifier.events()
    ]
    assert [row["learning_rate"] for row in fitted.events] == [1e-3] * 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"schedule": "cyclic_linear"},
            r"learning_rate: schedule=cyclic_linear needs a length in epochs; set learning_rate\.cycle_epochs",
        ),
        (
            {"schedule": "step"},
            r"learning_rate: schedule=step needs a length in epochs; set learning_rate\.step_epochs",
        ),
        ({"schedule": "lineal"}, "schedule must be one of constant, linear, .*, got 'lineal'"),
        (
            {"schedule": "linear", "initial_learning_rate": -1},
            "initial_learning_rate must be a number, 0 or more, got -1",
        ),
        (
            {"schedule": "linear", "gamma": 0.5},
            r"learning_rate\.gamma has no effect under schedule=linear; leave it at 0\.1",
        ),
        (
            {"schedule": "cosine", "step_epochs": 1},
            r"step_epochs has no effect under schedule=cosine; leave it at null",
        ),
        ({"schedule": "step", "step_epochs": 1, "cycle_epochs": 2}, r"cycle_epochs has no effect under schedule=step"),
        (
            {"schedule": "constant", "final_learning_rate": 1e-5},
            r"final_learning_rate has no effect under schedule=con",
        ),
        ({"schedule": "linear", "warmup": 5}, r"warmup must be in \[0, 1\], got 5; write 5 % as 0\.05"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        LearningRate(**{"name": "learning_rate", "initial_learning_rate": 1e-4, **settings})


def test_a_window_without_steps_leaves_the_rate_to_the_schedule_that_follows():
    stages = {"schedule": "cyclic_linear", "initial_learning_rate": 0.5, "cycle_epochs": 1.0, "end_epoch": 0.0}
    modifiers = [
        LearningRate(name="stages", **stages),
        LearningRate(name="learning_rate", schedule="linear", initial_learning_rate=0.25, warmup=0.5),
    ]
    fitted = fit(*modifiers, epochs=2)
    assert [(row["modifier"], row["step"], row["learning_rate"]) for row in fitted.events] == [
        ("learning_rate", 0, 0.0),
        ("learning_rate", 5, 0.25),
    ]
    assert learning_rate([*modifiers[1:], *modifiers[:1]], 0) == 0.0
