import subprocess
import sys

import pytest
import yaml
from pydantic_core import PydanticUndefined

from winnow.config.modifiers import SHIPPED, DistillationSettings, LayerDroppingSettings, MagnitudePruningSettings
from winnow.errors import UserError
from winnow.files.conf_folder import CONF

FILES = {path.stem: yaml.safe_load(path.read_text()) for path in (CONF / "modifier").glob("*.yaml")}
for node in FILES.values():
    if "_target_" in node and "defaults" in node:
        parent, _ = node.pop("defaults")
        node |= {setting: value for setting, value in FILES[parent].items() if setting not in node}
NODES = {name: node for name, node in FILES.items() if "_target_" in node}  # the others start from one of these


def test_every_shipped_target_has_settings():
    assert {node["_target_"] for node in NODES.values()} == set(SHIPPED)


@pytest.mark.parametrize("name", NODES)
def test_the_settings_and_their_defaults_are_those_of_the_shipped_file(name):
    node = dict(NODES[name])
    fields = SHIPPED[node.pop("_target_")].model_fields
    assert set(node) == set(fields)
    for setting, default in node.items():
        if default == "???":
            assert fields[setting].is_required()
        elif not (isinstance(default, str) and default.startswith("${")):  # no default of a file depends on a recipe
            assert fields[setting].default == default, setting
    defaults = {field.default for name, field in fields.items() if not isinstance(field.default, list)}
    assert defaults - {PydanticUndefined} or name in ("layers",)


@pytest.mark.parametrize("module", ["winnow.config.modifiers", "winnow.config.recipe"])
def test_the_settings_import_nothing_heavy(module):
    heavy = "{'torch', 'pytorch_lightning', 'transformers', 'datasets'}"
    code = f"import sys, {module}; sys.exit(str({heavy} & set(sys.modules)) if {heavy} & set(sys.modules) else 0)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def gmp(**settings):
    return MagnitudePruningSettings.read({"final_sparsity": 0.5, **settings}, "recipe.pruning")


@pytest.mark.parametrize(
    ("structure", "name"),
    [("2:4", "2:4"), (124, "2:4"), ([1, 4], "block4"), ("[1,4]", "block4"), ("unstructured", "unstructured")],
)
def test_a_structure_becomes_its_name(structure, name):
    assert gmp(structure=structure).structure == name


@pytest.mark.parametrize("structure", [True, 60, "4:2", [2, 4], "block5"])
def test_another_structure_is_refused(structure):
    with pytest.raises(UserError, match=r"recipe\.pruning\.structure must be unstructured, block4 or N:M"):
        gmp(structure=structure)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"start_epoch": 5, "end_epoch": 2},
            "recipe.pruning: start_epoch 5 is after end_epoch 2; lower",
        ),
        ({"params": []}, "recipe.pruning.params must be a regular expression, or a list of one or more, got []"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(settings, message):
    with pytest.raises(UserError) as refused:
        gmp(**settings)
    assert str(refused.value).startswith(message)


def test_a_teacher_is_named_on_the_command_line_only():
    assert DistillationSettings().needs_teacher
    assert not LayerDroppingSettings(keep=3).needs_teacher
    with pytest.raises(UserError, match=r"recipe\.distillation\.teacher must be null, got 'dense'"):
        DistillationSettings.read({"teacher": "dense"}, "recipe.distillation")
