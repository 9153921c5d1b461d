"""Predicted against measured latency of encoders with fewer heads and neurons: ``python -m benchmarks.structures``.

The table of an encoder of random weights is measured, then models from which random heads and neurons were removed are
exported and measured in turns with the dense float32 model. What is compared is the speedup over it, so that a machine
that slows down between table and models affects neither. Half of the models are small, as those of large speedups are.
"""

import argparse
import copy
import random
import resource
import statistics
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from benchmarks.encoders import OPSET, SHAPES, encoder
from winnow.config.modifiers import StructureSettings
from winnow.data.batch import Batch, ModelOutputs
from winnow.deployment.block_latency import (
    call_seconds,
    graph_inputs,
    measured_table,
    prune_blocks,
    quantize_on_random_tokens,
)
from winnow.deployment.engines import ENGINES, SPARSE, STOCK, Engine, open_engine
from winnow.deployment.graph import write_graph
from winnow.engine.graph_pass import rewrite
from winnow.functional.distillation_loss import distillation_loss
from winnow.functional.latency_table import LatencyTable
from winnow.machine import describe_machine, machine_lines
from winnow.models.block_macs import macs_table
from winnow.models.structures import remove_structures, structure_blocks
from winnow.modifiers.structure_choice import choose_structures
from winnow.quiet import quiet_libraries
from winnow.tasks.task import Task

Layers = list[tuple[int, int]]  # heads and neurons of each layer


def random_layers(table: LatencyTable, layers: int, largest: float, rng: random.Random) -> Layers:
    """Random sizes of the table, up to a fraction of the whole block."""
    heads, neurons = ([n for n in sizes if n <= largest * max(sizes)] for sizes in (table.heads, table.neurons))
    return [(rng.choice(heads), rng.choice(neurons)) for _ in range(layers)]


def smaller(model: PreTrainedModel, layers: Layers, sparsity: float, rng: random.Random) -> PreTrainedModel:
    """A copy of a model that keeps random heads and neurons, so many in each layer, with blocks of zeros among them."""
    copied = copy.deepcopy(model)
    kept = {
        block: sorted(rng.sample(range(block.count), layers[block.layer][block.kind == "neurons"]))
        for block in structure_blocks(model)
    }
    remove_structures(copied, kept)
    prune_blocks(copied, [block for block, numbers in kept.items() if numbers], sparsity)
    return copied


def opened_dense(model: PreTrainedModel, settings: StructureSettings, folder: Path) -> Engine:
    """The whole model in float32, as the reference of speedups."""
    engine = STOCK if settings.engine == SPARSE else settings.engine
    return opened(model, settings.model_copy(update={"engine": engine, "precision": "float32"}), folder)


def opened(model: PreTrainedModel, settings: StructureSettings, folder: Path) -> Engine:
    """The model in its engine, exported as ``winnow export`` does."""
    path = folder / "model.onnx"
    if settings.precision == "int8":
        quantize_on_random_tokens(model)
    write_graph(model, path, inputs=graph_inputs(model), outputs=["logits"], opset=OPSET)
    if settings.engine == SPARSE and (rewritten := rewrite(onnx.load(path))):
        onnx.save(rewritten.model, path)
    return open_engine(settings.engine, path, settings.threads)


def largest_difference(found: LatencyTable, again: LatencyTable) -> float:
    """Of the speedups of models with one size in all layers, as a fraction."""
    pairs = [(h, min(found.neurons)) for h in found.heads] + [(min(found.heads), n) for n in found.neurons]
    return max(abs(found.speedup([pair] * 6) / again.speedup([pair] * 6) - 1) for pair in pairs)


class RandomLabels(Task):
    """Two classes without a meaning."""

    def loss(self, outputs: ModelOutputs, batch: Batch) -> Tensor:
        return F.cross_entropy(outputs.logits, batch["labels"])

    def distillation_loss(
        self, student: ModelOutputs, teacher: ModelOutputs, batch: Batch, *, temperature: float
    ) -> Tensor:
        return distillation_loss(student.logits, teacher.logits, temperature=temperature)


def time_choice(model: PreTrainedModel, task: Task, speedup: float, settings: StructureSettings) -> None:
    """Print the seconds of each part of a choice from 2,048 random texts of 24 tokens, and the peak memory."""
    generator = torch.Generator().manual_seed(0)
    batches = [
        {
            "input_ids": torch.randint(model.config.vocab_size, (32, 24), generator=generator),
            "attention_mask": torch.ones(32, 24, dtype=torch.long),
            "labels": torch.randint(2, (32,), generator=generator),
        }
        for _ in range(settings.calibration_samples // 32)
    ]
    table = macs_table(model, settings)
    choice = choose_structures(
        model,
        task,
        batches,
        table,
        target_speedup=speedup,
        samples=settings.calibration_samples,
        restarts=settings.restarts,
    )
    machine = describe_machine(("torch", "winnow-transformers"), torch.get_num_threads())
    print(machine_lines(machine))
    print(", ".join(f"{part} {seconds:.1f} s" for part, seconds in choice.seconds.items()))
    print(f"peak memory {peak_gigabytes():.1f} GB")


def show(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=list(SHAPES), default="minilm")
    parser.add_argument("--engine", choices=ENGINES, default="onnxruntime")
    parser.add_argument("--precision", choices=["float32", "int8"], default="float32")
    parser.add_argument("--block4-sparsity", type=float, default=0.0, help="for engine sparse")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--length", type=int, default=128, help="in tokens")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--models", type=int, default=10, help="with random sizes")
    parser.add_argument("--choose", type=float, metavar="SPEEDUP", help="only time the choice of heads and neurons")
    parser.add_argument("--repeat", action="store_true", help="measure the table twice, and compare")
    options = parser.parse_args()
    quiet_libraries()
    settings = StructureSettings(
        target_speedup=2,
        engine=options.engine,
        precision=options.precision,
        block4_sparsity=options.block4_sparsity,
        batch_size=options.batch_size,
        sequence_length=options.length,
        threads=options.threads,
    )
    model, rng = encoder(options.shape), random.Random(0)
    task = RandomLabels(name="random", metrics=[], data={"text_columns": ["text"], "label_column": "label"})
    if options.choose:
        time_choice(model, task, options.choose, settings)
        return
    with TemporaryDirectory() as folder:
        measured = measured_table(model, task, settings, Path(folder))
        again = measured_table(model, task, settings, Path(folder) / "again") if options.repeat else None
        table, facts = measured.table, measured.facts
        print(machine_lines(facts["machine"]))
        print(f"table measured in {facts['measured_in']} s, peak memory {peak_gigabytes():.1f} GB")
        whole = [(facts["heads"], facts["neurons"])] * facts["layers"]
        print(f"dense float32 {1e3 * table.dense:.2f} ms, rest {1e3 * table.rest:.2f} ms")
        print(f"whole {1e3 * facts['seconds_whole']:.2f} ms, predicted {1e3 * table.total(whole):.2f} ms")
        print(
            f"empty {1e3 * facts['seconds_empty']:.2f} ms, highest speedup {table.highest_speedup(facts['layers']):.1f}"
        )
        if again:
            print(f"measured again: largest difference {largest_difference(table, again.table):.1%}")
        dense = opened_dense(model, settings, Path(folder))
        layers = [random_layers(table, len(whole), 1.0 if i % 2 else 0.25, rng) for i in range(options.models)]
        sparsity = settings.block4_sparsity
        engines = [opened(smaller(model, each, sparsity, rng), settings, Path(folder)) for each in layers]
    seconds = call_seconds({"dense": dense, **dict(enumerate(engines))}, settings, model.config.vocab_size)
    macs = macs_table(model, settings)
    speedups = [seconds["dense"] / seconds[i] for i in range(len(layers))]
    errors = [table.speedup(each) / found - 1 for each, found in zip(layers, speedups, strict=True)]
    rows = [["heads/neurons", "MACs", "ms", "predicted", "measured", "error"]]
    for i, each in enumerate(layers):
        sizes = " ".join(f"{h}/{n}" for h, n in each)
        cells = [f"{macs.total(each) / macs.dense:.1%}", f"{1e3 * seconds[i]:.2f}", f"{table.speedup(each):.2f}"]
        rows.append([sizes, *cells, f"{speedups[i]:.2f}", f"{errors[i]:+.1%}"])
    show(rows)
    print(f"largest error {max(map(abs, errors)):.1%}, median {statistics.median(map(abs, errors)):.1%}")


def peak_gigabytes() -> float:
    """The largest resident memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    main()
