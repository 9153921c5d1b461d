# ruff: noqa: E501 -- a message stands on one line, as a person reads it

import time
from pathlib import Path

import pytest

from winnow.errors import UserError
from winnow.files.conf_folder import CONF
from winnow.sparseml.reading import parse_recipe, read_recipe
from winnow.sparseml.recipe_error import NoRecipeError
from winnow.sparseml.recipe_files import yaml_in_markdown
from winnow.sparseml.translation import translate

SEED = CONF.parent.parent / "shared" / "seeds" / "002_28c4e3336beb72cc.txt"
RANGE = "modifiers:\n  - !EpochRangeModifier {start_epoch: 0, end_epoch: 3}\n"


def written(folder, text, name="old.yaml"):
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def settings_of(recipe):
    return [(tagged.tag, tagged.settings) for stage in recipe.stages for tagged in stage.modifiers]


def test_every_modifier_and_parameter_keeps_its_line(tmp_path):
    recipe = read_recipe(
        written(tmp_path, "# a comment\nmodifiers:\n\n  - !A\n    x: 1\n\n    y:\n      - 2\n  - !B {z: 3}\n")
    )
    first, second = recipe.stages[0].modifiers
    assert (first.tag, first.line, first.lines, first.settings) == ("A", 4, {"x": 5, "y": 7}, {"x": 1, "y": [2]})
    assert (second.tag, second.line, second.lines) == ("B", 9, {"z": 9})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        ("\ufeff", "\n# A card\n"),
        ("<!--\nlicence\n-->\n\nWords.\n\n", "\n# A card\n\n---\nmore\n---\n"),
        ("# A rule\n\n---\n\nWords about modifiers: none.\n\n", "\n"),
    ],
)
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_front_matter_is_found_anywhere_in_markdown(tmp_path, before, after, ends):
    text = f"{before}---\nn: 3\n{RANGE}---{after}".replace("\n", ends)
    recipe = read_recipe(written(tmp_path, text, "card.md"))
    assert settings_of(recipe) == [("EpochRangeModifier", {"start_epoch": 0, "end_epoch": 3})]
    assert recipe.stages[0].modifiers[0].line == before.count("\n") + 4


@pytest.mark.parametrize(
    "text", ["\ufeff" + RANGE, RANGE.replace("\n", "\r\n"), "---\n" + RANGE + "---\n", "%YAML 1.1\n---\n" + RANGE]
)
def test_a_yaml_file_may_have_a_mark_windows_line_ends_and_document_marks(tmp_path, text):
    assert settings_of(read_recipe(written(tmp_path, text)))[0][0] == "EpochRangeModifier"


@pytest.mark.parametrize(
    "text",
    [
        "- !EpochRangeModifier\n  start_epoch: 0\n  end_epoch: 3\n",
        "range: !EpochRangeModifier\n  start_epoch: 0\n  end_epoch: 3\n",
        "my_modifiers_of_old:\n- !EpochRangeModifier\n  start_epoch: 0\n  end_epoch: 3\nother_modifiers:\n",
        "base: &base {start_epoch: 0}\nmodifiers:\n- !EpochRangeModifier\n  <<: *base\n  end_epoch: 3\n",
        "only:\n  modifiers:\n  - !EpochRangeModifier {start_epoch: 0, end_epoch: 3}\n",
    ],
)
def test_modifiers_are_found_in_every_supported_place(tmp_path, text):
    recipe = read_recipe(written(tmp_path, text))
    assert settings_of(recipe) == [("EpochRangeModifier", {"start_epoch": 0, "end_epoch": 3})]


def test_an_override_replaces_a_variable_in_expressions_and_aliases_in_the_root_and_in_stages(tmp_path):
    text = (
        "n: &n 30\nm: *n\nhalf: eval(n / 2)\n"
        "one:\n  modifiers:\n  - !A {a: *n, b: eval(half), c: [*n, eval(m)], d: {e: *n}, f: 30}\n"
        "two:\n  n: 7\n  modifiers:\n  - !B {a: eval(n), b: eval(half)}\n"
    )
    recipe = read_recipe(written(tmp_path, text), {"n": 10})
    assert settings_of(recipe) == [
        ("A", {"a": 10, "b": 5.0, "c": [10, 10], "d": {"e": 10}, "f": 30}),
        ("B", {"a": 10, "b": 5.0}),
    ]
    assert settings_of(read_recipe(written(tmp_path, text)))[1] == ("B", {"a": 7, "b": 15.0})


def test_a_variable_of_a_stage_shadows_one_of_the_root(tmp_path):
    text = "n: 3\none:\n  n: 5\n  modifiers: [!A {a: eval(n)}]\ntwo:\n  modifiers: [!B {a: eval(n)}]\n"
    assert settings_of(read_recipe(written(tmp_path, text))) == [("A", {"a": 5}), ("B", {"a": 3})]


def test_metadata_are_not_variables(tmp_path):
    text = "version: 1.1.0\n__metadata__: {framework: !x y}\nmetadata:\nn: 3\n" + RANGE
    assert read_recipe(written(tmp_path, text)).variables == ["n"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"num_epoch": 3},
            "recipe.variables.num_epoch: {} has no such variable; it has lr, num_epochs. Did you mean 'num_epochs'?",
        ),
        ({"lr": 3}, "recipe.variables.lr has no effect: no modifier in {} depends on lr."),
    ],
)
def test_an_override_that_changes_nothing_is_refused(tmp_path, overrides, message):
    path = written(tmp_path, "num_epochs: 3\nlr: 1\nmodifiers: [!A {a: eval(num_epochs)}]\n")
    with pytest.raises(UserError) as refused:
        read_recipe(path, overrides)
    assert str(refused.value) == message.format(path)


def test_an_override_of_a_file_without_variables_is_refused(tmp_path):
    path = written(tmp_path, RANGE)
    with pytest.raises(UserError) as refused:
        read_recipe(path, {"x": 3})
    assert str(refused.value) == f"recipe.variables.x: {path} has no such variable; it has none."


PRUNING = """\
num_epochs: 3
pruning_modifiers:
  - !GMPruningModifier
    params: [re:bert.encoder]
    init_sparsity: 0.0
    final_sparsity: 0.8
    start_epoch: 0
    end_epoch: eval(num_epochs)
    update_frequency: 0.1
"""


def changed(old, new):
    assert PRUNING.count(old) == 1
    return PRUNING.replace(old, new)


# Mistake -> text, line and message.
MALFORMED = {
    "a tag that is not known": (
        changed("!GMPruningModifier", "!GMPrunningModifier"),
        3,
        "there is no modifier !GMPrunningModifier. Did you mean 'GMPruningModifier'?",
    ),
    "a tag without a counterpart": (
        changed("!GMPruningModifier", "!MFACPruningModifier"),
        3,
        "!MFACPruningModifier is not supported; the closest modifier is !GMPruningModifier; remove it to run the rest.",
    ),
    "a parameter that is not known": (
        changed("final_sparsity", "final_sparsty"),
        6,
        "!GMPruningModifier has no parameter final_sparsty; it has constant_logging, end_epoch, final_sparsity, "
        "global_sparsity, init_sparsity, inter_func, leave_enabled, log_frequency, log_types, mask_type, params, phased, "
        "score_type, start_epoch, update_frequency. Did you mean 'final_sparsity'?",
    ),
    "a parameter that is missing": (
        changed("    final_sparsity: 0.8\n    start_epoch: 0\n", ""),
        3,
        "!GMPruningModifier needs final_sparsity and start_epoch.",
    ),
    "a sparsity in percent": (
        changed("0.8", "80"),
        6,
        "final_sparsity must be in [0, 1), got 80; write 80 % as 0.8.",
    ),
    "a word for a number": (changed("0.8", "high"), 6, "final_sparsity must be in [0, 1), got 'high'."),
    "a truth for a number": (changed("start_epoch: 0", "start_epoch: no"), 7, "start_epoch must be an epoch, 0 or more, or -1, at most 10,000, got False."),
    "an end before the start": (
        changed("start_epoch: 0", "start_epoch: 4"),
        8,
        "end_epoch 3 is before start_epoch 4; raise it.",
    ),
    "an unknown variable": (
        changed("eval(num_epochs)", "eval(num_epoch)"),
        8,
        "there is no variable num_epoch; the file has num_epochs. Did you mean 'num_epochs'?",
    ),
    "an expression that is code": (
        changed("eval(num_epochs)", "eval(open('x'))"),
        8,
        "eval(open('x')) may contain only arithmetic and abs, float, int, max, min, round.",
    ),
    "a cycle of variables": (
        changed("num_epochs: 3", "num_epochs: eval(num_epochs + 1)"),
        1,
        "the variables refer to each other in a cycle: num_epochs -> num_epochs.",
    ),
    "a tab": (
        changed("    init_sparsity", "\tinit_sparsity"),
        5,
        "invalid YAML: the indentation contains a tab, which YAML forbids; use spaces.",
    ),
    "a bracket left open": (
        changed("[re:bert.encoder]", "[re:bert.encoder"),
        5,
        "invalid YAML: expected ',' or ']', but got ':'.",
    ),
    "a parameter given twice": (
        changed("    start_epoch: 0\n", "    start_epoch: 0\n    final_sparsity: 0.9\n"),
        8,
        "final_sparsity is repeated; line 6 has it already.",
    ),
    "a key of modifiers given twice": (
        PRUNING + "pruning_modifiers:\n  - !EpochRangeModifier {start_epoch: 0, end_epoch: 3}\n",
        10,
        "pruning_modifiers is repeated; line 2 has it already.",
    ),
    "an item without a tag": (
        changed("- !GMPruningModifier\n", "- GMPruningModifier:\n"),
        3,
        "an item of pruning_modifiers has no !Name; a modifier starts with one, such as - !GMPruningModifier.",
    ),
    "modifiers under another key": (
        changed("pruning_modifiers:", "pruning:"),
        2,
        "pruning lists modifiers, but its name does not contain 'modifiers'; rename it to pruning_modifiers.",
    ),
    "no list of modifiers": (
        "pruning_modifiers:\n  GMPruningModifier: 3\n",
        1,
        "pruning_modifiers must be a list of !Name items.",
    ),
    "a modifier with a value": (
        "modifiers:\n  - !EpochRangeModifier 3\n",
        2,
        "!EpochRangeModifier must be followed by its parameters, one per line: name: value.",
    ),
    "modifiers outside the stages": (
        PRUNING + "stage:\n  modifiers: [!EpochRangeModifier {start_epoch: 0, end_epoch: 3}]\n",
        2,
        "pruning_modifiers is outside the stages stage; move its modifiers into one of them.",
    ),
    "an empty list of parameters": (
        changed("[re:bert.encoder]", "[]"),
        3,
        "params is empty; name parameters, or __ALL_PRUNABLE__.",
    ),
    "a broken pattern": (
        changed("[re:bert.encoder]", "['re:bert.(encoder']"),
        4,
        "params contains 're:bert.(encoder', which is not a regular expression (missing ), unterminated subpattern at position 5).",
    ),
    "an interpolation": (
        changed("[re:bert.encoder]", "['re:${oc.env:HOME}']"),
        4,
        "params contains 're:${oc.env:HOME}'; a pattern must not contain ${.",
    ),
    "a structure that no kernel has": (
        changed("update_frequency: 0.1", "update_frequency: 0.1\n    mask_type: [4, 1]"),
        10,
        "mask_type must be unstructured, block4 or [1, 4], or N:M such as 2:4, got [4, 1].",
    ),
    "a shape that is not known": (
        changed("update_frequency: 0.1", "update_frequency: 0.1\n    inter_func: quadratic"),
        10,
        "inter_func must be one of linear, cubic, inverse_cubic, got 'quadratic'.",
    ),
    "a python object": (
        changed("num_epochs: 3", "num_epochs: !!python/object/apply:os.system [ls]"),
        1,
        "the tag tag:yaml.org,2002:python/object/apply:os.system is not allowed here; only modifiers have tags.",
    ),
    "two documents": (PRUNING + "---\nmore: 1\n", 11, "a second YAML document begins here; a recipe is one document."),
    "an alias of nothing": (changed("eval(num_epochs)", "*num_epochs"), 8, "invalid YAML: found undefined alias 'num_epochs'."),
    "two learning rates at once": (
        "modifiers:\n"
        "  - !LearningRateFunctionModifier {lr_func: linear, init_lr: 1e-4, final_lr: 0, start_epoch: 0, end_epoch: 5}\n"
        "  - !LearningRateFunctionModifier {lr_func: linear, init_lr: 1e-4, final_lr: 0, start_epoch: 4, end_epoch: 9}\n",
        3,
        "this learning rate starts at epoch 4, before the one of line 2 ends; end one where the other starts.",
    ),
    "a step without a length": (
        "modifiers:\n  - !LearningRateModifier\n    lr_class: StepLR\n    lr_kwargs: {gamma: 0.1}\n    init_lr: 0.1\n    start_epoch: 0\n",
        2,
        "lr_kwargs of StepLR needs step_size.",
    ),
    "an option of another quantization": (
        "modifiers:\n  - !EpochRangeModifier {start_epoch: 0, end_epoch: 3}\n  - !QuantizationModifier\n"
        "      scheme: {weight: {num_bits: 8}}\n",
        4,
        "scheme has no weight; it has input_activations, weights, output_activations, target_hardware. "
        "Did you mean 'weights'?",
    ),
    "observers that freeze before there are any": (
        "modifiers:\n  - !EpochRangeModifier {start_epoch: 0, end_epoch: 10}\n  - !QuantizationModifier\n"
        "      start_epoch: 8\n      disable_quantization_observer_epoch: 4\n",
        3,
        "disable_quantization_observer_epoch is 4, not after start_epoch 8; raise it.",
    ),
    "all layers dropped": (
        "modifiers:\n  - !LayerPruningModifier\n    layers: __ALL__\n",
        2,
        "layers must be names such as bert.encoder.layer.3; __ALL__ would leave no layer.",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "line", "message"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_recipe_is_refused_with_its_line_and_the_remedy(tmp_path, text, line, message):
    path = written(tmp_path, text)
    with pytest.raises(UserError) as refused:
        translate(read_recipe(path))
    assert str(refused.value) == f"{path}, line {line}: {message}"


def test_there_are_fifteen_malformed_recipes_made_from_a_valid_one(tmp_path):
    assert len(MALFORMED) >= 15
    translate(read_recipe(written(tmp_path, PRUNING)))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("old.yaml", "", "{} contains no modifiers: it has no list of !Name items under a key with 'modifiers' in its name."),
        ("old.yaml", "just words", "{} contains no modifiers: it has no list of !Name items under a key with 'modifiers' in its name."),
        ("old.yaml", "modifiers: []", "{} contains no modifiers: it has no list of !Name items under a key with 'modifiers' in its name."),
        ("old.yaml", "model: bert\n", "{} contains no modifiers: it has no list of !Name items under a key with 'modifiers' in its name."),
        ("old.md", "# Title\n---\na: 1\n---\n", "{} contains no recipe: no modifiers between --- lines or in a ```yaml block."),
    ],
)  # fmt: skip
def test_a_file_without_a_modifier_is_an_error(tmp_path, name, text, message):
    path = written(tmp_path, text, name)
    with pytest.raises(NoRecipeError) as refused:
        read_recipe(path)
    assert str(refused.value) == message.format(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("old.txt", RANGE, "{}: the name of a SparseML recipe must end in .yaml, .yml, .md."),
        ("old.yaml", b"\xff\xfe\x00m", "{} is not UTF-8 text; save it as UTF-8."),
        ("old.yaml", "a: \x07\n" + RANGE, "{}, line 1: invalid YAML: unacceptable character #x0007: special characters are not allowed."),
        ("old.yaml", RANGE + "#" * 1_000_000, "{} has 1,000,066 bytes; a recipe has at most 1,000,000."),
        (
            "old.md",
            f"```yaml\n{RANGE}```\nor\n```yaml\n{RANGE}```\n",
            "{} contains 2 recipes, from the lines 2, 7; save the one to run as a .yaml file.",
        ),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_refused(tmp_path, name, content, message):
    path = written(tmp_path, content, name)
    with pytest.raises(UserError) as refused:
        read_recipe(path)
    assert str(refused.value) == message.format(path)


def test_a_file_that_is_not_there_is_refused_with_the_nearest_name(tmp_path):
    written(tmp_path, RANGE, "prune80.yaml")
    with pytest.raises(UserError) as refused:
        read_recipe(str(tmp_path / "prune8O.yaml"))
    assert str(refused.value).endswith("prune8O.yaml: there is no such file. Did you mean 'prune80.yaml'?")


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)
EVALUATED = "a0: [1, 1]\n" + "".join(f"a{i}: [eval(a{i - 1}), eval(a{i - 1})]\n" for i in range(1, 45))


@pytest.mark.parametrize(
    ("bomb", "message"),
    [
        (LAUGHS + RANGE, "the aliases expand to more than 100,000 values"),
        (EVALUATED + "modifiers:\n  - !EpochRangeModifier {start_epoch: 0, end_epoch: eval(a44)}\n", "end_epoch must be an epoch"),
        (EVALUATED + "modifiers:\n  - !GMPruningModifier {params: eval(a44)}\n", "params must be a name or a list of names"),
        (RANGE + "n: " + "[" * 5000 + "]" * 5000, "nested more than 40 levels deep"),
        (RANGE + "n: " + "{a: " * 60 + "1" + "}" * 60, "nested more than 40 levels deep"),
        (RANGE + "n: &n [*n]\n", "nested more than 40 levels deep"),
        (RANGE + "n: eval(9**9**9**9)\n", "at most 64 is allowed"),
        (RANGE + "n: eval(" + "(" * 10_000 + "1" + ")" * 10_000 + ")\n", "at most 500 are allowed"),
        (RANGE + "n: eval(" + "1+" * 100_000 + "1)\n", "at most 500 are allowed"),
        (RANGE + "".join(f"v{i}: eval(v{i + 1})\n" for i in range(2000)) + "v2000: 1\n", "more than 50 variables"),
    ],
    ids=["laughs", "lists of lists in epochs", "lists of lists in params", "brackets", "braces", "self", "power", "parentheses", "terms", "chain"],
)  # fmt: skip
def test_a_bomb_is_refused_within_a_second(tmp_path, bomb, message):
    path = written(tmp_path, bomb)
    started = time.process_time()  # other processes do not count
    with pytest.raises(UserError, match=message) as refused:
        translate(read_recipe(path))
    assert time.process_time() - started < 1
    assert len(str(refused.value)) < 1000


@pytest.mark.skipif(not SEED.is_file(), reason="../shared/seeds is not on this machine")
def test_the_recipe_in_the_notebook_of_the_seeds_is_found_and_read():
    text = yaml_in_markdown(SEED.read_text(), SEED.name)
    recipe = parse_recipe(text, Path(SEED.name), {"num_epochs": 10})
    assert [tag for tag, _ in settings_of(recipe)] == [
        "EpochRangeModifier",
        "LearningRateFunctionModifier",
        "QuantizationModifier",
        "DistillationModifier",
        "ConstantPruningModifier",
        "SetWeightDecayModifier",
    ]
    rate = recipe.stages[0].modifiers[1]
    assert rate.settings == {"start_epoch": 0, "end_epoch": 10, "lr_func": "linear", "init_lr": 1.5e-4, "final_lr": 0}
    lines = SEED.read_text().splitlines()
    assert "!LearningRateFunctionModifier" in lines[rate.line - 1]
    assert "init_lr" in lines[rate.lines["init_lr"] - 1]
