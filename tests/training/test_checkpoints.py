import os
import signal
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from tests.soak.states import differences, training_state
from tests.toys import ENCODER_PATTERN, OPTIMIZER, toy_data, toy_model
from winnow.errors import StoppedError, UserError
from winnow.files.checkpoint_files import is_intact
from winnow.loggers.build import build_loggers
from winnow.loggers.history import read_rows
from winnow.models.teacher import Teacher
from winnow.modifiers.distillation import Distillation
from winnow.modifiers.gmp import MagnitudePruning
from winnow.modifiers.quantization import QuantizationAwareTraining
from winnow.runs.resume import intact_checkpoint
from winnow.training.checkpoints import AtomicCheckpointIO
from winnow.training.module import FineTuner
from winnow.training.trainer import build_trainer, fit

# From step 4 on, the end of the first epoch, with grids that are frozen at step 10, in mid-epoch.
QUANTIZED = {
    **{"submodules": [".*"], "exclude": [], "weight_bits": 8, "per_channel": True, "embeddings": True},
    **{"attention": True, "reduce_range": False, "start_epoch": 1.0, "disable_observer_epoch": 2.5},
}


class KilledError(Exception):
    pass


class Kill(pl.Callback):
    """Raise an error in a hook after a number of steps, the nearest to `kill -9` within one process."""

    def __init__(self, hook, step):
        setattr(self, hook, lambda trainer, *args: self.kill(trainer, step))

    def kill(self, trainer, step):
        if trainer.global_step >= step:
            raise KilledError


def train(configured, folder, *overrides, kill=None, rows=52, workers=0, prune=True, quantize=False, **model):
    """Train in a folder, from its checkpoint if there is one: 3 epochs of 4 steps with dropout and distillation."""
    config = configured(
        *("recipe=dense", "recipe.num_epochs=3", "trainer.accelerator=cpu", "trainer.precision=32-true"),
        *("trainer.accumulate_grad_batches=2", "trainer.checkpoint_every=3", "trainer.log_every_n_steps=1"),
        *overrides,
    )
    data = toy_data(rows=rows, num_workers=workers)
    teacher = Teacher(toy_model(data.task, seed=3, num_hidden_layers=1))
    window = {"start_epoch": 0.3, "end_epoch": 2.2, "update_frequency": 0.25}
    modifiers = [
        *([MagnitudePruning(name="pruning", params=[ENCODER_PATTERN], final_sparsity=0.75, **window)] if prune else []),
        Distillation(name="distillation", teacher=teacher, hardness=0.5, temperature=2.0),
        *([QuantizationAwareTraining(name="quantization", **QUANTIZED)] if quantize else []),
    ]
    student = toy_model(data.task, num_hidden_layers=1, **model)
    module = FineTuner(student, task=data.task, optimizer=OPTIMIZER, validation=data.validation)
    trainer = build_trainer(config, folder, modifiers, "val/accuracy", build_loggers(config.logger, folder))
    if kill is not None:
        trainer.callbacks.append(kill)
    torch.manual_seed(1)
    return fit(trainer, module, data, intact_checkpoint(folder))


def checkpoint(folder, name="last.ckpt"):
    return torch.load(folder / "checkpoints" / name, weights_only=True)


@pytest.fixture(scope="module")
def uninterrupted(configured, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    train(configured, folder)
    return folder


def killed_and_resumed(configured, folder, *kills, **settings):
    for kill in kills:
        with pytest.raises(KilledError):
            train(configured, folder, kill=kill, **settings)
    return train(configured, folder, **settings)


def assert_same_end(folder, other):
    assert differences(training_state(checkpoint(folder)), training_state(checkpoint(other))) == []
    best, other_best = checkpoint(folder, "best.ckpt"), checkpoint(other, "best.ckpt")
    assert differences(best["state_dict"], other_best["state_dict"]) == []


@pytest.mark.parametrize(
    ("hook", "step"),
    [
        ("on_train_batch_end", 1),  # before the first checkpoint
        ("on_train_batch_end", 3),  # just saved, in mid-epoch
        ("on_train_batch_start", 7),
        ("on_train_batch_end", 8),  # the last of an epoch, saved before its validation
        ("on_validation_start", 8),
        ("on_validation_batch_end", 8),
        ("on_validation_end", 8),  # a new best model may be written, the last checkpoint is older
        ("on_train_epoch_end", 8),
        ("on_train_epoch_start", 8),
        ("on_train_batch_start", 8),
        ("on_before_optimizer_step", 10),
        ("on_train_batch_end", 12),  # the last of all
        ("on_validation_end", 12),
        ("on_train_end", 12),
    ],
)
def test_a_killed_training_ends_as_if_it_had_not_been(configured, uninterrupted, tmp_path, hook, step):
    killed_and_resumed(configured, tmp_path, Kill(hook, step))
    assert_same_end(tmp_path, uninterrupted)


@pytest.fixture(scope="module")
def quantized(configured, tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantized")
    train(configured, folder, quantize=True)
    return folder


@pytest.mark.parametrize(
    ("hook", "step"),
    [
        ("on_validation_start", 4),  # quantisation is due, and has not begun
        ("on_train_batch_end", 6),
        ("on_validation_batch_end", 8),
        ("on_train_batch_end", 10),  # the grids freeze, the checkpoint is of step 9
        ("on_train_batch_end", 12),
    ],
)
def test_a_killed_training_with_quantisation_ends_as_if_it_had_not_been(configured, quantized, tmp_path, hook, step):
    killed_and_resumed(configured, tmp_path, Kill(hook, step), quantize=True)
    assert_same_end(tmp_path, quantized)
    grids = [name for name in checkpoint(quantized)["state_dict"] if name.endswith("quantizer.scale")]
    assert "model.classifier.input_quantizer.scale" in grids


@pytest.fixture(scope="module", params=[8, 10])
def scaled(configured, tmp_path_factory, request):
    """The settings of a training of so many steps, their number, and a training with them."""
    settings = ["trainer.scale_recipe=true", f"trainer.max_steps={request.param}"]
    folder = tmp_path_factory.mktemp("scaled")
    train(configured, folder, *settings)
    return settings, request.param, folder


@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_validation_start", "on_validation_end"])
def test_a_training_with_max_steps_that_is_killed_at_its_end_is_resumed_and_validated(
    configured, scaled, tmp_path, hook
):
    settings, steps, whole = scaled
    with pytest.raises(KilledError):
        train(configured, tmp_path, *settings, kill=Kill(hook, steps))
    train(configured, tmp_path, *settings)
    assert_same_end(tmp_path, whole)


def test_a_training_that_is_killed_often_ends_as_if_it_had_not_been(configured, uninterrupted, tmp_path):
    kills = [Kill("on_train_batch_end", step) for step in (3, 4, 5, 8, 8, 9, 11, 12)]
    killed_and_resumed(configured, tmp_path, *kills)
    assert_same_end(tmp_path, uninterrupted)


@pytest.mark.parametrize("step", [pytest.param(4, marks=pytest.mark.slow), 7])
def test_a_killed_training_with_loader_processes_ends_as_if_it_had_not_been(configured, uninterrupted, tmp_path, step):
    killed_and_resumed(configured, tmp_path, Kill("on_train_batch_start", step), workers=2)
    assert_same_end(tmp_path, uninterrupted)


@pytest.mark.parametrize("step", [3, 4])
def test_a_killed_training_with_limited_epochs_ends_as_if_it_had_not_been(configured, tmp_path, step):
    limit = "trainer.limit_train_batches=5"
    train(configured, tmp_path / "a", limit)
    with pytest.raises(KilledError):
        train(configured, tmp_path / "b", limit, kill=Kill("on_train_batch_end", step))
    train(configured, tmp_path / "b", limit)
    assert_same_end(tmp_path / "b", tmp_path / "a")


def test_the_comparison_of_resumed_trainings_can_fail(configured, uninterrupted, tmp_path, monkeypatch):
    """Without the random state dropout differs, so the comparison must see it."""
    monkeypatch.setattr("winnow.training.random_state.set_random_state", lambda state: None)
    killed_and_resumed(configured, tmp_path, Kill("on_train_batch_end", 7))
    here, there = (training_state(checkpoint(folder)) for folder in (tmp_path, uninterrupted))
    assert "/state_dict/model.classifier.weight" in differences(here, there)


def test_the_log_of_a_resumed_run_has_each_row_once(configured, uninterrupted, tmp_path):
    kills = [Kill("on_train_batch_start", 7), Kill("on_validation_end", 8), Kill("on_train_batch_start", 11)]
    killed_and_resumed(configured, tmp_path, *kills)
    rows, expected = (sorted(map(str, read_rows(f / "logs" / "metrics.csv"))) for f in (tmp_path, uninterrupted))
    assert rows == expected


def test_seconds_add_up_over_the_parts_of_a_run(configured, tmp_path):
    with pytest.raises(KilledError):
        train(configured, tmp_path, kill=Kill("on_train_batch_end", 8))
    state = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    state["callbacks"]["RunCheckpoint"]["seconds"] += 1000
    torch.save(state, tmp_path / "checkpoints" / "last.ckpt")
    assert 1000 < train(configured, tmp_path) < 1060


def damage(path, at=0.5):
    content = bytearray(path.read_bytes())
    content[int(at * len(content))] ^= 0xFF
    path.write_bytes(content)


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-1000])


@pytest.mark.parametrize("spoil", [damage, cut_short, Path.unlink])
def test_if_the_last_checkpoint_is_damaged_the_one_before_it_is_used(
    configured, uninterrupted, tmp_path, spoil, capsys
):
    with pytest.raises(KilledError):
        train(configured, tmp_path, kill=Kill("on_train_batch_start", 7))
    folder = tmp_path / "checkpoints"
    spoil(folder / "last.ckpt")
    capsys.readouterr()
    with pytest.raises(KilledError):  # until a new one is saved, the good one stays
        train(configured, tmp_path, kill=Kill("on_train_batch_start", 7))
    assert ("last.ckpt is damaged; using the one before it" in capsys.readouterr().out) == (spoil is not Path.unlink)
    assert checkpoint(tmp_path, "previous.ckpt")["global_step"] == 4
    train(configured, tmp_path)
    assert_same_end(tmp_path, uninterrupted)


def test_if_both_checkpoints_are_damaged_the_run_is_refused(uninterrupted, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    for name in ("last.ckpt", "previous.ckpt"):
        (tmp_path / "checkpoints" / name).write_bytes((uninterrupted / "checkpoints" / "last.ckpt").read_bytes())
        damage(tmp_path / "checkpoints" / name)
    with pytest.raises(UserError, match=r"all checkpoints are damaged.*the same command without resume=true"):
        intact_checkpoint(tmp_path)


def test_a_damaged_best_checkpoint_is_refused_and_without_it_the_best_of_the_rest_is_kept(configured, tmp_path, capsys):
    with pytest.raises(KilledError):
        train(configured, tmp_path, prune=False, kill=Kill("on_train_batch_start", 9))
    best = tmp_path / "checkpoints" / "best.ckpt"
    damage(best)
    with pytest.raises(UserError, match=r"best\.ckpt is damaged.*without resume=true.*or delete the file and resume"):
        intact_checkpoint(tmp_path)
    best.unlink()
    train(configured, tmp_path, prune=False)
    assert "best.ckpt is missing, so the best model of the validations to come is kept" in capsys.readouterr().out
    assert checkpoint(tmp_path, "best.ckpt")["global_step"] == 12


def test_a_training_that_has_ended_keeps_only_its_last_and_its_best_checkpoint(uninterrupted):
    assert sorted(path.name for path in (uninterrupted / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]


def test_a_flipped_byte_anywhere_is_found_or_changes_nothing(tmp_path):
    path = tmp_path / "x.ckpt"
    state = {"weights": torch.arange(16.0), "step": 3}
    AtomicCheckpointIO().save_checkpoint(state, path)
    content = path.read_bytes()
    assert is_intact(path)
    for at in range(len(content)):  # 1,600 bytes
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :])
        assert not is_intact(path) or differences(torch.load(path, weights_only=True), state) == [], at


def test_a_checkpoint_that_could_not_be_written_leaves_the_one_before_it(tmp_path, monkeypatch):
    path = tmp_path / "x.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, path)
    monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError("No space left on device")))
    with pytest.raises(OSError, match="No space"):
        AtomicCheckpointIO().save_checkpoint({"step": 2}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.ckpt"]


def test_the_best_model_is_still_known_in_a_folder_that_was_moved(configured, uninterrupted, tmp_path):
    with pytest.raises(KilledError):
        train(configured, tmp_path / "here", kill=Kill("on_train_batch_start", 11))
    (tmp_path / "here").rename(tmp_path / "there")
    train(configured, tmp_path / "there")
    assert_same_end(tmp_path / "there", uninterrupted)


class Signal(Kill):
    def __init__(self, number, hook, step):
        self.number = number
        super().__init__(hook, step)

    def kill(self, trainer, step):
        if trainer.global_step == step and self.number:
            os.kill(os.getpid(), self.number)
            self.number = None  # a hook may be called for several batches of a step


@pytest.mark.parametrize(
    ("number", "hook", "step", "message"),
    [
        (signal.SIGTERM, "on_before_zero_grad", 5, "stopped by SIGTERM at step 6 of 12, which is saved"),
        (signal.SIGHUP, "on_validation_start", 8, "stopped by SIGHUP at step 8 of 12, which is saved"),
        (signal.SIGINT, "on_train_batch_start", 1, "interrupted at step 2 of 12, which is saved"),
        (signal.SIGTERM, "on_train_batch_start", 11, "stopped by SIGTERM at step 12 of 12, which is saved"),
        (signal.SIGTERM, "on_train_end", 12, "stopped by SIGTERM"),
    ],
)
def test_a_signal_saves_at_the_next_step_and_prints_how_to_resume(
    configured, uninterrupted, tmp_path, number, hook, step, message
):
    before = signal.getsignal(number)
    with pytest.raises(StoppedError, match=rf"^{message}; resume with: .*resume=true$") as stopped:
        train(configured, tmp_path, kill=Signal(number, hook, step))
    assert stopped.value.status == (1 if number == signal.SIGINT else 75)
    assert signal.getsignal(number) == before
    train(configured, tmp_path)
    assert_same_end(tmp_path, uninterrupted)


def test_masks_take_little_room_in_a_checkpoint(configured, tmp_path):
    for name, prune in {"with": True, "without": False}.items():
        train(configured, tmp_path / name, rows=8, prune=prune, hidden_size=128, intermediate_size=512)
    masks = checkpoint(tmp_path / "with")["callbacks"]["MagnitudePruning.pruning"]["own"]
    assert len(masks) == 6
    sizes = [(tmp_path / name / "checkpoints" / "last.ckpt").stat().st_size for name in ("with", "without")]
    assert sizes[0] <= 1.05 * sizes[1]
