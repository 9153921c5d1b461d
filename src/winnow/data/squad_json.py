"""Read SQuAD's own JSON files (articles, their paragraphs, their questions) as one row for each question."""

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
    """True for a JSON object that begins with an optional version and a list named ``data``."""
    with path.open(errors="replace") as file:
        head = file.read(1000)
    return re.match(r'\s*\{\s*("version"\s*:\s*"[^"]*"\s*,\s*)?"data"\s*:\s*\[', head) is not None


def read_squad_json(paths: list[Path]) -> Dataset:
    """The columns id, title, context, question and answers; cached until a file changes."""
    files = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return Dataset.from_generator(_rows, features=_FEATURES, gen_kwargs={"files": files})


def _rows(files: list[tuple[str, int, int]]) -> Iterator[dict[str, Any]]:
    for path, *_ in files:
        for article in json.loads(Path(path).read_text())["data"]:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    answers = question.get("answers", [])  # plausible_answers of v2 are wrong answers
                    yield {
                        "id": question["id"],
                        "title": article.get("title"),
                        "context": paragraph["context"],
                        "question": question["question"],
                        "answers": {name: [a[name] for a in answers] for name in ("text", "answer_start")},
                    }
