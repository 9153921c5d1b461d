from pathlib import Path

from winnow.reports.export_summary import export_summary


def test_the_command_at_the_end_asks_with_the_texts_of_the_task():
    row = {"recipe": "quant", "model": "tiny", "task": "squad", "deployment": {"bytes": 2e6, "compressed_bytes": 1e6}}
    report = {
        "precision": "int8",
        "samples": {"texts": ["question", "context"], "inputs": 300},
        "logits": {"control": "the model in float16", "mean_difference": 0.0, "control_mean_difference": 0.0},
        "predictions": {"agreement": 1.0, "control_agreement": 1.0, "pytorch": {"yes": 1, "no": 2}},
        "metrics": {"pytorch": {}, "onnxruntime": {}},
        "matmuls": {"expected_int8": 0, "as_exported": {"float": 12}, "fixed_shape": {"float": 12}},
    }
    last = export_summary(row, report, Path("deployment")).splitlines()[-1]
    assert last.endswith('python -m src.predict deployment=deployment question="..." context="..."')
