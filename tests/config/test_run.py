import pytest
import yaml

from winnow.config.present_names import with_present_names
from winnow.config.run import RunConfig, dense_run, saved_config
from winnow.errors import UserError
from winnow.files.run_files import RESOLVED


def saved(folder, plain):
    path = folder / RESOLVED
    path.parent.mkdir()
    path.write_text(plain if isinstance(plain, str) else yaml.safe_dump(plain, sort_keys=False))
    return folder


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("task=squad", "recipe=prune80_quant", "teacher=checkpoint", "teacher.name=someone/model"),
        ("task=demo_entities", "recipe=layers3", "logger=wandb", "export=onnx"),
        ("task=masked_lm", "task.data.path=x/y", "recipe=ptq", "seed=7"),
    ],
)
def test_a_saved_configuration_is_read_back_equal(configured, tmp_path, overrides):
    config = configured(*overrides)
    found = saved_config(saved(tmp_path, config.plain()))
    assert found == config
    assert found.plain() == config.plain()


@pytest.mark.parametrize(
    ("content", "message"),
    [("seed: [", "is damaged"), ("[1]", "is damaged"), ("seed: 1", r"resolved\.yaml: task must be given")],
)
def test_a_damaged_configuration_is_refused_with_the_path_of_its_file(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        saved_config(saved(tmp_path, content))


def test_a_configuration_of_an_earlier_version_is_read(configured, tmp_path):
    config = configured("recipe=layers3")
    earlier = yaml.safe_dump(config.plain(), sort_keys=False)
    earlier = earlier.replace("winnow.modifiers.layer_dropping.", "src.modifiers.layers.").replace("winnow.", "src.")
    assert "src.tasks" in earlier
    assert saved_config(saved(tmp_path, earlier)) == config


def test_names_of_earlier_versions_are_replaced_wherever_they_are():
    found = with_present_names({"a": ["src.tasks.x.Y", "mysrc.x"], "b": 1})
    assert found == {
        "a": ["winnow.tasks.x.Y", "mysrc.x"],
        "b": 1,
    }


def test_the_dense_run_has_no_teacher_and_no_settings_of_the_recipe(configured):
    dense = dense_run(configured("recipe.num_epochs=9", "task.max_length=16").changed(title="prune80, seed 1"))
    assert (dense.recipe.name, dense.teacher.kind) == ("dense", "none")
    assert dense.settings == {"task.max_length": "16"}
    assert dense.title == "dense teacher of prune80, seed 1"


def test_the_hub_names_of_a_run_are_its_data_teacher_and_pretrained_model(configured):
    assert configured().hub_names == [None, None, None]
    options = ["task=sst2", "teacher=checkpoint", "teacher.name=a/b"]
    assert configured(*options).hub_names == [configured("task=sst2").task.data.path, "a/b", "bert-base-uncased"]


def test_a_copy_with_changes_leaves_the_original_as_it_is(configured):
    config = configured()
    assert config.changed(resume=True).resume
    assert not config.resume
    assert isinstance(config, RunConfig)
