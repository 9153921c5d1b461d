import pytest

from winnow.config.sparsity_files import with_sparsities_of_files
from winnow.errors import UserError


def test_a_file_stands_for_its_content(tmp_path):
    file = tmp_path / "final_sparsity.yaml"
    file.write_text("a.weight: 0.9\n.*: 0.5\n")
    recipe = {"name": "prune", "pruning": {"final_sparsity": str(file), "scope": "matrix"}, "num_epochs": 2}
    read = with_sparsities_of_files(recipe)
    assert read == {**recipe, "pruning": {"final_sparsity": {"a.weight": 0.9, ".*": 0.5}, "scope": "matrix"}}


@pytest.mark.parametrize("value", [0.8, {".*": 0.8}, "80", None])
def test_a_value_that_names_no_file_is_left_as_it_is(value):
    recipe = {"pruning": {"final_sparsity": value}}
    assert with_sparsities_of_files(recipe) == recipe


@pytest.mark.parametrize(("content", "problem"), [(None, ": there is no such file"), ("{", " is no YAML")])
def test_a_missing_or_broken_file_is_named(tmp_path, content, problem):
    file = tmp_path / "a.yaml"
    if content:
        file.write_text(content)
    with pytest.raises(UserError, match=rf"recipe\.pruning\.final_sparsity={file}{problem}"):
        with_sparsities_of_files({"pruning": {"final_sparsity": str(file)}})
