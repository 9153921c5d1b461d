"""The ``model`` section: a pretrained model by name, or one that is built from scratch."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from winnow.config.section import Section, broken_rule
from winnow.values import Expected, Positive, Text

Architecture = Annotated[
    dict[str, Any] | None, Field(min_length=1), Expected("a mapping of settings of the architecture, or null")
]
_SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "max_position_embeddings")


class Model(Section):
    """``conf/model/tiny.yaml`` explains each setting."""

    name: Text
    config: Architecture
    shapes: Architecture
    learning_rate_scale: Positive

    @model_validator(mode="after")
    def _check_architecture(self) -> "Model":
        for section in ("config", "shapes"):
            architecture = getattr(self, section)
            if architecture is None:
                continue
            if not isinstance(architecture.get("model_type"), str):
                raise broken_rule(f"{{path}}.{section}.model_type must be given, such as bert.")
            for size in _SIZES:
                value = architecture.get(size, 1)
                if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 2**20:
                    raise broken_rule(f"{{path}}.{section}.{size} must be a whole number, 1 or more, got {value!r}.")
            width, heads = architecture.get("hidden_size"), architecture.get("num_attention_heads")
            if width and heads and width % heads:
                raise broken_rule(
                    f"{{path}}.{section}.hidden_size={width} does not divide by num_attention_heads={heads}; "
                    "give each head the same width."
                )
        return self
