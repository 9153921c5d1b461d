"""What a setting may be: types with their ranges and the sentence that explains them.

A type is used as an annotation of a `winnow.config.section.Section`, or checked alone by `check_value`.
"""

import re
import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from winnow.errors import UserError
from winnow.functional.structure import MAX_GROUP, Structure

_CONFIG = ConfigDict(strict=True, allow_inf_nan=False)
_SHORT = reprlib.Repr()  # a value from a recipe file may be endlessly nested
_SHORT.maxstring = _SHORT.maxother = 80


@dataclass(frozen=True)
class Expected:
    """The words of an error: ``NAME must be <what>, got <value>``.

    Args:
        what: such as ``a whole number, 1 or more``.
        remedy: appended to the message, given the value; '' where there is none.
    """

    what: str
    remedy: Callable[[Any], str] = lambda value: ""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def validate(value: Any, inner: core_schema.ValidatorFunctionWrapHandler) -> Any:
            try:
                return inner(value)
            except (ValidationError, ValueError) as error:
                got = f"{_SHORT.repr(value)}{self.remedy(value)}"
                raise PydanticCustomError("expected", "{what}, got {got}", {"what": self.what, "got": got}) from error

        return core_schema.no_info_wrap_validator_function(validate, handler(source))


def check_value(name: str, kind: Any, value: Any) -> Any:
    """The value as its type takes it.

    Args:
        name: as the user spells it, e.g. ``batch_size``.
        kind: one of the types of this module.

    Raises:
        UserError: for a value outside the type.
    """
    try:
        return TypeAdapter(kind, config=_CONFIG).validate_python(value)
    except ValidationError as error:
        raise UserError(f"{name} must be {error.errors()[0]['msg']}.") from error


def problem(kind: Any, value: Any) -> str | None:
    """Why a value is outside its type, such as ``a whole number, 1 or more, got 0``; None for one inside."""
    try:
        TypeAdapter(kind, config=_CONFIG).validate_python(value)
    except ValidationError as error:
        return str(error.errors()[0]["msg"])
    return None


def one_of(*words: str) -> Expected:
    return Expected(f"one of {', '.join(words)}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _percent(value: Any) -> str:
    return f"; write {value:g} % as {value / 100:g}" if _is_number(value) and 1 <= value <= 100 else ""


def as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _column_name(value: Any) -> Any:
    """A column may be named 0, which YAML reads as a number."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def as_column_names(value: Any) -> Any:
    """A list of names of columns from one or several of them."""
    return value if value is None else [_column_name(name) for name in (value if isinstance(value, list) else [value])]


def _label_names(value: Any) -> Any:
    """A mapping with texts as keys; labels may be 0 or true, which YAML does not read as texts."""
    if not isinstance(value, dict):
        return value
    return {str(name).lower() if isinstance(name, bool) else str(name): each for name, each in value.items()}


def _different(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError
    return names


def _compiled(pattern: str) -> str:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(str(error)) from error
    return pattern


def _structure_name(value: Any) -> str:
    return str(Structure.parse(value))


def _epoch(value: float) -> float:
    if value < 0 and value != -1:
        raise ValueError
    return value


MAX_EPOCHS = 10_000
_COUNT = 2**31 - 1  # larger numbers do not fit the integers of the libraries that receive them

Number = Annotated[float, Expected("a number")]
Positive = Annotated[float, Field(gt=0), Expected("a number above 0")]
NotNegative = Annotated[float, Field(ge=0), Expected("a number, 0 or more")]
Fraction = Annotated[float, Field(ge=0, le=1), Expected("in [0, 1]", _percent)]
ProperFraction = Annotated[float, Field(gt=0, lt=1), Expected("above 0 and below 1", _percent)]
FractionBelowOne = Annotated[float, Field(ge=0, lt=1), Expected("in [0, 1)", _percent)]
Sparsity = FractionBelowOne
Sparsities = Annotated[
    list[Annotated[float, Field(gt=0, lt=1)]],
    Field(min_length=1),
    AfterValidator(lambda values: sorted(set(values))),
    Expected("a list of sparsities above 0 and below 1"),
]
Epoch = Annotated[
    float, Field(le=MAX_EPOCHS), AfterValidator(_epoch), Expected(f"an epoch, 0 or more, or -1, at most {MAX_EPOCHS:,}")
]
Null = Annotated[None, Expected("null")]
Epochs = Annotated[int, Field(ge=1, le=MAX_EPOCHS), Expected(f"a whole number, 1 to {MAX_EPOCHS:,}")]
Count = Annotated[int, Field(ge=1, le=_COUNT), Expected("a whole number, 1 or more")]
CountOrNull = Annotated[int | None, Field(ge=1, le=_COUNT), Expected("a whole number, 1 or more, or null")]
NotNegativeCount = Annotated[int, Field(ge=0, le=_COUNT), Expected("a whole number, 0 or more")]
PositiveOrNull = Annotated[float | None, Field(gt=0), Expected("a number above 0, or null")]
Seed = Annotated[int, Field(ge=0, lt=2**32), Expected("a whole number, 0 to 4,294,967,295")]
YesNo = Annotated[bool, Expected("true or false")]
Text = Annotated[str, StringConstraints(min_length=1), Expected("a text")]
TextOrNull = Annotated[str | None, Field(min_length=1), Expected("a text, or null")]
Texts = Annotated[
    list[Annotated[str, StringConstraints(min_length=1)]],
    BeforeValidator(as_list),
    Field(min_length=1),
    Expected("a text or a list of texts"),
]
_Column = Annotated[str, BeforeValidator(_column_name), StringConstraints(min_length=1)]
Column = Annotated[_Column, Expected("the name of one column")]
ColumnOrNull = Annotated[_Column | None, Expected("the name of one column, or null")]
Columns = Annotated[
    list[_Column],
    BeforeValidator(as_column_names),
    AfterValidator(_different),
    Field(min_length=1),
    Expected("the name of a column, or a list of different ones"),
]
_Pattern = Annotated[str, StringConstraints(min_length=1), AfterValidator(_compiled)]
Patterns = Annotated[
    list[_Pattern],
    BeforeValidator(as_list),
    Field(min_length=1),
    Expected("a regular expression, or a list of one or more"),
]
PatternsOrNone = Annotated[list[_Pattern], BeforeValidator(as_list), Expected("a regular expression or a list of them")]
SparsityByPattern = Annotated[
    Annotated[float, Field(ge=0, lt=1)] | Annotated[dict[str, Any], Field(min_length=1)],
    Expected("in [0, 1)", _percent),
]  # the values of a mapping are checked one by one, with the path of each, by the section
Structures = Annotated[
    str,
    BeforeValidator(_structure_name),  # a list as SparseML writes block4, and 2:4 that YAML 1.1 reads as the number 124
    Expected(f"unstructured, block4 or N:M with N below M, up to {MAX_GROUP}, such as 2:4"),
]
RampShape = Annotated[Literal["cubic", "linear", "inverse_cubic"], one_of("cubic", "linear", "inverse_cubic")]
Ranges = Annotated[Literal["least_error", "min_max"], one_of("least_error", "min_max")]
Rounding = Annotated[Literal["gptq", "nearest"], one_of("gptq", "nearest")]
Smoothing = Annotated[Literal["auto"] | bool, Expected("auto, true or false")]
Scope = Annotated[Literal["matrix", "global"], one_of("matrix", "global")]
Schedule = Annotated[
    Literal["constant", "linear", "cosine", "cyclic_linear", "cyclic_cosine", "step"],
    one_of("constant", "linear", "cosine", "cyclic_linear", "cyclic_cosine", "step"),
]
Speedup = Annotated[float, Field(gt=1, le=1000), Expected("a number above 1, such as 4")]
LatencyKind = Annotated[Literal["measured", "macs"], one_of("measured", "macs")]
LatencyEngine = Annotated[Literal["onnxruntime", "openvino", "sparse"], one_of("onnxruntime", "openvino", "sparse")]
LatencyPrecision = Annotated[Literal["float32", "int8"], one_of("float32", "int8")]
WeightBits = Annotated[Literal[8, 4], Expected("8 or 4")]
_Layer = Annotated[int, Field(ge=0, le=_COUNT)]
KeptLayers = Annotated[
    Annotated[int, Field(ge=1, le=_COUNT)] | Annotated[list[_Layer], Field(min_length=1)] | None,
    Expected("a number of layers, 1 or more, or a list of layers, counted from 0"),
]
DroppedLayers = Annotated[
    Annotated[list[_Layer | _Pattern], Field(min_length=1)] | None,
    Expected("a list of layers, counted from 0, or of regular expressions"),
]
LayerMapping = Annotated[
    Literal["auto"] | Annotated[dict[_Layer, _Layer], Field(min_length=1)],
    Expected("auto, or a mapping from layers of the student to layers of the teacher, such as {0: 1, 1: 3}"),
]
ClassWeights = Annotated[
    Literal["balanced"] | Annotated[dict[str, Annotated[float, Field(gt=0)]], Field(min_length=1)] | None,
    BeforeValidator(_label_names),
    Expected("balanced, a mapping from labels to numbers above 0, such as {spam: 5}, or null"),
]
Threshold = Annotated[
    Literal["tuned"] | Annotated[float, Field(gt=0, lt=1)], Expected("above 0 and below 1, or tuned", _percent)
]
LongTexts = Annotated[Literal["truncate", "windows"], one_of("truncate", "windows")]
Name = Annotated[
    str,
    StringConstraints(pattern=r"^[\w.+-]+$", max_length=100),
    Expected("a name of letters, digits and . + - _, at most 100"),
]
