import json
import re
import shutil

import pytest
import torch
from huggingface_hub import ModelCard, close_session, constants
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tests.hub_server import TOKEN, hub_at
from tests.toys import failure, own_data, review_tables, run
from winnow.deployment.pipeline import open_pipeline
from winnow.files.checksums import find_damage
from winnow.files.run_files import write_result

SHAPE = ["export.batch_size=1", "export.sequence_length=16"]  # written in half the time of a graph for any
REPO = "jane/reviews"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a run in it, pruned and exported."""
    folder = tmp_path_factory.mktemp("push")
    review_tables(folder / "jane" / "data")
    run(
        "train", *own_data(folder / "jane" / "data"), "recipe=oneshot80", "recipe.num_epochs=1", "teacher=none",
        "model.config.num_hidden_layers=1", "hydra.run.dir=run", "export=onnx", *SHAPE, folder=folder,
    )  # fmt: skip
    return folder


@pytest.fixture
def copied(place, tmp_path):
    """The run, to be damaged."""
    shutil.copytree(place / "run", tmp_path / "run")
    return tmp_path


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with hub_at(tmp_path / "hub") as hub:
        for name, value in (("ENDPOINT", hub.endpoint), ("HF_HUB_OFFLINE", False), ("HF_HUB_DISABLE_XET", True)):
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub
        close_session()


def code_of(card, folder):
    """The first block of Python of a card, for a folder."""
    return re.search(r"```python\n(.*?)```", card.read_text(), re.DOTALL)[1].replace("FOLDER", str(folder))


def outputs_of(code):
    names = {}
    exec(code, names)
    return names["outputs"]


def test_what_was_pushed_opens_with_transformers_with_onnxruntime_and_with_winnow(place, hub):
    output = run("push", "run=run", f"repo={REPO}", folder=place)
    assert f"uploaded: {hub.endpoint}/{REPO}/commit/" in output
    received = hub.folder / REPO
    inputs = AutoTokenizer.from_pretrained(received)("a good film", return_tensors="pt")
    with torch.no_grad():
        pushed, local = (
            AutoModelForSequenceClassification.from_pretrained(folder)(**inputs).logits
            for folder in (received, place / "run" / "model")
        )
    assert torch.equal(pushed, local)
    for folder in (received, received / "deployment"):
        assert find_damage(folder) == ""
        assert (folder / "SHA256SUMS").is_file()
    assert f'from_pretrained("{REPO}")' in (received / "README.md").read_text()
    in_torch = outputs_of(code_of(received / "README.md", received).replace(REPO, str(received)))
    in_onnx = outputs_of(code_of(received / "deployment" / "README.md", received / "deployment"))
    assert in_onnx[0] == pytest.approx(in_torch.logits.detach().numpy(), abs=1e-5)
    assert open_pipeline(received / "deployment")("a good film")["label"] in ("negative", "positive")


def test_a_push_replaces_what_was_pushed_before_and_keeps_other_files(place, hub):
    (hub.folder / REPO / "deployment").mkdir(parents=True)
    for name in ("structure.json", "deployment/model.sparse.onnx", "LICENSE"):
        (hub.folder / REPO / name).touch()
    run("push", "run=run", f"repo={REPO}", "deployment=false", "license=mit", folder=place)
    received = {path.name for path in (hub.folder / REPO).rglob("*") if path.is_file()}
    assert {"LICENSE", "README.md", "model.safetensors"} <= received
    assert received.isdisjoint({"structure.json", "model.onnx", "model.sparse.onnx"})
    assert ModelCard.load(hub.folder / REPO / "README.md").data.license == "mit"


def test_a_private_push_never_goes_to_a_public_repository(place, hub):
    run("push", "run=run", f"repo={REPO}", "private=true", "deployment=false", folder=place)
    assert hub.private == {REPO}
    hub.private.clear()
    (hub.folder / REPO / "config.json").write_text("earlier")
    message = failure("push", "run=run", f"repo={REPO}", "private=true", folder=place)
    assert f"{REPO} exists and is public" in message
    assert (hub.folder / REPO / "config.json").read_text() == "earlier"


def test_a_refusal_of_the_hub_is_one_message(place, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    message = failure("push", "run=run", f"repo={REPO}", folder=place)
    assert message == f"error: repo={REPO}: the hub refused it (Invalid username or password.)."


def test_a_dry_run_lists_the_files_and_needs_no_connection_and_no_token(place, monkeypatch, capsys):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    output = run("push", "run=run", f"repo={REPO}", "dry_run=true", folder=place)
    size = (place / "run" / "model" / "model.safetensors").stat().st_size
    assert output.startswith(f"dry run, nothing is sent: {REPO} (public")
    assert re.search(rf"^model\.safetensors +{size:,} bytes  run/model/model\.safetensors$", output, re.MULTILINE)
    assert re.search(r"^deployment/model\.onnx +[\d,]+ bytes  run/deployment/model\.onnx$", output, re.MULTILINE)
    assert "add one with license=NAME" in capsys.readouterr().err


def test_a_training_and_an_export_write_cards_with_nothing_of_this_machine(place):
    row = json.loads((place / "run" / "result.json").read_text())
    for folder, library in (("model", "transformers"), ("deployment", "onnx")):
        card = ModelCard.load(place / "run" / folder / "README.md")
        assert card.data.library_name == library
        assert card.data.tags == ["winnow", "pruning", "onnx", "float32"]
        assert f"| accuracy | {row['metrics']['accuracy']:.4f} |" in re.sub(" +", " ", card.text)
        assert "| same predictions | | 100.00 % |" in re.sub(" +", " ", card.text)
        assert "'task.data.path=<path>'" in card.text
        assert not any(word in str(card) for word in ("jane", str(place), "hydra.run.dir"))


def test_a_run_without_cards_gets_one(copied):
    (copied / "run" / "model" / "README.md").unlink()
    run("push", "run=run", f"repo={REPO}", "dry_run=true", folder=copied)
    assert ModelCard.load(copied / "run" / "model" / "README.md").data.library_name == "transformers"


@pytest.mark.parametrize("repo", ["reviews", "jane/my/reviews", "jane/re views", "jane/a--b", "/home/jane", "jane/"])
def test_a_name_that_no_repository_has_is_refused(place, repo):
    assert f"repo={repo}: a repository of the hub is named OWNER/NAME" in failure(
        "push", "run=run", f"repo={repo}", folder=place
    )


def test_a_run_that_cannot_be_published_is_refused_before_a_connection(copied, hub, monkeypatch):
    def refusal(*words):
        return failure("push", "run=run", f"repo={REPO}", *words, folder=copied)

    model, row = copied / "run" / "model", json.loads((copied / "run" / "result.json").read_text())
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "http://127.0.0.1:9 cannot be reached" in refusal()
    monkeypatch.delenv("HF_TOKEN")
    assert "there is none: run 'hf auth login', or set HF_TOKEN" in refusal()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE=1 forbids connections" in refusal()
    card = (model / "README.md").read_text()
    (model / "README.md").write_text(card.replace("---", "---\n- a", 1))
    assert "the front matter is no YAML mapping" in refusal("dry_run=true")
    (model / "README.md").write_text(f"{card}\nSee {copied}/notes.")
    assert f"README.md names a folder of this machine ({copied}/)" in refusal()
    (model / "README.md").write_text(card)
    with (copied / "run" / "deployment" / "model.onnx").open("ab") as file:
        file.write(b" ")
    assert "model.onnx is damaged" in refusal()
    with (model / "config.json").open("a") as file:
        file.write(" ")
    assert "config.json is damaged" in refusal("deployment=false")
    shutil.rmtree(copied / "run" / "deployment")
    write_result(copied / "run", row | {"error": "the graph differs"})
    assert "its export has failed (the graph differs)" in refusal()
    write_result(copied / "run", row | {"status": "failed", "error": "interrupted"})
    assert "the run has failed (interrupted), so there is no model to upload" in refusal()
    (copied / "run" / "result.json").unlink()
    assert "no run has ended here" in refusal()
    assert not hub.folder.exists()
