import shutil

import pytest

from src.config import check, dense_config, fingerprint, model_label, resolve
from src.errors import UserError

CSV = "text,label\nthe plot was bad,sad\ngood,glad\n"


@pytest.fixture
def csv(tmp_path):
    """A folder with a training and a validation table."""
    folder = tmp_path / "data"
    folder.mkdir()
    for split in ("train", "validation"):
        (folder / f"{split}.csv").write_text(CSV)
    return folder


def refused(config, message):
    with pytest.raises(UserError, match=message) as raised:
        check(config)
    assert "\n" not in str(raised.value)


def test_without_arguments_the_demo_is_pruned_with_a_dense_teacher(configured):
    config = configured()
    check(config)
    assert (config["task"]["name"], config["recipe"]["name"], config["teacher"]["kind"]) == ("demo", "prune80", "dense")
    assert config["model"]["name"] == "tiny"


def test_a_word_stands_for_a_list_of_one(configured):
    config = configured("task.metrics=f1", "task.data.text_columns=text", "task.data.validation=dev")
    assert config["task"]["metrics"] == ["f1"]
    assert (config["task"]["data"]["text_columns"], config["task"]["data"]["validation"]) == (["text"], ["dev"])


@pytest.mark.parametrize(
    ("override", "setting", "value"),
    [
        ("final_sparsity={.*query.*:0.9,.*:0.8}", "final_sparsity", {".*query.*": 0.9, ".*": 0.8}),
        (r"final_sparsity={.*\.layer\.\[0-5\]\..*:0.9}", "final_sparsity", {r".*\.layer\.[0-5]\..*": 0.9}),
        ("structure=2:4", "structure", "2:4"),
        ("structure=[1,4]", "structure", [1, 4]),
    ],
)
@pytest.mark.parametrize("recipe", ["prune80", "oneshot80", "movement80", "acdc80"])
def test_targets_by_pattern_and_structures_can_be_typed(configured, recipe, override, setting, value):
    config = configured(f"recipe={recipe}", f"recipe.pruning.{override}")
    check(config)
    assert config["recipe"]["pruning"][setting] == value


def test_every_other_task_starts_from_bert_base(configured):
    assert configured("task=sst2")["model"]["name"] == "bert-base-uncased"


def test_the_model_of_the_command_line_wins_over_that_of_the_demo(configured):
    assert configured("task=demo", "model=minilm")["model"]["config"] is None


def test_without_a_teacher_there_is_no_distillation(configured):
    assert "distillation" in configured("teacher=dense")["recipe"]
    assert "distillation" not in configured("teacher=none")["recipe"]


def test_a_dense_recipe_has_no_teacher_unless_one_is_named(configured):
    assert configured("recipe=dense")["teacher"]["kind"] == "none"
    assert configured("recipe=dense", "teacher=self")["teacher"]["kind"] == "self"


@pytest.mark.parametrize("recipe", ["prune80", "prune95", "oneshot90"])
@pytest.mark.parametrize("epochs", [1, 3, 10])
def test_the_number_of_epochs_scales_the_windows_of_a_recipe(configured, recipe, epochs):
    shipped = configured(f"recipe={recipe}")["recipe"]
    scaled = configured(f"recipe={recipe}", f"recipe.num_epochs={epochs}")["recipe"]
    assert scaled["num_epochs"] == epochs
    for key in ("start_epoch", "end_epoch"):
        expected = shipped["pruning"][key] * epochs / shipped["num_epochs"]
        assert scaled["pruning"][key] == pytest.approx(expected), key


def test_a_value_that_must_be_given_is_named(hydra_compose):
    with pytest.raises(UserError, match=r"teacher\.name must be given: add teacher\.name=VALUE to the command"):
        resolve(hydra_compose("teacher=checkpoint"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "recipe.pruning.final_sparsity=95",
            r"recipe\.pruning\.final_sparsity must be in \[0, 1\), got 95; write 95 % as 0\.95",
        ),
        ("recipe.pruning.final_sparsity=1.0", r"final_sparsity must be in \[0, 1\), got 1\.0"),
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
        ("recipe.distillation.temperature=0", r"temperature must be above 0, got 0"),
        ("recipe.pruning.update_frequency=0", r"update_frequency must be above 0, got 0"),
        ("recipe.pruning.shape=quadratic", r"shape must be one of cubic, linear, inverse_cubic, got 'quadratic'"),
        ("recipe.pruning.scope=layer", r"scope must be one of matrix, global, got 'layer'"),
        ("recipe.pruning.start_epoch=-2", r"start_epoch must be an epoch, 0 or more, or -1, got -2"),
        ("recipe.num_epochs=0", r"recipe\.num_epochs must be a whole number, 1 or more, got 0"),
        ("recipe.num_epochs=2.5", r"recipe\.num_epochs must be a whole number, 1 or more, got 2\.5"),
        ("recipe.optimizer.learning_rate=0", r"learning_rate must be above 0, got 0"),
        ("recipe.optimizer.learning_rate=fast", r"learning_rate must be above 0, got 'fast'"),
        (
            "recipe.learning_rate=1e-4",
            r"recipe\.learning_rate=0\.0001: learning_rate is a group of settings, not one of them\. "
            r"Did you mean 'recipe\.optimizer\.learning_rate'\?",
        ),
        ("recipe.learning_rate.warmup=6", r"warmup must be in \[0, 1\], got 6; write 6 % as 0\.06"),
        ("recipe.optimizer.weight_decay=-1", r"weight_decay must be 0 or more, got -1"),
        ("seed=-1", r"seed must be a whole number, 0 or more, got -1"),
        ("seed=true", r"seed must be a whole number, 0 or more, got True"),
        ("task.data.batch_size=0", r"task\.data\.batch_size must be a whole number, 1 or more, got 0"),
        (
            "task.data.validation_fraction=10",
            r"validation_fraction must be above 0 and below 1, got 10; write 10 % as 0\.1",
        ),
        ("task.data.max_train_samples=0", r"max_train_samples must be a whole number, 1 or more, or null, got 0"),
        ("task.data.drop_empty=maybe", r"drop_empty must be true or false, got 'maybe'"),
        ("task.data.drop_last=1", r"task\.data\.drop_last must be true or false, got 1"),
        ("resume=last", r"resume must be true or false, got 'last'"),
        ("trainer.checkpoint_every=0", r"trainer\.checkpoint_every must be a whole number, 1 or more, got 0"),
        ("task.max_length=0", r"task\.max_length must be a whole number, 1 or more, got 0"),
        ("trainer.precision=fp16", r"precision must be one of auto, bf16-mixed, 16-mixed, 32-true, got 'fp16'"),
        ("trainer.accumulate_grad_batches=0", r"accumulate_grad_batches must be a whole number, 1 or more, got 0"),
        (
            "trainer.limit_train_batches=-1",
            r"limit_train_batches must be null, a fraction or a number of batches, got -1",
        ),
        ("dense.num_epochs=0", r"dense\.num_epochs must be a whole number, 1 or more, got 0"),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_path(configured, override, message):
    refused(configured(override), message)


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
        ("+sead=3", r"sead is not a setting.*Did you mean 'seed'\?"),
        ("+teacher.nmae=x", r"teacher\.nmae is not a setting; teacher has kind"),
        ("+recipe.pruning2.final_sparsity=0.9", r"recipe\.pruning2 is not a setting"),
        ("+experiment=x", r"experiment is not a setting"),
        ("+dense.num_epoch=3", r"dense\.num_epoch is not a setting.*Did you mean 'num_epochs'\?"),
    ],
)
def test_an_unknown_setting_is_refused_even_with_a_plus(configured, override, message):
    refused(configured(override), message)


def test_a_target_that_is_not_shipped_is_refused(configured):
    refused(
        configured("recipe.pruning._target_=os.system"), r"os\.system is none of what the files in conf/modifier build"
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
    ],
)
def test_a_window_that_does_not_fit_the_training_is_refused(configured, overrides, message):
    refused(configured(*overrides), message)


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
    check(configured(*overrides))


def test_a_missing_data_file_is_found_before_anything_heavy(configured, tmp_path):
    path = tmp_path / "train.csv"
    refused(configured("task=text_classification", f"task.data.files.train={path}"), "there is no such file")


def test_a_missing_model_folder_is_found_before_anything_heavy(configured, tmp_path):
    refused(configured("task=sst2", f"model.name={tmp_path}/nowhere"), r"model\.name=.*there is no such folder")


def test_a_missing_teacher_folder_is_found_before_anything_heavy(configured, tmp_path):
    refused(
        configured("teacher=checkpoint", f"teacher.name={tmp_path}/nowhere"), r"teacher\.name=.*there is no such folder"
    )


def test_the_dense_reference_is_the_run_of_recipe_dense(configured):
    """One fingerprint: a run of recipe=dense serves as teacher and as reference of every other recipe."""
    wanted = fingerprint(configured("recipe=dense"))
    for overrides in (["teacher=dense"], ["teacher=none"], ["teacher=self", "recipe=oneshot95"], ["recipe=transfer"]):
        assert fingerprint(dense_config(configured(*overrides))) == wanted, overrides


def test_the_dense_reference_keeps_task_model_and_seed(configured):
    base = fingerprint(dense_config(configured()))
    for override in ("task=sst2", "model=minilm", "seed=2", "dense.num_epochs=5", "task.data.max_train_samples=9"):
        assert fingerprint(dense_config(configured(override))) != base, override
    for override in ("recipe=prune95", "recipe.num_epochs=9", "recipe.distillation.hardness=0.5", "logger=none"):
        assert fingerprint(dense_config(configured(override))) == base, override


@pytest.mark.parametrize(
    "override",
    [
        "seed=2",
        "recipe=prune90",
        "recipe.num_epochs=7",
        "recipe.pruning.final_sparsity=0.85",
        "recipe.optimizer.learning_rate=1e-5",
        "recipe.distillation.temperature=3",
        "teacher=none",
        "teacher=self",
        "dense.num_epochs=5",
        "task.data.batch_size=16",
        "task.data.drop_last=true",
        "task.data.max_train_samples=100",
        "task.max_length=16",
        "model.config.hidden_size=64",
        "trainer.precision=32-true",
        "trainer.accumulate_grad_batches=2",
        "trainer.patience=2",
    ],
)
def test_the_fingerprint_changes_with_what_can_change_the_result(configured, override):
    assert fingerprint(configured(override)) != fingerprint(configured())


@pytest.mark.parametrize(
    "override",
    [
        "output_dir=elsewhere",
        "logger=none",
        "logger=tensorboard",
        "trainer.num_workers=4",
        "trainer.checkpoint_every=7",
        "resume=true",
        "trainer.progress_bar=false",
        "trainer.log_every_n_steps=1",
        "hydra.run.dir=elsewhere",
    ],
)
def test_the_fingerprint_does_not_change_with_what_cannot(configured, override):
    assert fingerprint(configured(override)) == fingerprint(configured())


def test_the_fingerprint_is_twelve_digits_and_the_same_each_time(configured):
    first = fingerprint(configured())
    assert first == fingerprint(configured())
    assert len(first) == 12
    assert set(first) <= set("0123456789abcdef")


def own_data(csv):
    return ["task=text_classification", f"task.data.path={csv}"]


def test_the_fingerprint_changes_with_the_content_of_a_local_file(configured, csv):
    before = fingerprint(configured(*own_data(csv)))
    assert fingerprint(configured(*own_data(csv))) == before
    (csv / "train.csv").write_text(CSV.replace("glad", "joy"))
    assert fingerprint(configured(*own_data(csv))) != before


def test_the_fingerprint_does_not_change_with_the_place_of_the_data(configured, csv, tmp_path):
    shutil.copytree(csv, tmp_path / "moved")
    before = fingerprint(configured(*own_data(csv)))
    assert fingerprint(configured(*own_data(tmp_path / "moved"))) == before
    files = [f"task.data.files.{split}={csv}/{split}.csv" for split in ("train", "validation")]
    assert fingerprint(configured("task=text_classification", *files)) == before


def test_the_fingerprint_changes_with_the_weights_of_a_local_model(configured, tmp_path):
    folder = tmp_path / "bert"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "pytorch_model.bin").write_bytes(b"one")
    before = fingerprint(configured("task=sst2", f"model.name={folder}"))
    (folder / "pytorch_model.bin").write_bytes(b"two")
    assert fingerprint(configured("task=sst2", f"model.name={folder}")) != before


def test_the_fingerprint_changes_with_the_weights_of_a_local_teacher(configured, tmp_path):
    folder = tmp_path / "bert"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "pytorch_model.bin").write_bytes(b"one")
    before = fingerprint(configured("teacher=checkpoint", f"teacher.name={folder}"))
    (folder / "pytorch_model.bin").write_bytes(b"two")
    assert fingerprint(configured("teacher=checkpoint", f"teacher.name={folder}")) != before


def test_without_a_teacher_nothing_that_needs_one_is_left_of_a_recipe(configured):
    modifiers = {"learning_rate", "distillation", "pruning", "hidden_distillation"}
    for teacher, needless in (("self", set()), ("none", {"distillation", "hidden_distillation"})):
        recipe = configured("recipe=prune80_hidden", f"teacher={teacher}")["recipe"]
        assert modifiers & set(recipe) == modifiers - needless
    with pytest.raises(UserError, match=r"recipe\.hidden_distillation\.weight=2 has no effect with teacher=none"):
        check(configured("teacher=none"), ["recipe=prune80_hidden", "recipe.hidden_distillation.weight=2"])


@pytest.mark.parametrize("plus", ["", "+"])
def test_a_setting_of_the_teacher_without_a_teacher_is_refused(configured, plus):
    override = plus + "recipe.distillation.hardness=0.5"
    with pytest.raises(UserError, match=r"recipe\.distillation\.hardness=0\.5 has no effect with teacher=none"):
        check(configured("teacher=none"), ["teacher=none", override])
    check(configured("teacher=dense", "recipe.distillation.hardness=0.5"), ["teacher=dense", override])


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("google/bert_uncased_L-2", "bert_uncased_L-2"),
        ("/models/minilm/", "minilm"),
        ("outputs/upstream", "upstream"),
        ("outputs/runs/squad/dense-none-minilm/2026-11-21_06-47-45-983147", "dense-none-minilm"),
        ("outputs/runs/squad/dense-none-minilm/2026-11-21_06-47-45-983147/model", "dense-none-minilm"),
        ("/model", "model"),
    ],
)
def test_a_model_is_called_by_the_last_part_of_its_name_and_a_run_not_by_its_time(name, label):
    assert model_label(name) == label
