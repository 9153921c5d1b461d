import random

import pytest

from winnow.deployment.sizes import Size, deployment_size, size_of
from winnow.errors import UserError

NOISE = random.Random(0).randbytes(3_000_000)


def test_zeros_need_space_on_disk_and_almost_none_in_a_download(tmp_path):
    (tmp_path / "model.onnx").write_bytes(bytes(3_000_000))
    size = deployment_size(tmp_path)
    assert size.raw == 3_000_000
    assert size.compressed < 1_000


def test_incompressible_files_keep_their_size(tmp_path):
    (tmp_path / "model.onnx").write_bytes(NOISE)
    assert deployment_size(tmp_path).compressed == pytest.approx(3_000_000, rel=1e-3)


def test_external_data_counts_and_the_tokenizer_does_not(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"graph")
    (tmp_path / "model.onnx.data").write_bytes(NOISE)
    (tmp_path / "tokenizer.json").write_bytes(NOISE)
    assert deployment_size(tmp_path).raw == 3_000_005


def test_no_files_have_size_0():
    assert size_of([]) == Size(0, 0)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"contains no model.onnx; name a deployment folder"):
        deployment_size(tmp_path)
