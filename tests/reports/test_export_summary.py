from pathlib import Path

from winnow.reports.export_summary import export_summary

REPORT = {
    "precision": "int8",
    "samples": {"texts": ["question", "context"], "inputs": 300},
    "logits": {"control": "the model in float16", "mean_difference": 0.0, "control_mean_difference": 0.0},
    "predictions": {"agreement": 1.0, "control_agreement": 1.0, "pytorch": {"yes": 1, "no": 2}},
    "metrics": {"pytorch": {"f1": 0.5}, "onnxruntime": {"f1": 0.5}},
    "matmuls": {"expected_int8": 0, "as_exported": {"float": 12}, "fixed_shape": {"float": 12}},
}
ROW = {"recipe": "quant", "model": "tiny", "task": "squad", "deployment": {"bytes": 2e6, "compressed_bytes": 1e6}}


def test_the_sparse_engine_has_a_column_of_its_own():
    sizes = {"bytes": 1.5e6, "compressed_bytes": 0.9e6, "packed": 36, "alone": 2, "empty_blocks": 0.8125}
    sparse = {name: REPORT[name] for name in ("logits", "predictions")} | {"metrics": {"sparse": {"f1": 0.25}}}
    row = ROW | {"deployment": ROW["deployment"] | {"sparse": sizes}}
    lines = export_summary(row, REPORT | {"sparse": sparse}, Path("a")).splitlines()
    table = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]
    for expected in (
        ["PyTorch", "ONNX Runtime", "sparse engine"],
        ["f1", "0.5000", "0.5000", "0.2500"],
        ["size", "2.0 MB", "1.5 MB"],
        ["empty blocks", "81.25 %"],
        ["linear layers", "36 packed, 2 alone"],
    ):
        assert expected in table


def test_a_speedup_that_was_asked_for_has_a_line_and_its_notes_follow():
    facts = {"asked": 4.0, "predicted": 4.1, "measured": {"median": 4.05, "min": 3.98, "max": 4.123}, "threads": 1}
    facts |= {"latency": "measured", "engine": "onnxruntime", "batch_size": 1, "sequence_length": 128}
    row = ROW | {"deployment": ROW["deployment"] | {"speedup": facts | {"notes": ["the deployment differs"]}}}
    assert export_summary(row, REPORT, Path("a")).splitlines()[-2:] == [
        "speedup      asked 4, predicted 4.10, measured 4.05 (3.98..4.12) times as fast as the dense float32 model in "
        "ONNX Runtime, batch 1, 128 tokens, 1 thread",
        "note         the deployment differs",
    ]


def test_the_command_at_the_end_asks_with_the_texts_of_the_task():
    last = export_summary(ROW, REPORT, Path("deployment")).splitlines()[-1]
    assert last.endswith('python -m src.predict deployment=deployment question="..." context="..."')
