"""Kinds of parameters of SparseML's modifiers.

A kind checks a value of the file and returns the native one. The message of its RecipeError follows the name of the
parameter, such as "must be true or false, got 7."
"""

import re
import reprlib
from collections.abc import Callable, Collection
from typing import Annotated, Any

from pydantic import Field

from winnow import values
from winnow.errors import nearest
from winnow.sparseml.expressions import as_number
from winnow.sparseml.recipe_error import RecipeError

Kind = Callable[[Any], Any]

ALL, PRUNABLE, FROM_PARAM = "__ALL__", "__ALL_PRUNABLE__", "__FROM_PARAM__"
_NOT_LINEAR = ["bert.embeddings.word_embeddings.weight"] + [
    f"bert.encoder.layer.{i}.output.{name}" for i in range(12) for name in ("LayerNorm.weight", "dense.bias")
]
_EVERY_STEP = 1e-6  # epochs: shorter than any step


def _error(expected: str, value: Any) -> RecipeError:
    return RecipeError(f"must be {expected}, got {reprlib.repr(value)}.")


def of_type(expected: Any) -> Kind:
    """The kind for a type of `winnow.values`; the value stays as written, so an int stays an int."""

    def kind(value: Any) -> Any:
        problem = values.problem(expected, value)
        if problem is not None:
            raise RecipeError(f"must be {problem}.")
        return value

    return kind


def one_of(*words: str) -> Kind:
    def kind(value: Any) -> Any:
        if value not in words:
            raise _error(f"one of {', '.join(words)}", value)
        return value

    return kind


def optional(inner: Kind) -> Kind:
    return lambda value: None if value in (None, "None", "null") else inner(value)


def anything(value: Any) -> Any:
    return value


def yes_no(value: Any) -> bool:
    word = str(value).lower()
    if word not in ("true", "1", "false", "0"):
        raise _error("true or false", value)
    return word in ("true", "1")


epoch = of_type(values.Epoch)
positive = of_type(values.Positive)
not_negative = of_type(values.NotNegative)
fraction = of_type(values.Fraction)
sparsity = of_type(values.Sparsity)
whole = of_type(values.Count)
learning_rate = of_type(Annotated[float, Field(ge=0, le=1), values.Expected("a number from 0 to 1")])


def numbers(value: Any) -> list[float]:
    if not isinstance(value, list) or not value:
        raise _error("a list of numbers", value)
    return [positive(item) for item in value]


def mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _error("a mapping", value)
    return value


def names(value: Any) -> list[str]:
    """One name, or a list of names."""
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(name, str) and name for name in listed):
        raise _error("a name or a list of names", value)
    return listed


def patterns(value: Any) -> list[str]:
    """Names of parameters as regular expressions for full matches.

    A ``re:`` pattern matches a prefix of a name, any other name matches literally, and the keywords match everything.
    """
    if value == []:
        raise RecipeError(f"is empty; name parameters, or {PRUNABLE}.")
    return list(dict.fromkeys(_pattern(name) for name in names(value)))


def patterns_or_none(value: Any) -> list[str]:
    """The same, or an empty list, where a mapping of sparsities names the parameters."""
    return patterns(value) if value != [] else []


def _pattern(name: str) -> str:
    if name.upper() in (ALL, PRUNABLE) or name == "re:.*":
        return ".*"
    if not name.startswith("re:"):
        return re.escape(name)
    if "${" in name:
        raise RecipeError(f"contains {name!r}; a pattern must not contain ${{.")
    flags = re.match(r"re:\(\?([aims]+)\)", name)  # Python allows them only at the start of a pattern
    try:
        re.compile(name[3:])
    except (re.error, RecursionError, OverflowError) as error:
        raise RecipeError(f"contains {reprlib.repr(name)}, which is not a regular expression ({error}).") from error
    return f"(?{flags[1]}:{name[flags.end() :]}).*" if flags else f"(?:{name[3:]}).*"


def matches_beyond_linear_weights(listed: Collection[str]) -> bool:
    """True if a pattern matches a parameter of BERT that is not a weight of a linear layer."""
    return any(re.fullmatch(pattern, name) for pattern in listed for name in _NOT_LINEAR)


def has_keyword(value: Any, keywords: Collection[str]) -> bool:
    """True if one of the names is a keyword such as __ALL__."""
    listed = value if isinstance(value, list) else [value]
    return any(isinstance(name, str) and name.upper() in keywords for name in listed)


def initial_sparsity(value: Any) -> Any:
    return 0.0 if value == FROM_PARAM else sparsity(value)


def sparsity_by_pattern(value: Any) -> Any:
    """A sparsity; or pattern -> sparsity, from SparseML's sparsity -> names, where the first match counts."""
    if not isinstance(value, dict):
        return sparsity(value)
    found: dict[str, float] = {}
    for fraction_of_zeros, listed in value.items():
        for pattern in patterns(listed):
            found.setdefault(pattern, sparsity(as_number(fraction_of_zeros)))
    if not found:
        raise RecipeError("is an empty mapping.")
    return found


def frequency(value: Any) -> Any:
    """Epochs between two updates; -1 and 0 mean every step."""
    return _EVERY_STEP if value in (-1, 0) else positive(value)


def structure(value: Any) -> str:
    if value in ("block", "block4", [1, 4]):
        return "block4"
    if value == "tensorrt":
        return "2:4"
    if isinstance(value, str) and re.fullmatch(r"unstructured|[1-9]\d?:[1-9]\d?", value):
        return value
    raise _error("unstructured, block4 or [1, 4], or N:M such as 2:4", value)


def score(value: Any) -> Any:
    """The score that ranks weights, in recipes from before release 1.0; a mapping has the options of MFAC."""
    return "MFAC" if isinstance(value, dict) else one_of("magnitude", "movement", "MFAC")(value)


def scheme(value: Any) -> Any:
    """A quantisation scheme: a name, or a mapping from its parts to their arguments."""
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
    """Type or name of a module -> its scheme, or None."""
    return {module: optional(scheme)(given) for module, given in mapping(value).items()}


def _check_name(name: Any, known: Collection[str]) -> None:
    if name not in known:
        raise RecipeError(f"has no {name}; it has {', '.join(known)}.{nearest(str(name), known)}")
