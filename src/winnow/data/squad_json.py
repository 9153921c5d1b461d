"""SQuAD's own files, with articles that hold paragraphs that hold questions, as one row a question."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, List, Value

_FEATURES = Features(
    {
        "id": Value("string"),
        "title": Value("string"),
        "context": Value("string"),
        "question": Value("string"),
        "answers": {"text": List(Value("string")), "answer_start": List(Value("int32"))},
    }
)


def is_squad_json(path: Path) -> bool:
    """True for a JSON file that begins as SQuAD's do: an object with a version, maybe, and a list of articles."""
    with path.open(errors="replace") as file:
        head = file.read(1000)
    return re.match(r'\s*\{\s*("version"\s*:\s*"[^"]*"\s*,\s*)?"data"\s*:\s*\[', head) is not None


def read_squad_json(paths: list[Path]) -> Dataset:
    """The columns id, title, context, question and answers; kept on disk, and read anew when a file has changed."""
    files = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return Dataset.from_generator(_rows, features=_FEATURES, gen_kwargs={"files": files})


def _rows(files: list[tuple[str, int, int]]) -> Iterator[dict[str, Any]]:
    for path, *_ in files:
        for article in json.loads(Path(path).read_text())["data"]:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    answers = question.get("answers", [])  # v2 lists what only looks like an answer elsewhere
                    yield {
                        "id": question["id"],
                        "title": article.get("title"),
                        "context": paragraph["context"],
                        "question": question["question"],
                        "answers": {name: [a[name] for a in answers] for name in ("text", "answer_start")},
                    }
