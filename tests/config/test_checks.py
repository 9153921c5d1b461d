import pytest

from winnow.config.checks import check
from winnow.config.run import PublishedRow
from winnow.errors import UserError


def refused(config, message):
    with pytest.raises(UserError, match=message) as raised:
        check(config)
    assert "\n" not in str(raised.value)


def test_a_missing_data_file_is_refused_before_anything_heavy_is_loaded(configured, tmp_path):
    path = tmp_path / "train.csv"
    refused(configured("task=text_classification", f"task.data.files.train={path}"), "there is no such file")


def test_a_missing_model_folder_is_refused_before_anything_heavy_is_loaded(configured, tmp_path):
    refused(configured("task=sst2", f"model.name={tmp_path}/nowhere"), r"model\.name=.*there is no such folder")


def test_a_missing_teacher_folder_is_refused_before_anything_heavy_is_loaded(configured, tmp_path):
    refused(
        configured("teacher=checkpoint", f"teacher.name={tmp_path}/nowhere"), r"teacher\.name=.*there is no such folder"
    )


def test_texts_longer_than_the_positions_of_a_local_model_are_refused(configured, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert", "max_position_embeddings": 512}')
    (tmp_path / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    words = ["task=sst2", f"model.name={tmp_path}"]
    refused(configured(*words, "task.max_length=600"), r"^task\.max_length=600: the model reads 512 tokens at most; ")
    check(configured(*words, "task.max_length=512"))


def test_texts_longer_than_the_positions_of_a_model_to_build_are_refused(configured):
    refused(
        configured("task=demo", "task.max_length=129"), r"^task\.max_length=129: the model reads 128 tokens at most"
    )
    check(configured("task=demo", "model.config.max_position_embeddings=16"))  # a default is cut


@pytest.mark.parametrize("plus", ["", "+"])
def test_a_setting_of_distillation_without_a_teacher_is_refused(configured, plus):
    override = plus + "recipe.distillation.hardness=0.5"
    with pytest.raises(UserError, match=r"recipe\.distillation\.hardness=0\.5 has no effect with teacher=none"):
        check(configured("teacher=none"), ["teacher=none", override])
    check(configured("teacher=dense", "recipe.distillation.hardness=0.5"), ["teacher=dense", override])
    with pytest.raises(UserError, match=r"recipe\.hidden_distillation\.weight=2 has no effect with teacher=none"):
        check(configured("teacher=none"), ["recipe=prune80_hidden", "recipe.hidden_distillation.weight=2"])


def test_weights_of_labels_that_the_student_does_not_learn_from_are_noted(configured, capsys):
    overrides = ["task=sst2", "task.class_weights={positive:2}", "recipe=gmp80"]
    check(configured(*overrides, "recipe.distillation.hardness=0.9"))
    check(configured(*overrides, "teacher=none"))
    assert capsys.readouterr().err == ""
    check(configured(*overrides))
    assert "without effect on the student: task.class_weights. At hardness 1 it learns" in capsys.readouterr().err


ROW = {"source": "Doe 2020", "task": "squad", "model": "bert_base", "recipe": "dense", "teacher": "none"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": "prune8O"}, r"^published\.0\.recipe: prune8O does not exist\. Did you mean 'prune80'\?$"),
        ({"teacher": "yes"}, r"^published\.0\.teacher: yes does not exist\."),
    ],
)
def test_a_published_row_of_an_option_that_does_not_exist_is_refused(configured, changes, message):
    row = PublishedRow(**{**ROW, "metrics": {"f1": 88.5}, **changes})
    refused(configured().changed(published=[row]), message)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.name=x"], "model.name=x has no effect: this model is built from model.config"),
        (["recipe=ptq", "teacher=dense"], "teacher=dense has no effect: recipe=ptq does not train"),
        (["+teacher=[]"], r"\+teacher=\[\] names no teacher; leave it out"),
    ],
)
def test_an_override_whose_effect_the_user_would_miss_is_refused(configured, overrides, message):
    with pytest.raises(UserError, match=message):
        check(configured(*overrides), overrides)


@pytest.mark.parametrize(
    ("overrides", "note"),
    [
        (["task=squad", "task.data.path={}", "task.data.revision=main"], "the data are not read from the hub"),
        (["task=squad", "task.data.path={}", "task.data.files.train={}/train.json"], "task.data.files names the data"),
        (["recipe=dense", "cache.gigabytes=3"], "there is no teacher"),
        (["seed=1", "seed=2"], "seed=2 comes after it"),
        (["export=onnx", "~export.compare"], "the setting has a default, False"),
        (["~recipe.pruning.scope"], "the setting has a default, matrix"),
        (["++model={{}}"], "an empty mapping is merged into the settings that are there"),
    ],
)
def test_an_override_without_effect_is_noted(configured, tmp_path, capsys, overrides, note):
    (tmp_path / "train.json").write_text("[]")
    overrides = [override.format(tmp_path) for override in overrides]
    check(configured(*overrides), overrides)
    assert capsys.readouterr().err.count(f"has no effect, since {note}.\n") == 1


def test_a_place_of_data_that_is_set_to_null_may_be_beside_files(configured, tmp_path):
    (tmp_path / "a.csv").write_text("text,label\na,b\n")
    overrides = ["task=text_classification", "task.data.path=null", f"task.data.files.train={tmp_path}/a.csv"]
    check(configured(*overrides), overrides)


def test_an_option_may_come_after_a_setting_of_its_section(configured):
    overrides = ["task.data.max_train_samples=640", "task=text_classification", "seed=1", "seed=1"]
    config = configured(*overrides)
    check(config, overrides)
    assert config.task.data.max_train_samples == 640
