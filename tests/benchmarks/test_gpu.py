import json
import sys

import pytest
import torch
from transformers import BertConfig, BertModel

from benchmarks import gpu


@pytest.mark.slow
def test_every_part_reports_its_figures_or_its_error(tmp_path, monkeypatch):
    file = tmp_path / "gpu.json"
    parts = ["dense, compiled", "gradient checkpointing", "dense, fp16", "exact masks", "resume"]
    monkeypatch.setattr(sys, "argv", ["gpu", "--device", "cpu", "--tiny", "--json", str(file), "--parts", *parts])
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    gpu.main()
    report = json.loads(file.read_text())["parts"]
    assert list(report) == parts
    assert report["gradient checkpointing"]["samples_per_second"] > 0
    assert report["dense, compiled"]["mfu"] is None
    assert "trainer.precision=16-mixed needs a GPU" in report["dense, fp16"]["error"]
    assert report["exact masks"] | {"matrices": 12, "with_wrong_zeros": 0} == report["exact masks"]
    assert report["resume"]["resumed"] == {"equal": True, "largest": 0.0}


def test_the_flops_of_a_token_are_two_a_weight_forward_and_four_backward_and_those_of_attention():
    weights, attention = 4 * 2 * 2 + 2 * 2 * 3, 2 * (2 * 5 * 2)  # of each query with 5 keys, and 5 values
    assert gpu.flops_per_token(gpu.Shape(1, 2, 3, 1, parameters=0), length=5) == 6 * weights + 3 * attention


@pytest.mark.parametrize("half", [True, False])
def test_the_memory_of_a_layer_is_that_of_the_tensors_that_its_backward_pass_keeps(half):
    width, intermediate, heads, batch, length = 64, 256, 4, 2, 64

    def kept(layers):
        config = BertConfig(
            vocab_size=9, hidden_size=width, intermediate_size=intermediate, num_hidden_layers=layers,
            num_attention_heads=heads, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        )  # fmt: skip
        model, storages = BertModel(config), {}
        copies = {tuple(weight.T.shape) for weight in model.parameters() if weight.ndim == 2}

        def keep(tensor):
            if not isinstance(tensor, torch.nn.Parameter) and tuple(tensor.shape) not in copies:
                storages[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        tokens = torch.ones(batch, length, dtype=torch.long)
        with (
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
            torch.autocast("cpu", torch.bfloat16, enabled=half),
        ):
            model(input_ids=tokens, attention_mask=tokens)
        return sum(tensor.untyped_storage().nbytes() for tensor in storages.values())

    def computed(layers):
        shape = gpu.Shape(layers, width, intermediate, heads, parameters=0)
        weights = 2 * shape.linear_weights if half else 0
        masks = batch * length * layers * 2 * width  # of dropout, which is off, since a CPU keeps them in another type
        return gpu.training_bytes(shape, batch=batch, length=length, half=half) - weights - masks

    assert kept(2) - kept(1) == computed(2) - computed(1)
