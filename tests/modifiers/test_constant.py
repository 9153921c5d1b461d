import pytest
import torch

from tests.toys import ENCODER_PATTERN, every_epoch, fit, toy_data, toy_model, zeros_of
from winnow.errors import UserError
from winnow.functional.mask import pruning_mask
from winnow.modifiers.constant import ConstantPruning


def constant(**changes):
    return ConstantPruning(**{"name": "pruning", "params": [ENCODER_PATTERN], **changes})


@pytest.fixture(scope="module")
def data():
    return toy_data()


@pytest.fixture
def sparse_model(data):
    """Each encoder matrix at another sparsity."""
    model = toy_model(data.task)
    with torch.no_grad():
        for i, (name, p) in enumerate(model.named_parameters()):
            if ".layer." in name and p.ndim == 2:
                p.mul_(pruning_mask(p, (i % 10) / 10))
    return model


def zero_places(model):
    return {name: p == 0 for name, p in model.named_parameters() if p.ndim == 2 and ".layer." in name}


@pytest.mark.parametrize("accumulate", [1, 3])
def test_the_zeros_a_model_comes_with_stay_exactly_those_zeros(data, sparse_model, accumulate):
    before = zero_places(sparse_model)
    start = {name: p.detach().clone() for name, p in sparse_model.named_parameters()}
    modifier = constant()
    fitted = fit(
        modifier,
        data=data,
        model=sparse_model,
        epochs=2,
        accumulate_grad_batches=accumulate,
        optimizer={"learning_rate": 0.05, "weight_decay": 0.1},
    )
    after = zero_places(fitted.model)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert sum(int(places.sum()) for places in after.values()) > 0
    assert all((p != start[name]).any() for name, p in fitted.model.named_parameters() if p.requires_grad)
    modifier.check()


def test_a_dense_model_is_refused(data):
    with pytest.raises(
        UserError, match=r"pruning keeps the zeros of a sparse model.*none in the 12 matched.*model\.name="
    ):
        fit(constant(), data=data, model=toy_model(data.task), epochs=1)


def prune_encoder(model, sparsity):
    with torch.no_grad():
        for name, p in model.named_parameters():
            if ".layer." in name and p.ndim == 2:
                p.mul_(pruning_mask(p, sparsity))
    return model


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.803, 0.97])
def test_a_model_with_the_zeros_that_were_promised_is_accepted_though_they_are_rounded(data, sparsity):
    model = prune_encoder(toy_model(data.task), max(sparsity, 0.1))
    constant(min_sparsity=sparsity).match(model)


def test_a_model_with_fewer_zeros_than_promised_is_refused_with_both_numbers(data):
    model = prune_encoder(toy_model(data.task), 0.75)
    message = r"pruning\.min_sparsity requires 80 % zeros, .* has 75\.00 % in the 12 matched.*model\.name=FOLDER, or"
    with pytest.raises(UserError, match=message):
        constant(min_sparsity=0.8).match(model)


def test_only_zeros_in_whole_blocks_count_for_a_structure_of_blocks(data):
    model = toy_model(data.task)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if ".layer." in name and p.ndim == 2:  # of a layer: 88 rows of 16 weights, and 16 rows of 24
                p[:, :8] = 0.0  # in blocks 104 * 8 zeros of 1792 weights, 46.43 %
                p[:, 9::4] = 0.0  # others 88 * 2 + 16 * 4, together 59.82 %
    before = zero_places(model)
    constant(min_sparsity=0.59).match(model)
    with pytest.raises(UserError, match=r"requires 50 % zeros in the structure block4, .* has 46\.43 % in the 12"):
        constant(structure="block4", min_sparsity=0.5).match(model)
    fitted = fit(constant(structure="block4", min_sparsity=0.46), data=data, model=model, epochs=1)
    assert all(torch.equal(before[name], places) for name, places in zero_places(fitted.model).items())


@pytest.mark.parametrize(
    ("structure", "message"),
    [("block4", "keeps the zeros in the structure block4 of a sparse"), ("2:5", "2:5 needs rows that divide by 5")],
)
def test_a_model_that_has_no_blocks_is_refused(data, structure, message):
    model = toy_model(data.task)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if ".layer." in name and p.ndim == 2:
                p[:, ::2] = 0.0
    with pytest.raises(UserError, match=message):
        constant(structure=structure).match(model)


def test_a_promise_out_of_range_is_refused():
    with pytest.raises(UserError, match=r"min_sparsity must be in \[0, 1\), got 80; write 80 % as 0\.8"):
        constant(min_sparsity=80)


def test_a_pattern_that_matches_nothing_is_refused(data, sparse_model):
    with pytest.raises(UserError, match="'nothing' matches none of the 14 linear weights"):
        fit(constant(params=["nothing"]), data=data, model=sparse_model, epochs=1)


def test_zeros_outside_the_matched_matrices_are_free_to_move(data, sparse_model):
    with torch.no_grad():
        sparse_model.classifier.weight.zero_()
    fitted = fit(constant(), data=data, model=sparse_model, epochs=1)
    assert zeros_of(fitted.model.classifier.weight) < fitted.model.classifier.weight.numel()


def test_a_model_that_lost_zeros_is_not_passed_off_as_sparse(data, sparse_model):
    modifier = constant()
    fit(modifier, data=data, model=sparse_model, epochs=1)
    weight = next(p for p in modifier.masks.parameters.values() if zeros_of(p))
    with torch.no_grad():
        weight.fill_(1.0)
    with pytest.raises(RuntimeError, match=r"pruning: 1 matrices lost zeros: bert\.encoder.* has 0, it had \d+"):
        modifier.check()


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists")
def test_a_run_that_goes_on_keeps_the_zeros(data, sparse_model, tmp_path):
    before = zero_places(sparse_model)
    fit(constant(), data=data, model=sparse_model, epochs=1, callbacks=[every_epoch(tmp_path)])
    modifier = constant()
    fitted = fit(
        modifier,
        data=data,
        model=sparse_model,
        epochs=2,
        callbacks=[every_epoch(tmp_path)],
        resume=tmp_path / "epoch=0.ckpt",
    )
    after = zero_places(fitted.model)
    assert fitted.trainer.global_step == 10
    assert all(torch.equal(before[name], after[name]) for name in before)
    modifier.check()


def test_the_table_says_that_the_model_is_pruned():
    assert constant().facts() == {"pruned": True, "one_shot": False, "pruning_epochs": 0.0}
