"""Small quantised models of several families, and their graphs."""

import re
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor
from transformers import AutoConfig, PreTrainedModel

from winnow.config.modifiers import ENCODER
from winnow.deployment.engines import open_engine
from winnow.deployment.graph import write_graph
from winnow.models.fake_quant import QuantizedLinear
from winnow.models.quantized_model import insert_fake_quant, quantizable, rounded_state, set_fake_quant, set_smoothing
from winnow.models.structures import remove_structures, structure_blocks

STOCK_ENGINES = ("onnxruntime", "openvino")  # those that run model.onnx
OUTPUTS = {"SequenceClassification": ["logits"], "TokenClassification": ["logits"]}
OUTPUTS["QuestionAnswering"] = ["start_logits", "end_logits"]
_SIZES = {
    "bert": {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24},
    "distilbert": {"dim": 16, "n_heads": 2, "hidden_dim": 24},
}
_SIZES["roberta"] = {**_SIZES["bert"], "type_vocab_size": 1, "pad_token_id": 1}
_SIZES["xlm-roberta"] = _SIZES["roberta"]
_SIZES["electra"] = {**_SIZES["bert"], "embedding_size": 8}
_SIZES["albert"] = _SIZES["electra"]
_SIZES["camembert"] = _SIZES["mpnet"] = {**_SIZES["bert"], "pad_token_id": 1}
_SIZES["roformer"] = _SIZES["nomic_bert"] = _SIZES["bert"]
_SIZES["eurobert"] = {**_SIZES["bert"], "num_key_value_heads": 1, "pad_token_id": 0}
_SIZES["modernbert"] = {**_SIZES["bert"], "local_attention": 4, "pad_token_id": 0}  # two tokens on both sides
_SIZES["deberta"] = {**_SIZES["bert"], "relative_attention": True, "pos_att_type": ["c2p", "p2c"]}
_SIZES["deberta-v2"] = {  # as DeBERTa-v3
    **{**_SIZES["deberta"], "position_biased_input": False, "position_buckets": 8},
    **{"norm_rel_ebd": "layer_norm", "share_att_key": True},
}


def family(name: str, head: str = "SequenceClassification", layers: int = 2, **changes: Any) -> PreTrainedModel:
    """A model of random weights, of width 16 but for changes of its sizes."""
    import transformers

    sizes = {**_SIZES[name], "n_layers" if name == "distilbert" else "num_hidden_layers": layers}
    config = AutoConfig.for_model(name, **{"vocab_size": 60, "max_position_embeddings": 66, **sizes, **changes})
    model = getattr(transformers, f"AutoModelFor{head}").from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():  # larger than at the start of training, so that logits vary
            parameter.normal_(std=0.3)
    return model.eval()


def without_structures(model: PreTrainedModel) -> PreTrainedModel:
    """The model with one head and 8 neurons in layer 0, no heads in layer 1, and no neurons in layer 2."""
    heads, neurons = [[1], [], [0, 1]], [range(3, 11), range(24), []]
    kept = {"heads": heads, "neurons": neurons}
    remove_structures(model, {block: list(kept[block.kind][block.layer]) for block in structure_blocks(model)})
    return model


def inputs_of(model: PreTrainedModel, rows: int = 4, tokens: int = 12) -> dict[str, Tensor]:
    """Token ids; the first row is padded after five tokens."""
    batch = {
        "input_ids": torch.randint(5, 60, (rows, tokens)),
        "attention_mask": torch.ones(rows, tokens, dtype=torch.long),
    }
    batch["attention_mask"][0, 5:] = 0
    if model.config.model_type in ("bert", "electra"):
        batch["token_type_ids"] = torch.randint(0, 2, (rows, tokens))
    return batch


def quantized(model: PreTrainedModel, smoothed: bool = False, **settings: Any) -> PreTrainedModel:
    """The model with all modules quantised, calibrated on random tokens; the inputs of linear layers smoothed."""
    insert_fake_quant(
        model,
        list(quantizable(model)),
        **{"weight_bits": 8, "per_channel": True, "reduce_range": False, **settings},
    )
    for name, linear in model.named_modules():
        if smoothed and isinstance(linear, QuantizedLinear):  # query, key and value have the same factors
            seeded = torch.Generator().manual_seed(sum(name.rpartition(".")[0].encode()))
            set_smoothing(linear, 0.5 + torch.rand(linear.in_features, generator=seeded))
    set_fake_quant(model, observer_enabled=True, fake_quant_enabled=False)
    with torch.no_grad():
        for _ in range(4):
            model(**inputs_of(model, rows=8))
    return rounded(model)


def pruned_in_blocks(model: PreTrainedModel, sparsity: float = 0.75) -> PreTrainedModel:
    """The model with blocks of four zeros in the linear weights of its encoder."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if re.fullmatch(ENCODER, name) and weight.ndim == 2:
                blocks = weight.view(-1, 4)
                blocks[blocks.abs().sum(dim=1).argsort()[: round(sparsity * len(blocks))]] = 0
    return model


def rounded(model: PreTrainedModel) -> PreTrainedModel:
    """A calibrated model with weights on their quantisation grids, as after saving and loading."""
    set_fake_quant(model, observer_enabled=False, fake_quant_enabled=True)
    model.load_state_dict(rounded_state(model), strict=False)
    return model


def written(model: PreTrainedModel, path: Path, head: str = "SequenceClassification", **settings: Any) -> Path:
    """The graph of a model."""
    write_graph(model, path, inputs=list(inputs_of(model)), outputs=OUTPUTS[head], **{"opset": 20, **settings})
    return path


def logits(model: PreTrainedModel, batch: dict[str, Tensor], name: str = "logits") -> Tensor:
    with torch.no_grad():
        return getattr(model(**batch), name)


def deployed(path: Path, batch: dict[str, Tensor], name: str = "logits", engine: str = "onnxruntime") -> Tensor:
    found = open_engine(engine, path).run({key: value.numpy() for key, value in batch.items()})
    return torch.from_numpy(found[name])


def stored(path: Path) -> dict[str, Tensor]:
    """The initialisers of a graph."""
    return {
        entry.name: torch.from_numpy(numpy_helper.to_array(entry).copy()) for entry in onnx.load(path).graph.initializer
    }


def with_initialiser(path: Path, name: str, value: Tensor) -> None:
    """Replace a tensor of a graph."""
    model = onnx.load(path)
    entry = next(entry for entry in model.graph.initializer if entry.name == name)
    entry.CopyFrom(numpy_helper.from_array(value.numpy(), name))
    onnx.save(model, path)


def with_float_bias(path: Path, module: str) -> None:
    """Store the bias of a module in floating point, with the same values."""
    model, values = onnx.load(path), stored(path)
    node = next(n for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] == f"{module}.bias")
    bias = values[node.input[0]] * values[node.input[1]]
    model.graph.node.remove(node)
    model.graph.initializer.append(numpy_helper.from_array(bias.numpy(), node.output[0]))
    onnx.save(model, path)
