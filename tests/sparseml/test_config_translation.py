import json
from pathlib import Path

import pytest
import yaml
from hydra.errors import HydraException

from tests.sparseml.test_reading import written
from tests.toys import failure, own_data, review_tables, run
from winnow.config.checks import check
from winnow.config.resolve import dense_config, fingerprint
from winnow.errors import UserError

TEXT = """\
num_epochs: 2
sparsity: 0.5
modifiers:
  - !EpochRangeModifier {start_epoch: 0, end_epoch: eval(num_epochs)}
  - !GMPruningModifier
    params: ["re:bert.encoder"]
    init_sparsity: 0.1
    final_sparsity: eval(sparsity)
    start_epoch: 0
    end_epoch: eval(num_epochs / 2)
    update_frequency: 0.25
    log_types: __ALL__
"""
DISTILLED = TEXT + "  - !DistillationModifier {hardness: 0.5, temperature: 3.0}\n"


@pytest.fixture
def old(tmp_path):
    """The path of a recipe file that distils."""
    return written(tmp_path, DISTILLED, "old-recipe v2.yaml")


def overrides(path, *more):
    return ["recipe=sparseml", f"recipe.path='{path}'", *more]


def test_the_file_replaces_the_recipe(configured, old):
    config = configured(*overrides(old))
    check(config)
    assert config["recipe"] == {
        "name": "old-recipe_v2",
        "num_epochs": 2,
        "optimizer": configured("recipe=dense")["recipe"]["optimizer"],
        "learning_rate": configured("recipe=dense")["recipe"]["learning_rate"],
        "pruning": {
            "_target_": "winnow.modifiers.gmp.MagnitudePruning",
            "params": ["(?:bert.encoder).*"],
            "initial_sparsity": 0.1,
            "final_sparsity": 0.5,
            "start_epoch": 0,
            "end_epoch": 1,
            "update_frequency": 0.25,
            "shape": "cubic",
            "scope": "matrix",
            "structure": "unstructured",
        },
        "distillation": {
            "_target_": "winnow.modifiers.distillation.Distillation",
            "hardness": 0.5,
            "temperature": 3.0,
            "start_from_teacher": False,
            "start_epoch": -1,
            "end_epoch": -1,
            "teacher": None,
        },
    }
    assert config["translation"]["modifiers"] == ["pruning", "distillation"]


@pytest.mark.parametrize("plus", ["", "+", "++"])
def test_a_variable_is_overridden_on_the_command_line_with_or_without_a_plus(configured, old, plus):
    config = configured(
        *overrides(old, f"{plus}recipe.variables.num_epochs=10", f"{plus}recipe.variables.sparsity=0.8")
    )
    assert (config["recipe"]["num_epochs"], config["recipe"]["pruning"]["end_epoch"]) == (10, 5)
    assert config["recipe"]["pruning"]["final_sparsity"] == 0.8


def test_the_number_of_epochs_is_the_variable_of_that_name(configured, old):
    config = configured(*overrides(old, "recipe.num_epochs=4"))
    assert (config["recipe"]["num_epochs"], config["recipe"]["pruning"]["end_epoch"]) == (4, 2)


@pytest.mark.parametrize("epochs", ["0", "2.5", "many"])
def test_an_invalid_number_of_epochs_is_refused(configured, old, epochs):
    with pytest.raises(UserError, match=r"recipe\.num_epochs must be a whole number, 1 to 10,000, got "):
        configured(*overrides(old, f"recipe.num_epochs={epochs}"))


def test_other_settings_of_the_recipe_still_need_to_be_known(hydra_compose, old):
    with pytest.raises(HydraException, match="variabels"):
        hydra_compose(*overrides(old, "recipe.variabels.num_epochs=10"))
    with pytest.raises(HydraException, match=r"recipe\.variables\.x"):
        hydra_compose("recipe=prune80", "recipe.variables.x=10")


def test_without_a_path_the_recipe_is_refused(configured):
    with pytest.raises(UserError) as refused:
        configured("recipe=sparseml")
    assert str(refused.value) == "recipe.path must be given: add recipe.path=VALUE to the command."


def test_a_file_without_distillation_uses_no_teacher_and_reports_it(configured, tmp_path):
    path = written(tmp_path, TEXT)
    config = configured(*overrides(path), "teacher=dense")
    check(config)
    assert config["teacher"] == {"kind": "none"}
    assert "distillation" not in config["recipe"]
    assert "note: teacher=dense is not used: the file has no distillation." in config["translation"]["report"]


def test_without_a_teacher_distillation_is_left_out_and_reported(configured, old):
    config = configured(*overrides(old), "teacher=none")
    check(config)
    assert set(config["recipe"]) == {"name", "num_epochs", "optimizer", "learning_rate", "pruning"}
    assert "DistillationModifier  not used: teacher=none" in config["translation"]["report"]


def test_the_fingerprint_depends_on_the_content_of_the_file_and_not_on_its_path(configured, tmp_path):
    (tmp_path / "other").mkdir()
    same = written(tmp_path / "other", "# moved\n" + DISTILLED.replace("sparsity: 0.5", "sparsity: eval(1/2)"))
    fingerprints = [
        fingerprint(configured(*overrides(path, *more)))
        for path, more in [
            (written(tmp_path, DISTILLED), []),
            (same, []),
            (same, ["recipe.variables.num_epochs=2"]),
            (same, ["recipe.variables.sparsity=0.6"]),
        ]
    ]
    assert fingerprints[0] == fingerprints[1] == fingerprints[2] != fingerprints[3]


def test_the_dense_run_does_not_depend_on_the_file(configured, old):
    dense = dense_config(configured(*overrides(old)))
    assert "translation" not in dense
    assert fingerprint(dense) == fingerprint(dense_config(configured("recipe=prune80")))


def test_a_setting_that_the_file_sets_is_refused_on_the_command_line(configured, old):
    given = overrides(old, "recipe.distillation.hardness=1")
    with pytest.raises(UserError) as refused:
        check(configured(*given), given)
    assert str(refused.value) == (
        "recipe.distillation.hardness=1 has no effect: the file sets distillation. Change its variables with "
        "recipe.variables.NAME=VALUE, or convert it with python -m src.convert."
    )
    check(
        configured(*overrides(old, "recipe.optimizer.weight_decay=0.1")),
        overrides(old, "recipe.optimizer.weight_decay=0.1"),
    )


@pytest.mark.parametrize("setting", ["recipe.path", "model.name", "teacher.name"])
def test_a_stub_of_the_zoo_is_refused_for_each_setting(configured, setting):
    stub = "zoo:nlp/masked_language_modeling/obert-base/pytorch/huggingface/wikipedia_bookcorpus/pruned90-none"
    chosen = {"recipe.path": ["recipe=sparseml"], "teacher.name": ["teacher=checkpoint"]}.get(setting, [])
    with pytest.raises(UserError) as refused:
        check(configured(*chosen, f"{setting}={stub}"))
    assert str(refused.value).startswith(f"{setting}={stub}: the SparseZoo no longer exists. ")


def test_a_run_prints_the_report_once_and_saves_it(tmp_path):
    path = written(tmp_path, DISTILLED)
    data = own_data(review_tables(tmp_path / "data"))
    chosen = [*overrides(path), "recipe.variables.num_epochs=1", "dense.num_epochs=1", "hydra.run.dir=run"]
    output = run("train", *data, *chosen, folder=tmp_path)
    report = (tmp_path / "run" / "translation.txt").read_text()
    assert output.startswith(report)
    assert output.count("a recipe of SparseML") == 1
    assert "   5  GMPruningModifier     pruning: gmp, params (?:bert.encoder).*, initial_sparsity 0.1" in report
    row = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (row["recipe"], row["epochs"], row["pruned"], row["distilled"]) == ("old", 1, True, True)
    assert row["sparsity"] == pytest.approx(0.5, abs=1e-3)
    recipe = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert recipe["pruning"]["final_sparsity"] == 0.5
    assert "path" not in recipe
    dense = [path.parent for path in (tmp_path / "outputs").rglob("result.json")]
    assert len(dense) == 1
    assert not (dense[0] / "translation.txt").exists()


def test_the_jobs_of_a_sweep_override_variables_too(tmp_path):
    path = written(tmp_path, TEXT)
    data = own_data(review_tables(tmp_path / "data"))
    sweep = [*overrides(path), "recipe.variables.sparsity=0.3,0.6", "recipe.variables.num_epochs=1"]
    run("train", "-m", *data, *sweep, "hydra.sweep.dir=sweep", folder=tmp_path)
    rows = [json.loads(path.read_text()) for path in (tmp_path / "sweep").glob("*/result.json")]
    assert sorted(round(row["sparsity"], 2) for row in rows) == [0.3, 0.6]


def test_a_broken_file_ends_the_command_with_one_line_before_anything_runs(tmp_path):
    path = written(tmp_path, TEXT.replace("final_sparsity", "final_sparsty"))
    message = failure("train", *overrides(path), "output_dir=out", folder=tmp_path)
    assert message.startswith(f"error: {path}, line 8: !GMPruningModifier has no parameter final_sparsty; it has ")
    assert "\n" not in message
    assert not Path(tmp_path / "out" / "runs").is_dir() or not list((tmp_path / "out").rglob("result.json"))
