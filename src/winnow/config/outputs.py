"""What a run leaves: the ``logger``, ``export`` and ``cache`` sections."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from winnow.config.section import Section, broken_rule
from winnow.values import Count, CountOrNull, Expected, NotNegative, Text, TextOrNull, YesNo, one_of

LoggerKind = Annotated[Literal["none", "csv", "tensorboard", "wandb"], one_of("none", "csv", "tensorboard", "wandb")]
ExportKind = Annotated[Literal["none", "onnx"], one_of("none", "onnx")]
ExportPrecision = Annotated[Literal["auto", "float32", "float16", "int8"], one_of("auto", "float32", "float16", "int8")]
CachePrecision = Annotated[Literal["float32", "float16"], one_of("float32", "float16")]
WeightBytes = Annotated[int, Field(ge=0, le=2_000_000_000), Expected("bytes, 0 to 2,000,000,000")]
Opset = Annotated[int, Field(ge=18, le=23), Expected("18 to 23")]  # what torch writes without a converter


class Logger(Section):
    """``conf/logger/*.yaml`` explain each kind; the other settings belong to ``wandb``."""

    kind: LoggerKind
    project: Text = "winnow"
    entity: TextOrNull = None
    offline: YesNo = False
    system: YesNo = False

    @model_validator(mode="after")
    def _check_kind(self) -> "Logger":
        _refuse_settings_of_another_kind(self, "wandb", "logger=wandb")
        return self


class Export(Section):
    """``conf/export/onnx.yaml`` explains each setting."""

    kind: ExportKind
    precision: ExportPrecision = "auto"
    opset: Opset = 20
    batch_size: CountOrNull = None
    sequence_length: CountOrNull = None
    samples: Count = 1000
    data: TextOrNull = None
    compare: YesNo = False
    allow_slower: YesNo = False
    external_data_above: WeightBytes = 2_000_000_000

    @model_validator(mode="after")
    def _check_kind(self) -> "Export":
        _refuse_settings_of_another_kind(self, "onnx", "export=onnx")
        return self


class Cache(Section):
    """Where a teacher's outputs are kept; ``conf/job.yaml`` explains each setting."""

    folder: Text
    gigabytes: NotNegative
    precision: CachePrecision


def _refuse_settings_of_another_kind(section: Any, kind: str, option: str) -> None:
    """Only one kind has further settings; beside another kind they would have no effect."""
    if section.kind != kind:
        for name in type(section).model_fields:
            default = type(section).model_fields[name].default
            if name != "kind" and getattr(section, name) != default:
                raise broken_rule(f"{{path}}.{name} has no effect with {{path}}.kind={section.kind}; add {option}.")
