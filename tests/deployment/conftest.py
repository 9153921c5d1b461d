from pathlib import Path

import pytest
from transformers import PreTrainedModel

from tests.deployment.toys import family, pruned_in_blocks, quantized, written
from winnow.deployment.sparse_graph import write_sparse_graph


@pytest.fixture(scope="session")
def pruned_encoder() -> PreTrainedModel:
    """A quantised encoder of one layer, three quarters of whose blocks are empty, with embeddings of 4 bits."""
    return quantized(pruned_in_blocks(family("bert", layers=1)), embedding_bits=4)


@pytest.fixture(scope="session")
def float_graphs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[PreTrainedModel, Path]]:
    """Encoders of one layer by family, and their graphs in float32."""
    folder = tmp_path_factory.mktemp("float")
    models = {kind: family(kind, layers=1) for kind in ("bert", "distilbert")}
    return {kind: (model, written(model, folder / f"{kind}.onnx")) for kind, model in models.items()}


@pytest.fixture(scope="session")
def sparse_folder(
    pruned_encoder: PreTrainedModel, sparse_engine: str, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with the graph of that encoder, the one for the sparse engine, and its library."""
    folder = tmp_path_factory.mktemp("sparse")
    written(pruned_encoder, folder / "model.onnx")
    assert write_sparse_graph(folder) is not None
    return folder
