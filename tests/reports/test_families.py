from tests.reports.made_up import write_sweep
from tests.reports.runs import DENSE, put
from winnow.reports.families import families
from winnow.reports.results import collect


def found(folder):
    return {(family.name, family.teacher): family for family in families(collect([folder]).groups)}


def test_a_family_is_what_differs_in_one_number(tmp_path):
    table = found(write_sweep(tmp_path / "sweep"))
    assert table["prune", "dense"].numbers == ["20", "40", "60", "72"]
    assert table["layers", "none"].numbers == ["1", "3", "6", "9"]
    assert table["layers6_prune", "none"].numbers == ["80", "90", "97"]


def test_its_line_begins_at_the_cell_without_the_number(tmp_path):
    table = found(write_sweep(tmp_path / "sweep"))
    assert [table[name, "none"].start.recipe for name in ("prune", "layers6_prune")] == ["dense", "layers6"]
    assert table["prune", "dense"].start.teacher == "dense"


def test_the_schedule_in_a_name_is_no_number_of_a_family(tmp_path):
    for recipe in ("prune80_18of30", "prune90_18of30", "prune90_8of10"):
        put(tmp_path / recipe, recipe=recipe)
    table = found(tmp_path)
    assert table["prune_18of30", "dense"].numbers == ["80", "90"]
    assert table["prune90_8of10", "dense"].numbers == []


def test_the_size_of_blocks_in_a_name_is_no_number_of_a_family(tmp_path):
    for recipe in ("prune80_block4_quant", "prune90_block4_quant"):
        put(tmp_path / recipe, recipe=recipe)
    assert found(tmp_path)["prune_block4_quant", "dense"].numbers == ["80", "90"]


def test_a_number_on_the_command_line_makes_a_family_too(tmp_path):
    for epochs in ("10", "2"):
        put(tmp_path / epochs, **DENSE, settings={"recipe.num_epochs": epochs}, cell=epochs)
    assert found(tmp_path)["dense", "none"].numbers == ["num_epochs=2", "num_epochs=10"]


def test_two_settings_of_one_last_name_are_two_numbers(tmp_path):
    for epochs, teachers in (("2", "2"), ("4", "2"), ("4", "4")):
        settings = {"recipe.num_epochs": epochs, "dense.num_epochs": teachers}
        put(tmp_path / f"{epochs}{teachers}", settings=settings, cell=epochs + teachers)
    assert all(family.numbers == [] for family in found(tmp_path).values())


def test_the_name_of_a_cell_beside_its_teacher_is_whole(tmp_path):
    put(tmp_path / "a", recipe="dense_1epoch", teacher="dense")
    put(tmp_path / "b", recipe="dense_1epoch", teacher="dense", model="bert")
    assert [name for name, _ in found(tmp_path)] == ["minilm, dense_1epoch", "bert, dense_1epoch"]


def test_what_differs_in_two_numbers_stands_alone(tmp_path):
    for recipe, epochs in (("prune80", "2"), ("prune90", "4")):
        put(tmp_path / recipe, recipe=recipe, settings={"recipe.num_epochs": epochs}, cell=recipe)
    assert all(family.numbers == [] for family in found(tmp_path).values())
