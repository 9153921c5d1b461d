"""Rows of Parquet files: their types are kept, except where only their text is of use."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from winnow.data.json_rows import Literal
from winnow.errors import UserError

_BATCH = 10_000  # rows


def parquet_batches(path: Path, columns: Collection[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The rows in batches, at least one; dates, times and decimals as texts, categories as their values.

    Args:
        path: of the file.
        columns: to read, those of them that exist; None reads all.

    Raises:
        UserError: for a damaged file, and for two columns of one name.
    """
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            for name in names:
                if names.count(name) > 1:
                    raise UserError(f"{path}: two columns are named '{name}'; rename one of them.")
            kept = [name for name in names if columns is None or name in columns]
            schema = pa.schema([_plain_field(file.schema_arrow.field(name)) for name in kept])
            schema = schema.with_metadata(file.schema_arrow.metadata)  # the names of class ids
            yield pa.RecordBatch.from_pylist([], schema=schema)
            for batch in file.iter_batches(_BATCH, columns=kept):
                cells = [batch.column(name).cast(schema.field(name).type) for name in kept]
                yield pa.RecordBatch.from_arrays(cells, schema=schema)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} could not be read as Parquet: {str(error).splitlines()[0].rstrip('.')}.") from error


def parquet_columns(path: Path) -> list[str]:
    """The names of all columns.

    Raises:
        UserError: for a damaged file.
    """
    try:
        return list(pq.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} could not be read as Parquet: {str(error).splitlines()[0].rstrip('.')}.") from error


def parquet_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row with its number; numbers and truth values as a `Literal` of their text, lists as in the file."""
    number = 0
    for batch in parquet_batches(path):
        columns = {name: _cells(column) for name, column in zip(batch.schema.names, batch.columns, strict=True)}
        for i in range(batch.num_rows):
            number += 1
            yield f"row {number}", {name: cells[i] for name, cells in columns.items()}


def _cells(column: pa.Array) -> list[Any]:
    if pa.types.is_nested(column.type) or _is_text(column.type) or pa.types.is_binary(column.type):
        return list(column.to_pylist())
    missing = column.is_null(nan_is_null=True).to_pylist()
    texts = column.cast(pa.string()).to_pylist()
    return [None if empty else Literal(text) for text, empty in zip(texts, missing, strict=True)]


def _plain_field(field: pa.Field) -> pa.Field:
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if pa.types.is_temporal(kind) or pa.types.is_decimal(kind) or pa.types.is_string_view(kind):
        kind = pa.string()
    elif pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind) or pa.types.is_binary_view(kind):
        kind = pa.binary()
    return pa.field(field.name, kind)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
