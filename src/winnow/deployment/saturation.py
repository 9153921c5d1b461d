"""Overflow of int8 matmuls: x86 processors without VNNI add two 8-bit products in 16 bits.

The instruction vpmaddubsw multiplies uint8 by int8 and adds neighbouring products, saturating at 32,767; with
activations up to 255 and weights up to 127 two products may reach 64,770. A graph whose activations end at 127
(reduce_range) cannot overflow.
"""

from pathlib import Path

import numpy as np

from winnow.extras import is_installed

# One int8 matmul, (8, 64) by (64, 16), whose outputs are all PROBE_SUM unless it saturates; tests/deployment writes it.
PROBE = Path(__file__).with_name("saturation_probe.onnx")
PROBE_INPUTS = {"x": np.full((8, 64), 255.0, dtype=np.float32)}
PROBE_SUM = 255.0 * 127.0 * 64


def may_overflow(model: Path) -> bool:
    """True if an activation of the graph uses the full range of uint8, because nothing clips it before rounding.

    Any graph may overflow where the package onnx is missing, which is not installed with the extra ``serve``.
    """
    if not is_installed("onnx"):
        return True
    import onnx  # heavy: read only on processors whose sums saturate

    nodes = onnx.load(model, load_external_data=False).graph.node
    clipped = {output for node in nodes if node.op_type == "Clip" for output in node.output}
    return any(node.op_type == "QuantizeLinear" and node.input[0] not in clipped for node in nodes)
