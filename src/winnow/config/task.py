"""The ``task`` section: the data of a task, and what each family of tasks makes of them."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    StringConstraints,
    model_validator,
)

from winnow.config.section import Section, broken_rule
from winnow.errors import UserError
from winnow.values import (
    ClassWeights,
    Column,
    ColumnOrNull,
    Columns,
    Count,
    CountOrNull,
    Expected,
    FractionBelowOne,
    LongTexts,
    Name,
    NotNegativeCount,
    Number,
    ProperFraction,
    TextOrNull,
    Texts,
    Threshold,
    YesNo,
)

_GENERATORS = (
    "winnow.data.demo.reviews",
    "winnow.data.demo_entities.tagged_sentences",
    "winnow.data.demo_questions.questions",
)


def _known_generator(name: str) -> str:
    if name not in _GENERATORS:
        raise ValueError
    return name


def _known_encoding(name: str) -> str:
    try:
        "".encode(name)
    except LookupError as error:  # also for codecs that do not make text, such as zlib
        raise ValueError from error
    return name


def _one_character(separator: str) -> str:
    separator = separator.replace(r"\t", "\t")
    if len(separator) != 1 or separator in '"\r\n':
        raise ValueError
    return separator


Generator = Annotated[
    Annotated[str, AfterValidator(_known_generator)] | None, Expected(f"one of {', '.join(_GENERATORS)}, or null")
]
Encoding = Annotated[
    Annotated[str, AfterValidator(_known_encoding)] | None,
    Expected("an encoding that Python knows, such as latin-1, cp1252 or utf-16, or null"),
]
Separator = Annotated[
    Annotated[str, AfterValidator(_one_character)] | None,
    Expected(r"one character, such as ';' or '\t' for a tab, or null"),
]
BatchSize = Annotated[
    Count,
    Expected(
        "a whole number, 1 or more",
        lambda value: "; for the memory of a GPU use trainer.micro_batch_size=auto" if value == "auto" else "",
    ),
]
PlainText = Annotated[Literal["text", "conll"] | None, Expected("text, conll or null")]


UNLABELED = "unlabeled"  # the split of texts that only a teacher labels


class Files(Section):
    """Files of the splits, one by one, and of training texts without labels."""

    train: TextOrNull = None
    validation: TextOrNull = None
    test: TextOrNull = None
    unlabeled: TextOrNull = None

    @property
    def splits(self) -> dict[str, str]:
        """The files of the splits with labels, by split."""
        return {name: file for name, file in self if file is not None and name != UNLABELED}


class Published(Section):
    """Size of the training data and number of labels, for a plan made without the data."""

    examples: CountOrNull = None
    labels: CountOrNull = None


class Data(Section):
    """Where the rows of a task come from, and how they are read; ``conf/data/splits.yaml`` explains each setting."""

    path: TextOrNull
    subset: TextOrNull
    revision: TextOrNull
    generator: Generator
    files: Files
    plain_text: PlainText
    comment_prefix: TextOrNull
    encoding: Encoding = None  # defaults: the configurations of older runs do not have these settings
    header: YesNo = True
    separator: Separator = None
    validation: Texts
    validation_fraction: ProperFraction
    max_train_samples: CountOrNull
    max_eval_samples: CountOrNull
    batch_size: BatchSize
    drop_last: YesNo
    eval_batch_size: Count
    published: Published
    text_columns: Columns
    label_column: ColumnOrNull

    @model_validator(mode="after")
    def _check_places(self) -> Self:
        places = {"path": self.path, **{f"files.{split}": file for split, file in self.files}}
        for name, place in places.items():
            if place is not None and self.generator is not None:
                raise broken_rule(
                    f"{{path}}.{name}={place} has no effect beside {{path}}.generator={self.generator}; add "
                    "{path}.generator=null."
                )
        if self.label_column in self.text_columns:
            raise broken_rule(
                f"{{path}}.label_column={self.label_column} is a column of texts too; a model cannot learn from it."
            )
        if self.comment_prefix is not None and self.plain_text != "conll":
            raise broken_rule("{path}.comment_prefix has no effect unless {path}.plain_text is conll.")
        return self


class CustomData(Data):
    """Data of a user's own task, which may have more settings."""

    model_config = ConfigDict(extra="allow")


class LabelledData(Data):
    label_column: Column
    drop_empty: YesNo


class TextClassificationData(LabelledData):
    label_separator: TextOrNull


class QuestionAnsweringData(LabelledData):
    answer_start_column: ColumnOrNull
    id_column: ColumnOrNull


class TaskSettings(Section):
    """What every task has."""

    target: Annotated[str, StringConstraints(pattern=r"^\w+(\.\w+)+$"), Expected("the full name of a class")] = Field(
        alias="_target_"
    )
    name: Name
    metrics: Texts
    data: Data

    @property
    def lengths(self) -> dict[str, int]:
        """The settings that give the tokens of the longest input, by name; empty for a task without one."""
        return {name: getattr(self, name) for name in ("max_length", "max_seq_length") if hasattr(self, name)}

    def arguments(self) -> dict[str, Any]:
        """The settings as arguments of the task's class."""
        return self.model_dump(exclude={"target"})


class CustomTask(TaskSettings):
    """A task that is not shipped; its class checks the further settings when it is built."""

    model_config = ConfigDict(extra="allow")

    data: CustomData


class TextClassification(TaskSettings):
    data: TextClassificationData
    regression: YesNo
    multi_label: YesNo
    max_length: Count
    long_texts: LongTexts = "truncate"  # defaults: the configurations of older runs do not have these settings
    stride: NotNegativeCount = 32
    class_weights: ClassWeights = None
    label_smoothing: FractionBelowOne = 0.0
    threshold: Threshold = 0.5

    @property
    def changes_of_loss(self) -> list[str]:
        """Full names of the settings that change the training loss of the labels."""
        given = {"class_weights": self.class_weights is not None, "label_smoothing": self.label_smoothing > 0}
        return [f"task.{name}" for name, is_given in given.items() if is_given]

    @model_validator(mode="after")
    def _check_labels(self) -> Self:
        if self.regression and self.multi_label:
            raise broken_rule(
                "{path}.regression=true and {path}.multi_label=true exclude one another; leave one of them out."
            )
        if self.data.label_separator is not None and not self.multi_label:
            raise broken_rule(
                f"{{path}}.data.label_separator={self.data.label_separator} has no effect without "
                "{path}.multi_label=true."
            )
        for name in ("class_weights", "label_smoothing", "threshold"):
            value = getattr(self, name)
            if self.regression and value != type(self).model_fields[name].default:
                raise broken_rule(f"{{path}}.{name}={value} has no effect with {{path}}.regression=true; leave it out.")
        return self

    @model_validator(mode="after")
    def _check_windows(self) -> Self:
        if self.long_texts == "windows" and len(self.data.text_columns) == 2:
            raise broken_rule("{path}.long_texts=windows has no meaning for pairs of texts; leave it out.")
        if self.long_texts == "truncate" and self.stride != type(self).model_fields["stride"].default:
            raise broken_rule(f"{{path}}.stride={self.stride} has no effect without {{path}}.long_texts=windows.")
        return self


class TokenClassification(TaskSettings):
    data: LabelledData
    max_length: Count
    label_all_tokens: YesNo


class QuestionAnswering(TaskSettings):
    data: QuestionAnsweringData
    max_seq_length: Count
    doc_stride: NotNegativeCount
    max_question_length: Count
    max_answer_length: Count
    n_best: Count
    unanswerable: YesNo
    null_score_diff_threshold: Number

    @model_validator(mode="after")
    def _check_windows(self) -> Self:
        room = self.max_seq_length - self.max_question_length
        if self.doc_stride >= room:
            raise broken_rule(
                f"{{path}}.doc_stride={self.doc_stride} must be below {room}, the tokens that max_seq_length leaves "
                "beside max_question_length."
            )
        if self.null_score_diff_threshold and not self.unanswerable:
            raise broken_rule("{path}.null_score_diff_threshold has no effect without {path}.unanswerable=true.")
        return self


class MaskedLM(TaskSettings):
    max_length: Count
    line_by_line: YesNo
    mask_probability: ProperFraction


_FAMILIES: dict[str, type[TaskSettings]] = {
    "winnow.tasks.text_classification.TextClassification": TextClassification,
    "winnow.tasks.token_classification.TokenClassification": TokenClassification,
    "winnow.tasks.question_answering.QuestionAnswering": QuestionAnswering,
    "winnow.tasks.masked_lm.MaskedLM": MaskedLM,
}


def task_family(node: Any) -> type[TaskSettings]:
    """The section class that reads a task, by its ``_target_``."""
    target = node.get("_target_") if isinstance(node, dict) else None
    if isinstance(target, str) and target.startswith("winnow.") and target not in _FAMILIES:
        raise broken_rule(f"{{path}}._target_={target} is not a task; the tasks are {', '.join(_FAMILIES)}.")
    return _FAMILIES.get(target, CustomTask) if isinstance(target, str) else CustomTask


def check_shipped(task: TaskSettings) -> None:
    """Refuse to import the class of a task from the folder of a run, which may come from anybody."""
    if isinstance(task, CustomTask):
        raise UserError(
            f"task._target_={task.target} is not a task of Winnow, and code that the folder of a run names is never "
            f"imported; the tasks are {', '.join(_FAMILIES)}."
        )


AnyTask = Annotated[SerializeAsAny[TaskSettings], BeforeValidator(lambda node: task_family(node).model_validate(node))]
