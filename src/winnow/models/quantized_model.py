"""Putting fake quantisation into a model of transformers, and keeping what it has learnt beside the saved weights."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers import AttentionInterface, PreTrainedModel

from winnow.errors import UserError
from winnow.models.fake_quant import (
    ATTENTION,
    ActivationFakeQuant,
    FakeQuant,
    QuantizedEmbedding,
    QuantizedLinear,
    QuantizedProducts,
    WeightFakeQuant,
    fake_quant_attention,
)

QUANTIZERS = "quantization.safetensors"  # in a model's folder, beside its weights

_MULTIPLY = {
    *(torch.matmul, torch.bmm, torch.mm, torch.addmm, torch.baddbmm, torch.einsum, torch.conv1d, F.conv1d),
    *(Tensor.matmul, Tensor.__matmul__, Tensor.bmm, Tensor.mm),
    *(F.linear, F.bilinear, F.embedding, F.scaled_dot_product_attention),
}


def quantizable(model: PreTrainedModel) -> dict[str, str]:
    """What in a model can be quantised: full name -> ``linear``, ``embedding`` or ``attention``, in order of use.

    The model is run once, on a few tokens, to see which of its modules multiply matrices; afterwards its attention
    goes through `fake_quant_attention`.

    Raises:
        UserError: if a module multiplies matrices in a way of its own, such as the attention of DeBERTa.
    """
    model.set_attn_implementation(ATTENTION)
    multiplying, attending = _watch_a_forward_pass(model)
    kinds: dict[str, str] = {}
    strange = []
    for name in multiplying:
        module = model.get_submodule(name)
        if module in attending:
            kinds[name] = "attention"
        elif type(module) in (nn.Linear, nn.Embedding):
            kinds[name] = type(module).__name__.lower()
        else:
            strange.append(f"{name} ({type(module).__name__})")
    if strange:
        raise UserError(
            f"{type(model).__name__} cannot be quantised whole: {len(strange)} modules multiply matrices in a way of "
            f"their own, {', '.join(strange[:3])}{', ...' if len(strange) > 3 else ''}; "
            "take a BERT, RoBERTa, DistilBERT, ELECTRA or MiniLM."
        )
    return kinds


def _watch_a_forward_pass(model: PreTrainedModel) -> tuple[list[str], list[nn.Module]]:
    """Names of the modules that call a product themselves, and the modules whose attention goes through ours."""
    running: list[str] = []
    multiplying: dict[str, None] = {}
    attending: list[nn.Module] = []

    class Watch(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func in _MULTIPLY:
                multiplying[running[-1]] = None
            return func(*args, **(kwargs or {}))

    def attention(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        attending.append(module)
        return fake_quant_attention(module, *args, **kwargs)

    hooks = []
    for name, module in model.named_modules():
        hooks.append(module.register_forward_pre_hook(lambda *_, name=name: running.append(name)))
        hooks.append(module.register_forward_hook(lambda *_: running.pop() and None))
    training = model.training
    AttentionInterface.register(ATTENTION, attention)
    try:
        with torch.no_grad(), Watch():
            model.eval()(**{key: value.to(model.device) for key, value in model.dummy_inputs.items()})
    finally:
        AttentionInterface.register(ATTENTION, fake_quant_attention)
        model.train(training)
        for hook in hooks:
            hook.remove()
    return list(multiplying), attending


def insert_fake_quant(
    model: PreTrainedModel, names: Collection[str], *, weight_bits: int, per_channel: bool, reduce_range: bool
) -> None:
    """Give modules their quantisers, all switched off; Parameters and their names stay as they are.

    Args:
        names: of modules, out of `quantizable`.
        weight_bits: of linear layers, 8 or 4; tables have 8.
        per_channel: a scale for each output of a linear weight; tables have one scale.
        reduce_range: activations take 7 bits.
    """
    model.set_attn_implementation(ATTENTION)
    for name in names:
        module = model.get_submodule(name)
        if isinstance(module, nn.Linear):
            device = module.weight.device
            module.__class__ = QuantizedLinear  # the same object, so optimizer, hooks and names know it still
            channels = module.out_features if per_channel else 0
            module.weight_quantizer = WeightFakeQuant(weight_bits, channels, device)
            module.input_quantizer = ActivationFakeQuant(reduce_range, device)
        elif isinstance(module, nn.Embedding):
            device = module.weight.device
            module.__class__ = QuantizedEmbedding
            module.weight_quantizer = WeightFakeQuant(device=device)
        else:
            module.products = QuantizedProducts(reduce_range, model.device)
    model.quantization = {  # what it takes to do it again
        "names": list(names),
        "weight_bits": weight_bits,
        "per_channel": per_channel,
        "reduce_range": reduce_range,
    }


def quantizers(model: nn.Module) -> dict[str, FakeQuant]:
    """By full name; none in a model that is not quantised."""
    return {name: module for name, module in model.named_modules() if isinstance(module, FakeQuant)}


def switch(model: nn.Module, *, observes: bool, quantizes: bool) -> None:
    """Whether all quantisers fit their grids to what they see, and whether they round to them."""
    for quantizer in quantizers(model).values():
        quantizer.observes, quantizer.quantizes = observes, quantizes


def rounded_state(model: PreTrainedModel) -> dict[str, Tensor]:
    """The state of a quantised model as one without quantisers: weights and biases lie on their grids."""
    state = dict(model.state_dict())
    for name in quantizers(model):
        for key in [key for key in state if key.startswith(f"{name}.")]:
            del state[key]
    for name, module in model.named_modules():
        if isinstance(module, (QuantizedLinear, QuantizedEmbedding)):
            state[f"{name}.weight"] = module.weight_quantizer.rounded(module.weight.detach())
        if isinstance(module, QuantizedLinear) and module.bias is not None:
            state[f"{name}.bias"] = module.bias_codes() * module.bias_scale()
    return state


def save_quantizers(model: PreTrainedModel, folder: Path) -> None:
    """Write the scales and zero points of a quantised model beside its weights."""
    state = {
        f"{name}.{key}": getattr(quantizer, key).contiguous()
        for name, quantizer in quantizers(model).items()
        for key in ("scale", "zero_point")
    }
    save_file(state, folder / QUANTIZERS, metadata={"quantization": json.dumps(model.quantization)})


def restore_quantizers(model: PreTrainedModel, folder: Path) -> None:
    """Make a model with rounded weights compute as it did when it was saved."""
    with safe_open(folder / QUANTIZERS, framework="pt") as file:
        insert_fake_quant(model, **json.loads(file.metadata()["quantization"]))
        for name, quantizer in quantizers(model).items():
            quantizer.scale.copy_(file.get_tensor(f"{name}.scale"))
            quantizer.zero_point.copy_(file.get_tensor(f"{name}.zero_point"))
    switch(model, observes=False, quantizes=True)
