"""The engines that run a deployed graph: ONNX Runtime, with or without the sparse operators, and OpenVINO."""

import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np

from winnow.deployment.folder import GRAPH, SPARSE_GRAPH
from winnow.deployment.saturation import PROBE, PROBE_INPUTS, PROBE_SUM, may_overflow
from winnow.engine.library import instruction_set, library
from winnow.errors import UserError, nearest

STOCK, SPARSE = "onnxruntime", "sparse"
AUTO = "auto"  # not an engine: `winnow.deployment.choice` chooses one
PACKAGES = {STOCK: "onnxruntime", "openvino": "openvino", SPARSE: "onnxruntime"}
TITLES = {STOCK: "ONNX Runtime", "openvino": "OpenVINO", SPARSE: "the sparse engine"}
ENGINES = tuple(PACKAGES)
CHOICES = (AUTO, *ENGINES)
FOUR_BITS = {"onnxruntime": (1, 23), "openvino": (2026, 4)}  # oldest versions that run embeddings of 4 bits
_PRECISIONS = ("float32", "auto")
_FATAL = 4  # log level of ONNX Runtime; its errors are raised as well
# The fused kernel is not vectorised; Add and LayerNormalization take an eighth of its time (version 1.31 on x86).
_SLOWER_FUSIONS = ["SkipLayerNormFusion"]
_SPARSE_FROM = 0.5  # fraction of zeros in a weight from which OpenVINO may skip them


class Engine(Protocol):
    """A loaded graph."""

    inputs: list[str]
    outputs: list[str]

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the graph and return all outputs by name, in float32; several threads may run it at once.

        Args:
            inputs: for each input of the graph an int64 array, ``(batch, seq)``.
        """
        ...


def check_deployed(folder: Path, name: str) -> None:
    """Refuse the sparse engine where a deployment has no graph for it, or where it cannot run, before it is loaded.

    Raises:
        UserError: for the sparse engine without its graph, a compiler or the instructions that it needs.
    """
    if name == SPARSE:
        if not (folder / SPARSE_GRAPH).is_file():
            raise UserError(_without_sparse_graph(folder))
        instruction_set(library())


def graph_file(folder: Path, name: str) -> Path:
    """The file of a deployment folder that an engine runs."""
    return folder / (SPARSE_GRAPH if name == SPARSE else GRAPH)


def _without_sparse_graph(folder: Path) -> str:
    return (
        f"engine=sparse: there is no {SPARSE_GRAPH} in {folder}; only a quantised run with many blocks of zeros has "
        "one: train with recipe=prune80_block4_quant and export again, or choose another engine."
    )


def open_engine(
    name: str,
    model: Path,
    threads: int | None = None,
    precision: str = "float32",
    skip_zeros: bool = False,
    many_shapes: bool = False,
) -> Engine:
    """Load a graph; an int8 graph whose sums may overflow on this processor is computed in float32, with a note.

    Args:
        name: onnxruntime, openvino or sparse, which is ONNX Runtime with the operators of `winnow.engine`.
        model: an ONNX file, for sparse one that `winnow.engine.graph_pass.rewrite` made.
        threads: of one run; None leaves the choice to the engine.
        precision: of everything that is not int8: float32, or auto for the choice of the engine, which in OpenVINO is
            bfloat16 on CPUs that support it.
        skip_zeros: OpenVINO's option for sparse int8 weights, which has an effect on CPUs with AMX.
        many_shapes: True for texts of many lengths: ONNX Runtime then plans no memory for each shape of the inputs,
            which costs more time and memory than it saves, unless one shape is repeated.

    Raises:
        UserError: for an unknown engine, one that is not installed or cannot run here, or a file that it cannot read.
    """
    check_engine(name, precision)
    if not model.is_file():
        raise UserError(_without_sparse_graph(model.parent) if name == SPARSE else f"{model}: there is no such file.")
    if name == SPARSE:
        instruction_set(library())
    try:
        # the sparse operators never overflow; the matmuls between them are few, and those of ONNX Runtime
        in_float = _saturates(STOCK if name == SPARSE else name) and may_overflow(model)
        if in_float and name != SPARSE:
            _warn_of_overflow(name)
        engine = _open(name, model, threads, precision, skip_zeros, in_float, many_shapes)
        if not engine.outputs:
            raise ValueError("it has no outputs")  # OpenVINO accepts an empty file
    except ImportError as error:
        package = PACKAGES[name]
        other = next(engine for engine in ENGINES if PACKAGES[engine] != package)
        raise UserError(
            f"engine={name}: the package {package} is not installed; pip install {package}, or choose engine={other}."
        ) from error
    except Exception as error:  # each engine raises its own classes
        raise UserError(_unreadable(name, model, error)) from error
    return engine


def check_engine(name: str, precision: str = "float32", choices: Sequence[str] = ENGINES) -> None:
    """Refuse an unknown engine or precision, before anything is loaded."""
    if name not in choices:
        known = f"{', '.join(choices[:-1])} or {choices[-1]}"
        raise UserError(f"engine={name}: choose {known}.{nearest(name, choices)}")
    if precision not in _PRECISIONS:
        known = " or ".join(_PRECISIONS)
        raise UserError(f"precision={precision}: choose {known}.{nearest(precision, _PRECISIONS)}")


def _open(
    name: str,
    model: Path,
    threads: int | None,
    precision: str = "float32",
    skip_zeros: bool = False,
    in_float: bool = False,
    many_shapes: bool = False,
) -> Engine:
    if name in (STOCK, SPARSE):
        return OnnxRuntime(model, threads, in_float, many_shapes, library() if name == SPARSE else None)
    return OpenVino(model, threads, precision, skip_zeros, in_float)


@cache
def _saturates(name: str) -> bool:
    """True if the int8 matmuls of an engine overflow on this processor, tested by running one."""
    (sums,) = _open(name, PROBE, threads=1).run(PROBE_INPUTS).values()
    return bool((sums != PROBE_SUM).any())


@cache
def _warn_of_overflow(name: str) -> None:
    print(
        f"note: int8 sums of {name} may overflow on this processor, which has no VNNI, so the graph is computed in "
        "float32, which is slower; train with recipe.quantization.reduce_range=true for a graph that cannot overflow.",
        file=sys.stderr,
    )


def has_bfloat16() -> bool:
    """True if OpenVINO computes in bfloat16 on this CPU when it chooses the precision."""
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _unreadable(name: str, model: Path, error: Exception) -> str:
    package = PACKAGES[name]
    installed, oldest = version(package), FOUR_BITS[package]
    if "GatherBlockQuantized" in str(error) and tuple(map(int, installed.split(".")[:2])) < oldest:
        needed = ".".join(map(str, oldest))
        return (
            f"engine={name}: {model} has embeddings of 4 bits, which {package} {installed} does not know; "
            f"pip install '{package}>={needed}'."
        )
    return f"{model} could not be read by {name} and may be damaged; export it again ({_first_line(error)})."


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


class OnnxRuntime:
    """A session of ONNX Runtime on the CPU, with further operators if their library is given."""

    def __init__(
        self,
        model: Path,
        threads: int | None,
        in_float: bool,
        many_shapes: bool = False,
        operators: Path | None = None,
    ) -> None:
        import onnxruntime  # heavy: commands check the engine first

        options = onnxruntime.SessionOptions()
        options.log_severity_level = _FATAL
        options.intra_op_num_threads = threads or 0
        options.enable_mem_pattern = not many_shapes
        if operators is not None:
            options.register_custom_ops_library(str(operators))
        if in_float:
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        self.session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"], disabled_optimizers=_SLOWER_FUSIONS
        )
        self.inputs = [node.name for node in self.session.get_inputs()]
        self.outputs = [node.name for node in self.session.get_outputs()]

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = self.session.run(self.outputs, dict(inputs))
        return {name: values.astype(np.float32, copy=False) for name, values in zip(self.outputs, found, strict=True)}


class OpenVino:
    """A model compiled by OpenVINO for the CPU."""

    def __init__(self, model: Path, threads: int | None, precision: str, skip_zeros: bool, in_float: bool) -> None:
        import openvino
        from openvino.frontend import FrontEndManager

        reader = FrontEndManager().load_by_framework("onnx")  # Core would also try, and log, every other format
        settings: dict[str, Any] = {}
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        if precision == "float32":
            settings["INFERENCE_PRECISION_HINT"] = "f32"
        if skip_zeros:
            settings["CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE"] = _SPARSE_FROM
        if in_float:
            settings["LP_TRANSFORMS_MODE"] = "NO"
        graph = reader.convert(reader.load(str(model)))
        # OpenVINO replaces the signal stack of the thread that compiles and restores it when the model is deleted. Two
        # models deleted in the order of creation leave a freed stack, and the next signal would kill the process;
        # hence each model is compiled in a thread that ends.
        with ThreadPoolExecutor(max_workers=1) as thread:
            self.model = thread.submit(openvino.Core().compile_model, graph, "CPU", settings).result()
        self.lock = Lock()  # the model keeps one request, with its inputs and outputs
        # outputs of the compiled model also have the names of fused nodes
        self.inputs = [port.any_name for port in graph.inputs]
        self.outputs = [port.any_name for port in graph.outputs]

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        with self.lock:
            found = self.model(dict(inputs))
            return {name: np.array(found[i], dtype=np.float32) for i, name in enumerate(self.outputs)}
