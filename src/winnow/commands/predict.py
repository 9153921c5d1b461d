"""Run a deployed model on texts: ``predict deployment=outputs/runs/... text="..."``; prints JSON lines."""

import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import hydra
from omegaconf import DictConfig
from pydantic import BeforeValidator

from winnow.commands.hydra_errors import hydra_errors
from winnow.config.composed import plain_values
from winnow.config.section import Section
from winnow.config.task import Encoding, Separator
from winnow.data.reader import Layout
from winnow.deployment.engines import CHOICES, check_deployed, check_engine
from winnow.deployment.folder import find_deployment
from winnow.deployment.input_files import STANDARD_INPUT, check_format, read_rows
from winnow.deployment.prediction_files import check_output, json_line, write_predictions
from winnow.errors import UserError, short_errors
from winnow.files.conf_folder import CONF
from winnow.plain_arguments import decoded, encoded
from winnow.values import CountOrNull, Expected, Text, TextOrNull, YesNo, as_column_names

_TEXTS = ("text", "text_pair", "question", "context")
_AS_TYPED = (
    *_TEXTS,
    "deployment",
    "file",
    "out",
)  # read literally: Hydra's grammar does not apply

Words = Annotated[str | None, Expected("a text, or null")]
Names = Annotated[list[str] | None, BeforeValidator(as_column_names), Expected("a name, a list of names, or null")]
Keep = Annotated[
    Literal["all"] | list[str] | None,  # all is a word, [all] names a column
    BeforeValidator(lambda value: value if value == "all" else as_column_names(value)),
    Expected("all, a name, a list of names, or null"),
]
YesNoOrNull = Annotated[bool | None, Expected("true, false or null")]
Engine = Annotated[str, Expected("the name of an engine")]
Precision = Annotated[Literal["float32", "auto"], Expected("float32 or auto")]


class Settings(Section):
    """``conf/predict.yaml`` explains each setting."""

    deployment: Text
    text: Words
    text_pair: Words
    question: Words
    context: Words
    file: TextOrNull
    format: TextOrNull
    encoding: Encoding
    header: YesNo
    separator: Separator
    comment_prefix: TextOrNull
    text_columns: Names
    keep: Keep
    drop_empty: YesNo
    split_punctuation: YesNoOrNull
    top_k: CountOrNull
    out: TextOrNull
    engine: Engine
    precision: Precision
    threads: CountOrNull
    batch_size: CountOrNull

    @property
    def texts(self) -> dict[str, str]:
        """The texts of the command line by name."""
        return {name: text for name in _TEXTS if (text := getattr(self, name)) is not None}


def main() -> None:
    sys.argv[1:] = encoded(["file=-" if argument == "-" else argument for argument in sys.argv[1:]], _AS_TYPED)
    with hydra_errors():
        _main()


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="predict")
def _main(composed: DictConfig) -> None:
    with short_errors():
        settings = Settings.read(decoded(plain_values(composed), _AS_TYPED))
        _check(settings)
        from winnow.deployment.pipeline import open_pipeline  # heavy: only once the settings are checked
        from winnow.deployment.rows import RowFormat

        pipeline = open_pipeline(
            settings.deployment,
            settings.engine,
            batch_size=settings.batch_size,
            threads=settings.threads,
            precision=settings.precision,
            top_k=settings.top_k,
            split_punctuation=settings.split_punctuation,
        )
        task = pipeline.deployment.task
        keep = None if settings.keep == "all" else settings.keep or []
        row_format = RowFormat.of(task, settings.text_columns, keep=keep, drop_empty=settings.drop_empty)
        layout = Layout(
            settings.format or "",
            encoding=settings.encoding,
            header=settings.header,
            separator=settings.separator,
            comment_prefix=settings.comment_prefix,
            text_column=row_format.first_column,
            tag_column=task.label_column or "tags",
        )
        answers = pipeline.answers(_rows(settings, layout, task.input_fields), row_format)
        if settings.out is None:
            _print(answers)
        else:
            write_predictions(Path(settings.out), answers, pipeline.example_answer(row_format))


def _check(settings: Settings) -> None:
    check_engine(settings.engine, settings.precision, CHOICES)
    check_format(settings.format)
    check_deployed(find_deployment(Path(settings.deployment)), settings.engine)
    if settings.out is not None:
        check_output(Path(settings.out), settings.file)
    texts = settings.texts
    for name, text in texts.items():
        if not text.strip():
            raise UserError(f"{name}= is empty; give it a text.")
    if texts and settings.file is not None:
        raise UserError(f"file={settings.file} and {next(iter(texts))}=... exclude one another; leave one of them out.")
    if not texts and settings.file is None and sys.stdin.isatty():
        raise UserError("there is nothing to predict: give text=..., file=FILE, or texts on standard input.")


def _rows(settings: Settings, layout: Layout, inputs: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """The row given on the command line, else the rows of the file or of standard input."""
    texts = settings.texts
    if not texts:
        return read_rows(settings.file or STANDARD_INPUT, layout, inputs)
    if set(texts) != set(inputs):
        needed = " and ".join(f"{name}=..." for name in inputs)
        raise UserError(f"this model needs {needed}; the command has {', '.join(texts)}.")
    return iter([("the command", texts)])


def _print(answers: Iterator[dict[str, Any]]) -> None:
    """Print a line of JSON for each answer as it comes."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    for answer in answers:
        print(json_line(answer), flush=True)
