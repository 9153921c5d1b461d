"""Checks of the names and parameters of a recipe's modifiers."""

from winnow.errors import nearest
from winnow.sparseml.modifier_schemas import LOGGING, SCHEMAS
from winnow.sparseml.modifier_translation import ModifierTranslation
from winnow.sparseml.parameters import anything
from winnow.sparseml.recipe_error import RecipeError
from winnow.sparseml.recipe_scope import TaggedModifier

# Modifiers of SparseML that Winnow does not support -> the closest one that it does.
_UNSUPPORTED = {
    "MFACPruningModifier": "!GMPruningModifier",
    "MFACGlobalPruningModifier": "!GlobalMagnitudePruningModifier",
    "RigLPruningModifier": "!ACDCPruningModifier",
    "TopKASTPruningModifier": "!ACDCPruningModifier",
    "StructuredPruningModifier": "!LayerPruningModifier",
    "LayerThinningModifier": "!LayerPruningModifier",
    "PowerpropagationModifier": "!GMPruningModifier",
    "ASRegModifier": "",
    "SetParamModifier": "",
    "GradualParamModifier": "",
    "LoggingModifier": "",
}


def check_modifier(tagged: TaggedModifier) -> ModifierTranslation:
    """Check a modifier of the file and prepare its translation.

    Raises:
        RecipeError: for an unknown name or parameter, a value that is not allowed, or a missing parameter.
    """
    name = _full_name(tagged)
    schema = SCHEMAS[name]
    allowed = [*schema.parameters, *schema.unused, *LOGGING]
    values = {}
    for parameter, value in tagged.settings.items():
        line = tagged.lines[parameter]
        if parameter not in allowed:
            listed, hint = ", ".join(sorted(allowed)), nearest(parameter, allowed)
            raise RecipeError(f"!{tagged.tag} has no parameter {parameter}; it has {listed}.{hint}", line)
        try:
            values[parameter] = schema.parameters.get(parameter, anything)(value)
        except RecipeError as error:
            raise RecipeError(f"{parameter} {error}", line) from error
    missing = [parameter for parameter in schema.required if parameter not in values]
    if missing:
        raise RecipeError(f"!{tagged.tag} needs {' and '.join(missing)}.", tagged.line)
    start, end = values.get("start_epoch", -1), values.get("end_epoch", -1)
    if -1 < end < start:
        raise RecipeError(f"end_epoch {end:g} is before start_epoch {start:g}; raise it.", tagged.lines["end_epoch"])
    modifier = ModifierTranslation(name, tagged.line, start, end, values, tagged.settings)
    ignored = [parameter for parameter in values if parameter not in schema.parameters]
    if ignored:
        modifier.ignores(", ".join(ignored))
    return modifier


def _full_name(tagged: TaggedModifier) -> str:
    """The name that SparseML registered, for a tag that may lack its prefix or suffix."""
    name = tagged.tag.removeprefix("pytorch.").removeprefix("Legacy")
    for candidate in (name, f"{name}Modifier", f"{name}PruningModifier"):
        if candidate in SCHEMAS:
            return candidate
        if candidate in _UNSUPPORTED:
            closest = _UNSUPPORTED[candidate]
            hint = f"the closest modifier is {closest}; " if closest else ""
            raise RecipeError(f"!{tagged.tag} is not supported; {hint}remove it to run the rest.", tagged.line)
    raise RecipeError(f"there is no modifier !{tagged.tag}.{nearest(name, SCHEMAS)}", tagged.line)
