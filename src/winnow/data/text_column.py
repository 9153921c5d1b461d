"""A column of texts under another name."""

import pyarrow as pa
from datasets import ClassLabel, Dataset, Value

from winnow.errors import UserError


def text_column(split: Dataset, column: str, field: str, name: str) -> Dataset:
    """The split with this column alone, its cells as texts.

    Args:
        split: any rows.
        column: strings, or the numbers or truth values of a Parquet file or the hub.
        field: new name of the column.
        name: name of the split, for error messages.

    Raises:
        UserError: for a column of lists, mappings or bytes.
    """
    feature = split.features[column]
    kind = feature.pa_type if isinstance(feature, (Value, ClassLabel)) else None
    if (
        kind is None
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    ):
        raise UserError(
            f"task.data.text_columns: column '{column}' of the {name} split must hold texts, got {feature}; name "
            "another column."
        )
    texts = split.select_columns([column])
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        texts = texts.cast_column(column, Value("string"))
    return texts if column == field else texts.rename_column(column, field)
