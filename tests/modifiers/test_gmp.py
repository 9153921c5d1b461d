import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger
from torch import nn

from tests.toys import ENCODER_PATTERN, every_epoch, fit, planned, toy_data, toy_model, zeros_of
from winnow.data.batching import LengthGroupedBatches
from winnow.errors import UserError
from winnow.functional.structure import zeros_count
from winnow.modifiers.gmp import MagnitudePruning


def gmp(**changes):
    settings = {
        "name": "pruning",
        "params": [ENCODER_PATTERN],
        "final_sparsity": 0.75,
        "start_epoch": 0.4,
        "end_epoch": 2.4,
        "update_frequency": 0.2,
    }
    return MagnitudePruning(**{**settings, **changes})


class Watch(pl.Callback):
    """The number of zeros after every batch, and of pruned weights that came back."""

    def __init__(self):
        self.zeros, self.revived = [], 0

    def on_train_start(self, trainer, pl_module):
        self.modifier = next(c for c in trainer.callbacks if isinstance(c, MagnitudePruning))
        self.dead = self._dead()
        self.zeros.append(sum(int(d.sum()) for d in self.dead))

    def on_train_batch_end(self, *args):
        now = self._dead()
        self.revived += sum(int((before & ~after).sum()) for before, after in zip(self.dead, now, strict=True))
        self.dead = now
        self.zeros.append(sum(int(d.sum()) for d in now))

    def _dead(self):
        return [(p == 0).clone() for p in self.modifier.masks.parameters.values()]


def assert_exact_zeros(fitted, sparsity):
    for name, weight in fitted.encoder().items():
        assert zeros_of(weight) == zeros_count(weight.numel(), sparsity), name


@pytest.mark.parametrize("shape", ["cubic", "linear", "inverse_cubic"])
@pytest.mark.parametrize("update_frequency", [0.01, 0.3, 5.0])
def test_gmp_reaches_its_final_sparsity_whatever_the_update_frequency(update_frequency, shape):
    assert_exact_zeros(fit(gmp(update_frequency=update_frequency, shape=shape)), 0.75)


@pytest.mark.parametrize("shape", ["linear", "cubic"])
@pytest.mark.parametrize("end_epoch", [4, -1])
def test_gmp_that_ends_with_the_training_reaches_its_target(shape, end_epoch):
    """SparseML ends such a run at 0.6 (linear) or 0.7875 (cubic) of 0.8."""
    modifier = gmp(final_sparsity=0.8, start_epoch=0, end_epoch=end_epoch, update_frequency=1.0, shape=shape)
    fitted = fit(modifier, epochs=4)
    assert_exact_zeros(fitted, 0.8)
    modifier.check()
    assert modifier.is_settled(fitted.trainer.global_step)


@pytest.mark.parametrize("accumulate", [2, 3, 4, 7])
def test_gmp_reaches_its_final_sparsity_under_accumulation(accumulate):
    watch = Watch()
    fitted = fit(gmp(end_epoch=4), epochs=4, accumulate_grad_batches=accumulate, callbacks=[watch])
    assert_exact_zeros(fitted, 0.75)
    assert watch.revived == 0


@pytest.mark.parametrize(("drop_last", "steps"), [(False, 18), (True, 15)])
def test_gmp_reaches_its_final_sparsity_with_and_without_a_smaller_last_batch(drop_last, steps):
    fitted = fit(gmp(end_epoch=3), data=toy_data(rows=43, batch_size=8, drop_last=drop_last), epochs=3)
    assert fitted.trainer.global_step == steps
    assert_exact_zeros(fitted, 0.75)


def test_gmp_reaches_its_final_sparsity_with_one_step_an_epoch():
    assert_exact_zeros(fit(gmp(end_epoch=3), data=toy_data(rows=8, batch_size=8), epochs=3), 0.75)


def test_gmp_reaches_its_final_sparsity_in_a_run_of_one_step():
    modifier = gmp(start_epoch=0.1, end_epoch=0.6)
    assert_exact_zeros(fit(modifier, data=toy_data(rows=8, batch_size=8), epochs=1), 0.75)


def test_the_sparsity_after_each_step_is_what_the_schedule_says():
    watch = Watch()
    modifier = gmp(
        initial_sparsity=0.1, final_sparsity=0.5, start_epoch=1, end_epoch=3, update_frequency=0.4, shape="linear"
    )
    fitted = fit(modifier, callbacks=[watch])
    ramp = {5: 0.1, 7: 0.18, 9: 0.26, 11: 0.34, 13: 0.42, 15: 0.5}  # step: sparsity, five steps an epoch
    expected, s = [], 0.0
    for step in range(21):
        s = ramp.get(step, s)
        expected.append(sum(zeros_count(w.numel(), s) for w in fitted.encoder().values()))
    assert watch.zeros == expected


def test_a_start_epoch_of_minus_one_prunes_before_the_first_step():
    watch = Watch()
    fitted = fit(gmp(start_epoch=-1, initial_sparsity=0.25), epochs=3, callbacks=[watch])
    assert watch.zeros[0] == sum(zeros_count(w.numel(), 0.25) for w in fitted.encoder().values())


def test_a_matrix_whose_final_sparsity_is_below_the_initial_one_has_it_from_the_first_update_on():
    watch = Watch()
    targets = {".*query.*": 0.2, ".*": 0.75}
    fitted = fit(gmp(start_epoch=0, initial_sparsity=0.5, final_sparsity=targets), epochs=3, callbacks=[watch])
    sparsities = {name: 0.2 if "query" in name else 0.5 for name in fitted.encoder()}
    assert watch.zeros[0] == sum(zeros_count(w.numel(), sparsities[name]) for name, w in fitted.encoder().items())


def test_one_shot_pruning_is_done_before_the_first_step_and_takes_the_smallest_weights():
    data = toy_data()
    model = toy_model(data.task)
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    modifier = gmp(start_epoch=0, end_epoch=0, final_sparsity=0.8)
    watch = Watch()
    fitted = fit(modifier, data=data, model=model, epochs=2, callbacks=[watch])
    assert_exact_zeros(fitted, 0.8)
    assert len(set(watch.zeros)) == 1
    for name, weight in fitted.encoder().items():
        assert start[name].abs()[weight == 0].max() <= start[name].abs()[weight != 0].min()
    assert modifier.facts() == {"pruned": True, "one_shot": True, "pruning_epochs": 0.0}


def test_no_pruned_weight_ever_comes_back():
    watch = Watch()
    fit(gmp(), epochs=5, callbacks=[watch], optimizer={"learning_rate": 0.1, "weight_decay": 0.1})
    assert watch.revived == 0
    assert watch.zeros == sorted(watch.zeros)
    assert watch.zeros[-1] > 0


def test_a_matrix_that_is_sparser_than_the_target_keeps_its_zeros():
    data = toy_data()
    model = toy_model(data.task)
    query = model.bert.encoder.layer[0].attention.self.query.weight
    with torch.no_grad():
        query.view(-1)[:250] = 0.0  # of 256
    fitted = fit(gmp(start_epoch=0), data=data, model=model)
    assert zeros_of(query) == 250
    assert torch.count_nonzero(query.view(-1)[:250]) == 0
    others = [weight for weight in fitted.encoder().values() if weight.data_ptr() != query.data_ptr()]
    assert all(zeros_of(weight) == zeros_count(weight.numel(), 0.75) for weight in others)


def test_only_what_the_patterns_match_is_pruned():
    fitted = fit(gmp(params=[r".*\.layer\.1\..*\.weight"]))
    for name, weight in fitted.encoder().items():
        assert (zeros_of(weight) > 0) == (".layer.1." in name)
    assert zeros_of(fitted.model.classifier.weight) == 0
    assert zeros_of(fitted.model.bert.pooler.dense.weight) == 0


@pytest.mark.parametrize("accumulate", [1, 3])
def test_global_scope_reaches_the_sparsity_over_all_matrices_together(accumulate):
    data = toy_data()
    model = toy_model(data.task)
    with torch.no_grad():
        model.bert.encoder.layer[0].intermediate.dense.weight.mul_(20.0)
    modifier = gmp(scope="global", final_sparsity=0.8)
    fitted = fit(modifier, data=data, model=model, accumulate_grad_batches=accumulate)
    weights = fitted.encoder()
    zeros = {name: zeros_of(weight) for name, weight in weights.items()}
    assert sum(zeros.values()) == zeros_count(sum(w.numel() for w in weights.values()), 0.8)
    name = "bert.encoder.layer.0.intermediate.dense.weight"
    assert zeros[name] / weights[name].numel() < 0.5
    modifier.check()


class ClippingWatch(pl.Callback):
    """The gradient norm of live weights, of all weights, and after clipping, at each optimizer step."""

    def __init__(self, limit):
        self.limit = limit
        self.alive, self.clipped = [], []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):  # before the modifier's own hook
        masks = next(c for c in trainer.callbacks if isinstance(c, MagnitudePruning)).masks
        dead = {id(p): p == 0 for p in masks.parameters.values()}
        gradients = [p.grad.masked_fill(dead[id(p)], 0.0) if id(p) in dead else p.grad for p in pl_module.parameters()]
        self.alive.append(float(nn.utils.get_total_norm(gradients)))

    def on_before_zero_grad(self, trainer, pl_module, optimizer):
        gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
        if gradients:
            self.clipped.append(float(nn.utils.get_total_norm(gradients)))


def test_the_norm_that_gradients_are_clipped_to_is_that_of_the_living_weights():
    watch = ClippingWatch(limit=0.01)
    modifier = gmp(start_epoch=0, end_epoch=0, final_sparsity=0.9)
    data = toy_data()
    model = toy_model(data.task)
    # Trainer keeps the order of callbacks: the watch looks before the modifier touches the gradients.
    fit(data=data, model=model, epochs=1, callbacks=[watch, modifier], optimizer={"max_grad_norm": 0.01})
    assert min(watch.alive) > watch.limit
    assert watch.clipped == pytest.approx([watch.limit] * len(watch.clipped), rel=1e-3)
    assert len(watch.clipped) >= 4


def test_the_masks_come_back_from_a_checkpoint_that_holds_plain_types_only(tmp_path):
    modifier = gmp()
    fit(modifier, epochs=3, callbacks=[every_epoch(tmp_path)])
    checkpoint = torch.load(tmp_path / "epoch=1.ckpt", weights_only=True)
    state = checkpoint["callbacks"]["MagnitudePruning.pruning"]["own"]
    assert set(state) == set(modifier.masks.parameters)
    for name, weight in modifier.masks.parameters.items():
        assert state[name].dtype == torch.uint8
        assert state[name].numel() == -(-weight.numel() // 8)


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists")
def test_a_run_that_goes_on_from_a_checkpoint_ends_with_the_weights_of_one_that_was_never_stopped(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(LengthGroupedBatches, "set_epoch", lambda self, epoch: None)  # each epoch has the same batches
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    data = toy_data()
    whole = fit(gmp(), data=data, model=toy_model(data.task, **still), callbacks=[every_epoch(tmp_path)])
    watch = Watch()
    resumed = fit(
        gmp(),
        data=toy_data(),
        model=toy_model(data.task, seed=7, **still),
        callbacks=[watch, every_epoch(tmp_path)],
        resume=tmp_path / "epoch=1.ckpt",
    )
    assert watch.revived == 0
    assert watch.zeros[0] > 0
    assert_exact_zeros(resumed, 0.75)
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, resumed.model.state_dict()[name]), name


def test_a_pattern_that_matches_nothing_stops_the_run_before_it_starts():
    with pytest.raises(UserError, match=r"matches none of the 14 linear weights; they look like bert\.encoder"):
        fit(gmp(params=["encoder.*"]), epochs=1)


def test_a_run_that_ends_short_of_its_target_says_so():
    modifier = gmp()
    fitted = fit(modifier)
    modifier.check()
    name, weight = next(iter(modifier.masks.parameters.items()))
    with torch.no_grad():
        weight.view(-1)[weight.flatten() == 0] = 0.5
    with pytest.raises(
        RuntimeError,
        match=rf"1 of 12 matrices have too few zeros: {name} has 0 zeros of 256, planned are 192",
    ):
        modifier.check()
    assert fitted.trainer.global_step == 20


def test_a_model_counts_as_the_best_only_once_the_ramp_is_done():
    modifier = gmp(end_epoch=2.4)
    fit(modifier)
    assert [modifier.is_settled(step) for step in (0, 11, 12, 20)] == [False, False, True, True]


def test_the_length_of_the_ramp_is_reported():
    modifier = gmp(start_epoch=0.4, end_epoch=2.4)
    fit(modifier)
    assert modifier.facts() == {"pruned": True, "one_shot": False, "pruning_epochs": 2.0}


def test_the_sparsity_is_shown_in_the_progress():
    fitted = fit(gmp())
    bar = fitted.trainer.progress_bar_metrics
    assert bar["pruning/sparsity"] == pytest.approx(0.75)


STRUCTURES = {"block4": 0.75, "2:4": 0.5, "1:4": 0.75, "5:8": 0.375}


def assert_structure(weight, structure):
    kept = (weight != 0).view(-1, 4 if structure == "block4" else int(structure.split(":")[1])).sum(dim=1)
    assert set(kept.tolist()) == ({0, 4} if structure == "block4" else {int(structure.split(":")[0])})


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("changes", [
    {}, {"update_frequency": 0.01}, {"update_frequency": 5.0}, {"end_epoch": -1}, {"start_epoch": 0, "end_epoch": 0},
])  # fmt: skip
def test_every_matrix_ends_in_the_structure_with_exactly_its_zeros(structure, changes):
    watch = Watch()
    modifier = gmp(structure=structure, final_sparsity=STRUCTURES[structure], **changes)
    fitted = fit(modifier, callbacks=[watch])
    for weight in fitted.encoder().values():
        assert_structure(weight, structure)
    assert_exact_zeros(fitted, STRUCTURES[structure])  # all matrices are divisible by 4 * 4
    assert watch.revived == 0
    modifier.check()


@pytest.mark.parametrize("structure", [[1, 4], "[1,4]"])
def test_blocks_may_be_spelled_as_sparseml_does(structure):
    modifier = gmp(structure=structure)
    fitted = fit(modifier, epochs=3)
    for weight in fitted.encoder().values():
        assert_structure(weight, "block4")


def test_one_threshold_may_hold_over_the_blocks_of_all_matrices():
    modifier = gmp(structure="block4", scope="global", final_sparsity=0.8)
    fitted = fit(modifier)
    weights = fitted.encoder().values()
    for weight in weights:
        assert_structure(weight, "block4")
    assert sum(map(zeros_of, weights)) == 4 * zeros_count(sum(w.numel() for w in weights) // 4, 0.8)
    modifier.check()


def test_the_ramp_to_a_pattern_is_as_gradual_as_any():
    watch = Watch()
    modifier = gmp(
        structure="2:4", final_sparsity=0.5, initial_sparsity=0.1, start_epoch=1, end_epoch=3,
        update_frequency=0.4, shape="linear",
    )  # fmt: skip
    fitted = fit(modifier, callbacks=[watch])
    ramp = {5: 0.1, 7: 0.18, 9: 0.26, 11: 0.34, 13: 0.42, 15: 0.5}  # step: sparsity, five steps an epoch
    for step, sparsity in ramp.items():
        assert watch.zeros[step] == sum(zeros_count(w.numel(), sparsity) for w in fitted.encoder().values())


@pytest.mark.parametrize(("structure", "follow"), [("2:4", 2 + 31 * 2 + 1), ("block4", 31 * 4)])
def test_zeros_that_do_not_follow_the_structure_do_not_count_in_the_end(structure, follow):
    modifier = gmp(structure=structure, final_sparsity=0.5)
    fit(modifier)
    name, weight = next(iter(modifier.masks.parameters.items()))
    with torch.no_grad():
        weight.fill_(1.0)
        weight.view(-1)[1:129] = 0.0  # half of it, but in one place and not in whole blocks
    with pytest.raises(
        RuntimeError, match=rf"{name} has {follow} zeros in the structure {structure} of 256, planned are 128"
    ):
        modifier.check()


def test_a_matrix_whose_rows_the_structure_does_not_divide_is_refused_by_name():
    data = toy_data()
    model = toy_model(data.task, intermediate_size=22)
    name = r"bert\.encoder\.layer\.0\.output\.dense\.weight is \(16, 22\); leave it out by params"
    with pytest.raises(UserError, match=rf"pruning: structure 2:4 needs rows that divide by 4, but {name}"):
        gmp(structure="2:4", final_sparsity=0.5).match(model)
    gmp(structure="1:2", final_sparsity=0.5).match(model)


TARGETS = {r".*query.*": 0.9, r".*\.layer\.1\..*": 0.3}


def test_each_matrix_has_the_target_of_the_first_pattern_that_matches_it():
    modifier = gmp(final_sparsity=TARGETS)
    fitted = fit(modifier)
    for name, weight in fitted.encoder().items():
        target = 0.9 if "query" in name else 0.3 if ".layer.1." in name else 0.0
        assert zeros_of(weight) == zeros_count(weight.numel(), target), name
    modifier.check()
    assert len(modifier.matched()) == 7


def test_the_curve_of_several_targets_is_their_mean_by_size():
    modifier = gmp(final_sparsity={r".*layer\.0.*query.*": 0.9, r".*layer\.0\.intermediate.*": 0.3})
    fit(modifier)
    assert modifier.curves(0) == {"sparsity": 0.0}
    assert modifier.curves(20)["sparsity"] == pytest.approx((256 * 0.9 + 384 * 0.3) / 640)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ({".*quary.*": 0.5}, r"final_sparsity: '\.\*quary\.\*' matches none of the 12 linear weights; they look like"),
        ({"(": 0.5}, r"final_sparsity: '\(' is not a regular expression"),
        ({".*": 0.5, ".*query.*": 0.9}, r"earlier patterns match all names that '\.\*query\.\*' matches; put"),
        ({"classifier.*": 0.5}, r"'classifier\.\*' matches none of the 12"),  # not among those of params
    ],
)
def test_a_pattern_of_a_target_that_takes_no_effect_is_refused(targets, message):
    with pytest.raises(UserError, match=message):
        gmp(final_sparsity=targets).match(toy_model(toy_data().task))


@pytest.mark.parametrize("changes", [
    {}, {"structure": "block4"}, {"structure": "2:4", "final_sparsity": 0.5}, {"scope": "global"},
    {"scope": "global", "structure": "block4"}, {"final_sparsity": TARGETS}, {"initial_sparsity": 0.3},
    {"start_epoch": 0, "end_epoch": 0}, {"start_epoch": 2, "end_epoch": 2}, {"start_epoch": -1, "end_epoch": -1},
    {"update_frequency": 0.01}, {"update_frequency": 5.0}, {"end_epoch": 4},
])  # fmt: skip
@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_run_does_what_was_planned(changes, accumulate):
    modifier = gmp(**changes)
    fitted = fit(modifier, accumulate_grad_batches=accumulate)
    assert [event for event in fitted.events if event["modifier"] == "pruning"] == planned(modifier)
    assert fitted.events[-1]["sparsity"] == sum(map(zeros_of, modifier.matched().values())) / sum(
        weight.numel() for weight in modifier.matched().values()
    )


class Notes(Logger):
    """Keeps what is logged."""

    name, version = "notes", 0

    def __init__(self):
        super().__init__()
        self.kept = {}

    def log_hyperparams(self, *args, **kwargs):
        pass

    def log_metrics(self, metrics, step=None):
        self.kept.setdefault(step, {}).update(metrics)


def test_the_sparsity_of_all_and_of_each_matrix_is_logged_at_each_update():
    notes = Notes()
    modifier = gmp(final_sparsity={r".*layer\.0.*query.*": 0.5, r".*layer\.0.*key.*": 0.25}, update_frequency=1)
    fit(modifier, logger=notes, log_every_n_steps=1000)
    query, key = (f"sparsity/bert.encoder.layer.0.attention.self.{name}.weight" for name in ("query", "key"))
    logged = {step: values for step, values in notes.kept.items() if "pruning/sparsity" in values}
    assert list(logged) == [2, 7, 12]
    assert logged[2] == {"pruning/sparsity": 0.0, query: 0.0, key: 0.0}
    assert logged[12] == {"pruning/sparsity": 0.375, query: 0.5, key: 0.25}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"final_sparsity": 80}, r"final_sparsity must be in \[0, 1\), got 80; write 80 % as 0\.8"),
        ({"final_sparsity": 1.0}, r"final_sparsity must be in \[0, 1\), got 1\.0"),
        ({"initial_sparsity": -0.1}, r"initial_sparsity must be in \[0, 1\), got -0\.1"),
        ({"update_frequency": -1}, "update_frequency must be a number, 0 or more, got -1"),
        ({"shape": "cubik"}, "shape must be one of cubic, linear, inverse_cubic, got 'cubik'"),
        ({"scope": "layer"}, "scope must be one of matrix, global, got 'layer'"),
        ({"start_epoch": -2}, "start_epoch must be an epoch, 0 or more, or -1, at most 10,000, got -2"),
        ({"structure": "4:2"}, "structure must be unstructured, block4 or N:M with N below M, up to 16, such as 2:4"),
        (
            {"structure": "2:4"},
            r"structure 2:4 ends at a sparsity of 0\.5, but final_sparsity is 0\.75; set it to 0\.5",
        ),
        ({"structure": "1:3", "final_sparsity": 0.5}, r"ends at a sparsity of 0\.6667, but final_sparsity is 0\.5"),
        (
            {"structure": "2:4", "final_sparsity": {".*query.*": 0.5, ".*key.*": 0.9}},
            r"but final_sparsity\[\.\*key\.\*\] is 0\.9; set it to 0\.5",
        ),
        (
            {"structure": "2:4", "final_sparsity": 0.5, "scope": "global"},
            "one threshold over all matrices cannot give structure 2:4; set scope=matrix",
        ),
        (
            {"final_sparsity": {".*": 0.5}, "scope": "global"},
            "one threshold over all matrices cannot give a final_sparsity for each pattern",
        ),
        ({"final_sparsity": {".*": 50}}, r"final_sparsity\[\.\*\] must be in \[0, 1\), got 50; write 50 % as 0\.5"),
        ({"final_sparsity": {}}, r"final_sparsity must be in \[0, 1\), got \{\}"),
    ],
)
def test_values_out_of_range_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        gmp(**changes)


def test_two_prunings_of_one_recipe_keep_their_states_apart():
    first, second = (
        gmp(params=[r".*\.layer\.0\..*"]),
        gmp(name="more", params=[r".*\.layer\.1\..*"], final_sparsity=0.5),
    )
    fitted = fit(first, second)
    assert first.state_key != second.state_key
    for name, weight in fitted.encoder().items():
        assert zeros_of(weight) == zeros_count(weight.numel(), 0.75 if ".layer.0." in name else 0.5)
