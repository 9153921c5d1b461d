"""Insert fake quantisation into a model of transformers, and save its grids beside the weights."""

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
    QuantizedMatmuls,
    WeightFakeQuant,
    fake_quant_attention,
)

QUANTIZERS = "quantization.safetensors"  # in a model's folder, beside its weights
OTHER = "other"  # kind of a module that multiplies matrices in its own way

_KINDS = {nn.Linear: "linear", QuantizedLinear: "linear", nn.Embedding: "embedding", QuantizedEmbedding: "embedding"}
_MULTIPLY = {
    *(torch.matmul, torch.bmm, torch.mm, torch.addmm, torch.baddbmm, torch.einsum, torch.conv1d, F.conv1d),
    *(Tensor.matmul, Tensor.__matmul__, Tensor.bmm, Tensor.mm),
    *(F.linear, F.bilinear, F.embedding, F.scaled_dot_product_attention),
}


def quantizable(model: PreTrainedModel) -> dict[str, str]:
    """The modules that can be quantised: full name -> ``linear``, ``embedding`` or ``attention``, in order of use.

    Raises:
        UserError: if none of the linear maps of the encoder can be, such as those of GPT-2.
    """
    return {name: kind for name, kind in multiplying_modules(model).items() if kind != OTHER}


def multiplying_modules(model: PreTrainedModel) -> dict[str, str]:
    """The same with the modules that stay in floating point, of the kind `OTHER`, such as the attention of DeBERTa.

    One forward pass on a few tokens shows which modules multiply matrices; afterwards the model's attention is
    `fake_quant_attention`, where transformers lets it be replaced.
    """
    model.set_attn_implementation(ATTENTION)
    multiplying, attending = _watch_a_forward_pass(model)
    kinds: dict[str, str] = {}
    for name in multiplying:
        module = model.get_submodule(name)
        kinds[name] = "attention" if module in attending else _KINDS.get(type(module), OTHER)
    linear = {model.get_submodule(name) for name, kind in kinds.items() if kind == "linear"}
    if linear.isdisjoint(model.base_model.modules()):
        others = [name for name, kind in kinds.items() if kind == OTHER][:3]
        named = ", ".join(f"{name} ({type(model.get_submodule(name)).__name__})" for name in others)
        raise UserError(
            f"{type(model).__name__} cannot be quantised: below its head are no linear layers, but other modules that "
            f"multiply matrices, {named}; use another model, such as a BERT, RoBERTa, DistilBERT, ELECTRA or MiniLM."
        )
    return kinds


def _watch_a_forward_pass(model: PreTrainedModel) -> tuple[list[str], list[nn.Module]]:
    """Names of the modules that call a matrix product, and the modules that call `fake_quant_attention`."""
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
    observing = [each for each in quantizers(model).values() if each.observer_enabled]
    for quantizer in observing:
        quantizer.observer_enabled = False  # the few tokens are not data
    AttentionInterface.register(ATTENTION, attention)
    try:
        with torch.no_grad(), Watch():
            model.train(False)(**{key: value.to(model.device) for key, value in model.dummy_inputs.items()})
    finally:
        AttentionInterface.register(ATTENTION, fake_quant_attention)
        model.train(training)
        for quantizer in observing:
            quantizer.observer_enabled = True
        for hook in hooks:
            hook.remove()
    return list(multiplying), attending


def insert_fake_quant(
    model: PreTrainedModel,
    names: Collection[str],
    *,
    weight_bits: int,
    per_channel: bool,
    reduce_range: bool,
    embedding_bits: int = 8,
    embedding_per_row: bool = True,
) -> None:
    """Give modules new quantisers, all disabled; parameters and their names stay as they are.

    The quantisers that a model has already are removed.

    Args:
        names: of modules, among those of `quantizable`.
        weight_bits: of linear layers, 8 or 4.
        per_channel: a scale for each output of a linear weight.
        reduce_range: activations have 7 bits.
        embedding_bits: of embeddings, 8 or 4.
        embedding_per_row: a scale for each row of an embedding.
    """
    model.set_attn_implementation(ATTENTION)
    _remove_fake_quant(model)
    for name in names:
        module: Any = model.get_submodule(name)
        if isinstance(module, nn.Linear):
            device = module.weight.device
            module.__class__ = QuantizedLinear  # the same object, so optimizer, hooks and names stay valid
            channels = module.out_features if per_channel else 0
            module.weight_quantizer = WeightFakeQuant(weight_bits, channels, device)
            module.input_quantizer = ActivationFakeQuant(reduce_range, device)
            module.register_buffer("smoothing", None)
        elif isinstance(module, nn.Embedding):
            device = module.weight.device
            module.__class__ = QuantizedEmbedding
            rows = module.num_embeddings if embedding_per_row else 0
            module.weight_quantizer = WeightFakeQuant(embedding_bits, rows, device)
        else:
            module.products = QuantizedMatmuls(reduce_range, model.device)  # this name is in saved files
    quantized: Any = model
    quantized.quantization = {  # the arguments, for `restore_quantizers`
        "names": list(names),
        "weight_bits": weight_bits,
        "per_channel": per_channel,
        "reduce_range": reduce_range,
        "embedding_bits": embedding_bits,
        "embedding_per_row": embedding_per_row,
    }


def _remove_fake_quant(model: nn.Module) -> None:
    for module in list(model.modules()):
        plain: Any = module
        if isinstance(module, QuantizedLinear):
            set_smoothing(plain, None)
            plain.__class__ = nn.Linear
            del plain.weight_quantizer, plain.input_quantizer, plain.smoothing
        elif isinstance(module, QuantizedEmbedding):
            plain.__class__ = nn.Embedding
            del plain.weight_quantizer
        elif isinstance(getattr(module, "products", None), QuantizedMatmuls):
            del plain.products


@torch.no_grad()
def set_smoothing(linear: QuantizedLinear, factors: Tensor | None) -> None:
    """Multiply the channels of an input by factors, ``(in,)``, and the weight by their inverse; None: by none."""
    if linear.smoothing is not None:
        linear.weight.mul_(linear.smoothing)
    if factors is not None:
        linear.weight.div_(factors)
    linear.smoothing = factors


def quantizers(model: nn.Module) -> dict[str, FakeQuant]:
    """The quantisers of a model by full name; empty if it is not quantised."""
    return {name: module for name, module in model.named_modules() if isinstance(module, FakeQuant)}


def smoothing_factors(model: nn.Module) -> dict[str, Tensor]:
    """The factors of the inputs of linear layers that have them, by the name of the layer."""
    linears = ((name, each) for name, each in model.named_modules() if isinstance(each, QuantizedLinear))
    return {name: linear.smoothing for name, linear in linears if linear.smoothing is not None}


@torch.no_grad()
def set_fake_quant(model: nn.Module, *, observer_enabled: bool, fake_quant_enabled: bool) -> None:
    """Toggle the observers and the fake quantisation of all quantisers."""
    for module in model.modules():
        if isinstance(module, QuantizedEmbedding) and module.weight_quantizer.observer_enabled and not observer_enabled:
            module.weight_quantizer.observe(module.weight)
        if isinstance(module, FakeQuant):
            module.observer_enabled, module.fake_quant_enabled = observer_enabled, fake_quant_enabled


def rounded_state(model: PreTrainedModel) -> dict[str, Tensor]:
    """The state dict of a quantised model without its quantisers, with weights and biases rounded to their grids.

    Weights are those for inputs that are not smoothed.
    """
    state = dict(model.state_dict())
    for name in quantizers(model):
        for key in [key for key in state if key.startswith(f"{name}.")]:
            del state[key]
    for name, module in model.named_modules():
        if isinstance(module, (QuantizedLinear, QuantizedEmbedding)):
            state[f"{name}.weight"] = module.weight_quantizer.rounded(module.weight.detach())
        if isinstance(module, QuantizedLinear) and module.smoothing is not None:
            state[f"{name}.weight"] *= state.pop(f"{name}.smoothing")
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
    state |= {f"{name}.smoothing": factors for name, factors in smoothing_factors(model).items()}
    save_file(state, folder / QUANTIZERS, metadata={"quantization": json.dumps(model.quantization)})


def restore_quantizers(model: PreTrainedModel, folder: Path) -> None:
    """Insert the saved quantisers into a model with rounded weights, so that it computes as when it was saved."""
    with safe_open(folder / QUANTIZERS, framework="pt") as file:
        arguments = json.loads(file.metadata()["quantization"])
        # older files lack it, and the oldest also the bits: then 8 bits had one scale, and 4 bits a scale for each row
        arguments.setdefault("embedding_per_row", arguments.get("embedding_bits") == 4)
        insert_fake_quant(model, **arguments)
        for name, quantizer in quantizers(model).items():
            quantizer.scale.copy_(file.get_tensor(f"{name}.scale"))
            quantizer.zero_point.copy_(file.get_tensor(f"{name}.zero_point"))
        for key in file.keys():  # noqa: SIM118  # no mapping
            name, _, kind = key.rpartition(".")
            if kind == "smoothing":
                linear: Any = model.get_submodule(name)
                set_smoothing(linear, file.get_tensor(key).to(linear.weight.device))
    set_fake_quant(model, observer_enabled=False, fake_quant_enabled=True)
