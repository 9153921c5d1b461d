"""What the parameters of SparseML's modifiers may be, and what they are here.

A kind takes the value of a parameter and returns ours; a RecipeError goes on after the name of the parameter.
"""

import re
import reprlib
from collections.abc import Callable, Collection
from typing import Any

from winnow.errors import nearest
from winnow.ranges import RANGES
from winnow.sparseml.expressions import RecipeError, as_number

Kind = Callable[[Any], Any]

ALL, PRUNABLE, FROM_PARAM = "__ALL__", "__ALL_PRUNABLE__", "__FROM_PARAM__"
_NOT_LINEAR = ["bert.embeddings.word_embeddings.weight"] + [
    f"bert.encoder.layer.{i}.output.{name}" for i in range(12) for name in ("LayerNorm.weight", "dense.bias")
]
_EVERY_STEP = 1e-6  # epochs: shorter than any step


def _must(what: str, value: Any, remedy: str = "") -> RecipeError:
    return RecipeError(f"must be {what}, got {reprlib.repr(value)}{remedy}.")


def within(name: str) -> Kind:
    """A value in the range that our setting of this name has."""

    def kind(value: Any) -> Any:
        if not RANGES[name].allows(value):
            raise _must(RANGES[name].says, value, RANGES[name].remedy(value))
        return value

    return kind


def one_of(*words: str) -> Kind:
    def kind(value: Any) -> str:
        if value not in words:
            raise _must(f"one of {', '.join(words)}", value)
        return value

    return kind


def optional(inner: Kind) -> Kind:
    return lambda value: None if value in (None, "None", "null") else inner(value)


def anything(value: Any) -> Any:
    return value


def yes_no(value: Any) -> bool:
    word = str(value).lower()
    if word not in ("true", "1", "false", "0"):
        raise _must("true or false", value)
    return word in ("true", "1")


epoch = within("start_epoch")
positive = within("temperature")
whole = within("batch_size")


def learning_rate(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise _must("a number from 0 to 1", value)
    return value


def numbers(value: Any) -> list[float]:
    if not isinstance(value, list) or not value:
        raise _must("a list of numbers", value)
    return [positive(item) for item in value]


def mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _must("a mapping", value)
    return value


def names(value: Any) -> list[str]:
    """One name, or a list of them."""
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(name, str) and name for name in listed):
        raise _must("a name or a list of names", value)
    return listed


def patterns(value: Any) -> list[str]:
    """Names of parameters as regular expressions that match them whole.

    A ``re:`` pattern matches from the start of a name and as a prefix, any other name as it is written, the words for
    all of them everything.
    """
    if value == []:
        raise RecipeError(f"is empty; name parameters, or {PRUNABLE}.")
    return list(dict.fromkeys(_pattern(name) for name in names(value)))


def patterns_or_none(value: Any) -> list[str]:
    """The same, and none where the mapping of sparsities names them."""
    return patterns(value) if value != [] else []


def _pattern(name: str) -> str:
    if name.upper() in (ALL, PRUNABLE) or name == "re:.*":
        return ".*"
    if not name.startswith("re:"):
        return re.escape(name)
    if "${" in name:
        raise RecipeError(f"holds {name!r}; a pattern cannot have ${{ in it.")
    flags = re.match(r"re:\(\?([aims]+)\)", name)  # Python takes them at the very start alone
    try:
        re.compile(name[3:])
    except re.error as error:
        raise RecipeError(f"holds {name!r}, which is not a regular expression ({error}).") from error
    return f"(?{flags[1]}:{name[flags.end() :]}).*" if flags else f"(?:{name[3:]}).*"


def beyond_linear_weights(listed: Collection[str]) -> bool:
    """True if patterns reach parameters of BERT that are no weights of linear layers."""
    return any(re.fullmatch(pattern, name) for pattern in listed for name in _NOT_LINEAR)


def has_word(value: Any, words: Collection[str]) -> bool:
    """True if parameters are named by one of the words for all of them."""
    listed = value if isinstance(value, list) else [value]
    return any(isinstance(name, str) and name.upper() in words for name in listed)


def initial_sparsity(value: Any) -> float:
    return 0.0 if value == FROM_PARAM else within("initial_sparsity")(value)


def sparsity_by_pattern(value: Any) -> Any:
    """A sparsity; or pattern -> sparsity, from SparseML's sparsity -> list of names, in which the first counts."""
    if not isinstance(value, dict):
        return within("final_sparsity")(value)
    found: dict[str, float] = {}
    for sparsity, listed in value.items():
        for pattern in patterns(listed):
            found.setdefault(pattern, within("final_sparsity")(as_number(sparsity)))
    if not found:
        raise RecipeError("is an empty mapping.")
    return found


def frequency(value: Any) -> float:
    """Epochs between two updates; -1 and 0 mean every step."""
    return _EVERY_STEP if value in (-1, 0) else within("update_frequency")(value)


def structure(value: Any) -> str:
    if value in ("block", "block4", [1, 4]):
        return "block4"
    if value == "tensorrt":
        return "2:4"
    if value == "unstructured" or (isinstance(value, str) and re.fullmatch(r"[1-9]\d?:[1-9]\d?", value)):
        return value
    raise _must("unstructured, block4 or [1, 4], or N:M such as 2:4", value)


def score(value: Any) -> str:
    """What weights are ranked by, in recipes of before release 1.0; a mapping holds options of MFAC."""
    return "MFAC" if isinstance(value, dict) else one_of("magnitude", "movement", "MFAC")(value)


def scheme(value: Any) -> Any:
    """A quantisation scheme by name, or part by part."""
    if isinstance(value, str):
        return one_of("default", "deepsparse", "tensorrt")(value)
    parts = ("input_activations", "weights", "output_activations", "target_hardware")
    for part, arguments in mapping(value).items():
        _check_name(part, parts)
        if part != "target_hardware":
            for argument in optional(mapping)(arguments) or {}:
                _check_name(argument, ("num_bits", "symmetric", "strategy", "kwargs"))
    return value


def schemes(value: Any) -> dict[str, Any]:
    """Type or name of a module -> its scheme, or none."""
    return {module: optional(scheme)(given) for module, given in mapping(value).items()}


def _check_name(name: Any, known: Collection[str]) -> None:
    if name not in known:
        raise RecipeError(f"has no {name}; it has {', '.join(known)}.{nearest(str(name), known)}")
