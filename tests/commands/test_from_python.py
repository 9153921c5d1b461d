import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from torch import nn

import winnow
from tests.toys import TINY, review_tables
from winnow.errors import UserError


def test_a_recipe_is_spread_over_the_epochs_of_a_training():
    modifiers = winnow.callbacks("prune85", "recipe.pruning.structure=block4", num_epochs=3, teacher=nn.Linear(1, 1))
    assert [modifier.name for modifier in modifiers] == [
        "learning_rate", "pruning", "distillation", "hidden_distillation",
    ]  # fmt: skip
    assert modifiers[1].settings.final_sparsity == 0.85
    assert modifiers[1].settings.end_epoch == 1.0
    assert modifiers[2].teacher is modifiers[3].teacher  # one forward pass
    assert [modifier.name for modifier in winnow.callbacks("prune85", "~recipe.learning_rate")] == ["pruning"]


def test_a_program_that_uses_hydra_itself_goes_on_with_its_own_configuration(tmp_path):
    (tmp_path / "mine.yaml").write_text("a: 1\n")
    with hydra.initialize_config_dir(config_dir=str(tmp_path), version_base="1.3"):
        winnow.callbacks("gmp80")
        assert hydra.compose("mine") == {"a": 1}


@pytest.mark.parametrize(
    ("recipe", "overrides", "message"),
    [
        ("prune8O", [], "Did you mean 'prune80'?"),
        ("prune80", ["recipe.num_epoch=3"], "Did you mean 'recipe.num_epochs'?"),
        ("ptq", [], "recipe=ptq changes a finished model without training it; use winnow.train."),
    ],
)
def test_a_wrong_recipe_is_refused_with_the_message_of_the_command(recipe, overrides, message):
    GlobalHydra.instance().clear()
    with pytest.raises(UserError) as refused:
        winnow.callbacks(recipe, *overrides)
    assert message in str(refused.value)


def test_a_training_returns_its_metrics_folder_and_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = review_tables(tmp_path / "data")
    choices = {"task": "text_classification", "recipe": "gmp80", "teacher": None, "seed": 3, "task.data.path": data}
    run = winnow.train(*TINY, "task.data.batch_size=8", **choices)
    assert run.folder.parent.parent.parent == tmp_path / "outputs/runs"
    assert list(run.metrics) == ["accuracy", "f1"]
    assert run.result["seed"] == 3
    assert "recipe=gmp80" in run.result["command"]
    assert round(run.result["sparsity"], 3) == 0.8
    assert run.model.config.num_labels == 2
    assert (run.folder / ".hydra/config.yaml").is_file()
    again = winnow.train(*TINY, "task.data.batch_size=8", resume=True, **choices)
    assert again.folder == run.folder
    with pytest.raises(UserError, match="task=sst3: there is no such task"):
        winnow.train(task="sst3")
