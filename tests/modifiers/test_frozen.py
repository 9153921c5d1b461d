import pytest
import pytorch_lightning as pl
import torch
from safetensors.torch import load_file

from tests.toys import ENCODER_PATTERN, fit, own_data, review_tables, run, toy_data, toy_model, zeros_of
from winnow.errors import UserError
from winnow.modifiers.frozen import FrozenParameters
from winnow.modifiers.gmp import MagnitudePruning

EMBEDDINGS = r".*embeddings\..*"
STEP_BY_STEP = 1.96  # of two epochs: all ten steps are in the window, though the last epoch does not end in it
NORMS_AND_BIASES = r".*(bias|LayerNorm\.weight)"


@pytest.fixture(scope="module")
def data():
    return toy_data()


def frozen(*params, **changes):
    return FrozenParameters(name="frozen", params=list(params) or [EMBEDDINGS], **changes)


class Diary(pl.Callback):
    """For each optimizer step, which of the watched parameters it has moved, and the norm before the clipping."""

    def __init__(self, *names):
        self.names = names
        self.moved = []
        self.norms = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.before = {n: p.detach().clone() for n, p in pl_module.model.named_parameters() if n in self.names}
        self.norms.append(torch.cat([p.grad.flatten() for p in pl_module.parameters() if p.grad is not None]).norm())

    def on_train_batch_end(self, trainer, pl_module, *args):
        if trainer.global_step > len(self.moved):
            after = dict(pl_module.model.named_parameters())
            self.moved.append([not torch.equal(after[n], before) for n, before in self.before.items()])


WORDS, FIRST = "bert.embeddings.word_embeddings.weight", "bert.encoder.layer.0.output.dense.weight"


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize(
    ("start_epoch", "end_epoch", "frozen_epochs"),
    [(0.0, -1, {0, 1, 2}), (-1, 3, {0, 1, 2}), (0.0, 1.0, {0}), (1.0, 2.0, {1}), (2.0, -1, {2})],
)
def test_a_parameter_stands_still_in_the_window_to_the_step_and_moves_outside_it(
    data, start_epoch, end_epoch, frozen_epochs, accumulate
):
    diary = Diary(WORDS, FIRST)
    modifier = frozen(start_epoch=start_epoch, end_epoch=end_epoch)
    fitted = fit(modifier, data=data, epochs=3, callbacks=[diary], accumulate_grad_batches=accumulate)
    steps = fitted.trainer.global_step // 3
    expected = [[epoch not in frozen_epochs, True] for epoch in range(3) for _ in range(steps)]
    assert diary.moved == expected


def test_frozen_weights_do_not_decay_and_leave_no_moments(data):
    model = toy_model(data.task)
    before = model.get_parameter(WORDS).detach().clone()
    fitted = fit(frozen(end_epoch=STEP_BY_STEP), data=data, model=model, epochs=2, optimizer={"weight_decay": 10.0})
    assert torch.equal(model.get_parameter(WORDS), before)
    assert not fitted.trainer.optimizers[0].state.get(model.get_parameter(WORDS))
    assert model.get_parameter(WORDS).requires_grad


def test_frozen_gradients_do_not_count_in_the_norm_that_is_clipped(data):
    def first_norms(*modifiers):
        diary, clipped = Diary(FIRST), Clipped()
        fit(*modifiers, data=data, model=toy_model(data.task), epochs=1, callbacks=[diary, clipped])
        return float(diary.norms[0]), clipped.norm

    class Clipped(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, *args):
            if trainer.global_step == 1:
                grads = [p.grad.flatten() for p in pl_module.model.parameters() if p.grad is not None]
                self.norm = float(torch.cat(grads).norm())

    settings = {"start_epoch": 0.0, "end_epoch": 0.8}
    (free, _), (held, clipped) = first_norms(), first_norms(frozen(EMBEDDINGS, r".*encoder.*", **settings))
    assert held < free
    assert clipped == pytest.approx(min(1.0, held), rel=1e-4)


def test_what_is_frozen_for_the_whole_run_is_left_out_of_the_backward_pass_and_the_optimizer(data):
    fitted = fit(frozen(), data=data, epochs=1)
    held = {name for name, p in fitted.model.named_parameters() if not p.requires_grad}
    assert held == {name for name, _ in fitted.model.named_parameters() if "embeddings." in name}
    optimized = {id(p) for group in fitted.trainer.optimizers[0].param_groups for p in group["params"]}
    assert optimized == {id(p) for p in fitted.model.parameters() if p.requires_grad}


def test_all_biases_and_norms_may_be_frozen(data):
    fitted = fit(frozen(NORMS_AND_BIASES), data=data, epochs=1)
    assert {p.ndim for p in fitted.model.parameters() if p.requires_grad} == {2}


@pytest.mark.parametrize("end_epoch", [-1, STEP_BY_STEP])
def test_a_frozen_matrix_is_pruned_and_its_other_weights_stay(data, end_epoch):
    model = toy_model(data.task)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    pruning = MagnitudePruning(
        name="pruning", params=[ENCODER_PATTERN], final_sparsity=0.5, start_epoch=0, end_epoch=1, update_frequency=0.2
    )
    fitted = fit(pruning, frozen(ENCODER_PATTERN, end_epoch=end_epoch), data=data, model=model, epochs=2)
    pruning.check()
    for name, weight in fitted.encoder().items():
        assert zeros_of(weight) == weight.numel() / 2
        assert torch.equal(weight, before[name] * (weight != 0))


def test_the_events_are_those_that_a_run_records(data):
    modifier = frozen(r".*word_embeddings\.weight", start_epoch=0.4, end_epoch=1.2)
    fitted = fit(modifier, data=data, epochs=2)
    count = fitted.model.get_parameter(WORDS).numel()
    recorded = [(row["step"], row["change"]) for row in fitted.events]
    assert recorded == [(2, f"freezes {count:,} parameters"), (6, f"trains {count:,} parameters again")]
    assert recorded == [(event.step, event.change) for event in modifier.events()]
    assert list(modifier.matched()) == [WORDS]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            ["bert.embeddings.word_embeddings"],
            r"matches none of the 41 parameters; they look like bert\.embeddings\..*",
        ),
        (["bert.embeddings.word_embedding.weight"], r"Did you mean 'bert\.embeddings\.word_embeddings\.weight'"),
        (["("], r"frozen\.params must be a regular expression, or a list of one or more, got \['\('\]"),
        ([".*"], r"frozen\.params: every parameter of the model is frozen; leave some to train"),
    ],
)
def test_patterns_that_freeze_nothing_or_everything_are_refused(data, params, message):
    with pytest.raises(UserError, match=message):
        frozen(*params).match(toy_model(data.task))


def test_two_that_freeze_everything_between_them_are_refused(data):
    with pytest.raises(UserError, match=r"second\.params: with these, every parameter of the model is frozen"):
        fit(frozen("bert.*"), FrozenParameters(name="second", params=["classifier.*"]), data=data, epochs=1)


def test_a_window_without_length_is_refused():
    with pytest.raises(
        UserError, match="frozen: start_epoch and end_epoch are both 1, so nothing is frozen; raise end_epoch"
    ):
        frozen(start_epoch=1, end_epoch=1)


def test_two_runs_of_different_length_end_with_the_same_frozen_weights(tmp_path):
    review_tables(tmp_path / "data")
    modifier = "{_target_: winnow.modifiers.frozen.FrozenParameters, params: ['.*embeddings.*']}"
    for epochs in (1, 2):
        run("train", *own_data(tmp_path / "data"), "teacher=none", "recipe=dense", f"recipe.num_epochs={epochs}",
            f"+recipe.frozen={modifier}", f"hydra.run.dir=run{epochs}", folder=tmp_path)  # fmt: skip
    short, long = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("run1", "run2"))
    same = {name for name in short if torch.equal(short[name], long[name])}
    assert same == {name for name in short if "embeddings" in name}
