"""Write predictions to a file whose suffix chooses the format: CSV, Parquet, a JSON array, else JSON lines.

CSV is that of RFC 4180, in UTF-8. A table has the same columns for all rows: the kept columns of the input in the order
in which they appear, then the fields of an answer. Lists and objects are JSON text in CSV; in Parquet they are nested
types, or JSON text in a column whose values are of several kinds.
"""

import csv
import json
import math
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from winnow.deployment.column_types import EMPTY, Kind, arrow_type, common_kind, kind_of
from winnow.errors import UserError, nearest
from winnow.extras import require_extra
from winnow.files.atomic import open_atomically, replaced_atomically

if TYPE_CHECKING:
    import pyarrow as pa  # not installed where a deployment serves

# Controls that JSON leaves as they are, and those that change the direction of the text after them.
_ACTING = re.compile(r"[\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_BLOCK = 4_000_000  # characters of JSON that are in memory, and about the size of a row group of Parquet

Predictions = Iterable[Mapping[str, Any]]


def check_output(path: Path, source: str | None) -> None:
    """Refuse an output file that cannot be written, before a model is loaded.

    Args:
        path: of the output.
        source: the input file, which the output must not replace; None if there is none.

    Raises:
        UserError: for a format without quoting or whose package is missing, a missing folder, no permission, or a path
            that is no regular file.
    """
    folder = path.parent
    if path.suffix.lower() == ".parquet":
        require_extra(f"out={path}", "parquet", "pyarrow")
    if path.suffix.lower() == ".tsv":
        raise UserError(
            f"out={path}: TSV has no quoting for a text with a tab or a line break; write CSV, such as "
            f"out={path.with_suffix('.csv')}."
        )
    if path.is_dir():
        raise UserError(f"out={path} is a folder; name a file in it, such as out={path / 'predictions.jsonl'}.")
    if not folder.is_dir():
        siblings = [each.name for each in folder.parent.iterdir()] if folder.parent.is_dir() else []
        raise UserError(f"out={path}: there is no folder {folder}; make it first.{nearest(folder.name, siblings)}")
    if path.exists() and not path.is_file():
        raise UserError(f"out={path} is not a regular file; leave out= away to write to standard output.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"out={path}: there is no permission to write to the folder {folder}; name another one.")
    if source is not None and path.exists() and Path(source).exists() and path.samefile(source):
        raise UserError(f"out={path} is also the input, file={source}; name another file.")


def write_predictions(path: Path, predictions: Predictions, example: Mapping[str, Any]) -> None:
    """Write predictions atomically, with a few of them in memory at a time.

    Args:
        path: its suffix chooses the format.
        predictions: fields by name, with the kept columns of the input first.
        example: a prediction with every field but without kept columns, for the columns of a table and their types. A
            field that is False here is false in all predictions without it.
    """
    _WRITERS.get(path.suffix.lower(), _write_lines)(path, predictions, example)


def json_line(prediction: Mapping[str, Any]) -> str:
    """A prediction as one line of JSON, with escapes for the characters that would act on a terminal."""
    text = json.dumps(_as_json(prediction), ensure_ascii=False)
    return _ACTING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _as_json(value: Any) -> Any:
    """A value of JSON: dates in ISO format, bytes and other objects as text, null for NaN and infinity."""
    match value:
        case float():
            return float(value) if math.isfinite(value) else None
        case str() | int() | None:
            return value
        case Mapping():
            return {str(key): _as_json(each) for key, each in value.items()}
        case list() | tuple():
            return [_as_json(each) for each in value]
        case bytes():
            return value.decode(errors="backslashreplace")
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _write_lines(path: Path, predictions: Predictions, example: Mapping[str, Any]) -> None:
    with open_atomically(path) as file:
        for prediction in predictions:
            print(json_line(prediction), file=file)


def _write_array(path: Path, predictions: Predictions, example: Mapping[str, Any]) -> None:
    with open_atomically(path) as file:
        before = "[\n"
        for prediction in predictions:
            file.write(before + json_line(prediction))
            before = ",\n"
        file.write("[]\n" if before == "[\n" else "\n]\n")


def _write_csv(path: Path, predictions: Predictions, example: Mapping[str, Any]) -> None:
    with _stored(predictions, example, path.parent) as table, open_atomically(path, newline="") as file:
        lines = csv.writer(file)
        lines.writerow(table.kinds)
        for rows in table.blocks():
            lines.writerows(map(_csv_cell, row) for row in rows)


def _csv_cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, bool | list | dict) else value


def _write_parquet(path: Path, predictions: Predictions, example: Mapping[str, Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _stored(predictions, example, path.parent) as table, replaced_atomically(path) as partial:
        types = {name: arrow_type(kind) for name, kind in table.kinds.items()}
        schema = pa.schema([(name, kind or pa.string()) for name, kind in types.items()])
        with pq.ParquetWriter(partial, schema) as writer:
            for rows in table.blocks():
                columns = zip(*rows, strict=True)
                arrays = [_array(cells, kind) for cells, kind in zip(columns, types.values(), strict=True)]
                writer.write_batch(pa.record_batch(arrays, schema=schema))


def _array(cells: Sequence[Any], kind: "pa.DataType | None") -> "pa.Array":
    import pyarrow as pa

    if kind is not None:
        return pa.array(cells, kind)
    return pa.array([None if cell is None else json.dumps(cell, ensure_ascii=False) for cell in cells], pa.string())


_WRITERS: dict[str, Callable[[Path, Predictions, Mapping[str, Any]], None]] = {
    ".json": _write_array,
    ".csv": _write_csv,
    ".parquet": _write_parquet,
}


@dataclass
class _Table:
    """Rows in a file of JSON lines, whose columns are known since the last row was written.

    Args:
        file: open for reading.
        kinds: the kind of the values of each column, in the order of the columns.
        missing: the value of a column in rows without it; None for all others.
    """

    file: TextIO
    kinds: Mapping[str, Kind]
    missing: Mapping[str, Any]

    def blocks(self) -> Iterator[list[list[Any]]]:
        """The cells of all rows, some rows at a time."""
        self.file.seek(0)
        while lines := self.file.readlines(_BLOCK):
            yield [[row.get(name, self.missing.get(name)) for name in self.kinds] for row in map(json.loads, lines)]


@contextmanager
def _stored(predictions: Predictions, example: Mapping[str, Any], folder: Path) -> Iterator[_Table]:
    """All predictions, in a file without a name in a folder; it never outlives the process."""
    kept: dict[str, Kind] = {}
    fields = {name: kind_of(value) for name, value in example.items()}
    with tempfile.TemporaryFile("w+", dir=folder, encoding="utf-8") as file:
        for prediction in predictions:
            row = _as_json(prediction)
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            for name, value in row.items():
                kinds = fields if name in fields else kept
                kinds[name] = common_kind(kinds.get(name, EMPTY), kind_of(value))
        yield _Table(file, kept | fields, {name: False for name, value in example.items() if value is False})
