import pytest

from winnow.sparseml.recipe_error import RecipeError
from winnow.sparseml.variables import Reference, Variables


def test_variables_may_be_defined_in_any_order_and_have_any_value():
    variables = Variables({"a": "eval(b * 2)", "b": "eval(c + 1)", "c": "8e-5", "names": ["x"], "same": "eval(names)"})
    assert variables["a"] == pytest.approx(2.00016, rel=1e-12)
    assert variables["same"] == ["x"]
    assert variables.fill_in({"k": ["eval(c)", Reference("b")]}) == {"k": [8e-5, 1.00008]}


def test_a_cycle_is_named():
    with pytest.raises(RecipeError, match=r"in a cycle: b -> c -> b\.") as refused:
        Variables({"a": "eval(b)", "b": "eval(c + 1)", "c": "eval(b - 1)"}, {"a": 1, "b": 2, "c": 3})
    assert refused.value.line == 3


def test_a_long_chain_of_variables_is_refused():
    chain = {f"v{i}": f"eval(v{i + 1} + 1)" for i in range(10_000)} | {"v10000": 1}
    with pytest.raises(RecipeError, match="more than 50 variables refer to each other in a chain"):
        Variables(chain)


def test_an_unknown_variable_is_refused_with_the_line_that_uses_it_and_the_nearest_name():
    with pytest.raises(RecipeError) as refused:
        Variables({"end": "eval(num_epoch - 1)", "num_epochs": 3}, {"end": 4, "num_epochs": 5})
    assert str(refused.value) == (
        "there is no variable num_epoch; the file has end, num_epochs. Did you mean 'num_epochs'?"
    )
    assert refused.value.line == 4


def test_inner_variables_shadow_the_outer_ones_which_keep_their_own_meaning():
    outer = Variables({"n": 1, "twice": "eval(n * 2)"})
    inner = Variables({"n": 10}, outer=outer)
    assert (inner["n"], inner["twice"]) == (10, 2)


def test_used_variables_are_those_that_a_value_depends_on():
    variables = Variables({"a": "eval(b)", "b": "eval(c)", "c": 1, "d": "eval(c)", "e": 2})
    assert variables.used == set()
    variables.fill_in(["eval(a + 1)"])
    assert variables.used == {"a", "b", "c"}
