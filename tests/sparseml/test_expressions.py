import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.sparseml.expressions import RecipeError, Reference, Variables, as_number, evaluate


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("7 / 2", 3.5),
        ("7 // 2", 3),
        ("-7 // 2", -4),
        ("7 % 4", 3),
        ("2 ** 3 ** 2", 512),
        ("-2 ** 2", -4),
        ("+-+2", -2),
        ("1e-7 * 2", 2e-7),
        ("n - q", 7.5),
        ("max(n, q, 3)", 10),
        ("min(n - 1, 8.5)", 8.5),
        ("abs(-q)", 2.5),
        ("int(q) + float(1)", 3.0),
        ("round(q)", 2),
        ("round(n / 3, 2)", 3.33),
    ],
)
def test_arithmetic_is_that_of_python(expression, value):
    result = evaluate(expression, {"n": 10, "q": 2.5})
    assert (result, type(result)) == (value, type(value))


@given(st.recursive(st.integers(-9, 9).map(str), lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner)))
def test_a_tree_of_operations_has_the_value_that_integers_give(tree):
    def text(node):
        return node if isinstance(node, str) else f"({text(node[0])} {node[1]} {text(node[2])})"

    def value(node):
        if isinstance(node, str):
            return int(node)
        left, right = value(node[0]), value(node[2])
        return {"+": left + right, "-": left - right, "*": left * right}[node[1]]

    if len(text(tree)) <= 400 and abs(value(tree)) < 1e15:
        assert evaluate(text(tree), {}) == value(tree)


@pytest.mark.parametrize(
    "bomb",
    [
        "9**9**9**9",
        "2**10000000",
        "(10**18)**64*10**18",
        "1e308*10",
        "9" * 400 + "**2",
        "(" * 10_000 + "1" + ")" * 10_000,
        "+".join(["1"] * 100_000),
        "-" * 490 + "1",
        "+".join(["1"] * 240),
        "round(5, -10**9)",
        "a" * 100_000,
        "max(" * 100 + "1" + ",1)" * 100,
    ],
)
def test_a_bomb_is_refused_within_a_second(bomb):
    started = time.monotonic()
    with pytest.raises(RecipeError):
        evaluate(bomb, {})
    assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("1 / (n - n)", "eval(1 / (n - n)) divides by zero."),
        ("2 **", "eval(2 **) is not an arithmetic expression."),
        ("9**9**9", "eval(9**9**9) has the power 3.8742e+08; 64 is the highest."),
        ("(-8) ** 0.5", "eval((-8) ** 0.5) has a part that is no number: '(1.7319121124709868e-16+2.82842712474619'."),
        ("n + keys", "eval(n + keys) has a part that is no number: \"['a']\"."),
        ("n + True", "eval(n + True) has a part that is no number: 'True'."),
        ("'a' * 3", "eval('a' * 3) has a part that is no number: 'a'."),
        *(
            (text, f"eval({text}) has more than arithmetic and abs, float, int, max, min, round.")
            for text in (
                "__import__('os').system('ls')",
                "n.real",
                "[1][0]",
                "lambda: 1",
                "1 if n else 2",
                "pow(2, 3)",
                "int(x=1)",
                "max(*keys)",
                "n < 3",
                "~n",
            )
        ),
    ],
)
def test_what_is_no_arithmetic_is_refused(expression, message):
    with pytest.raises(RecipeError) as refused:
        evaluate(expression, {"n": 10, "keys": ["a"]})
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("value", "number"),
    [("8e-5", 8e-5), ("1e-7", 1e-7), (" 10 ", 10), ("+.5", 0.5), ("-3.", -3.0), ("1E3", 1000.0), ("inf", "inf")],
)
def test_a_text_that_is_a_number_counts_as_one(value, number):
    assert (as_number(value), type(as_number(value))) == (number, type(number))


@pytest.mark.parametrize("value", ["", "1_000", "2:4", "nan", "0x10", "1e", "one", None, True, [1]])
def test_any_other_value_stays_what_it_is(value):
    assert as_number(value) is value


def test_variables_may_stand_in_any_order_and_hold_anything():
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
    with pytest.raises(RecipeError, match="more than 50 variables refer to one another in a row"):
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


def test_the_used_variables_are_those_that_a_value_depends_on():
    variables = Variables({"a": "eval(b)", "b": "eval(c)", "c": 1, "d": "eval(c)", "e": 2})
    assert variables.used == set()
    variables.fill_in(["eval(a + 1)"])
    assert variables.used == {"a", "b", "c"}


def test_a_result_is_finite():
    assert math.isfinite(evaluate("1e17 * 9", {}))
    with pytest.raises(RecipeError, match="has a part that is too large"):
        evaluate("1e17 * 90", {})
