import pytest

from winnow.config.labels import folder_name, model_label, settings_label, settings_of, sweep_name


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
def test_the_label_of_a_model_is_the_last_part_of_its_name_without_the_time_of_a_run(name, label):
    assert model_label(name) == label


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        (("prune80", "dense", "my model (1)"), "prune80-dense-my model (1)"),
        (("..",), "+."),
        (("",), "+"),
        (("../../x", "none"), "+.+..+x-none"),
        (("a\nb\0c\ud800", 3), "a+b+c+-3"),
    ],
)
def test_the_name_of_a_folder_cannot_lead_elsewhere(parts, name):
    assert folder_name(*parts) == name


def test_long_names_of_folders_are_cut_and_differ():
    names = [folder_name("ü" * 300, end) for end in "ab"]
    assert names[0] != names[1]
    assert max(len(name.encode()) for name in names) <= 200


def test_settings_are_the_overrides_that_can_change_a_result_without_the_options():
    overrides = ["task=sst2", "+recipe.x.y=1", "seed=2", "logger.offline=true", "hydra.run.dir=a", "hydra/launcher=ray"]
    overrides += ["output_dir=b", "model.name=c=d", "trainer=cpu", "trainer.progress_bar=false"]
    assert settings_of(overrides) == {"model.name": "c=d", "recipe.x.y": "1", "trainer": "cpu"}


def test_the_label_of_settings_is_the_same_in_any_order_and_empty_without_settings():
    assert settings_label(["a=1", "b=2", "seed=3"]) == settings_label(["b=2", "a=1"]) != settings_label(["a=2", "b=1"])
    assert settings_label(["task=sst2", "recipe=dense"]) == ""


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["recipe=dense,prune80", "seed=1,2"], "demo"),
        (["task=sst2,mrpc", "model=minilm"], "sst2+mrpc-minilm"),
        (["experiment=squad_layers", "recipe.num_epochs=1,2"], "squad_layers"),
        (["experiment=squad_layers", "task=sst2", "recipe.num_epochs=2"], "squad_layers-sst2-"),
    ],
)
def test_the_name_of_a_sweep_has_its_experiment_tasks_models_and_a_label_of_its_fixed_settings(overrides, name):
    found = sweep_name(overrides, "demo")
    assert found == name if not name.endswith("-") else (found.startswith(name) and len(found) == len(name) + 6)
