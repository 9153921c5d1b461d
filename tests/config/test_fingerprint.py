import shutil

import pytest

from winnow.config.fingerprint import differences, fingerprint
from winnow.config.run import dense_run

CSV = "text,label\nthe plot was bad,sad\ngood,glad\n"


@pytest.fixture
def csv(tmp_path):
    """A folder with a training and a validation table."""
    folder = tmp_path / "data"
    folder.mkdir()
    for split in ("train", "validation"):
        (folder / f"{split}.csv").write_text(CSV)
    return folder


def csv_options(folder):
    return ["task=text_classification", f"task.data.path={folder}"]


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
        "task.label_smoothing=0.1",
        "task.threshold=tuned",
        "model.config.hidden_size=64",
        "trainer.precision=32-true",
        "trainer.accumulate_grad_batches=2",
        "trainer.patience=2",
    ],
)
def test_the_fingerprint_changes_with_every_setting_that_can_change_the_result(configured, override):
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
def test_the_fingerprint_ignores_settings_that_cannot_change_the_result(configured, override):
    assert fingerprint(configured(override)) == fingerprint(configured())


def test_a_run_of_a_version_without_a_setting_that_has_a_default_has_the_same_fingerprint(configured):
    older = configured()
    del older.task.__dict__["label_smoothing"]  # as if there were no such setting
    assert fingerprint(older) == fingerprint(configured())


def test_the_fingerprint_is_the_same_twelve_digits_each_time(configured):
    first = fingerprint(configured())
    assert first == fingerprint(configured())
    assert len(first) == 12
    assert set(first) <= set("0123456789abcdef")


def test_a_setting_written_in_another_form_gives_the_same_fingerprint(configured):
    """The typed values count, not how they are typed."""
    for one, other in (
        ("trainer.precision=bf16", "trainer.precision=bf16-mixed"),
        ("task.metrics=f1", "task.metrics=[f1]"),
    ):
        assert fingerprint(configured(one)) == fingerprint(configured(other)), one


def test_runs_of_a_table_cell_share_the_fingerprint_for_any_seed(configured):
    first, second = configured("seed=1"), configured("seed=2")
    assert fingerprint(first, any_seed=True) == fingerprint(second, any_seed=True)


def test_the_fingerprint_ignores_the_folder_of_cached_outputs_and_keeps_their_precision(configured):
    options = ["task=sst2", "recipe=prune80"]
    plain = fingerprint(configured(*options))
    assert fingerprint(configured(*options, "cache.folder=elsewhere", "cache.gigabytes=0")) == plain
    rounded = configured(*options, "cache.precision=float16")
    assert fingerprint(rounded) != plain
    assert fingerprint(configured(*options, "cache.precision=float16", "cache.gigabytes=0")) == fingerprint(rounded)
    assert fingerprint(dense_run(rounded)) == fingerprint(dense_run(configured(*options)))


def test_the_dense_run_of_every_recipe_has_the_fingerprint_of_recipe_dense(configured):
    """So one run of recipe=dense is the teacher and the reference of all of them."""
    wanted = fingerprint(configured("recipe=dense"))
    for overrides in (["teacher=dense"], ["teacher=none"], ["teacher=self", "recipe=oneshot95"], ["recipe=transfer"]):
        assert fingerprint(dense_run(configured(*overrides))) == wanted, overrides


def test_the_dense_run_keeps_task_model_and_seed(configured):
    base = fingerprint(dense_run(configured()))
    for override in ("task=sst2", "model=minilm", "seed=2", "dense.num_epochs=5", "task.data.max_train_samples=9"):
        assert fingerprint(dense_run(configured(override))) != base, override
    for override in ("recipe=prune95", "recipe.num_epochs=9", "recipe.distillation.hardness=0.5", "logger=none"):
        assert fingerprint(dense_run(configured(override))) == base, override


def test_the_fingerprint_changes_with_the_content_of_a_local_file(configured, csv):
    before = fingerprint(configured(*csv_options(csv)))
    assert fingerprint(configured(*csv_options(csv))) == before
    (csv / "train.csv").write_text(CSV.replace("glad", "joy"))
    assert fingerprint(configured(*csv_options(csv))) != before


def test_the_fingerprint_does_not_change_when_the_data_are_moved(configured, csv, tmp_path):
    shutil.copytree(csv, tmp_path / "moved")
    before = fingerprint(configured(*csv_options(csv)))
    assert fingerprint(configured(*csv_options(tmp_path / "moved"))) == before
    files = [f"task.data.files.{split}={csv}/{split}.csv" for split in ("train", "validation")]
    assert fingerprint(configured("task=text_classification", *files)) == before


@pytest.mark.parametrize("options", [["task=sst2", "model.name={}"], ["teacher=checkpoint", "teacher.name={}"]])
def test_the_fingerprint_changes_with_the_weights_of_a_local_model_or_teacher_not_with_its_card(
    configured, tmp_path, options
):
    folder = tmp_path / "bert"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "pytorch_model.bin").write_bytes(b"one")
    overrides = [option.format(folder) for option in options]
    before = fingerprint(configured(*overrides))
    (folder / "README.md").write_text("notes")
    assert fingerprint(configured(*overrides)) == before
    (folder / "pytorch_model.bin").write_bytes(b"two")
    assert fingerprint(configured(*overrides)) != before


def test_published_figures_do_not_change_the_fingerprint(configured):
    row = {"source": "Doe 2020", "task": "squad", "model": "bert_base", "recipe": "dense", "teacher": "none"}
    config = configured()
    assert fingerprint(config.changed(published=[row])) == fingerprint(config)


def test_differences_names_each_setting_with_both_values(configured):
    before, now = configured(), configured("seed=2", "recipe=oneshot80", "recipe.num_epochs=6")
    found = differences(before, now)
    assert "seed is 1 there and 2 here" in found
    assert any(line.startswith("recipe.name is prune80 there and oneshot80 here") for line in found)
    assert not any("num_epochs" in line for line in found)
