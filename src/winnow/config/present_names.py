"""The names that classes have now, for configurations of earlier versions."""

from typing import Any

_MOVED = {"src.modifiers.layers.LayerDropping": "src.modifiers.layer_dropping.LayerDropping"}


def with_present_names(node: Any) -> Any:
    """The same values with present names of classes."""
    if isinstance(node, dict):
        return {name: with_present_names(value) for name, value in node.items()}
    if isinstance(node, list):
        return [with_present_names(value) for value in node]
    if isinstance(node, str) and node.startswith("src."):
        return "winnow." + _MOVED.get(node, node).removeprefix("src.")
    return node
