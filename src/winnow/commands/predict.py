"""Ask a deployed model: ``python -m src.predict deployment=outputs/runs/... text="..."``; JSON lines come out."""

import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig

from winnow.config.resolve import resolve
from winnow.deployment.engines import check_engine
from winnow.deployment.folder import find_deployment
from winnow.deployment.input_files import STANDARD_INPUT, check_format, read_rows
from winnow.errors import UserError, nearest_names, short_errors
from winnow.files.atomic import open_atomically
from winnow.files.conf_folder import CONF
from winnow.plain_arguments import decoded, encoded
from winnow.ranges import check_range

_TEXTS = ("text", "text_pair", "question", "context")
_PLAIN = (*_TEXTS, "deployment", "file", "out")


def main() -> None:
    sys.argv[1:] = encoded(["file=-" if argument == "-" else argument for argument in sys.argv[1:]], _PLAIN)
    with nearest_names():
        _main()


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="predict")
def _main(composed: DictConfig) -> None:
    with short_errors():
        settings = decoded(resolve(composed), _PLAIN)
        _check(settings)
        from winnow.deployment.pipeline import open_pipeline
        from winnow.deployment.rows import RowFormat, checked_rows
        from winnow.quiet import quiet_libraries

        quiet_libraries()
        pipeline = open_pipeline(
            settings["deployment"],
            settings["engine"],
            batch_size=settings["batch_size"],
            threads=settings["threads"],
            precision=settings["precision"],
            top_k=settings["top_k"],
            split_punctuation=settings["split_punctuation"],
        )
        task = pipeline.deployment.task
        columns, keep = _listed(settings["text_columns"]), _listed(settings["keep"])
        row_format = RowFormat.of(task, columns, keep=keep, drop_empty=settings["drop_empty"])
        _write(pipeline.answers(checked_rows(_rows(settings, task.asked), row_format)), settings["out"])


def _check(settings: Mapping[str, Any]) -> None:
    """Refuse what cannot run before anything heavy is loaded."""
    for name in ("batch_size", "threads", "top_k", "drop_empty", "split_punctuation"):
        if settings[name] is not None:
            check_range(name, settings[name])
    check_engine(settings["engine"], settings["precision"])
    check_format(settings["format"])
    find_deployment(Path(settings["deployment"]))
    given = [name for name in _TEXTS if settings[name] is not None]
    for name in given:
        if not settings[name].strip():
            raise UserError(f"{name}= is empty; give it some words.")
    if given and settings["file"] is not None:
        raise UserError(f"file={settings['file']} and {given[0]}=... exclude one another; leave one of them out.")
    if not given and settings["file"] is None and sys.stdin.isatty():
        raise UserError("there is nothing to answer: give text=..., file=FILE, or texts on standard input.")


def _listed(setting: str | list[str] | None) -> list[str]:
    """A single word stands for a list of one."""
    return [setting] if isinstance(setting, str) else setting or []


def _rows(settings: Mapping[str, Any], asked: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """The row of the command line, or those of the file or of standard input."""
    given = {name: settings[name] for name in _TEXTS if settings[name] is not None}
    if not given:
        return read_rows(settings["file"] or STANDARD_INPUT, settings["format"], asked)
    if set(given) != set(asked):
        needed = " and ".join(f"{name}=..." for name in asked)
        raise UserError(f"this model is asked with {needed}; the command has {', '.join(given)}.")
    return iter([("the command", given)])


def _write(answers: Iterator[dict[str, Any]], out: str | None) -> None:
    """A line of JSON an answer, as they come."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    with open_atomically(Path(out)) if out else nullcontext(sys.stdout) as lines:
        for answer in answers:
            print(json.dumps(answer, ensure_ascii=False), file=lines, flush=out is None)


if __name__ == "__main__":
    main()
