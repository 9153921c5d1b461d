"""The experiments of conf/experiment: their sweeps compose, and their figures are the published ones."""

import re
from pathlib import Path

import pytest
import yaml

from winnow.config.checks import check
from winnow.config.fingerprint import fingerprint
from winnow.config.numbered import family_of
from winnow.config.run import dense_run
from winnow.files.conf_folder import CONF

SEEDS = Path(__file__).parent.parent.parent / "shared/seeds"
EXPERIMENTS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((CONF / "experiment").glob("*.yaml"))}
HAND_COPIED = [
    ("squad_schedules", "dense", "none", {"f1": 88.002, "exact_match": 80.634}),
    ("squad_schedules", "oneshot99", "none", {"f1": 9.685, "exact_match": 3.614}),
    ("squad_schedules", "prune97_8of10", "none", {"f1": 70.260, "exact_match": 57.021}),
    ("squad_distillation", "prune80_18of30", "none", {"f1": 84.06276, "exact_match": 74.63576}),
    ("squad_distillation", "prune97_18of30", "dense", {"f1": 75.01276, "exact_match": 63.94513}),
    ("squad_layers", "layers9_dense", "dense", {"f1": 87.94176, "exact_match": 80.46358}),
    ("squad_layers", "prune72_18of30", "none", {"f1": 85.49873, "exact_match": 76.43330}),
    ("squad_layers", "layers6_prune90_18of30", "dense", {"f1": 80.53862, "exact_match": 71.00284}),
    ("qqp_mnli", "prune97_18of30", "none", {"accuracy": 0.8757, "f1": 0.8334}),
    ("sparse_transfer", "transfer", "dense", {"f1": 87.1}),
    ("squad_speed", "fast2", "dense", {"f1": 89.1}),
    ("squad_speed", "fast3", "dense", {"f1": 87.71, "exact_match": 80.03}),
    ("squad_speed", "fast9", "dense", {"f1": 82.6}),
]


def swept(experiment):
    """Option -> the values that an experiment sweeps."""
    params = EXPERIMENTS[experiment]["hydra"]["sweeper"]["params"]
    return {word: re.split(r",\s*", str(values).strip()) for word, values in params.items()}


def published(experiment):
    return EXPERIMENTS[experiment].get("published", [])


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_the_sweep_of_an_experiment_composes(configured, experiment):
    """Values of each option take turns, so that each is composed, and each teacher with many recipes."""
    words = swept(experiment)
    assert words.pop("seed") == ["1", "2", "3"]
    for i in range(max(len(values) for values in words.values())):
        chosen = [f"{word}={values[i % len(values)]}" for word, values in words.items()]
        config = configured(f"experiment={experiment}", *chosen)
        check(config)
        rows = [row.model_dump(exclude_none=True) for row in config.published]
        assert rows == published(experiment)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_can_be_made_as_small_as_the_demo(configured, experiment):
    small = ["task=demo", "model=tiny", "teacher=dense", "recipe=dense", "recipe.num_epochs=1", "seed=5"]
    config = configured(f"experiment={experiment}", *small)
    check(config)
    assert (config.task.name, config.model.name, config.seed) == ("demo", "tiny", 5)
    assert config.recipe.num_epochs == 1


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_the_dense_cell_is_the_dense_teacher(configured, experiment):
    cell = configured(f"experiment={experiment}", "recipe=dense", "teacher=none")
    other = configured(f"experiment={experiment}", f"recipe={swept(experiment)['recipe'][-1]}", "teacher=dense")
    assert fingerprint(dense_run(other)) == fingerprint(cell)


def test_layer_dropping_and_pruning_are_compared_under_equal_conditions(configured):
    """Equal numbers of remaining weights, epochs and learning rate, and the same initial weights."""
    recipes = swept("sst2_layers")["recipe"]
    chosen = ("experiment=sst2_layers", "teacher=dense", "recipe.num_epochs=4")
    sections = {recipe: configured(*chosen, f"recipe={recipe}").recipe.plain() for recipe in recipes}
    first = sections[recipes[0]]
    for section in sections.values():
        assert section["num_epochs"] == 4
        assert (section["optimizer"], section["distillation"]) == (first["optimizer"], first["distillation"])
    layers = [section["layers"]["keep"] for recipe, section in sections.items() if "layers" in recipe]
    zeros = [section["pruning"]["final_sparsity"] for recipe, section in sections.items() if "gmp" in recipe]
    assert [keep / 6 for keep in layers] == pytest.approx([1 - sparsity for sparsity in zeros], abs=0.005)


@pytest.mark.parametrize("experiment", ["sst2_speed", "squad_speed"])
def test_ways_to_a_faster_model_are_compared_under_equal_conditions(configured, experiment):
    """Equal epochs, learning rate, teacher and initial weights; all are exported, and their latencies measured."""
    chosen = (f"experiment={experiment}", "recipe.num_epochs=4")
    assert swept(experiment)["teacher"] == ["dense"]
    for recipe in {family_of(recipe): recipe for recipe in swept(experiment)["recipe"]}.values():
        config = configured(*chosen, f"recipe={recipe}", "teacher=dense")
        assert (config.recipe.num_epochs, config.dense.num_epochs) == (4, 4)
        assert config.recipe.optimizer == config.dense.optimizer
        assert config.recipe.modifiers["distillation"].start_from_teacher
        assert (config.export.kind, config.export.compare) == ("onnx", True)


def test_published_models_are_beside_the_recipe_of_the_nearest_speedup():
    for row in published("squad_speed"):
        speedup = float(re.search(r"([\d.]+)x", row["note"])[1])
        recipe = row["recipe"].removeprefix("fast")
        assert recipe.isdigit()
        assert abs(speedup - int(recipe)) < 0.6, row


@pytest.mark.parametrize(("experiment", "recipe", "teacher", "metrics"), HAND_COPIED)
def test_published_figures_are_those_of_the_paper(experiment, recipe, teacher, metrics):
    rows = [row for row in published(experiment) if (row["recipe"], row["teacher"]) == (recipe, teacher)]
    assert rows[0]["metrics"] == metrics


def test_figures_of_later_papers_have_the_cell_of_their_sparsity():
    rows = {
        (row["source"], row["task"], row["recipe"], row["note"]): row for row in published("squad_distillation")[8:]
    }
    assert rows["Sanh et al. 2020", "squad", "prune90_18of30", "soft movement pruning over 10 epochs"]["metrics"] == {
        "f1": 84.9,
        "exact_match": 76.6,
    }
    assert rows["Kurtic et al. 2022", "squad", "prune97_18of30", "30 epochs, mean of 3 seeds"]["metrics"] == {
        "f1": 85.98,
        "exact_match": 78.11,
    }
    assert len(rows) == 14


@pytest.mark.skipif(not SEEDS.is_dir(), reason="the published documents are not beside this folder")
@pytest.mark.parametrize(
    ("experiment", "table", "count"),
    [("squad_schedules", 0, 16), ("squad_distillation", 1, 8), ("squad_layers", 2, 24), ("qqp_mnli", 3, 6)],
)
def test_every_figure_of_a_published_table_is_there(experiment, table, count):
    """Sparsity, layers and distillation of each row are read from the document again, and its last figures."""
    [document] = SEEDS.glob("004_*")
    tables = re.split(r"\n\| ?base model name.*\n.*\n", document.read_text())[1:]
    lines = [line for line in tables[table].splitlines() if line.startswith("| bert-base")]
    theirs = [[cell.strip() for cell in line.strip("| \t").split("|")] for line in lines]
    ours = [row for row in published(experiment) if row["source"] == "Neural Magic 2021"]
    figures = [[float(cell) for cell in cells if re.fullmatch(r"\d\d\.\d{2,}", cell)] for cells in theirs]
    scale = 1 if experiment.startswith("squad") else 100
    mine = [[round(scale * figure, 5) for figure in row["metrics"].values()] for row in ours]
    if experiment == "qqp_mnli":
        assert sorted(f for row in mine for f in row) == sorted(f for row in figures for f in row)
    else:
        assert mine == figures
        for row, cells in zip(ours, theirs, strict=True):
            assert re.search(r"(?:prune|oneshot)(\d+)|$", row["recipe"])[1] in (cells[1], None)
            assert (cells[1] == "0") == ("prune" not in row["recipe"] and "oneshot" not in row["recipe"])
            assert table == 0 or row["teacher"] == {"yes": "dense", "no": "none"}[cells[2 if table == 1 else 3]]
            assert table != 2 or re.match(r"layers(\d+)|", row["recipe"])[1] in (cells[5], None)
    assert len(ours) == count
