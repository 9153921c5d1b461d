import pytest
import pytorch_lightning as pl
import torch

from tests.toys import ENCODER_PATTERN, OPTIMIZER, every_epoch, fit, toy_data, toy_model, zeros_of
from winnow.errors import UserError
from winnow.loggers.build import build_loggers
from winnow.modifiers.gmp import MagnitudePruning
from winnow.training.module import FineTuner
from winnow.training.trainer import (
    BestCheckpoint,
    EarlyStop,
    best_precision,
    best_weights,
    build_trainer,
    check_hardware,
    loader_workers,
)


@pytest.fixture
def run(configured, tmp_path):
    """Fit a toy model by the Trainer of a command line; the trainer and its module."""

    def fit(*overrides, modifiers=(), rows=40):
        config = configured("recipe=dense", "trainer.accelerator=cpu", "trainer.precision=32-true", *overrides)
        data = toy_data(rows=rows)
        module = FineTuner(toy_model(data.task), task=data.task, optimizer=OPTIMIZER, validation=data.validation)
        loggers = build_loggers(config.logger, tmp_path)
        trainer = build_trainer(config, tmp_path, list(modifiers), "val/accuracy", loggers)
        trainer.validations = []
        trainer.callbacks.append(Validations(trainer.validations))
        trainer.fit(module, data)
        return trainer, module

    return fit


class Validations(pl.Callback):
    def __init__(self, steps):
        self.steps = steps

    def on_validation_end(self, trainer, pl_module):
        self.steps.append(trainer.global_step)


def gmp(**changes):
    settings = {"name": "pruning", "params": [ENCODER_PATTERN], "final_sparsity": 0.75, "update_frequency": 0.2}
    return MagnitudePruning(**{**settings, **changes})


def test_the_command_line_sets_epochs_and_accumulated_batches(run):
    trainer, _ = run("recipe.num_epochs=2", "trainer.accumulate_grad_batches=2")
    assert trainer.current_epoch == 2
    assert trainer.global_step == 6


@pytest.mark.parametrize("rows", [8, 24, 40])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_end_of_each_epoch_is_validated_and_so_the_last_step(run, rows, accumulate):
    trainer, _ = run("recipe.num_epochs=2", f"trainer.accumulate_grad_batches={accumulate}", rows=rows)
    assert trainer.validations == [trainer.global_step // 2, trainer.global_step]


def test_only_a_model_at_its_final_sparsity_is_the_best(run):
    modifier = gmp(start_epoch=0, end_epoch=1.4)
    trainer, module = run("recipe.num_epochs=2", modifiers=[modifier])
    module.load_state_dict(best_weights(trainer))
    assert all(zeros_of(weight) == round(0.75 * weight.numel()) for weight in modifier.masks.parameters.values())


@pytest.mark.parametrize("rows", [8, 40])
def test_a_ramp_that_ends_with_the_training_leaves_a_best_model(run, rows):
    modifier = gmp(start_epoch=0, end_epoch=2)
    trainer, module = run("recipe.num_epochs=2", modifiers=[modifier], rows=rows)
    module.load_state_dict(best_weights(trainer))
    modifier.check()


def test_a_damaged_best_checkpoint_does_not_become_the_model(run, tmp_path):
    trainer, _ = run("recipe.num_epochs=1", rows=8)
    path = tmp_path / "checkpoints" / "best.ckpt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"best\.ckpt is damaged or missing, and no other file has the best model"):
        best_weights(trainer)


def test_the_best_model_is_that_of_the_best_validation(run, tmp_path, monkeypatch):
    scores = iter([0.2, 0.9, 0.4, 0.9])
    kept = []

    def log_score(self):
        self.log("val/accuracy", next(scores))
        kept.append({name: p.detach().clone() for name, p in self.model.named_parameters()})
        for metrics in self.val_metrics:
            metrics.reset()

    monkeypatch.setattr(FineTuner, "on_validation_epoch_end", log_score)
    trainer, _ = run("recipe.num_epochs=4")
    best = best_weights(trainer)
    assert all(torch.equal(best["model." + name], p) for name, p in kept[1].items())


NAN = float("nan")


@pytest.mark.parametrize(("scores", "best"), [((NAN, NAN, NAN), 2), ((NAN, 0.3, NAN), 1), ((0.5, NAN, 0.4), 0)])
def test_a_score_that_is_nan_is_worse_than_any_and_without_a_score_the_last_model_is_the_best(
    run, monkeypatch, scores, best
):
    remaining, kept = iter(scores), []

    def log_score(self):
        self.log("val/accuracy", next(remaining))
        kept.append(self.model.classifier.weight.detach().clone())
        self.val_metrics[0].reset()

    monkeypatch.setattr(FineTuner, "on_validation_epoch_end", log_score)
    trainer, _ = run("recipe.num_epochs=3")
    assert torch.equal(best_weights(trainer)["model.classifier.weight"], kept[best])


@pytest.fixture
def scored(monkeypatch):
    """Replace the scores of validations by given ones."""

    def use(*scores):
        remaining = iter(scores)

        def log_score(self):
            self.log("val/accuracy", next(remaining))
            for metrics in self.val_metrics:
                metrics.reset()

        monkeypatch.setattr(FineTuner, "on_validation_epoch_end", log_score)

    return use


@pytest.mark.parametrize(
    ("patience", "scores", "epochs"),
    [
        (1, [0.5, 0.4], 2),
        (2, [0.5, 0.6, 0.6, 0.5], 4),
        (2, [0.5, 0.4, 0.6, 0.5, 0.5], 5),
        (1, [float("nan"), 0.5, float("nan")], 1),
        (2, [0.5, float("nan"), float("nan")], 3),
        (3, [0.5, 0.4, 0.3, 0.6, 0.5, 0.4], 6),
    ],
)
def test_a_run_stops_after_so_many_validations_without_a_better_result(run, scored, capsys, patience, scores, epochs):
    scored(*scores, *[1.0] * 6)
    trainer, _ = run("recipe.num_epochs=6", f"trainer.patience={patience}", "trainer.progress_bar=true")
    assert trainer.current_epoch == epochs
    assert ("Stopped early" in capsys.readouterr().out) == (epochs < 6)


def test_an_early_stop_prints_its_epoch_and_reason(run, scored, capsys):
    scored(0.5, 0.4, 0.3)
    run("recipe.num_epochs=6", "trainer.patience=2")
    assert (
        "Stopped early, after epoch 3 of 6: val/accuracy did not get better than 0.5000 (trainer.patience=2)"
    ) in capsys.readouterr().out


@pytest.mark.parametrize("end_epoch", [2.0, 2.2, 3.0])
def test_no_run_stops_before_it_is_pruned_however_bad_its_results(run, scored, end_epoch):
    scored(0.9, 0.8, 0.7, 0.6, 0.5)
    modifier = gmp(start_epoch=0, end_epoch=end_epoch)
    trainer, module = run("recipe.num_epochs=6", "trainer.patience=1", modifiers=[modifier])
    first_counted = 2 if end_epoch == 2 else 3  # the result that the next one is compared with
    assert trainer.current_epoch == first_counted + 1
    modifier.check()
    module.load_state_dict(best_weights(trainer))
    modifier.check()


def test_without_patience_no_run_stops(run, scored):
    scored(0.9, *[0.1] * 3)
    trainer, _ = run("recipe.num_epochs=4")
    assert trainer.current_epoch == 4
    assert not any(isinstance(callback, EarlyStop) for callback in trainer.callbacks)


@pytest.mark.parametrize(("checkpoint", "scores", "epochs"), [("last", [], 3), ("epoch=1", [0.3], 3)])
@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists")
def test_a_resumed_run_keeps_its_patience_and_a_stopped_one_stays_stopped(tmp_path, scored, checkpoint, scores, epochs):
    def trained(**settings):
        return fit(
            callbacks=[EarlyStop("val/accuracy", 2), every_epoch(tmp_path)],
            epochs=6,
            limit_val_batches=None,
            **settings,
        ).trainer.current_epoch

    scored(0.5, 0.4, 0.3)
    assert trained() == 3
    (tmp_path / "epoch=2.ckpt").rename(tmp_path / "last.ckpt")
    scored(*scores)
    assert trained(resume=tmp_path / f"{checkpoint}.ckpt") == epochs


def test_an_error_or_a_perplexity_is_better_when_it_is_smaller(tmp_path):
    assert BestCheckpoint(tmp_path, "val/mean_squared_error").mode == "min"
    assert BestCheckpoint(tmp_path, "val/perplexity").mode == "min"
    assert BestCheckpoint(tmp_path, "val/accuracy").mode == EarlyStop("val/accuracy", 1).mode == "max"
    assert EarlyStop("val/perplexity", 1).mode == "min"


def test_the_checkpoints_open_with_weights_only(run, tmp_path):
    run("recipe.num_epochs=2", modifiers=[gmp(start_epoch=0, end_epoch=1)])
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {"best.ckpt", "last.ckpt"}
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 10
    assert len(last["callbacks"]["MagnitudePruning.pruning"]["own"]) == 12
    assert "optimizer_states" not in torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)


def test_metrics_and_sparsity_are_written_to_the_csv_log(run, tmp_path):
    run("recipe.num_epochs=2", "trainer.log_every_n_steps=1", modifiers=[gmp(start_epoch=0, end_epoch=1)])
    header = (tmp_path / "logs" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"train/loss", "val/accuracy", "pruning/sparsity"} <= set(header)


def test_without_a_logger_nothing_is_written(run, tmp_path):
    run("recipe.num_epochs=1", "logger=none")
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoints"}


def test_half_precision_without_a_gpu_is_refused(configured, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = configured("trainer.precision=16-mixed", "trainer.accelerator=cpu")
    with pytest.raises(UserError, match=r"trainer\.precision=16-mixed needs a GPU; use bf16-mixed or 32-true"):
        build_trainer(config, tmp_path, [], monitor="val/accuracy")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer=gpu"], "trainer.accelerator=gpu: torch .* finds no GPU"),
        (["trainer=ddp", "trainer.accelerator=cuda"], "trainer.accelerator=cuda: torch .* finds no GPU"),
        (["trainer=ddp", "trainer.devices=40"], "trainer.devices=40 is more than the 2 processors .* give at most 2"),
    ],
)
def test_devices_that_the_machine_does_not_have_are_refused(configured, monkeypatch, overrides, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    with pytest.raises(UserError, match=message):
        check_hardware(configured(*overrides).trainer)


@pytest.mark.parametrize(
    ("capabilities", "limit", "precision"),
    [
        ({"avx512_bf16": True}, "", "bf16-mixed"),
        ({"amx_bf16": True, "avx512_bf16": False}, "", "bf16-mixed"),
        ({"bf16": True}, "", "bf16-mixed"),
        ({"avx512_bf16": False}, "", "32-true"),
        ({}, "", "32-true"),
        ({"avx512_bf16": True}, "AVX512_CORE_BF16", "bf16-mixed"),
        ({"avx512_bf16": True}, "avx2", "32-true"),
    ],
)
def test_precision_on_a_cpu_is_bf16_if_the_cpu_has_it(monkeypatch, capabilities, limit, precision):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert best_precision("auto") == best_precision("cpu") == precision


@pytest.mark.parametrize(("has_bf16", "precision"), [(True, "bf16-mixed"), (False, "16-mixed")])
def test_precision_on_a_gpu_is_bf16_if_the_gpu_has_it(monkeypatch, has_bf16, precision):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: has_bf16)
    assert best_precision("auto") == precision


def test_training_in_bf16_leaves_exact_zeros(run):
    modifier = gmp(start_epoch=0, end_epoch=1)
    run("trainer.precision=bf16-mixed", "recipe.num_epochs=2", modifiers=[modifier])
    modifier.check()
    assert {weight.dtype for weight in modifier.masks.parameters.values()} == {torch.float32}


def test_workers_are_0_on_a_cpu_unless_their_number_is_given(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert loader_workers("auto") == 0
    assert loader_workers(3) == 3
