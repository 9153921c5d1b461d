import random

import pytest

from src.deployment.sizes import Size, deployment_size, size_of, weights_size
from src.errors import UserError

NOISE = random.Random(0).randbytes(3_000_000)


def test_zeros_take_space_on_disk_and_next_to_none_in_a_download(tmp_path):
    (tmp_path / "model.onnx").write_bytes(bytes(3_000_000))
    size = deployment_size(tmp_path)
    assert size.raw == 3_000_000
    assert size.compressed < 1_000


def test_what_cannot_be_compressed_stays_as_large_as_it_is(tmp_path):
    (tmp_path / "model.onnx").write_bytes(NOISE)
    assert deployment_size(tmp_path).compressed == pytest.approx(3_000_000, rel=1e-3)


def test_external_data_counts_and_the_tokenizer_does_not(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"graph")
    (tmp_path / "model.onnx.data").write_bytes(NOISE)
    (tmp_path / "tokenizer.json").write_bytes(NOISE)
    assert deployment_size(tmp_path).raw == 3_000_005


def test_all_parts_of_the_weights_count_and_quantisers_do_not(tmp_path):
    for name in ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "quantization.safetensors"):
        (tmp_path / name).write_bytes(bytes(10))
    assert weights_size(tmp_path).raw == 20


def test_no_files_weigh_nothing():
    assert size_of([]) == Size(0, 0)


@pytest.mark.parametrize("measure", [deployment_size, weights_size])
def test_a_folder_without_a_model_is_refused(tmp_path, measure):
    with pytest.raises(UserError, match=r"holds no model.*; name a folder that export or a training has written"):
        measure(tmp_path)
