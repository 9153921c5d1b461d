# ruff: noqa: E501 -- a message stands on one line, as a person reads it

import pytest

from tests.sparseml.test_reading import written
from tests.toys import toy_data, toy_model
from winnow.config.checks import check
from winnow.config.recipe import Recipe
from winnow.errors import UserError
from winnow.models.quantized_model import quantizers
from winnow.modifiers.modifier import build_modifiers
from winnow.sparseml.translation import translate_file
from winnow.sparseml.translation_report import entries

OUTPUTS = "differs: outputs are quantised as inputs of the next matmul, not where they are computed"
OTHERS = "differs: linear layers, embeddings and the matmuls of attention are quantised, other modules are not"


def recipe(folder, arguments, epochs=3):
    return written(
        folder,
        f"modifiers:\n  - !EpochRangeModifier {{start_epoch: 0, end_epoch: {epochs}}}\n"
        f"  - !QuantizationModifier {{{arguments}}}\n",
    )


def translated(folder, arguments, epochs=3):
    """The settings, and the notes."""
    translation = translate_file(str(recipe(folder, arguments, epochs)), {}, None)
    return translation.natives["quantization"].settings, list(entries(translation)[1].notes)


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        ("", {"submodules": [".*"], "weight_bits": 8, "per_channel": False, "embeddings": True}),
        ("submodules: [bert.encoder, classifier]", {"submodules": [r"bert\.encoder(\..*)?", r"classifier(\..*)?"]}),
        ("submodules: [bert.encoder, bert.embeddings], quantize_embeddings: 0", {"submodules": [r"bert\.encoder(\..*)?"], "embeddings": False}),
        ("exclude_module_types: [Embedding, LayerNorm]", {"embeddings": False}),
        ("exclude_module_types: [QATMatMul]", {"attention": False}),
        ("exclude_module_types: [Tanh]", {}),
        ("ignore: [classifier, bert.encoder.layer.1, LayerNorm, bert.embeddings.LayerNorm]", {"exclude": ["classifier.*", r"bert\.encoder\.layer\.1.*"]}),
        ("scheme_overrides: {classifier: {weights: null, input_activations: null}}", {"exclude": ["classifier.*"]}),
        ("scheme_overrides: {Embedding: {weights: null}}", {"embeddings": False}),
        ("weight_bits: 4", {"weight_bits": 4}),
        ("default_scheme: {weights: {num_bits: 4, strategy: channel}}", {"weight_bits": 4, "per_channel": True}),
        ("weight_qconfig_kwargs: {qscheme: torch.per_channel_symmetric}", {"per_channel": True}),
        ("reduce_range: True", {"reduce_range": True}),
        ("start_epoch: 1.5", {"start_epoch": 1.5, "disable_observer_epoch": -1}),
        ("disable_quantization_observer_epoch: 2", {"start_epoch": -1, "disable_observer_epoch": 2}),
        ("disable_quantization_observer_epoch: 3", {"disable_observer_epoch": 3}),
        ("disable_quantization_observer_epoch: 4", {"disable_observer_epoch": -1}),
    ],
)  # fmt: skip
def test_each_parameter_is_translated(tmp_path, arguments, settings):
    found, _ = translated(tmp_path, arguments)
    plain, _ = translated(tmp_path, "")
    assert found == {**plain, **settings}


@pytest.mark.parametrize(
    ("arguments", "notes"),
    [
        ("", [OTHERS]),
        ("ignore: [LayerNorm]", ["note: the matmuls of attention are quantised, as in the models that SparseML ships"]),
        ("ignore: [LayerNorm, QATMatMul]", []),
        ("quantize_linear_activations: 1", [OUTPUTS, OTHERS]),
        ("quantize_embeddings: 1", [OUTPUTS, OTHERS]),  # in the older form outputs are quantised unless a recipe says no
        ("quantize_linear_activations: 0", [OTHERS]),
        ("quantize_linear_activations: 0, quantize_embedding_activations: 1", [OUTPUTS, OTHERS]),
        ("scheme: {output_activations: {num_bits: 8}}", [OUTPUTS, OTHERS]),
        ("scheme: tensorrt", ["differs: activations are asymmetric, 0 to 255; TensorRT needs symmetric ones", OTHERS]),
        ("scheme: {input_activations: {symmetric: True}}", ["differs: activations are asymmetric, 0 to 255", OTHERS]),
        ("scheme: {weights: {symmetric: False}}", ["differs: weights are symmetric, so that zeros stay zeros", OTHERS]),
        ("scheme: {input_activations: null}", ["differs: input_activations are quantised, although input_activations is null", OTHERS]),
        ("scheme: {target_hardware: deepsparse}", ["ignored: target_hardware", OTHERS]),
        ("scheme_overrides: {Embedding: {input_activations: null}}", [OTHERS]),
        ("scheme_overrides: {classifier: {weights: {num_bits: 4}}}", ["differs: scheme_overrides of classifier is ignored; the scheme of all modules applies", OTHERS]),
        ("ignore: [LayerNorm, QATMatMul, BertSelfOutput]", ["differs: BertSelfOutput: unknown types of modules, which are quantised"]),
        ("scheme: {weights: {num_bits: 4}}", ["differs: embeddings keep 8 bits", OTHERS]),
        ("disable_quantization_observer_epoch: 4", [OTHERS, "note: its observers stay on: epoch 4 is after the end"]),
        ("num_calibration_steps: 5, model_fuse_fn_name: no_fuse, strict: True", [OTHERS, "ignored: num_calibration_steps, model_fuse_fn_name, strict"]),
        ("weight_qconfig_kwargs: {observer: MinMaxObserver}, quantize_linear_activations: 0", ["ignored: observer of the weight observers", OTHERS]),
    ],
)  # fmt: skip
def test_ignored_and_differing_settings_are_reported(tmp_path, arguments, notes):
    assert translated(tmp_path, arguments)[1] == notes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("activation_bits: 4", "4-bit activations are not supported; use 8 bits."),
        ("weight_bits: 2", "2-bit weights are not supported; use 8 or 4 bits."),
        ("scheme: {input_activations: {num_bits: 16}}", "16-bit activations are not supported; use 8 bits."),
        ("exclude_module_types: [Linear]", "Linear is excluded, but without linear layers there is nothing to quantise; remove it."),
        ("submodules: [bert.embeddings], quantize_embeddings: 0", "submodules leaves nothing to quantise; name the encoder, such as bert.encoder."),
        ("start_epoch: 2, disable_quantization_observer_epoch: 2", "disable_quantization_observer_epoch is 2, not after start_epoch 2; raise it."),
        ("start_epoch: 2, freeze_bn_stats_epoch: 1", "freeze_bn_stats_epoch is 1, before start_epoch 2; raise it."),
        ("start_epoch: 3", "start_epoch is 3, the end of training; quantisation needs some epochs of training."),
        ("start_epoch: 1, end_epoch: 2", "end_epoch must be -1, because quantisation does not end."),
    ],
)  # fmt: skip
def test_unsupported_values_are_refused_with_their_line(tmp_path, arguments, message):
    with pytest.raises(UserError) as refused:
        translated(tmp_path, arguments)
    assert str(refused.value) == f"{tmp_path / 'old.yaml'}, line 3: {message}"


def test_a_second_quantization_is_refused(tmp_path):
    two = "modifiers:\n  - !EpochRangeModifier {start_epoch: 0, end_epoch: 3}\n" + 2 * "  - !QuantizationModifier {}\n"
    with pytest.raises(UserError, match="line 4: line 3 already quantises; name all modules there"):
        translate_file(str(written(tmp_path, two)), {}, None)


def test_epochs_within_a_stage_move_with_it(tmp_path):
    text = (
        "a:\n  modifiers: [!EpochRangeModifier {start_epoch: 0, end_epoch: 4}]\n"
        "b:\n  modifiers:\n    - !EpochRangeModifier {start_epoch: 0, end_epoch: 3}\n"
        "    - !QuantizationModifier {start_epoch: 1, disable_quantization_observer_epoch: 2}\n"
    )
    found = translate_file(str(written(tmp_path, text)), {}, None).natives["quantization"].settings
    assert (found["start_epoch"], found["disable_observer_epoch"]) == (5, 6)


def test_the_modules_that_a_recipe_names_are_quantised(tmp_path, configured):
    path = recipe(
        tmp_path,
        "submodules: [bert.embeddings, bert.encoder], exclude_module_types: [LayerNorm, Embedding], quantize_embeddings: 0",
    )
    config = configured("recipe=sparseml", f"recipe.path={path}", "teacher=none")
    check(config)
    model = toy_model(toy_data().task)
    quantization = next(m for m in build_modifiers(Recipe.read(config["recipe"])) if m.name == "quantization")
    quantization.match(model)
    names = set(quantizers(model))
    assert "bert.encoder.layer.0.attention.self.query.weight_quantizer" in names
    assert "bert.encoder.layer.1.attention.self.products.value" in names
    assert not any(name.startswith(("bert.embeddings", "bert.pooler", "classifier")) for name in names)
