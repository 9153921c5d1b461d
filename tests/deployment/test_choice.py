import json
import shutil

import pytest

from tests.deployment.toys import stored, with_initialiser
from winnow.deployment.choice import open_deployed
from winnow.errors import UserError
from winnow.files.checksums import sha256, write_sums
from winnow.machine import processor

NAME = "model.sparse.onnx"


def verified(folder, **changes):
    sparse = {"failures": [], "sha256": sha256(folder / NAME), **changes}
    (folder / "verification.json").write_text(json.dumps({"samples": {"inputs": 1872}, "sparse": sparse}))


@pytest.fixture
def folder(sparse_folder, tmp_path):
    """The deployment of a run, with a verified graph for the sparse engine."""
    folder = shutil.copytree(sparse_folder, tmp_path / "run" / "deployment")
    verified(folder)
    return folder


def is_sparse(engine):
    """True if a graph with operators of the sparse engine is open."""
    return engine.session._model_path.endswith(NAME)


def compared(folder, *, onnxruntime, sparse, **machine):
    """result.json of a run whose export has compared the engines, with times relative to the float32 graph."""
    times = {"onnxruntime, int8 graph": onnxruntime, "sparse, int8 graph": sparse}
    timed = {name: {"ratio": {"median": value}} for name, value in times.items()}
    latency = {"machine": processor() | machine, "batches": {"1": timed, "32": timed}}
    row = {"deployment": {"precision": "int8", "latency": latency}}
    (folder.parent / "result.json").write_text(json.dumps(row))


def test_a_verified_graph_for_the_sparse_engine_is_chosen_with_a_line(folder, sparse_engine, capsys):
    assert is_sparse(open_deployed(folder, "auto"))
    assert capsys.readouterr() == ("", f"engine: sparse ({sparse_engine}), verified on 1,872 inputs\n")


def test_a_deployment_without_such_a_graph_runs_in_onnx_runtime_without_a_line(folder, capsys):
    (folder / NAME).unlink()
    assert not is_sparse(open_deployed(folder, "auto"))
    assert capsys.readouterr() == ("", "")


def test_a_named_engine_is_opened_without_a_line(folder, capsys):
    assert is_sparse(open_deployed(folder, "sparse"))
    assert not is_sparse(open_deployed(folder, "onnxruntime"))
    assert capsys.readouterr() == ("", "")


def falls_back(folder, capsys):
    """The reason that is printed."""
    assert not is_sparse(open_deployed(folder, "auto"))
    output, line = capsys.readouterr()
    assert output == ""
    before, after = "note: engine=sparse cannot be used here: ", "; using onnxruntime\n"
    assert line.startswith(before)
    assert line.endswith(after)
    assert line.count("\n") == 1
    return line.removeprefix(before).removesuffix(after)


def test_without_a_compiler_onnx_runtime_is_used(folder, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("CXX", "/nonexistent")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert falls_back(folder, capsys) == "CXX=/nonexistent is not installed on this machine"


def test_a_cache_folder_that_cannot_be_written_is_no_obstacle(folder, monkeypatch, tmp_path, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("winnow.engine.library._SHIPPED", tmp_path / "none")
    assert "the compiled engine cannot be written to" in falls_back(folder, capsys)


@pytest.mark.parametrize("change", [{"failures": ["the logits differ"]}, {"sha256": "0" * 64}, {"failures": None}])
def test_a_graph_that_was_not_verified_is_not_used(folder, change, capsys):
    verified(folder, **change)
    assert falls_back(folder, capsys) == f"verification.json is not that of this {NAME}"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"sparse": {"failures": []}}', '{"sparse": 5}', "\udcff"])
def test_a_damaged_verification_is_none(folder, content, capsys):
    (folder / "verification.json").write_text(content, errors="surrogateescape")
    assert "verification.json is not that of" in falls_back(folder, capsys)


def test_a_truncated_graph_is_not_used(folder, capsys):
    (folder / NAME).write_bytes((folder / NAME).read_bytes()[:5000])
    assert "verification.json is not that of" in falls_back(folder, capsys)
    verified(folder)  # as somebody may write it
    assert "may be damaged" in falls_back(folder, capsys)


def test_a_damaged_graph_is_refused_by_its_engine_alone(folder, capsys):
    (folder / "config.json").write_text("{}")
    write_sums(folder)
    with (folder / NAME).open("ab") as file:
        file.write(b"\n")
    assert "verification.json is not that of" in falls_back(folder, capsys)
    with pytest.raises(UserError, match=rf"{NAME} is damaged.*export the run again"):
        open_deployed(folder, "sparse")
    (folder / "verification.json").write_text("{}")
    assert "verification.json is damaged" in falls_back(folder, capsys)


def test_weights_whose_bits_do_not_fit_are_not_used(folder, capsys):
    name = "sparse.bert.encoder.layer.0.intermediate.dense.weight.present"
    with_initialiser(folder / NAME, name, 255 - stored(folder / NAME)[name])
    verified(folder)
    assert "may be damaged" in falls_back(folder, capsys)


def test_the_engine_that_was_faster_on_this_processor_is_chosen(folder, sparse_engine, capsys):
    compared(folder, onnxruntime=0.5, sparse=0.2)
    assert is_sparse(open_deployed(folder, "auto"))
    verdict = "verified on 1,872 inputs, faster than onnxruntime on this processor\n"
    assert capsys.readouterr().err == f"engine: sparse ({sparse_engine}), {verdict}"
    compared(folder, onnxruntime=0.2, sparse=0.5)
    assert not is_sparse(open_deployed(folder, "auto"))
    assert capsys.readouterr().err == "engine: onnxruntime, faster than sparse on this processor\n"


def test_times_of_another_processor_do_not_count(folder):
    compared(folder, onnxruntime=0.2, sparse=0.5, cpu="another")
    assert is_sparse(open_deployed(folder, "auto"))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"deployment": {"latency": 5, "precision": "int8"}}'])
def test_a_damaged_result_is_none(folder, content):
    (folder.parent / "result.json").write_text(content)
    assert is_sparse(open_deployed(folder, "auto"))


def test_a_model_that_onnx_runtime_cannot_read_is_refused(folder):
    (folder / NAME).unlink()
    (folder / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(UserError, match=r"model.onnx could not be read by onnxruntime"):
        open_deployed(folder, "auto")
