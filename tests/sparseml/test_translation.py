# ruff: noqa: E501 -- a message stands on one line, as a person reads it

from pathlib import Path

import pytest

from tests.sparseml.test_reading import SEED, written
from tests.toys import toy_data, toy_model
from winnow.config.checks import check
from winnow.errors import UserError
from winnow.modifiers.masks import match_linear_weights
from winnow.sparseml.modifier_schemas import SCHEMAS
from winnow.sparseml.native import RECIPE_KEYS
from winnow.sparseml.parameters import patterns
from winnow.sparseml.reading import read_recipe
from winnow.sparseml.translation import translate, translate_file
from winnow.sparseml.translation_report import entries, report

FILES = Path(__file__).parent / "files"


def window(start, end, **settings):
    return {"start_epoch": start, "end_epoch": end, **settings}


def rate(schedule, initial, final, start, end, **more):
    rates = {"initial_learning_rate": initial, "final_learning_rate": final}
    return ("learning_rate", window(start, end, schedule=schedule, warmup=0.0, **rates, **more))


def constant_rate(value, start, end):
    return rate("constant", value, value, start, end)


def ramp(file, params, start, end, initial, final, frequency, shape="cubic", scope="matrix", **more):
    sparsities = {"initial_sparsity": initial, "final_sparsity": final}
    settings = {"params": params, **sparsities, "shape": shape, "update_frequency": frequency, "scope": scope}
    return (file, window(start, end, **settings, **more))


def distillation(hardness, temperature, start=-1, end=-1):
    return ("distillation", window(start, end, hardness=hardness, temperature=temperature))


def quantization(start, frozen, submodules=(".*",), *, bits=8, per_channel=False, embeddings=True, **more):
    parts = {"submodules": list(submodules), "weight_bits": bits, "per_channel": per_channel, "embeddings": embeddings}
    return ("quantization", {**parts, **more, "start_epoch": start, "disable_observer_epoch": frozen})


BERT = "bert.encoder.layer"
BERT_AND_ITS_TABLES = (r"bert\.embeddings(\..*)?", r"bert\.encoder(\..*)?")

# File -> its epochs, and what each key of the native recipe is. Worked out by hand from the file.
EXPECTED = {
    "bert_6layers_block4.md": (
        30,
        {
            "layers": ("layers", {"drop": [r"bert\.encoder\.layer\.1", r"bert\.encoder\.layer\.3"]}),
            "pruning": ramp(
                "gmp",
                [f"(?:{BERT}.([0,2,4]|11).attention.self.query.weight).*", f"(?:{BERT}.*.output.dense.weight).*"],
                *(2, 20, 0.0, 0.8, 0.01),
                structure="block4",
            ),
            "pruning_2": ramp("gmp", [f"(?:{BERT}.*.intermediate.dense.weight).*"], 2, 30, 0.0, 0.6, 0.01, "linear"),
            "learning_rate": rate("linear", 5e-5, 0, 0, 20),
            "learning_rate_2": rate("cosine", 5e-5, 0, 20, 30),
        },
    ),
    "transfer_quant.yaml": (
        9,
        {
            "distillation": distillation(1.0, 5.5),
            "pruning": ("constant", {"params": [".*"], "min_sparsity": 0.0}),
            "weight_decay": ("weight_decay", window(0, -1, weight_decay=0.01)),
            "learning_rate": rate("linear", 1.5e-4, pytest.approx(1.5e-6), 0, 9),
            "quantization": quantization(6, 8, BERT_AND_ITS_TABLES),
        },
    ),
    "stages_by_hand.yaml": (
        7,
        {
            "pruning": ramp("gmp", [".*"], 0, 2, 0.05, 0.9, 0.5),
            "distillation": distillation(0.5, 2.0, end=4),
            "learning_rate": rate("linear", 8e-5, 0, 0, 4),
            "learning_rate_2": constant_rate(1e-5, 4, -1),
        },
    ),
    "stages_composed.yaml": (9, {"pruning": ramp("gmp", ["(?:.*weight).*"], 0, 3, 0.2, 0.8, 1)}),
    "obert90.yaml": (
        30,
        {
            "pruning": ramp(
                "obs",
                [f"(?:{BERT}.*.weight).*"],
                *(2, 26, 0.7, 0.9, 4),
                **{"scope": "global", "structure": "block4", "gradients": 1024, "damping": 1e-7, "block": 48},
            ),
            "distillation": distillation(1.0, 2.0),
            "learning_rate": rate("linear", 8e-5, 8e-6, 0, 2),
            "learning_rate_2": rate("cyclic_linear", 8e-5, 8e-6, 2, 30, cycle_epochs=4),
        },
    ),
    "by_layer.yaml": (
        5,
        {
            "pruning": ramp(
                "gmp",
                [r"bert\.encoder\.layer\.0\.output\.dense\.weight", f"(?:{BERT}.1).*"],
                *(-1, -1, 0.0),
                {r"bert\.encoder\.layer\.0\.output\.dense\.weight": 0.8, f"(?:{BERT}.1).*": 0.9},
                1e-6,
                "inverse_cubic",
            )
        },
    ),
    "acdc.yaml": (
        20,
        {
            "pruning": (
                "acdc",
                window(1, 17, params=[".*"], final_sparsity=0.9, update_frequency=4, scope="matrix"),
            )
        },
    ),
    "movement.yaml": (
        10,
        {
            "pruning": ramp("movement", [f"(?:{BERT}.*.attention).*"], 1, 7, 0.0, 0.5, 0.01, structure="2:4"),
            "pruning_2": ramp("movement", [f"(?:{BERT}.*.output).*"], 1, 7, 0.0, 0.85, 0.01, scope="global"),
        },
    ),
    "optimizer.yaml": (
        12,
        {
            "weight_decay": ("weight_decay", window(-1, 8, weight_decay=0.01)),
            "weight_decay_2": ("weight_decay", window(8, -1, weight_decay=0.0)),
            "frozen": ("frozen", window(-1, 3, params=["(?:bert.embeddings).*"])),
            "learning_rate": constant_rate(1e-3, 0, 2),
            "learning_rate_2": constant_rate(1e-4, 2, 4),
            "learning_rate_3": constant_rate(1e-5, 4, 6),
            "learning_rate_4": constant_rate(2e-5, 6, 8),
            "learning_rate_5": (
                "learning_rate",
                window(8, 10, schedule="step", initial_learning_rate=1e-4, warmup=0.0, step_epochs=1.0, gamma=0.5),
            ),
            "learning_rate_6": constant_rate(2.5e-5, 10, 12),
        },
    ),
    "90sparsity1shot.yaml": (
        1,
        {
            "pruning": ramp(
                "gmp",
                [
                    f"(?:{BERT}.[0-9]+.attention.self.(query|key|value).weight).*",
                    f"(?:{BERT}.[0-9]+.attention.output.dense.weight).*",
                    f"(?:{BERT}.[0-9]+.intermediate.dense.weight).*",
                    f"(?:{BERT}.[0-9]+.output.dense.weight).*",
                ],
                *(0, 0, 0.9, 0.9, 1),
            ),
        },
    ),
    "noprune2epoch.yaml": (2, {}),
    "new_quantization.yaml": (
        3,
        {"quantization": quantization(1, 2, bits=4, per_channel=True, exclude=["classifier.*"])},
    ),
    "fenced.md": (
        3,
        {
            "pruning": ("constant", {"start_epoch": 1, "params": [".*"], "min_sparsity": 0.0}),
            "learning_rate": constant_rate("${..optimizer.learning_rate}", 0, 0.5),
            "learning_rate_2": rate("cyclic_linear", 1e-3, 0, 0.5, 2.5, cycle_epochs=1),
            "learning_rate_3": constant_rate(0, 2.5, 3),
        },
    ),
    "hidden.yaml": (
        4,
        {
            "hidden_distillation": ("hidden_distillation", window(0, 3, weight=2.0, layers={0: 1, 1: 3})),
            "hidden_distillation_2": ("hidden_distillation", window(3, -1, weight=1.5, layers="auto")),
        },
    ),
}


def translated(path, variables=None, num_epochs=None):
    translation = translate_file(str(path), variables or {}, num_epochs)
    return translation.num_epochs, {k: (n.file, n.settings) for k, n in translation.natives.items()}


def of_text(folder, text, **arguments):
    return translated(written(folder, text), **arguments)


def notes(path):
    """Every line of the report on each modifier, by line and name."""
    translation = translate_file(str(path), {}, None)
    return {(e.line, e.source): [*e.natives, *e.notes] for e in entries(translation)}, translation.notes


@pytest.mark.parametrize("name", EXPECTED)
def test_a_recipe_is_translated_as_expected(name):
    assert translated(FILES / name) == EXPECTED[name]


def test_every_file_has_an_expected_translation():
    assert {path.name for path in FILES.iterdir()} == set(EXPECTED)
    assert len(EXPECTED) >= 12


def test_the_recipes_together_use_every_kind_of_native_modifier():
    assert {file for _, modifiers in EXPECTED.values() for file, _ in modifiers.values()} == set(RECIPE_KEYS)


def test_every_translation_passes_the_configuration_checks(configured):
    for name in EXPECTED:
        check(configured("recipe=sparseml", f"recipe.path={FILES / name}", "teacher=self"))


def test_variables_can_be_overridden():
    epochs, modifiers = translated(FILES / "bert_6layers_block4.md", {"num_epochs": 40, "final_sparsity": "0.5"})
    assert epochs == 40
    assert modifiers["learning_rate_2"][1]["end_epoch"] == 40
    assert modifiers["pruning"][1]["final_sparsity"] == 0.5


@pytest.mark.skipif(not SEED.is_file(), reason="../shared/seeds is not on this machine")
def test_the_recipe_of_the_seeds_is_translated(tmp_path):
    lines = SEED.read_text().splitlines()
    begin = lines.index("version: 1.1.0")
    path = written(tmp_path, "\n".join(lines[begin : lines.index("```", begin)]))
    assert translated(path, {"num_epochs": 10}) == (
        10,
        {
            "distillation": distillation(1.0, 2.0),
            "pruning": ("constant", {"params": [".*"], "min_sparsity": 0.0}),
            "weight_decay": ("weight_decay", window(0, -1, weight_decay=0.01)),
            "learning_rate": rate("linear", 1.5e-4, 0, 0, 10),
            # the epochs 8 and 12 are written in the file; the training ends before the second
            "quantization": quantization(8, -1, [*BERT_AND_ITS_TABLES, r"bert\.pooler(\..*)?", r"classifier(\..*)?"]),
        },
    )


def test_the_report_lists_native_modifiers_and_differences_for_each_line():
    listed, general = notes(FILES / "by_layer.yaml")
    assert listed[3, "EpochRangeModifier"] == ["num_epochs: 5"]
    assert listed[4, "GMPruningModifier"][1:] == [
        "note: update_frequency -1 updates the masks at every step",
        "differs: start_epoch -1 means the first step; SparseML interpolates from epoch -1",
        "differs: leave_enabled: False ends the mask updates, but the zeros stay",
        "differs: a pruned weight stays zero; SparseML may let it grow again",
        "differs: only the weights of linear layers are pruned",
        "differs: init_sparsity __FROM_PARAM__ becomes 0: existing zeros stay, but the ramp starts lower",
        "differs: the final sparsity is reached when training ends; SparseML stops short of it",
    ]
    assert general == ["epochs are rounded to optimizer steps, also with gradient accumulation and data parallelism."]


@pytest.mark.parametrize(
    ("name", "line", "text"),
    [
        ("transfer_quant.yaml", 26, "note: the matmuls of attention are quantised, as in the models that SparseML ships"),
        ("transfer_quant.yaml", 26, "ignored: freeze_bn_stats_epoch"),
        ("new_quantization.yaml", 3, "differs: linear layers, embeddings and the matmuls of attention are quantised, other modules are not"),
        ("new_quantization.yaml", 3, "ignored: freeze_bn_stats_epoch, strict"),
        ("transfer_quant.yaml", 38, "differs: padding is not part of the loss; with teacher=self the teacher has the weights before training"),
        ("transfer_quant.yaml", 38, "note: distill_output_keys start_logits, end_logits: the outputs of the task's head are always used"),
        ("transfer_quant.yaml", 44, "differs: a decoder that shares its weight with the embeddings is not pruned"),
        ("transfer_quant.yaml", 49, "differs: biases and layer norms keep a weight decay of 0"),
        ("obert90.yaml", 20, "differs: gradients are those of single examples; SparseML takes the means of batches"),
        ("obert90.yaml", 20, "ignored: grad_sampler_kwargs"),
        ("bert_6layers_block4.md", 38, "differs: the layers are removed from the model and from its saved configuration"),
        ("bert_6layers_block4.md", 46, "ignored: log_types"),
        ("bert_6layers_block4.md", 60, "differs: the final sparsity is reached when training ends; SparseML stops short of it"),
        ("stages_by_hand.yaml", 40, "no modifier: line 18 keeps its zeros anyway"),
        ("fenced.md", 13, "ignored: end_epoch: the zeros stay until training ends"),
        ("fenced.md", 18, "note: the learning rate stays 0 after its end"),
        ("optimizer.yaml", 21, "differs: it applies to all parameters, not only to param_groups"),
        ("optimizer.yaml", 29, "ends the freezing of line 25"),
        ("optimizer.yaml", 33, "no modifier: parameters that are not frozen are trained"),
    ],
)  # fmt: skip
def test_ignored_and_differing_settings_are_reported_at_their_line(name, line, text):
    listed, _ = notes(FILES / name)
    assert text in next(lines for (at, _), lines in listed.items() if at == line)


def test_notes_on_the_whole_recipe_appear_once():
    assert notes(FILES / "stages_by_hand.yaml")[1][:2] == [
        "stage pruning_stage: epochs 0 to 4.",
        "stage recovery_stage: epochs 4 to 7, moved by 4.",
    ]
    assert notes(FILES / "stages_composed.yaml")[1][1] == "stage stage_1: epochs 3 to 9."
    assert notes(FILES / "fenced.md")[1][0] == "the recipe has 2.5 epochs; training takes 3 whole epochs."


def test_the_report_is_aligned():
    lines = report(translate_file(str(FILES / "acdc.yaml"), {}, None)).splitlines()
    assert lines[0].endswith("acdc.yaml: a recipe of SparseML, 20 epochs")
    assert lines[2:5] == [
        "line  SparseML             Winnow",
        "   2  EpochRangeModifier   num_epochs: 20",
        "   3  ACDCPruningModifier  pruning: acdc, params .*, final_sparsity 0.9, start_epoch 1, end_epoch 17, "
        "update_frequency 4, scope",
    ]
    assert all(len(line) <= 130 for line in lines)


GMP = "!GMPruningModifier {{params: [re:bert], init_sparsity: 0.0, final_sparsity: 0.8, start_epoch: 0, end_epoch: {}, update_frequency: 1}}"
RANGE = "!EpochRangeModifier {{start_epoch: 0, end_epoch: {}}}"


def listed(*modifiers):
    return "modifiers:\n" + "".join(f"  - {modifier}\n" for modifier in modifiers)


def test_the_last_end_of_a_modifier_is_the_length_of_training(tmp_path):
    path = written(tmp_path, listed(RANGE.format(3), GMP.format(5)))
    assert translated(path)[0] == 5
    assert notes(path)[1][0] == (
        "some modifiers end after the EpochRangeModifier; training takes 5 epochs, as in SparseML."
    )


def test_a_recipe_without_a_length_needs_num_epochs(tmp_path):
    path = written(tmp_path, listed("!ConstantPruningModifier {params: __ALL_PRUNABLE__}"))
    with pytest.raises(UserError) as refused:
        translated(path)
    assert str(refused.value) == f"{path} does not define the length of training; add recipe.num_epochs=N."
    assert translated(path, num_epochs=4)[0] == 4


def test_num_epochs_sets_the_variable_of_that_name_or_lengthens_the_training(tmp_path):
    with_variable = "num_epochs: 30\n" + listed(RANGE.format("eval(num_epochs)"))
    assert of_text(tmp_path, with_variable, num_epochs=10)[0] == 10
    assert of_text(tmp_path, listed(RANGE.format(3)), num_epochs=4)[0] == 4
    path = written(tmp_path, "n: 1\n" + listed(RANGE.format(3), GMP.format("eval(n)")))
    with pytest.raises(UserError) as refused:
        translated(path, num_epochs=2)
    assert str(refused.value) == (
        f"recipe.num_epochs=2: {path} runs until epoch 3; shorten it with "
        "recipe.variables.NAME=VALUE, where NAME is one of n."
    )


def test_a_learning_rate_lasts_until_the_next_one_starts(tmp_path):
    text = listed(
        "!SetLearningRateModifier {learning_rate: 0.1}",
        "!LearningRateFunctionModifier {lr_func: linear, init_lr: 1e-4, final_lr: 0, start_epoch: 2, end_epoch: 4}",
        "!SetLearningRateModifier {learning_rate: 0.2, start_epoch: 4}",
        "!SetLearningRateModifier {learning_rate: 0.3, start_epoch: 4}",
    )
    assert of_text(tmp_path, text)[1] == {
        "learning_rate": constant_rate(0.1, -1, 2),
        "learning_rate_2": rate("linear", 1e-4, 0, 2, 4),
        "learning_rate_3": constant_rate(0.3, 4, -1),
    }
    assert notes(tmp_path / "old.yaml")[0][4, "SetLearningRateModifier"] == [
        "no modifier: the learning rate of line 5 replaces it at once"
    ]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            "lr_class: StepLR, lr_kwargs: {step_size: 2, gamma: 0.5}",
            window(1, 6, schedule="step", initial_learning_rate=0.1, warmup=0.0, step_epochs=2, gamma=0.5),
        ),
        (
            "lr_class: CosineAnnealingWarmRestarts, lr_kwargs: {lr_min: 1e-3, cycle_epochs: 2.5}",
            rate("cyclic_cosine", 0.1, 1e-3, 1, 6, cycle_epochs=2.5)[1],
        ),
    ],
)
def test_learning_rate_classes_become_schedules(tmp_path, arguments, expected):
    text = listed(f"!LearningRateModifier {{init_lr: 0.1, start_epoch: 1, end_epoch: 6, {arguments}}}")
    modifiers = of_text(tmp_path, text)[1]
    assert modifiers["learning_rate_2"] == ("learning_rate", expected)


def test_two_modifiers_that_drop_layers_become_one(tmp_path):
    drop = "!LayerPruningModifier {{layers: [{}], start_epoch: {}}}"
    modifiers = of_text(tmp_path, listed(RANGE.format(1), drop.format("a.1, a.2", -1), drop.format("a.2, a.3", 0)))[1]
    assert modifiers == {"layers": ("layers", {"drop": [r"a\.1", r"a\.2", r"a\.3"]})}


def test_constant_pruning_of_other_matrices_than_those_just_pruned_is_kept(tmp_path):
    keep = "!ConstantPruningModifier {{params: [{}], start_epoch: 3}}"
    pruned = listed(RANGE.format(4), GMP.format(3), keep.format("re:bert"), keep.format("re:classifier"))
    modifiers = of_text(tmp_path, pruned)[1]
    assert [(key, native[0]) for key, native in modifiers.items()] == [("pruning", "gmp"), ("pruning_2", "constant")]
    assert modifiers["pruning_2"][1]["params"] == ["(?:classifier).*"]


@pytest.mark.parametrize(("start", "begins", "ends"), [(0, 3, 6), (2, 5, 8), (3, 3, 6), (4, 4, 7)])
def test_a_stage_that_starts_before_the_previous_one_ends_is_moved_after_it(tmp_path, start, begins, ends):
    second = f"!SetWeightDecayModifier {{weight_decay: 0.1, start_epoch: {start}}}"
    end = f"!EpochRangeModifier {{start_epoch: {start}, end_epoch: {start + 3}}}"
    text = f"a:\n  modifiers: [{RANGE.format(3)}]\nb:\n  modifiers: [{second}, {end}]\n"
    epochs, modifiers = of_text(tmp_path, text)
    assert (modifiers["weight_decay"][1]["start_epoch"], epochs) == (begins, ends)


def test_names_and_patterns_match_as_in_sparseml():
    model = toy_model(toy_data().task, num_hidden_layers=12)

    def matched(value):
        return {name.removeprefix("bert.encoder.layer.") for name in match_linear_weights(model, patterns(value))}

    first = matched("re:bert.encoder.layer.1")
    assert {name.split(".")[0] for name in first} == {"1", "10", "11"}
    assert matched(["bert.encoder.layer.1.output.dense.weight"]) == {"1.output.dense.weight"}
    assert {"bert.pooler.dense.weight", "classifier.weight"} < matched("__ALL_PRUNABLE__")
    assert matched("re:(?i)BERT.ENCODER.LAYER.1.OUTPUT") == {"1.output.dense.weight"}
    with pytest.raises(UserError, match="matches none"):
        matched("re:encoder")


def test_every_listed_modifier_is_supported():
    names = (
        "EpochRange GMPruning MagnitudePruning GlobalMagnitudePruning ConstantPruning LayerPruning Quantization "
        "Distillation LearningRateFunction SetLearningRate LearningRate SetWeightDecay TrainableParams OBSPruning "
        "MovementPruning ACDCPruning"
    )
    assert {f"{name}Modifier" for name in names.split()} <= set(SCHEMAS)


def test_a_translation_contains_only_plain_types():
    def check(value):
        if isinstance(value, dict):
            value = [*value.keys(), *value.values()]
        if isinstance(value, list):
            for item in value:
                check(item)
        else:
            assert type(value) in (str, int, float, bool, type(None)), value

    for name in EXPECTED:
        check({k: s for k, (_, s) in translated(FILES / name)[1].items()})


def test_translating_twice_gives_the_same():
    recipe = read_recipe(str(FILES / "optimizer.yaml"))
    assert translate(recipe).natives == translate(recipe).natives
