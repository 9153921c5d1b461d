"""Where the metrics of a run go: CSV, TensorBoard, W&B."""
