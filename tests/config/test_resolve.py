import shutil
import subprocess
import sys

import pytest

from winnow.commands.cli import WORDS
from winnow.config.checks import check
from winnow.config.resolve import dense_config, fingerprint, model_label, resolve
from winnow.errors import UserError
from winnow.files.conf_folder import CONF

CSV = "text,label\nthe plot was bad,sad\ngood,glad\n"


@pytest.fixture
def csv(tmp_path):
    """A folder with a training and a validation table."""
    folder = tmp_path / "data"
    folder.mkdir()
    for split in ("train", "validation"):
        (folder / f"{split}.csv").write_text(CSV)
    return folder


def test_without_arguments_the_demo_is_pruned_with_a_dense_teacher(configured):
    config = configured()
    check(config)
    assert (config["task"]["name"], config["recipe"]["name"], config["teacher"]["kind"]) == ("demo", "prune80", "dense")
    assert config["model"]["name"] == "tiny"


def test_where_a_teachers_outputs_lie_is_no_part_of_a_fingerprint_but_their_rounding_is(configured):
    words = ["task=sst2", "recipe=prune80"]
    plain = fingerprint(configured(*words))
    assert fingerprint(configured(*words, "cache.folder=elsewhere", "cache.gigabytes=0")) == plain
    rounded = configured(*words, "cache.precision=float16")
    assert fingerprint(rounded) != plain
    assert fingerprint(configured(*words, "cache.precision=float16", "cache.gigabytes=0")) == fingerprint(rounded)
    assert fingerprint(dense_config(rounded)) == fingerprint(dense_config(configured(*words)))


def test_a_word_stands_for_a_list_of_one(configured):
    config = configured("task.metrics=f1", "task.data.text_columns=text", "task.data.validation=dev")
    assert config["task"]["metrics"] == ["f1"]
    assert (config["task"]["data"]["text_columns"], config["task"]["data"]["validation"]) == (["text"], ["dev"])
    config = configured("+modifier@recipe.frozen=frozen", "recipe.frozen.params=.*embeddings.*")
    assert config["recipe"]["frozen"]["params"] == [".*embeddings.*"]


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


def test_no_command_imports_anything_heavy_before_its_settings_are_checked():
    commands = ", ".join(f"winnow.commands.{word}" for word in WORDS)
    heavy = "{'torch', 'transformers', 'datasets', 'pytorch_lightning', 'matplotlib', 'onnx', 'onnxruntime', 'wandb'}"
    code = f"import sys, {commands}; print(sorted({heavy} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=CONF.parent, capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"
