"""One row of a report: a run from its result.json, a planned run that has none, or published figures."""

import re
import reprlib
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    ValidationError,
)

from winnow.config.labels import model_label, settings_of
from winnow.errors import visible

_SIZES = ("bytes", "compressed_bytes")
_SPEEDUPS = ("target_speedup", "speedup")
_OF_TRAINING = ("sparsity", "parameters", "nonzero_parameters", "layers", "epochs", "train_seconds")
FIGURES = (*_OF_TRAINING, *_SIZES, "latency", *_SPEEDUPS)
TEST = " (test)"  # ends the names of metrics on the test split
_KINDS = ("text_classification", "question_answering", "token_classification", "masked_lm")
_REQUIRED = ("status", "task", "model", "recipe", "teacher", "seed", "folder")
_MAPPINGS = ("settings", "metrics", "test_metrics", "sparsity_by_layer")

Shown = Annotated[str, AfterValidator(visible)]  # what would act on a terminal becomes escapes
Label = Annotated[Shown, AfterValidator(model_label)]
Line = Annotated[str, AfterValidator(lambda text: visible(" ".join(text.split())))]
Number = Annotated[StrictInt | StrictFloat, Field(ge=-1e30, le=1e30)]  # no figure of a run is larger
Size = Annotated[StrictInt | StrictFloat, Field(ge=0, le=1e30)]
Share = Annotated[StrictInt | StrictFloat, Field(ge=0, le=1)]


def _without_quotes(value: Any) -> str:
    """The value of an override as text, without the quotes that Hydra's grammar needs."""
    text = str(value)
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    return text[1:-1].replace(f"\\{text[0]}", text[0]) if is_quoted else text


Override = Annotated[Shown, BeforeValidator(_without_quotes)]


class Row(BaseModel):
    """A run or published figures; shares are fractions, sizes bytes, times seconds."""

    model_config = ConfigDict(frozen=True)

    status: Literal["ok", "failed", "missing", "published"]  # missing: planned, without a result
    task: Shown  # with the file of one's own data; those of other data are another task
    model: Label
    recipe: Shown
    teacher: Label
    seed: StrictInt
    folder: Path
    task_name: Shown = ""  # as in the names of folders
    settings: dict[Shown, Override] = {}  # of its command by full names, without the above
    cell: Shown = ""  # fingerprint without the seed, equal for all seeds of one configuration; empty in older rows
    fingerprint: Shown = ""
    error: Line = ""  # reason of a failure; with status ok the failure of a step after the training
    command: Shown = ""
    written: float = 0.0
    metrics: dict[
        Shown, Number | None
    ] = {}  # None for one without a finite value; in the task's order; on the test split their names end in TEST
    test_metrics: dict[Shown, Number | None] = {}
    sparsity: Share | None = None
    parameters: Size | None = None
    nonzero_parameters: Size | None = None
    layers: Size | None = None
    epochs: Size | None = None
    train_seconds: Size | None = None
    deployment: dict[str, Any] = {}
    bytes: Size | None = None  # of the deployed graph
    compressed_bytes: Size | None = None
    latency: Size | None = None  # of the deployed graph at batch 1 in ONNX Runtime, or the sparse engine if faster
    target_speedup: Size | None = None  # latency of the dense float32 model over that of the deployed one, asked for
    speedup: Size | None = None  # the same, measured at the export
    latency_conditions: tuple[str, ...] = ()  # processor, threads, input length
    sparsity_by_layer: dict[Shown, Share] = {}
    kept_zeros: bool = False  # the zeros come from the pretrained model and were only kept
    recovery: float | None = None  # main metric over that of the dense run with the same seed; below 1 is worse
    source: Shown = ""  # of published figures

    @property
    def names(self) -> tuple[str, str, str, str]:
        return self.task, self.model, self.recipe, self.teacher

    def figure(self, name: str) -> float | None:
        """A metric, or one of FIGURES or ``recovery``; None if it was not measured."""
        is_figure = name in FIGURES or name == "recovery"
        return getattr(self, name) if is_figure else self.metrics.get(name)


def read_row(content: Mapping[str, Any], origin: object, left_out: list[str]) -> Row | None:
    """The row of a result.json or of an entry of sweep.json, or None if the content does not identify one.

    Invalid values are left out of it and reported in ``left_out`` with their ``origin``.
    """
    values = {name: value for name, value in content.items() if value is not None}
    values |= _deployment_figures(values.get("deployment")) | _speedups(values)
    values["kept_zeros"] = bool(values.get("pruned") and not (values.get("one_shot") or values.get("pruning_epochs")))
    problems = _remove_invalid(values)
    if any(name in _REQUIRED for name in problems):
        left_out.append(f"{origin} is not a valid row: {', '.join(problems.values())}.")
        return None
    if not values.get("metrics") and values["status"] in ("ok", "published"):
        problems["metrics"] = "there are no metrics"
    if problems:
        left_out.append(f"{origin}: {', '.join(problems.values())}; the other values are used.")
    if content.get("settings") is None:
        values["settings"] = _settings_of_command(values)
    values |= {"task_name": values["task"], "task": _with_data(values["task"], values.get("settings", {}))}
    if values["status"] == "failed":
        values.setdefault("error", "no reason was recorded")
    on_test = {name + TEST: value for name, value in values.get("test_metrics", {}).items()}
    return Row.model_validate(values | {"metrics": values.get("metrics", {}) | on_test})


def _with_data(task: str, settings: Mapping[str, Any]) -> str:
    """The task of one's own data with the last parts of their path, because its name says only what kind it is."""
    data = settings.get("task.data.files.train") or settings.get("task.data.path")
    return f"{task}: {'/'.join(Path(_without_quotes(data)).parts[-2:])}" if task in _KINDS and data else task


def _remove_invalid(values: dict[str, Any]) -> dict[str, str]:
    """Remove what the fields of a row do not allow; returns the problems by the names of fields or entries."""
    try:
        Row.model_validate(values)
    except ValidationError as error:
        problems = {}
        for each in error.errors(include_url=False):
            field, *keys = map(str, each["loc"])
            if field in _MAPPINGS and keys:
                values[field] = {key: value for key, value in values[field].items() if key != keys[0]}
                field = f"{field} {keys[0]}"
            else:
                values.pop(field, None)
            requirement = each["msg"].removeprefix("Input ")
            found = "missing" if each["type"] == "missing" else f"{reprlib.repr(each['input'])}, but {requirement}"
            problems[field] = f"{field} is {found}"  # of the two kinds of numbers the last one is reported
        return problems
    return {}


def _deployment_figures(deployment: Any) -> dict[str, Any]:
    """The figures of the deployed graph, with the latency at batch 1 in the engine that runs it, and its conditions."""
    deployment = deployment if isinstance(deployment, dict) else {}
    figures = {name: deployment[name] for name in _SIZES if name in deployment}
    try:
        latency, graph = deployment["latency"], f"{deployment['precision']} graph"
        timed, engines = latency["batches"]["1"], ("onnxruntime", "sparse")
        ways = [timed[way] for engine in engines if (way := f"{engine}, {graph}") in timed]
        figures["latency"] = min(way["latency"]["median"] for way in ways)
        machine = latency.get("machine", {})
        conditions = (machine.get("cpu"), machine.get("threads"), latency.get("length"))
        return figures | {"latency_conditions": tuple(map(str, conditions))}
    except (KeyError, TypeError, AttributeError, ValueError):
        return figures


def _speedups(values: Mapping[str, Any]) -> dict[str, Any]:
    """The speedup that a recipe has asked for, and the median of the measured one."""
    places = (("structure", "target_speedup"), ("deployment", "speedup", "measured", "median"))
    found: dict[str, Any] = {}
    for name, path in zip(_SPEEDUPS, places, strict=True):
        node: Any = values
        for key in path:
            node = node.get(key) if isinstance(node, Mapping) else None
        found |= {} if node is None else {name: node}
    return found


def _settings_of_command(values: Mapping[str, Any]) -> dict[str, str]:
    """The settings of an older row, which does not record them."""
    try:
        overrides = [word for word in shlex.split(values.get("command", "")) if "=" in word]
    except ValueError:
        return {}
    settings = settings_of(overrides)
    if values["recipe"] == "dense" and "recipe=dense" not in overrides:  # a teacher, trained by its student's command
        settings = {n: value for n, value in settings.items() if not n.startswith(("recipe.", "modifier@recipe."))}
        settings = {re.sub(r"^dense\.", "recipe.", name): value for name, value in settings.items()}
    if values["teacher"] == "dense":
        return settings
    return {name: value for name, value in settings.items() if not name.startswith("dense.")}
