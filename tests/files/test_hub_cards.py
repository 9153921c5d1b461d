import pytest
from huggingface_hub import constants

from winnow.files.hub_cards import card_metadata, hub_name


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache with one model and one data set, as the library of the hub leaves it."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    for name, file, text in (
        ("models--jane--bert", "config.json", "{}"),
        ("models--jane--bert", "README.md", "---\nlicense: mit\n---\n"),
        ("datasets--jane--films", "README.md", ""),
    ):
        snapshot = tmp_path / "cache" / name / "snapshots" / "a"
        snapshot.mkdir(parents=True, exist_ok=True)
        (snapshot / file).write_text(text)
        (snapshot.parents[1] / "refs").mkdir(exist_ok=True)
        (snapshot.parents[1] / "refs" / "main").write_text("a")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "kind", "known"),
    [
        ("bert-base-uncased", "model", True),
        ("nyu-mll/glue", "dataset", True),
        ("jane/bert", "model", True),
        ("jane/films", "dataset", True),
        ("data/reviews", "dataset", False),  # a folder, seen from another one
        ("outputs/upstream", "model", False),
        ("/home/jane/bert", "model", False),
        ("a b", "model", False),
        (None, "model", False),
    ],
)
def test_only_names_that_are_certainly_public_are_names_of_the_hub(cache, name, kind, known):
    assert hub_name(name, kind) == (name if known else None)


def test_the_metadata_of_a_card_come_from_the_cache_or_the_folder(cache):
    assert card_metadata("jane/bert") == {"license": "mit"}
    run = cache / "run"
    (run / "model").mkdir(parents=True)
    assert card_metadata(str(run)) == {}
    (run / "model" / "README.md").write_text("---\nbase_model: jane/bert\nlicense: mit\n---\n# Title")
    assert card_metadata(str(run)) == card_metadata(str(run / "model")) == {"base_model": "jane/bert", "license": "mit"}
    (run / "model" / "README.md").write_text("---\n: [\n---\n")
    assert card_metadata(str(run)) == {}
