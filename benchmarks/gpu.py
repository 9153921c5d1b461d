"""What training gives on a GPU: throughput, memory, exactness: ``python -m benchmarks.gpu --json gpu.json``.

Each part trains Winnow as ``python -m src.train`` does, without validation and logs, on texts of one length, and is
measured by itself: a part that fails leaves its error in the report and the others go on. A part begins only if the
budget of ``--minutes`` has as much time left as the longest part so far took. After ``--warmup`` steps the GPU is
synchronised and the clock starts; it stops, synchronised again, after ``--steps`` more.

MFU, the model FLOPs utilisation, is (6 P + 12 L h s) * tokens / (seconds * peak), with P weights in the linear layers
of the encoder, L layers of width h, and texts of s tokens: 2 FLOPs a weight and token in the forward pass and 4 in the
backward pass, and the two matmuls of attention (Chowdhery et al. 2022, arXiv:2204.02311, appendix B). Padding counts as
tokens; a teacher, and layers that are computed again, do not count as FLOPs. The peak is that of the vendor's data
sheet for dense matmuls in half precision; without one in the table, in float32 and on a CPU, MFU is null.

``--memory`` prints instead the memory that a training needs, by model and batch; see `training_bytes`.
"""

import argparse
import copy
import gc
import itertools
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import hydra
import pytorch_lightning as pl
import torch
from datasets import Dataset
from pytorch_lightning.callbacks import Checkpoint

from benchmarks.runs import winnow_training
from winnow.config.checks import check
from winnow.config.resolve import run_config
from winnow.config.run import RunConfig
from winnow.data.demo import reviews
from winnow.data.splits import load_splits
from winnow.errors import describe, short_errors
from winnow.files.atomic import write_atomically
from winnow.files.run_files import CHECKPOINTS, LAST
from winnow.machine import describe_machine
from winnow.models.gradient_checkpointing import enable_gradient_checkpointing
from winnow.models.pretrained import load_student, load_tokenizer
from winnow.models.teacher import Teacher
from winnow.modifiers.masks import encoder_weights
from winnow.modifiers.modifier import modifiers_of
from winnow.quiet import quiet_libraries
from winnow.tasks.task import build_task
from winnow.training.trainer import callbacks_of, fit


class Shape(NamedTuple):
    """Sizes of an encoder.

    Args:
        intermediate: width of the feed-forward layers.
        parameters: all, with embeddings and a head for two labels.
    """

    layers: int
    width: int
    intermediate: int
    heads: int
    parameters: int

    @property
    def linear_weights(self) -> int:
        return self.layers * (4 * self.width**2 + 2 * self.width * self.intermediate)


SHAPES = {
    "minilm": Shape(6, 384, 1536, 12, 22_713_986),
    "distilbert": Shape(6, 768, 3072, 12, 66_955_010),
    "bert_base": Shape(12, 768, 3072, 12, 109_483_778),
    "bert_large": Shape(24, 1024, 4096, 16, 335_143_938),
}
TINY = Shape(2, 32, 64, 2, parameters=0)
# Part of the name of a GPU -> FLOP/s of dense matmuls in half precision, by the data sheets of NVIDIA.
PEAKS = {
    "H200 NVL": 836e12,
    "H200": 989e12,
    "H100 NVL": 835e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L40": 181e12,
    "A10G": 70e12,
    "A10": 125e12,
    "L4": 121e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
    "T4": 65e12,
    "V100": 125e12,
}
QAT = ["+modifier@recipe.quantization=quantization", "recipe.quantization.start_epoch=0"]
OBSERVED = [*QAT, "recipe.quantization.disable_observer_epoch=-1"]
FULL, HALF = ["trainer.precision=32-true"], ["trainer.precision=16-mixed"]
# Part -> overrides.
THROUGHPUT = {
    "dense": [],
    "dense, compiled": [],
    "masks": ["recipe=oneshot80"],
    "live teacher": ["teacher=self"],
    "cached teacher": ["teacher=self"],
    "quantised": OBSERVED,
    "gradient checkpointing": ["trainer.gradient_checkpointing=true"],
    "dense, large batch": [],
    "dense, large batch, compiled": [],
    "quantised, large batch": OBSERVED,
    "large batch in parts that fit": ["trainer.micro_batch_size=auto"],
    "dense, fp32": FULL,
    "dense, fp16": HALF,
    "masks, fp16": [*HALF, "recipe=oneshot80"],
}
EXACTNESS = {
    "exact masks": ["recipe=gmp80"],
    "exact masks, fp32": [*FULL, "recipe=gmp80"],
    "exact masks, fp16": [*HALF, "recipe=gmp80"],
    "resume": ["recipe=gmp80", *OBSERVED],
    "resume, deterministic": ["recipe=gmp80", *OBSERVED, "trainer.deterministic=true"],
}


def flops_per_token(shape: Shape, length: int) -> int:
    """FLOPs of a training step for each token of texts of one length, by the formula of this module."""
    return 6 * shape.linear_weights + 12 * shape.layers * shape.width * length


def training_bytes(shape: Shape, *, batch: int, length: int, half: bool = True, checkpointing: bool = False) -> int:
    """Most bytes of GPU memory that tensors of a dense training take, without the CUDA context of about 0.5 GB.

    16 bytes a parameter: weight, gradient and two moments in float32; in half precision 2 more for the copies of the
    linear weights. For each token and layer, with a fused attention that keeps no probabilities, width h, feed-forward
    width i and a heads: in half precision 26 h + 4 i + 4 a + 16 bytes, which are the inputs of the linear layers (10 h
    + 2 i), queries, keys and values (6 h), the input of GELU (2 i), the inputs of two norms in float32 (8 h), two masks
    of dropout (2 h), sums of attention and norms; in float32 34 h + 8 i + 4 a + 16. With checkpointing every layer
    keeps its input, 4 h, and one keeps all.

    Args:
        batch: texts.
        length: tokens of each, with padding.
        half: bf16 or fp16, as mixed precision.
        checkpointing: ``trainer.gradient_checkpointing``.
    """
    layers, width, intermediate, heads, parameters = shape
    weights = 16 * parameters + (2 * shape.linear_weights if half else 0)
    kept = (26 * width + 4 * intermediate if half else 34 * width + 8 * intermediate) + 4 * heads + 16
    return weights + batch * length * (layers * 4 * width + kept if checkpointing else layers * kept)


def memory_table() -> str:
    """`training_bytes` in GB as Markdown: bf16, without and with gradient checkpointing, and fp32."""
    lines = ["| model | texts x tokens | bf16 | bf16, gradient checkpointing | fp32 |", "|---|---|---|---|---|"]
    kinds: list[dict[str, bool]] = [{}, {"checkpointing": True}, {"half": False}]
    for (name, shape), (batch, length) in itertools.product(SHAPES.items(), [(32, 128), (16, 384), (256, 128)]):
        sizes = [training_bytes(shape, batch=batch, length=length, **kind) / 1e9 for kind in kinds]
        lines.append(f"| `{name}` | {batch} x {length} | " + " | ".join(f"{size:.1f}" for size in sizes) + " |")
    return "\n".join(lines)


class Window(pl.Callback):
    """Seconds and tokens of the steps after the first ones."""

    def __init__(self, warmup: int) -> None:
        self.warmup, self.tokens, self.seconds = warmup, 0, 0.0

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx >= self.warmup:
            self.tokens += batch["input_ids"].numel()
        if batch_idx + 1 in (self.warmup, trainer.num_training_batches):
            if module.device.type == "cuda":
                torch.cuda.synchronize()
            now = time.perf_counter()
            if batch_idx + 1 == self.warmup:
                self._started = now
            else:
                self.seconds = now - self._started


class KilledError(Exception):
    pass


class Kill(pl.Callback):
    """End a training as if it were killed."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.global_step == self.step:
            raise KilledError


@dataclass
class Bench:
    """The weights, texts and settings that all parts share.

    Args:
        options: the command line.
        student: the starting weights; each training gets a copy.
        texts: long enough for the largest epoch.
    """

    options: argparse.Namespace
    task: Any
    tokenizer: Any
    student: Any
    texts: Dataset
    peak: float | None
    memory: dict[str, int] = field(default_factory=dict)  # bytes at the peak of a part

    def throughput(self, name: str, overrides: list[str]) -> dict[str, Any]:
        """Speed, MFU and memory of the steps after the warm-up."""
        options = self.options
        size = options.large_batch if "large batch" in name else options.batch_size
        config = compose(options, [*overrides, f"task.data.batch_size={size}"])
        window = Window(options.warmup)
        student = copy.deepcopy(self.student)
        if config.trainer.gradient_checkpointing:
            enable_gradient_checkpointing(student)
        if "compiled" in name:
            student.compile(backend="aot_eager" if options.tiny else "inductor")
        with self._limited_memory() if "fit" in name and self.on_gpu else nullcontext():
            steps = options.warmup + options.steps
            trainer, module = self._train(config, student, steps, [window], cached="cached" in name)
        self.memory[name] = torch.cuda.max_memory_allocated() if self.on_gpu else 0
        half = trainer.precision != "32-true"
        flops = flops_per_token(self.shape, options.length) * window.tokens / window.seconds
        return {
            "precision": trainer.precision,
            "batch_size": size,
            "micro_batch_size": module.micro_batches.size if module.micro_batches else None,
            "samples_per_second": options.steps * size / window.seconds,
            "tokens_per_second": window.tokens / window.seconds,
            "step_seconds": window.seconds / options.steps,
            "mfu": flops / self.peak if self.peak and half else None,
            "peak_bytes": self.memory[name] or None,
            "computed_bytes": training_bytes(
                self.shape,
                batch=size,
                length=options.length,
                half=half,
                checkpointing=config.trainer.gradient_checkpointing,
            ),
        }

    def exactness(self, name: str, overrides: list[str]) -> dict[str, Any]:
        """Are the zeros exact, and is a resumed training the uninterrupted one?"""
        steps = max(8, self.options.steps)
        config = compose(self.options, [*overrides, f"trainer.checkpoint_every={steps // 2}"])
        if name.startswith("exact"):
            trainer, module = self._train(config, copy.deepcopy(self.student), steps, [])
            for modifier in modifiers_of(trainer):
                modifier.check()  # every event as planned, and the final zeros
            weights = encoder_weights(module.model).values()
            wrong = sum(int((w == 0).sum()) != round(0.8 * w.numel()) for w in weights)
            return {"precision": trainer.precision, "matrices": len(weights), "with_wrong_zeros": wrong}
        with tempfile.TemporaryDirectory() as temporary:
            once, twice, stopped = (Path(temporary, name) for name in ("once", "twice", "stopped"))
            whole, again = self._weights(config, steps, once), self._weights(config, steps, twice)
            with suppress(KilledError):
                self._weights(config, steps, stopped, [Kill(steps // 2)])
            resumed = self._weights(config, steps, stopped, checkpoint=stopped / CHECKPOINTS / LAST)
        return {"repeated": _difference(whole, again), "resumed": _difference(whole, resumed)}

    @property
    def shape(self) -> Shape:
        config = self.student.config
        sizes = (config.num_hidden_layers, config.hidden_size, config.intermediate_size, config.num_attention_heads)
        return Shape(*sizes, self.student.num_parameters())

    @property
    def on_gpu(self) -> bool:
        return bool(self.options.device == "cuda")

    def _weights(
        self, config: RunConfig, steps: int, folder: Path, callbacks: Sequence[Any] = (), checkpoint: Path | None = None
    ) -> dict[str, torch.Tensor]:
        """Of a training that writes checkpoints, or of one that is resumed."""
        student = copy.deepcopy(self.student)
        _, module = self._train(config, student, steps, callbacks, folder=folder, checkpoint=checkpoint)
        return {name: weight.detach().cpu() for name, weight in module.named_parameters()}

    def _train(
        self,
        config: RunConfig,
        student: Any,
        steps: int,
        callbacks: Any,
        cached: bool = False,
        folder: Path | None = None,
        checkpoint: Path | None = None,
    ) -> tuple[pl.Trainer, Any]:
        """Train for some steps; with a folder checkpoints are written to it."""
        self._free_memory()
        pl.seed_everything(config.seed, workers=True, verbose=False)
        examples = self.texts.select(range(steps * config.task.data.batch_size))
        teacher = Teacher(copy.deepcopy(self.student))
        with tempfile.TemporaryDirectory() as temporary:
            where = folder or Path(temporary)
            trainer, module, data = winnow_training(
                config, self.task, self.tokenizer, student, examples, where, teacher=teacher, cached=cached
            )
            own: list[Any] = callbacks_of(trainer)
            kept = own if folder else [each for each in own if not isinstance(each, Checkpoint)]
            trainer.callbacks = [*callbacks, *kept]  # type: ignore[attr-defined]  # Lightning sets `callbacks` outside of the class
            if folder:
                fit(trainer, module, data, checkpoint)
            else:
                trainer.fit(module, data)
        return trainer, module

    def _free_memory(self) -> None:
        gc.collect()  # reference cycles keep the model of the previous training alive
        if self.on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    @contextmanager
    def _limited_memory(self) -> Iterator[None]:
        """Half of what the large batch needs as a whole."""
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(self.memory["dense, large batch"] / 2 / total)
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)


def _difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Of two sets of weights: are they equal to the bit, and the largest difference of a weight."""
    largest = max(float((weight - other[name]).abs().max()) for name, weight in one.items())
    return {"equal": all(torch.equal(weight, other[name]) for name, weight in one.items()), "largest": largest}


def compose(options: argparse.Namespace, overrides: list[str]) -> RunConfig:
    """The configuration that ``python -m src.train`` composes, for one epoch."""
    if options.model:
        model = ["model=bert_base", f"model.name={options.model}"]
    else:
        shape = TINY if options.tiny else SHAPES["bert_base"]
        sizes = {
            "num_hidden_layers": shape.layers,
            "hidden_size": shape.width,
            "intermediate_size": shape.intermediate,
            "num_attention_heads": shape.heads,
            "max_position_embeddings": 512,
            "hidden_dropout_prob": 0.1,
            "attention_probs_dropout_prob": 0.1,
        }
        model = ["model=tiny", *(f"model.config.{name}={value}" for name, value in sizes.items())]
    defaults = [
        *(["task=sst2", f"task.data.path={options.data}"] if options.data else ["task=demo"]),
        f"task.max_length={options.length}",
        f"task.data.batch_size={options.batch_size}",
        *model,
        f"trainer.accelerator={options.device}",
        "trainer.progress_bar=false",
        "logger=none",
        "recipe=dense",
        "teacher=none",
        "recipe.num_epochs=1",
    ]
    replaced = {override.split("=")[0] for override in overrides}
    with hydra.initialize(version_base="1.3", config_path="../conf"):
        kept = [default for default in defaults if default.split("=")[0] not in replaced]
        config = run_config(hydra.compose("train", [*kept, *overrides]))
    check(config)
    return config


def prepare(options: argparse.Namespace) -> Bench:
    """Read or generate texts, and load or draw the weights."""
    config = compose(options, [])
    task = build_task(config.task)
    rows = (options.warmup + max(8, options.steps)) * max(options.batch_size, options.large_batch)
    splits = task.prepare(load_splits(config.task.data) if options.data else reviews(train=200, held_out=8))
    train = splits["train"]
    if not options.data:  # several reviews in one text, so that each has the full length
        few, parts = list(train["text"]), -(-options.length // 4)
        long = [" ".join(few[(i + j) % len(few)] for j in range(parts)) for i in range(len(few))]
        train = train.map(lambda _, i: {"text": long[i]}, with_indices=True)
    tokenizer = load_tokenizer(config.model, **task.tokenizer_options)
    tokenizer.model_max_length = 512
    student = load_student(config.model, task, tokenizer)
    if not options.model and not options.tiny:
        student.resize_token_embeddings(30_522, mean_resizing=False)  # of BERT
    name = torch.cuda.get_device_name() if options.device == "cuda" else ""
    peak = next((peak for part, peak in PEAKS.items() if part in name), None)
    texts = train.select([i % len(train) for i in range(rows)])
    return Bench(options, task, tokenizer, student.train(), texts, peak)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All parts, one after the other; the report is written after each."""
    began = time.monotonic()
    report: dict[str, Any] = {
        "machine": describe_machine(("torch", "transformers", "pytorch-lightning")),
        "gpu": torch.cuda.get_device_name() if options.device == "cuda" else None,
        "cuda": torch.version.cuda,
        "options": vars(options),
        "parts": {},
    }
    bench = prepare(options)
    report["parameters"], report["peak_flops"] = bench.student.num_parameters(), bench.peak
    parts: list[tuple[str, Callable[[str, list[str]], dict[str, Any]], list[str]]] = [
        *((name, bench.throughput, overrides) for name, overrides in THROUGHPUT.items()),
        *((name, bench.exactness, overrides) for name, overrides in EXACTNESS.items()),
    ]
    longest = 0.0
    for name, run, overrides in (part for part in parts if part[0] in options.parts):
        left = 60 * options.minutes - (time.monotonic() - began)
        started = time.monotonic()
        if left < longest:
            result = {"skipped": f"{left:.0f} s are left"}
        else:
            try:
                result = run(name, overrides)
            except Exception as error:  # the other parts go on
                result = {"error": describe(error)}
        longest = max(longest, time.monotonic() - started)
        report["parts"][name] = result | {"seconds": round(time.monotonic() - started, 1)}
        print(f"{name}: {_shown(result)}", flush=True)
        if options.json:
            write_atomically(options.json, json.dumps(report, indent=2, default=str) + "\n")
    return report


def _shown(result: dict[str, Any]) -> str:
    values = ((name, f"{value:.4g}" if isinstance(value, float) else value) for name, value in result.items())
    return ", ".join(f"{name} {value}" for name, value in values if value is not None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--model", help="folder of a BERT; default: random weights of the shape of BERT-base")
    parser.add_argument("--data", help="folder of SST-2, with texts of --length at most; default: generated texts")
    parser.add_argument("--length", type=int, default=128, help="tokens of a text, at most 512")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--large-batch", type=int, default=256, help="batch size of some parts")
    parser.add_argument("--steps", type=int, default=30, help="timed steps of a part")
    parser.add_argument("--warmup", type=int, default=10, help="steps of a part before the timed ones, 1 or more")
    parser.add_argument("--minutes", type=float, default=10, help="budget of all parts together")
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=[*THROUGHPUT, *EXACTNESS],
        default=[*THROUGHPUT, *EXACTNESS],
        metavar="NAME",
        help="some of: " + "; ".join([*THROUGHPUT, *EXACTNESS]),
    )
    parser.add_argument("--tiny", action="store_true", help="a tiny model and few steps: a check of this program")
    parser.add_argument("--memory", action="store_true", help="print the computed memory and measure nothing")
    parser.add_argument("--json", type=Path, help="write all figures to this file, after each part")
    options = parser.parse_args()
    if options.memory:
        print(memory_table())
        return
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error(f"--device cuda: torch {torch.__version__} finds no GPU on this machine")
    if min(options.steps, options.warmup) < 1 or not 1 <= options.length <= 512:
        parser.error("--steps and --warmup must be 1 or more, --length 1 to 512")
    if options.tiny:
        options.length, options.batch_size, options.large_batch, options.steps, options.warmup = 16, 4, 8, 2, 1
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # trainer.deterministic=true needs it on a GPU
    quiet_libraries()
    with short_errors():
        measure(options)


if __name__ == "__main__":
    main()
