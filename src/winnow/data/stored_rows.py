"""Rows of files as an Arrow table on disk, read once for each content of the files."""

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
from datasets import Dataset
from datasets.table import MemoryMappedTable

from winnow.data.cached_map import DAMAGED, code_hash
from winnow.data.parquet_rows import parquet_batches, parquet_columns
from winnow.data.places import PLACE
from winnow.data.reader import Layout, Rows, check_not_empty, read_file
from winnow.errors import UserError
from winnow.files.atomic import write_atomically
from winnow.files.checksums import sha256
from winnow.files.locks import named_lock
from winnow.text import truncated

_BATCH = 10_000  # rows
_TABLE, _NAMES = "rows.arrow", "columns.json"
_LISTS = pa.list_(pa.string())
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Wanted:
    """What a task reads of its files.

    Args:
        columns: to read; None reads all.
        structured: columns whose cells may be lists or mappings; these become JSON text.
    """

    columns: Collection[str] | None = None
    structured: Collection[str] = ()


def stored_rows(paths: Sequence[Path], layout: Layout, wanted: Wanted) -> tuple[Dataset, list[str]]:
    """The wanted columns of some files, one after the other, and the names of all their columns.

    Cells are strings, or lists of strings; those of Parquet files keep their types. The column `PLACE` says where a
    row comes from. The table is kept in the cache folder of `datasets` under a key of the content of the files.

    Raises:
        UserError: for a file that cannot be read, that has no rows, or whose cells are of several kinds.
    """
    key = _key(paths, layout, wanted)
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "winnow" / key
    with named_lock(folder, "rows"):
        if not (folder / _NAMES).is_file():
            _store(paths, layout, wanted, folder)
        try:
            table = MemoryMappedTable.from_file(str(folder / _TABLE))
        except DAMAGED:  # cut short since it was written
            _store(paths, layout, wanted, folder)
            table = MemoryMappedTable.from_file(str(folder / _TABLE))
    names = json.loads((folder / _NAMES).read_text())
    try:
        split = Dataset(table, fingerprint=key[:16])
    except ValueError as error:  # a column of maps or unions
        raise UserError(f"{paths[0]}: the type of a column cannot be read: {error}") from error
    return split.remove_columns([name for name in split.column_names if name not in (*names, PLACE)]), names


def _key(paths: Sequence[Path], layout: Layout, wanted: Wanted) -> str:
    identity = {
        "files": [(path.name, sha256(path)) for path in paths],
        "layout": asdict(layout),
        "columns": wanted.columns if wanted.columns is None else sorted(wanted.columns),
        "structured": sorted(wanted.structured),
        "code": code_hash(),
    }
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]


def _store(paths: Sequence[Path], layout: Layout, wanted: Wanted, folder: Path) -> None:
    """Write the table, then the names, whose file says that the table is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _NAMES).unlink(missing_ok=True)
    names: dict[str, None] = {}
    partial = folder / f"{_TABLE}.partial"
    batches = _parquet(paths, wanted, names) if layout.kind == "parquet" else _cells(paths, layout, wanted, names)
    try:
        if not _write(batches, partial):
            raise UserError(f"{', '.join(map(str, paths))} has no rows.")
        if PLACE in names and (wanted.columns is None or PLACE in wanted.columns):
            raise UserError(f"{paths[0]}: a column is named '{PLACE}', as the one with the places of rows; rename it.")
        partial.replace(folder / _TABLE)
    finally:
        partial.unlink(missing_ok=True)
    write_atomically(folder / _NAMES, json.dumps(list(names)))


def _write(batches: Iterator[pa.RecordBatch], path: Path) -> int:
    """Write batches of one schema; the number of rows."""
    first = next(batches, None)
    if first is None:
        return 0
    rows = 0
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, first.schema) as table:
        for batch in chain([first], batches):
            table.write_batch(batch)
            rows += batch.num_rows
    return rows


def _parquet(paths: Sequence[Path], wanted: Wanted, names: dict[str, None]) -> Iterator[pa.RecordBatch]:
    """The batches of Parquet files; adds the names of their columns to ``names``."""
    schema: pa.Schema | None = None
    for path in paths:
        check_not_empty(path)
        names.update(dict.fromkeys(parquet_columns(path)))
        begin = 1
        for batch in parquet_batches(path, wanted.columns):
            places = pa.array([f"{path.name}, row {begin + i}" for i in range(batch.num_rows)], pa.string())
            begin += batch.num_rows
            schema = schema or batch.schema.append(pa.field(PLACE, pa.string()))
            if batch.schema.names != schema.names[:-1] or batch.schema.types != schema.types[:-1]:
                raise UserError(
                    f"{path}: its columns are {_described(batch.schema)}, but those of {paths[0]} are "
                    f"{_described(schema.remove(len(schema) - 1))}; bring them into one form."
                )
            yield pa.RecordBatch.from_arrays([*batch.columns, places], schema=schema)


def _described(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in schema)


def _cells(paths: Sequence[Path], layout: Layout, wanted: Wanted, names: dict[str, None]) -> Iterator[pa.RecordBatch]:
    """The batches of other files; adds the names of their columns to ``names``."""
    types: dict[str, pa.DataType] = {}
    columns = _all_columns(paths, layout) if wanted.columns is None else sorted(wanted.columns)
    for path in paths:
        rows = read_file(path, layout)
        while batch := _by_column(islice(rows, _BATCH), columns, names):
            places = [f"{path.name}, {where}" for where in batch.pop(PLACE)]
            arrays = [
                _column(cells, name, places, types, structured=name in wanted.structured)
                for name, cells in batch.items()
            ]
            yield pa.RecordBatch.from_arrays([*arrays, pa.array(places, pa.string())], names=[*batch, PLACE])


def _by_column(rows: Rows, columns: Sequence[str], names: dict[str, None]) -> dict[str, list[Any]]:
    """The cells of rows, and under `PLACE` where they are; empty without rows. Adds their names to ``names``.

    No row is kept, since the garbage collector would visit thousands of them again and again.
    """
    cells: dict[str, list[Any]] = {name: [] for name in columns}
    places = []
    for where, row in rows:
        places.append(where)
        for name, column in cells.items():
            column.append(row.get(name))
        if not row.keys() <= names.keys():
            names.update(dict.fromkeys(row))
    return {**cells, PLACE: places} if places else {}


def _all_columns(paths: Sequence[Path], layout: Layout) -> list[str]:
    """The names of all columns, which a first pass over the files finds: an object may lack a column."""
    return list(dict.fromkeys(name for path in paths for _, row in read_file(path, layout) for name in row))


def _column(
    cells: list[Any], name: str, places: Sequence[str], types: dict[str, pa.DataType], *, structured: bool
) -> pa.Array:
    """Strings, or lists of strings if the first cell of the column is a list; ``types`` remembers which."""
    if structured:
        cells = [cell if cell is None or isinstance(cell, str) else _json(cell) for cell in cells]
    first = next((cell for cell in cells if cell is not None), "")
    kind = types.setdefault(name, _LISTS if isinstance(first, list) else pa.string())
    try:
        if kind == _LISTS and any(isinstance(cell, str) for cell in cells):
            raise TypeError("Arrow would take a text for the list of its characters")
        return pa.array(cells, kind)
    except (pa.ArrowException, UnicodeEncodeError, TypeError) as error:
        for cell, place in zip(cells, places, strict=True):
            _check_cell(cell, kind, f"{place}: column '{name}'")
        raise UserError(f"column '{name}' could not be read: {error}.") from error


def _check_cell(cell: Any, kind: pa.DataType, where: str) -> None:
    """Raise an error for a cell that is not of the kind of its column."""
    shown = cell if isinstance(cell, str) else _json(cell)
    if not isinstance(cell, list if kind == _LISTS else str) and cell is not None:
        expected = "a list, as in other rows" if kind == _LISTS else "a text"
        raise UserError(f"{where} must be {expected}, got {truncated(shown, 40)}; correct the row.")
    for text in cell if isinstance(cell, list) else [cell]:
        if text is not None and not isinstance(text, str):
            raise UserError(f"{where} must be a list of texts, got {truncated(shown, 40)}; correct the row.")
        if _SURROGATE.search(text or ""):
            raise UserError(f"{where} is invalid text: half of a surrogate pair; remove it.")


def _json(cell: Any) -> str:
    return json.dumps(cell, ensure_ascii=False)
