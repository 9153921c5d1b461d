"""The graph for the sparse engine, written beside model.onnx where it pays."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from winnow.deployment.folder import GRAPH, SPARSE_GRAPH
from winnow.engine.graph_pass import rewrite
from winnow.engine.library import LIBRARY, instruction_set, library
from winnow.errors import UserError
from winnow.files.checksums import sha256

FEWEST_EMPTY = 0.3  # fraction of zero blocks from which the sparse engine is faster
_LARGEST = 2_000_000_000  # bytes of an ONNX file


@dataclass(frozen=True)
class SparseGraph:
    """A graph for the sparse engine.

    Args:
        path: of the file; the library with its operators is beside it.
        packed: number of linear layers whose results stay in codes from one to the next.
        alone: number of those between other operators.
        empty_blocks: fraction of their blocks of four weights that are zero.
        instruction_set: with which this processor runs it.
    """

    path: Path
    packed: int
    alone: int
    empty_blocks: float
    instruction_set: str

    def facts(self) -> dict[str, Any]:
        """The entries of verification.json on the graph; the checksum identifies the verified file."""
        counts = {name: getattr(self, name) for name in ("packed", "alone", "empty_blocks", "instruction_set")}
        return {"sha256": sha256(self.path), **counts}

    def remove(self) -> None:
        """Delete the graph and its library."""
        self.path.unlink()
        (self.path.parent / LIBRARY).unlink()


def write_sparse_graph(folder: Path) -> SparseGraph | None:
    """Write model.sparse.onnx, and the library that runs it, for the int8 graph model.onnx of a folder.

    Returns:
        None if the graph has no encoder with enough empty blocks; and, with a note on stderr, if the engine cannot run
        here, so that the graph could not be verified.
    """
    rewritten = rewrite(onnx.load(folder / GRAPH))
    if rewritten is None or not rewritten.packed or rewritten.empty_blocks < FEWEST_EMPTY:
        return None
    try:
        operators = library()
        instructions = instruction_set(operators)
        if rewritten.model.ByteSize() > _LARGEST:
            raise UserError(f"it has more than {_LARGEST / 1e9:.0f} GB, which one ONNX file cannot hold")
    except UserError as error:
        reason = str(error).removeprefix("engine=sparse: ").removesuffix(", or choose another engine.").rstrip(".")
        print(f"note: {SPARSE_GRAPH} is not written: {reason}", file=sys.stderr)
        return None
    onnx.save(rewritten.model, folder / SPARSE_GRAPH)
    shutil.copyfile(operators, folder / LIBRARY)
    return SparseGraph(
        folder / SPARSE_GRAPH, len(rewritten.packed), len(rewritten.alone), rewritten.empty_blocks, instructions
    )


def write_comparable(graph: Path, path: Path) -> None:
    """Write the graph for the sparse engine with the results of all layer normalisations under their old names."""
    rewritten = rewrite(onnx.load(graph), keep_values=True)
    assert rewritten is not None
    onnx.save(rewritten.model, path)
