"""How faithful and fast quantised models are: ``python -m benchmarks.quantization DENSE [NAME=]FOLDER ...``.

DENSE is a run folder of a text classification with a deployment, each FOLDER a run of recipe=ptq from it. NNCF and
ONNX Runtime, where they are installed, quantise the graph of the dense run, with the training examples on which a run
of the given seed calibrates. Predictions are compared with those of the dense graph in ONNX Runtime, on the validation
split and on training examples that are not calibrated on. Latency is relative to the dense graph in ONNX Runtime with
default settings; all models take turns.
"""

import argparse
import functools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.inference import DefaultOnnxRuntime, name_and_deployment
from winnow.config.run import saved_config
from winnow.data.splits import arrange_splits, load_splits
from winnow.deployment.engines import STOCK, graph_file, open_engine
from winnow.deployment.latency import in_turns, timings, token_inputs
from winnow.errors import UserError, short_errors
from winnow.machine import describe_machine, machine_lines, spread
from winnow.models.pretrained import load_tokenizer
from winnow.quiet import quiet_libraries
from winnow.tasks.task import build_task
from winnow.training.task_data import TaskData

Inputs = dict[str, np.ndarray]
DENSE = "dense float32, onnxruntime defaults"


class OpenVino:
    """A model of OpenVINO in memory, with the settings that Winnow uses for float32."""

    def __init__(self, model: Any, threads: int) -> None:
        import openvino

        settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
        self.compiled = openvino.Core().compile_model(model, "CPU", settings)
        self.inputs = [each.get_any_name() for each in self.compiled.inputs]

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"logits": self.compiled(dict(inputs))[0]}


class Texts:
    """Calibration batches of a seed, and the texts that are scored, of the task of a run."""

    def __init__(self, dense: Path, options: argparse.Namespace) -> None:
        config = saved_config(dense)
        task = build_task(config.task)
        splits = arrange_splits(task.prepare(load_splits(config.task.data)), config.task.data)
        data = TaskData(
            task=task,
            splits=splits,
            tokenizer=load_tokenizer(config.model, **task.tokenizer_options),
            batch_size=config.task.data.batch_size,
            eval_batch_size=config.task.data.eval_batch_size,
            seed=options.seed,
        )
        self.calibration: list[Inputs] = []
        used: set[int] = set()
        for batch in data.train_dataloader():
            self.calibration.append(_arrays(batch))
            used.update(batch["row"].tolist())
            if len(used) >= options.samples:
                break
        order = torch.randperm(len(splits["train"]), generator=torch.Generator().manual_seed(0)).tolist()
        held_out = [row for row in order if row not in used][: options.held_out]
        data.encoded["held out"] = data.encoded["train"].select(held_out)
        self.scored = {name: _scored(data, name) for name in (next(iter(data.validation)), "held out")}


def _arrays(batch: Mapping[str, Any]) -> Inputs:
    return {name: batch[name].numpy() for name in ("input_ids", "attention_mask", "token_type_ids") if name in batch}


def _scored(data: TaskData, name: str) -> list[tuple[Inputs, np.ndarray]]:
    return [(_arrays(batch), batch["labels"].numpy()) for batch in data.eval_dataloader(name)]


def open_all(texts: Texts, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The dense graph, the runs in both engines, and what other tools make of the dense graph."""
    dense = graph_file(name_and_deployment(options.dense)[1], STOCK)
    opened: dict[str, Any] = {DENSE: DefaultOnnxRuntime(dense, options.threads)}
    for name, deployment in map(name_and_deployment, options.folders):
        for engine in (STOCK, "openvino") if find_spec("openvino") else (STOCK,):
            graph = graph_file(deployment, engine)
            opened[f"{name}, {engine}"] = open_engine(engine, graph, options.threads, precision="float32")
    if find_spec("nncf"):
        opened["NNCF, openvino"] = OpenVino(_nncf(dense, texts.calibration), options.threads)
    for name, graph in _onnxruntime(dense, texts.calibration, folder).items():
        opened[name] = DefaultOnnxRuntime(graph, options.threads)
    return opened


def _nncf(dense: Path, calibration: Sequence[Inputs]) -> Any:
    import nncf  # type: ignore[import-not-found]  # installed by hand
    import openvino

    model = openvino.Core().read_model(dense)
    return nncf.quantize(
        model, nncf.Dataset(calibration), model_type=nncf.ModelType.TRANSFORMER, subset_size=len(calibration)
    )


def _onnxruntime(dense: Path, calibration: Sequence[Inputs], folder: Path) -> dict[str, Path]:
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_dynamic,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def __init__(self) -> None:
            self.batches = iter(calibration)

        def get_next(self) -> Inputs | None:
            return next(self.batches, None)

    graphs = {name: folder / f"{name}.onnx" for name in ("ONNX Runtime dynamic", "ONNX Runtime static")}
    dynamic, static = graphs.values()
    quantize_dynamic(dense, dynamic)
    types = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    quantize_static(dense, static, Reader(), quant_format=QuantFormat.QDQ, per_channel=True, **types)
    return graphs


def logits(engine: Any, batches: Sequence[tuple[Inputs, np.ndarray]]) -> np.ndarray:
    """The outputs for all texts, ``(texts, labels)``."""
    return np.concatenate(
        [engine.run({name: inputs[name] for name in engine.inputs})["logits"] for inputs, _ in batches]
    )


def fidelity(engine: Any, reference: Mapping[str, np.ndarray], texts: Texts) -> list[str]:
    """For each set of texts: agreement with the dense graph, mean difference of the logits, and accuracy."""
    cells = []
    for name, batches in texts.scored.items():
        found, labels = logits(engine, batches), np.concatenate([labels for _, labels in batches])
        agreement = (found.argmax(1) == reference[name].argmax(1)).mean()
        difference = np.abs(found - reference[name]).mean()
        cells += [f"{agreement:.2%}", f"{difference:.4f}", f"{(found.argmax(1) == labels).mean():.4f}"]
    return cells


def latencies(opened: Mapping[str, Any], options: argparse.Namespace) -> dict[str, str]:
    """Latency relative to the first model, median and spread over the rounds."""
    work: dict[str, Callable[[], Any]] = {
        name: functools.partial(engine.run, token_inputs(engine.inputs, options.batch_size, options.length, 10_000))
        for name, engine in opened.items()
    }
    timed = timings(in_turns(work, options.rounds, options.seconds), options.batch_size)
    return {name: spread(timing.ratio) for name, timing in timed.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dense", help="run folder of the dense model")
    parser.add_argument("folders", nargs="*", metavar="[NAME=]FOLDER", help="runs of recipe=ptq")
    parser.add_argument("--seed", type=int, default=1, help="of the calibration sample; default: 1")
    parser.add_argument("--samples", type=int, default=512, help="calibration examples; default: 512")
    parser.add_argument("--held-out", type=int, default=4000, help="scored training examples; default: 4000")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--length", type=int, default=128, help="tokens of the timed call; default: 128")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default: PyTorch's")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.3, help="for each model and round")
    options = parser.parse_args()
    quiet_libraries()
    with short_errors(), tempfile.TemporaryDirectory() as folder:
        if not (Path(options.dense) / "recipe.yaml").is_file():
            raise UserError(f"{options.dense} is no run folder: it has no recipe.yaml.")
        texts = Texts(Path(options.dense), options)
        opened = open_all(texts, options, Path(folder))
        reference = {name: logits(opened[DENSE], batches) for name, batches in texts.scored.items()}
        rows = {name: fidelity(engine, reference, texts) for name, engine in opened.items()}
        times = latencies(opened, options)
        print(f"\n{machine_lines(describe_machine(['onnxruntime'], options.threads))}\n")
        titles = [f"{name}: {what}" for name in texts.scored for what in ("agreement", "logit difference", "accuracy")]
        print(f"| model | {' | '.join(titles)} | latency, {options.batch_size} x {options.length} |")
        print("|---" * (len(titles) + 2) + "|")
        for name, cells in rows.items():
            print(f"| {name} | {' | '.join(cells)} | {times[name]} |")


if __name__ == "__main__":
    main()
