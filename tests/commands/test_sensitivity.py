import json
import shlex

import pytest
import yaml

from tests.toys import failure, own_data, review_tables, run

LEVELS = "sensitivity.sparsities=[0.4,0.6,0.9]"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a finished dense run in it."""
    folder = tmp_path_factory.mktemp("sensitivity")
    own = own_data(review_tables(folder / "data"))
    run("train", *own, "recipe=dense", "dense.num_epochs=1", "teacher=none", "hydra.run.dir=run", folder=folder)
    return folder


def finished(place):
    task = ["task=text_classification", f"task.data.path={place / 'data'}", "task.data.batch_size=8"]
    return [*task, "trainer.accelerator=cpu", "model=minilm", "model.name=run"]


def test_the_printed_command_prunes_to_the_printed_sparsities(place):
    recipe = ["recipe=prune80", "recipe.pruning.structure=block4"]
    output = run("sensitivity", *finished(place), *recipe, LEVELS, "sensitivity.samples=16", folder=place)
    command = shlex.split(next(line for line in output.splitlines() if line.startswith("use ")))
    words = command[command.index("src.train") + 1 :]
    assert "teacher.name=run" in words
    chosen = yaml.safe_load((place / words[-1].partition("=")[2]).read_text())
    assert len(set(chosen.values())) > 1
    run("train", *words, "recipe.num_epochs=1", "hydra.run.dir=pruned", folder=place)
    result = json.loads((place / "pruned" / "result.json").read_text())
    assert result["sparsity"] == pytest.approx(0.8, abs=2e-3)
    for name, sparsity in result["sparsity_by_layer"].items():
        assert sparsity == pytest.approx(chosen[name], abs=0.5 * 4 / 256), name  # half a block of the smallest matrix


def test_a_second_scan_writes_the_same_files(place):
    words = [*finished(place), "recipe=prune80", LEVELS, "sensitivity.samples=16"]
    folders = [place / name for name in ("first", "second")]
    for folder in folders:
        run("sensitivity", *words, f"sensitivity.folder={folder}", folder=place)
    names = {path.name for path in folders[0].iterdir()}
    assert names == {"sensitivity.json", "sensitivity.png", "final_sparsity.yaml"}
    for name in names:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name


def test_the_pattern_of_2_of_4_has_one_sparsity_for_all(place):
    words = ["recipe=prune50", "recipe.pruning.structure=2:4", "sensitivity.samples=16", "sensitivity.folder=pattern"]
    run("sensitivity", *finished(place), *words, folder=place)
    result = json.loads((place / "pattern" / "sensitivity.json").read_text())
    assert result["sparsities"] == [0.5]
    assert set(result["chosen"].values()) == {0.5}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["recipe=dense"], "recipe=dense must have one pruning modifier, recipe.pruning, such as prune80; it has none"),
        (["recipe=layers1_prune80"], "recipe=layers1_prune80 removes parts of the model by recipe.layers"),
        (["recipe=cyclic80"], "recipe.pruning.scope=global has one threshold over all matrices"),
        (["sensitivity.sparsities=[0.5,0.6]"], "sensitivity.sparsities end at 0.6, below the recipe's 0.8"),
        (["sensitivity.sparsities=[50]"], "sensitivity.sparsities must be a list of sparsities above 0 and below 1"),
        (["+sensitivity.sample=3"], "sensitivity.sample is not a setting"),
    ],
)
def test_what_cannot_be_scanned_is_refused(place, words, message):
    assert message in failure("sensitivity", *finished(place), *words, folder=place)


def test_a_model_without_a_trained_head_is_refused(place):
    assert "the model has no head that was trained for this task" in failure(
        "sensitivity", *own_data(place / "data"), "recipe=prune80", folder=place
    )
