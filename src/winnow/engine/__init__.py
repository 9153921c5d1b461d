"""The sparse int8 engine: operators of ONNX Runtime that skip zero weights, and the graph pass that uses them."""
