import pytest

from tests.toys import failure
from winnow.config.model_names import names_model
from winnow.files.conf_folder import CONF


@pytest.mark.parametrize(
    "name", ["owner/name", "./folder", "/a/b", "bert-base-uncased", "bert-base-cased", "roberta-large", "roberta-base"]
)
def test_names_of_the_hub_and_paths_name_models(name):
    assert names_model(name)


@pytest.mark.parametrize("name", ["tiny", "minilmm", "mini-lm", "bert-base", "bert_base_", "distil-bert", "gpt"])
def test_a_file_names_none_nor_does_a_misspelled_one(name):
    assert not names_model(name)


@pytest.mark.parametrize("name", ["owner/name", "bert-base-cased", "/no/such/folder", "../x"])
def test_the_name_alone_is_as_good_as_with_its_setting(configured, name):
    assert configured(f"model={name}").model == configured("model=bert_base", f"model.name={name}").model


@pytest.mark.parametrize("file", ["minilm", "distilbert", "modernbert_base"])
def test_the_hub_name_of_a_shipped_model_has_its_settings(configured, file):
    shipped = configured(f"model={file}").model
    assert configured(f"model={shipped.name}").model == shipped


def test_a_folder_in_the_present_one_needs_no_slash(configured, tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    assert configured("model=mine").model.name == "mine"


def test_settings_of_a_model_follow_its_name(configured):
    model = configured("model=owner/name", "model.learning_rate_scale=2").model
    assert (model.name, model.learning_rate_scale) == ("owner/name", 2.0)


@pytest.mark.parametrize("way", ["--config-dir", "hydra.searchpath"])
def test_a_file_of_the_user_with_a_name_of_the_hub_is_refused(tmp_path, way):
    (tmp_path / "model").mkdir()
    file = tmp_path / "model" / "my-model.yaml"
    file.write_text((CONF / "model" / "tiny.yaml").read_text())
    place = ["--config-dir", str(tmp_path)] if way == "--config-dir" else [f"hydra.searchpath=[file://{tmp_path}]"]
    found = failure("plan", *place, "model=my-model", folder=tmp_path)
    assert found == f"error: model=my-model is a name of the hub, so {file} is not read; rename the file."
