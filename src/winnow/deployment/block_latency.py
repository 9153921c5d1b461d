"""The latency of a model by the heads and neurons of its layers, measured in the engine in which it will run.

The graph of the model is exported once. Its constants are cut to smaller sizes, the same in all layers, and the graphs
are measured in turns. Weights are random, because time depends on shapes and on the number of zeros only.
"""

import copy
import functools
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnx_ir
import torch
from torch import nn
from transformers import PreTrainedModel

from winnow.config.modifiers import StructureSettings
from winnow.deployment.engines import PACKAGES, SPARSE, STOCK, Engine, open_engine
from winnow.deployment.graph import write_graph
from winnow.deployment.latency import Name, in_turns, token_inputs
from winnow.deployment.sliced_graph import sliced
from winnow.engine.graph_pass import rewrite
from winnow.errors import UserError
from winnow.files.atomic import write_atomically
from winnow.files.json_text import json_text, read_json
from winnow.files.locks import named_lock
from winnow.files.token_limit import check_length, token_limit
from winnow.functional.latency_table import LatencyTable, additive_table, neuron_levels, table_from_json, table_json
from winnow.functional.mask import pruning_mask
from winnow.functional.structure import Structure
from winnow.machine import describe_machine, processor
from winnow.models.quantized_model import insert_fake_quant, quantizable, set_fake_quant
from winnow.models.structures import Block, structure_blocks
from winnow.tasks.task import Task

FORMAT = 2  # of a file in the cache; another way to measure gets another number
_MEASURED = (
    "engine",
    "precision",
    "block4_sparsity",
    "batch_size",
    "sequence_length",
    "threads",
)  # settings that matter
_OPSET = 20  # as that of ``export``
_VOCABULARY = 2000  # rows of the word embeddings at most; further ones take memory, but no time
_ROUNDS = 12
_SECONDS = 0.03  # of a graph in a round
_OPEN_BYTES = (
    1_000_000_000  # weights of the graphs that are open at the same time; the engines need up to twice as much
)

Size = tuple[int, int]  # heads and neurons of every layer
_DENSE: Size = (-1, -1)  # stands for the dense float32 graph


@dataclass(frozen=True)
class MeasuredTable:
    """A table in seconds of one call, and plain values that say how it was measured."""

    table: LatencyTable
    facts: dict[str, Any]


def measured_table(model: PreTrainedModel, task: Task, settings: StructureSettings, cache: Path) -> MeasuredTable:
    """The latency table of a model in the engine of the settings; from the cache, if it was measured before.

    Args:
        model: stock; it stays as it is, and so does the state of torch's random generator.
        task: of the model.
        settings: of the modifier.
        cache: folder whose subfolder ``latency`` keeps the tables of this machine.

    Raises:
        UserError: for a task that cannot be deployed, too many tokens, and an engine that cannot run here.
    """
    if not task.output_names:
        raise UserError(f"latency=measured: task={task.name} has no deployed graph to measure; set latency=macs.")
    check_length("recipe.structure.sequence_length", settings.sequence_length, token_limit(model.config.to_dict()))
    path = _file(model, settings, cache)
    with named_lock(path.parent, path.stem, waiting="Latency table: another process measures it."):
        found = _stored(path)
        if found is None:
            print("structure: measures the latency of heads and neurons, which takes a minute or so", flush=True)
            found = _measure(model, task, settings)
            write_atomically(path, json_text({"table": table_json(found.table), "facts": found.facts}, indent=1) + "\n")
    return found


def known_table(model: PreTrainedModel, settings: StructureSettings, cache: Path) -> MeasuredTable | None:
    """The same table if this machine has measured it before, else None; measures and writes nothing.

    Args:
        model: stock; its parameters need no values.
        settings: of the modifier.
        cache: as in `measured_table`.
    """
    return _stored(_file(model, settings, cache))


def _file(model: PreTrainedModel, settings: StructureSettings, cache: Path) -> Path:
    return cache / "latency" / f"{_key(model, settings)}.json"


def _key(model: PreTrainedModel, settings: StructureSettings) -> str:
    """Checksum of what the table depends on."""
    content = {
        "format": FORMAT,
        "model": [type(model).__name__, str(model)],  # with all modules and their sizes
        "blocks": [(block.count, block.width) for block in structure_blocks(model)],
        "settings": settings.model_dump(include=set(_MEASURED)),
        "versions": {name: _version(name) for name in _packages(settings)},
        "machine": [processor(), os.cpu_count()],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None  # opening the engine says how to install it


def _packages(settings: StructureSettings) -> list[str]:
    return sorted({PACKAGES[settings.engine], PACKAGES[STOCK], "winnow-transformers"})


def _stored(path: Path) -> MeasuredTable | None:
    """The table of a file; None without one, and for a damaged one."""
    try:
        content = read_json(path)
        return MeasuredTable(table_from_json(content["table"]), dict(content["facts"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _measure(model: PreTrainedModel, task: Task, settings: StructureSettings) -> MeasuredTable:
    started = time.perf_counter()
    machine = describe_machine(_packages(settings), settings.threads)
    blocks = structure_blocks(model)
    heads, neurons = blocks[0].count, blocks[1].count
    levels = neuron_levels(neurons)
    # Far from the sizes of the anchor, other sizes of caches make the costs of blocks less additive, and large
    # speedups need small blocks.
    anchor = (max(1, heads // 4), min(levels[1:], key=lambda level: abs(level - neurons / 8)))
    by_heads = [(n, anchor[1]) for n in range(heads + 1)]
    by_neurons = [(anchor[0], n) for n in levels]
    sizes = list(dict.fromkeys([anchor, *by_heads, *by_neurons, (0, 0), (heads, neurons), _DENSE]))
    with TemporaryDirectory() as folder:
        seconds = _Candidates(model, task, settings, Path(folder)).measure(sizes)
    table = additive_table(
        {size[0]: seconds[size] for size in by_heads},
        {size[1]: seconds[size] for size in by_neurons},
        anchor,
        len(blocks) // 2,
        seconds[_DENSE],
        least=0.75 * min(seconds.values()),  # without noise the rest had 0.84 to 1.02 of an empty model
    )
    facts = {
        **settings.model_dump(include=set(_MEASURED)),
        "machine": machine,
        "layers": len(blocks) // 2,
        "heads": heads,
        "neurons": neurons,
        "anchor": list(anchor),
        "seconds_whole": seconds[heads, neurons],
        "seconds_empty": seconds[0, 0],
        "measured_in": round(time.perf_counter() - started, 1),
    }
    return MeasuredTable(table, facts)


class _Candidates:
    """The graphs of a model with smaller blocks."""

    def __init__(self, model: PreTrainedModel, task: Task, settings: StructureSettings, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self.blocks = structure_blocks(model)
        dense = random_copy(model)
        export = functools.partial(write_graph, inputs=graph_inputs(model), outputs=task.output_names, opset=_OPSET)
        self.dense = folder / "dense.onnx"
        export(dense, self.dense)
        path = self.dense
        if settings.precision == "int8":
            path = folder / "int8.onnx"
            prune_blocks(dense, self.blocks, settings.block4_sparsity)
            quantize_on_random_tokens(dense)
            export(dense, path)
        self.graph = onnx_ir.load(path)
        self.vocabulary = len(_words(dense).weight)
        size = 1 if settings.precision == "int8" else 4
        self.bytes = {block.kind: size * _weights_of_one(dense, block) * len(self.blocks) // 2 for block in self.blocks}

    def measure(self, sizes: Sequence[Size]) -> dict[Size, float]:
        """Seconds of a call by size.

        Args:
            sizes: the first one is measured together with each group of the others that fits into memory, so that the
                times of all groups are comparable.
        """
        seconds: dict[Size, float] = {}
        first = sizes[0]
        for group in self._groups(sizes[1:]):
            engines = {size: self._open(size) for size in (first, *group)}
            times = call_seconds(engines, self.settings, self.vocabulary)
            scale = seconds.get(first, times[first]) / times[first]
            seconds |= {size: scale * times[size] for size in (first, *group)}
        return seconds

    def _groups(self, sizes: Sequence[Size]) -> Iterator[list[Size]]:
        group: list[Size] = []
        for size in sizes:
            if group and sum(map(self._weight_bytes, [*group, size])) > _OPEN_BYTES:
                yield group
                group = []
            group.append(size)
        yield group

    def _weight_bytes(self, size: Size) -> int:
        if size == _DENSE:
            return self.dense.stat().st_size
        return size[0] * self.bytes["heads"] + size[1] * self.bytes["neurons"]

    def _open(self, size: Size) -> Engine:
        if size == _DENSE:
            return open_engine(
                STOCK if self.settings.engine == SPARSE else self.settings.engine, self.dense, self.settings.threads
            )
        path = self.folder / "candidate.onnx"
        graph = onnx_ir.to_proto(sliced(self.graph, self.blocks, {"heads": size[0], "neurons": size[1]}))
        rewritten = rewrite(graph) if self.settings.engine == SPARSE else None
        onnx.save(rewritten.model if rewritten else graph, path)
        return open_engine(self.settings.engine, path, self.settings.threads)


def call_seconds(engines: Mapping[Name, Engine], settings: StructureSettings, vocabulary: int) -> dict[Name, float]:
    """Seconds of a call of each engine, measured in turns.

    Other processes make calls slower, hardly ever faster; of the rounds the second fastest counts, by its fastest call.

    Args:
        engines: by name.
        settings: batch size, length and threads of the call.
        vocabulary: its size.
    """
    # with one thread the time for which other processes have the core is not counted
    clock = time.process_time if settings.threads == 1 else time.perf_counter
    work = {}
    for name, engine in engines.items():
        inputs = token_inputs(engine.inputs, settings.batch_size, settings.sequence_length, vocabulary)
        work[name] = functools.partial(_seconds, engine, inputs, clock)
    times = in_turns(work, _ROUNDS, _SECONDS, of_calls=min)
    return {name: sorted(rounds)[1] for name, rounds in times.items()}


def _seconds(engine: Engine, inputs: Mapping[str, np.ndarray], clock: Callable[[], float]) -> float:
    started = clock()
    engine.run(inputs)
    return clock() - started


def _weights_of_one(model: nn.Module, block: Block) -> int:
    """Number of weights of a head or a neuron."""
    return sum(model.get_parameter(f"{name}.weight").numel() for name in (*block.inputs, block.output)) // block.count


def graph_inputs(model: PreTrainedModel) -> list[str]:
    """Names of the inputs of the deployed graph: those that the tokenizer of such a model gives."""
    segments = getattr(model.config, "type_vocab_size", 1) > 1
    return ["input_ids", "attention_mask", *(["token_type_ids"] if segments else [])]


@torch.no_grad()
def random_copy(model: PreTrainedModel) -> PreTrainedModel:
    """A copy on the CPU with random weights in its linear layers and embeddings, and with few words."""
    copied = copy.deepcopy(model)
    copied.cpu().float().train(False)  # type: ignore[no-untyped-call]  # transformers wraps it without types
    words = _words(copied)
    words.weight = nn.Parameter(words.weight[:_VOCABULARY].clone())
    words.num_embeddings, words.padding_idx = len(words.weight), None
    generator = torch.Generator().manual_seed(0)
    for module in copied.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            for parameter in module.parameters():  # no two are equal, so that a graph stores each of them
                parameter.normal_(std=0.05, generator=generator)
    return copied


def _words(model: PreTrainedModel) -> Any:
    return model.get_input_embeddings()


@torch.no_grad()
def prune_blocks(model: PreTrainedModel, blocks: Sequence[Block], sparsity: float) -> None:
    """Zero blocks of four weights in the linear layers of the encoder."""
    for block in blocks if sparsity else ():
        for name in (*block.inputs, block.output):
            weight = model.get_parameter(f"{name}.weight")
            weight.mul_(pruning_mask(weight, sparsity, Structure.parse("block4")))


@torch.no_grad()
def quantize_on_random_tokens(model: PreTrainedModel) -> None:
    """Quantise weights and activations to 8 bits, with the ranges that the activations have on random tokens."""
    insert_fake_quant(model, list(quantizable(model)), weight_bits=8, per_channel=True, reduce_range=False)
    set_fake_quant(model, observer_enabled=True, fake_quant_enabled=False)
    generator = torch.Generator().manual_seed(0)
    model(torch.randint(len(_words(model).weight), (4, 16), generator=generator))
    set_fake_quant(model, observer_enabled=False, fake_quant_enabled=True)
