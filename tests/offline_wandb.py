"""Read an offline run of W&B: a transaction log in blocks of LevelDB's format, with protobuf records."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

_HEADER = 7  # bytes, of the file and of each fragment of a record
_BLOCK = 32768
_FULL, _LAST = 1, 4


def read_run(folder: Path) -> dict[str, Any]:
    """The merged content of all offline runs in a run folder, in the order of their start."""
    found: dict[str, Any] = {"history": [], "tables": {}, "config": {}, "summary": {}, "artifacts": []}
    for path in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")):
        for record in _all_records(path):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                run = record.run
                found |= {"id": run.run_id, "name": run.display_name, "group": run.run_group}
                found |= {"job_type": run.job_type, "project": run.project}
                found["config"] |= {item.key: json.loads(item.value_json) for item in run.config.update}
            elif kind == "history":
                found["history"].append(_items(record.history.item))
            elif kind == "summary":
                found["summary"] |= _items(record.summary.update)
            elif kind == "artifact":
                found["artifacts"].append((record.artifact.type, record.artifact.name))
            elif kind == "exit":
                found["exit"] = record.exit.exit_code
        for table in sorted(path.parent.glob("files/media/table/*.table.json")):
            found["tables"][table.name.rsplit("_", 2)[0]] = json.loads(table.read_text())
    return found


def _all_records(path: Path) -> list[Any]:
    """All records; waits for the last one, which W&B writes in the background."""
    for _ in range(100):
        records = list(_records(path.read_bytes()))
        if records and records[-1].WhichOneof("record_type") == "exit":
            break
        time.sleep(0.1)
    return records


def _items(items: Any) -> dict[str, Any]:
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


def _records(content: bytes) -> Iterator[Any]:
    position, pieces = _HEADER, b""
    while position + _HEADER <= len(content):
        left = _BLOCK - position % _BLOCK
        if left < _HEADER:
            position += left
            continue
        length, kind = int.from_bytes(content[position + 4 : position + 6], "little"), content[position + 6]
        position += _HEADER
        pieces += content[position : position + length]
        position += length
        if kind in (_FULL, _LAST):
            record = Record()
            record.ParseFromString(pieces)
            yield record
            pieces = b""
