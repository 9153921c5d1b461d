"""How many tokens a model reads at once, from its configuration."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from winnow.errors import UserError

# Kinds of models that number positions from the id of the padding token, beside those with roberta in their names.
_FROM_PADDING = (
    *("camembert", "data2vec-text", "esm", "ibert", "layoutlmv3", "lilt", "longformer", "luke", "markuplm", "mluke"),
    *("mpnet", "xmod"),
)


def token_limit(config: Mapping[str, Any]) -> int | None:
    """Tokens that a model can read at once; None if its positions are relative, or the configuration has no limit.

    Args:
        config: of the model, as its config.json has it.
    """
    kind, positions = str(config.get("model_type")), config.get("max_position_embeddings")
    relative = kind == "funnel" or not config.get("position_biased_input", True)  # the latter of DeBERTa
    if not isinstance(positions, int) or relative or config.get("position_embedding_type") == "rotary":
        return None
    if "roberta" not in kind and kind not in _FROM_PADDING:
        return positions
    padding = config.get("pad_token_id")
    return positions - (padding if isinstance(padding, int) else 1) - 1


def saved_token_limit(folder: Path) -> int | None:
    """The limit of a saved model, also by its tokenizer if that gives a smaller one."""
    limits = [_limit_of_model(folder)]
    if (folder / "tokenizer_config.json").is_file():
        tokenizer = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        limits.append(tokenizer.get("model_max_length"))
    return min((limit for limit in limits if limit is not None), default=None)


def limit_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Lower ``tokenizer.model_max_length``, to which tasks cut texts, to the limit of a saved model."""
    limit = _limit_of_model(folder)
    if limit is not None:
        tokenizer.model_max_length = min(tokenizer.model_max_length, limit)


def check_length(setting: str, length: int, limit: int | None) -> None:
    """Refuse a length that is above the limit of the model.

    Raises:
        UserError: with the limit.
    """
    if limit is not None and length > limit:
        raise UserError(
            f"{setting}={length}: the model reads {limit} tokens at most; set {setting}={limit} or less, or choose a "
            "model with more positions."
        )


def _limit_of_model(folder: Path) -> int | None:
    return token_limit(json.loads((folder / "config.json").read_text(encoding="utf-8")))
