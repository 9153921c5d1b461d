"""Every section refuses what its types and rules do not allow, with the full name of the setting."""

import pytest

from winnow.config.run import RunConfig
from winnow.errors import UserError


def refused(configured, overrides, message):
    with pytest.raises(UserError, match=message) as raised:
        configured(*overrides)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "recipe.pruning.final_sparsity=95",
            r"recipe\.pruning\.final_sparsity must be in \[0, 1\), got 95; write 95 % as 0\.95",
        ),
        ("recipe.pruning.final_sparsity=1.0", r"final_sparsity must be in \[0, 1\), got 1\.0"),
        ("task.class_weights=equal", r"class_weights must be balanced, a mapping from labels to numbers above 0"),
        ("task.class_weights={spam:0}", r"class_weights must be balanced, a mapping from labels to numbers above 0"),
        ("task.label_smoothing=10", r"task\.label_smoothing must be in \[0, 1\), got 10; write 10 % as 0\.1"),
        ("task.threshold=1", r"task\.threshold must be above 0 and below 1, or tuned, got 1"),
        ("task.stride=8", r"task\.stride=8 has no effect without task\.long_texts=windows"),
        ("recipe.pruning.final_sparsity=-0.2", r"final_sparsity must be in \[0, 1\), got -0\.2"),
        ("recipe.pruning.final_sparsity=high", r"final_sparsity must be in \[0, 1\), got 'high'"),
        ("recipe.pruning.initial_sparsity=80", r"recipe\.pruning\.initial_sparsity must be in \[0, 1\), got 80"),
        (
            "recipe.pruning.final_sparsity={.*query.*:0.8,.*key.*:80}",
            r"recipe\.pruning\.final_sparsity\[\.\*key\.\*\] must be in \[0, 1\), got 80; write 80 % as 0\.8",
        ),
        ("recipe.pruning.final_sparsity={}", r"recipe\.pruning\.final_sparsity must be in \[0, 1\), got \{\}"),
        ("recipe.pruning.structure=4:2", r"structure must be unstructured, block4 or N:M .* such as 2:4, got '4:2'"),
        ("recipe.distillation.hardness=2", r"recipe\.distillation\.hardness must be in \[0, 1\], got 2"),
        ("recipe.distillation.temperature=0", r"temperature must be a number above 0, got 0"),
        ("recipe.pruning.update_frequency=-1", r"update_frequency must be a number, 0 or more, got -1"),
        ("recipe.pruning.shape=quadratic", r"shape must be one of cubic, linear, inverse_cubic, got 'quadratic'"),
        ("recipe.pruning.scope=layer", r"scope must be one of matrix, global, got 'layer'"),
        ("recipe.pruning.start_epoch=-2", r"start_epoch must be an epoch, 0 or more, or -1, at most 10,000, got -2"),
        ("recipe.num_epochs=-1", r"recipe\.num_epochs must be a whole number, 1 to 10,000, got -1"),
        ("recipe.num_epochs=2.5", r"recipe\.num_epochs must be a whole number, 1 to 10,000, got 2\.5"),
        ("recipe.optimizer.learning_rate=0", r"learning_rate must be a number above 0, got 0"),
        ("recipe.optimizer.learning_rate=fast", r"learning_rate must be a number above 0, got 'fast'"),
        (
            "recipe.learning_rate=1e-4",
            r"recipe\.learning_rate is a group of settings, got 0\.0001\. "
            r"Did you mean 'recipe\.optimizer\.learning_rate'\?",
        ),
        ("recipe.learning_rate.warmup=6", r"warmup must be in \[0, 1\], got 6; write 6 % as 0\.06"),
        ("recipe.optimizer.weight_decay=-1", r"weight_decay must be a number, 0 or more, got -1"),
        ("seed=-1", r"seed must be a whole number, 0 to 4,294,967,295, got -1"),
        ("seed=true", r"seed must be a whole number, 0 to 4,294,967,295, got True"),
        ("task.data.batch_size=0", r"task\.data\.batch_size must be a whole number, 1 or more, got 0"),
        (
            "task.data.validation_fraction=10",
            r"validation_fraction must be above 0 and below 1, got 10; write 10 % as 0\.1",
        ),
        ("task.data.max_train_samples=0", r"max_train_samples must be a whole number, 1 or more, or null, got 0"),
        ("task.data.drop_empty=maybe", r"drop_empty must be true or false, got 'maybe'"),
        ("task.data.drop_last=1", r"task\.data\.drop_last must be true or false, got 1"),
        (
            "task.data.separator=', '",
            r"separator must be one character, such as ';' or '\\t' for a tab, or null, got ', '",
        ),
        ("resume=last", r"resume must be true or false, got 'last'"),
        ("trainer.checkpoint_every=0", r"trainer\.checkpoint_every must be a whole number, 1 or more, got 0"),
        ("task.max_length=0", r"task\.max_length must be a whole number, 1 or more, got 0"),
        (
            "trainer.precision=fp16",
            r"precision must be one of auto, bf16-mixed, 16-mixed, 32-true, or in short .*, got 'fp16'",
        ),
        ("trainer.accumulate_grad_batches=0", r"accumulate_grad_batches must be a whole number, 1 or more, got 0"),
        (
            "trainer.limit_train_batches=-1",
            r"limit_train_batches must be null, a fraction above 0 and at most 1, or a whole number of batches, got -1",
        ),
        ("cache.gigabytes=-1", r"cache\.gigabytes must be a number, 0 or more, got -1"),
        ("cache.precision=bf16", r"cache\.precision must be one of float32, float16, got 'bf16'"),
        ("cache.folder=null", r"cache\.folder must be a text, got None"),
        ("dense.num_epochs=0", r"dense\.num_epochs must be a whole number, 1 to 10,000, got 0"),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_path(configured, override, message):
    refused(configured, [override], message)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "+recipe.pruning.final_sparsty=0.9",
            r"recipe\.pruning\.final_sparsty is not a setting.*Did you mean 'final_sparsity'\?",
        ),
        ("+recipe.num_epoch=3", r"recipe\.num_epoch is not a setting.*Did you mean 'num_epochs'\?"),
        ("+recipe.optimizer.learning_rat=3", r"Did you mean 'learning_rate'\?"),
        (
            "+recipe.distillation.hardnes=1",
            r"recipe\.distillation\.hardnes is not a setting.*Did you mean 'hardness'\?",
        ),
        (
            "+task.data.max_train_sample=9",
            r"task\.data\.max_train_sample is not a setting.*Did you mean 'max_train_samples'\?",
        ),
        ("+task.data.files.trian=a.csv", r"task\.data\.files\.trian is not a setting.*Did you mean 'train'\?"),
        ("+task.max_len=9", r"task\.max_len is not a setting.*Did you mean 'max_length'\?"),
        ("+model.nam=bert", r"model\.nam is not a setting.*Did you mean 'name'\?"),
        ("+trainer.presicion=auto", r"trainer\.presicion is not a setting.*Did you mean 'precision'\?"),
        ("+cache.gigabyte=3", r"cache\.gigabyte is not a setting.*Did you mean 'gigabytes'\?"),
        ("+sead=3", r"sead is not a setting.*Did you mean 'seed'\?"),
        ("+teacher.nmae=x", r"teacher\.nmae is not a setting; teacher has kind"),
        ("+recipe.pruning2.final_sparsity=0.9", r"recipe\.pruning2 is not a setting"),
        ("+experiments=x", r"experiments is not a setting"),
        ("+dense.num_epoch=3", r"dense\.num_epoch is not a setting.*Did you mean 'num_epochs'\?"),
    ],
)
def test_an_unknown_setting_is_refused_even_with_a_plus(configured, override, message):
    refused(configured, [override], message)


def test_a_class_that_winnow_does_not_have_is_refused(configured):
    message = r"recipe\.pruning\._target_: there is no modifier winnow\.modifiers\.gmp\.Pruning"
    refused(configured, ["recipe.pruning._target_=winnow.modifiers.gmp.Pruning"], message)
    refused(
        configured,
        ["task._target_=winnow.tasks.Other"],
        r"task\._target_=winnow\.tasks\.Other is not a task; the tasks are",
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["recipe.pruning.end_epoch=7"],
            r"recipe\.pruning\.end_epoch is 7, after the end of training at 6; raise recipe\.num",
        ),
        (
            ["recipe.pruning.start_epoch=5", "recipe.pruning.end_epoch=2"],
            r"recipe\.pruning: start_epoch 5 is after end_epoch 2",
        ),
        (
            ["recipe.pruning.start_epoch=8", "recipe.pruning.end_epoch=-1"],
            r"recipe\.pruning\.start_epoch is 8, after the end",
        ),
        (["recipe.distillation.end_epoch=9"], r"recipe\.distillation\.end_epoch is 9, after the end of training at 6"),
        (
            ["recipe=prune80_quant", "recipe.quantization.disable_observer_epoch=5"],
            r"recipe\.quantization: start_epoch 6 is after disable_observer_epoch 5; lower start_epoch or raise",
        ),
        (
            ["recipe=prune80_quant", "recipe.quantization.disable_observer_epoch=9"],
            r"recipe\.quantization\.disable_observer_epoch is 9, after the end of training at 8; raise recipe\.num",
        ),
    ],
)
def test_a_window_that_does_not_fit_the_training_is_refused(configured, overrides, message):
    refused(configured, overrides, message)


@pytest.mark.parametrize(
    "overrides",
    [
        ["recipe.pruning.start_epoch=-1", "recipe.pruning.end_epoch=-1"],
        ["recipe.pruning.start_epoch=0", "recipe.pruning.end_epoch=6"],
        ["recipe.pruning.start_epoch=2", "recipe.pruning.end_epoch=2"],
        ["recipe.pruning.final_sparsity=0"],
        ["recipe.distillation.hardness=0", "recipe.optimizer.max_grad_norm=0", "recipe.learning_rate.warmup=0"],
    ],
)
def test_values_at_the_edge_of_their_range_pass(configured, overrides):
    configured(*overrides)


ROW = {"source": "Doe 2020", "task": "squad", "model": "bert_base", "recipe": "dense", "teacher": "none"}
ROW["metrics"] = {"f1": 88.5}


@pytest.mark.parametrize(
    ("published", "message"),
    [
        ("none", r"published must be a list, got 'none'"),
        (["88.5"], r"published\.0 must be a group of settings \(metrics, model, note, recipe, source.*\), got '88\.5'"),
        ([ROW, {**ROW, "notes": "x"}], r"published\.1\.notes is not a setting.*Did you mean 'note'\?"),
        ([{**ROW, "metrics": 88.5}], r"published\.0\.metrics must be names with numbers.*got 88\.5"),
        ([{**ROW, "metrics": {"f1": "88,5"}}], r"published\.0\.metrics must be names with numbers"),
        ([{name: ROW[name] for name in ROW if name != "source"}], r"published\.0\.source must be given"),
    ],
)
def test_a_published_row_that_no_table_could_show_is_refused(configured, published, message):
    with pytest.raises(UserError, match=message):
        RunConfig.read({**configured().plain(), "published": published})
