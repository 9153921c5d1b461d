import functools
import itertools
import shutil

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from tests.sparseml.test_reading import MALFORMED, RANGE, written
from tests.sparseml.test_translation import EXPECTED, FILES
from winnow.config.resolve import run_config
from winnow.errors import UserError
from winnow.files.conf_folder import CONF
from winnow.sparseml import conversion
from winnow.sparseml.conversion import convert, recipe_files, summary
from winnow.sparseml.translation import translate_file


@pytest.fixture
def conf(tmp_path):
    """A copy of conf/ to which recipes can be written."""
    return shutil.copytree(CONF, tmp_path / "conf")


def configuration(conf, *overrides):
    GlobalHydra.instance().clear()
    with initialize_config_dir(config_dir=str(conf), version_base="1.3"):
        return run_config(compose("train", overrides=list(overrides)))


def test_a_converted_file_is_the_same_recipe_as_the_original(conf, tmp_path):
    """Under other names, since some files are named like a shipped family of recipes."""
    (tmp_path / "old").mkdir()
    for file in FILES.iterdir():
        shutil.copy(file, tmp_path / "old" / f"old_{file.name}")
    rows = convert(recipe_files(tmp_path / "old", conf), conf / "recipe")
    assert {row.file.name.removeprefix("old_"): row.status for row in rows} == dict.fromkeys(EXPECTED, "converted")
    converted = functools.cache(functools.partial(configuration, conf))
    for row, teacher in itertools.product(rows, ("dense", "none")):
        old = configuration(conf, "recipe=sparseml", f"recipe.path='{row.file}'", f"teacher={teacher}")
        name = old.recipe.name
        teacher_of_file = "dense" if old.recipe.needs_teacher else "none"
        new = converted(f"recipe={name}", f"teacher={teacher_of_file}")
        assert new.recipe.plain() == old.recipe.plain(), name
        assert new.teacher == old.teacher, name


def test_a_converted_file_names_its_origin_and_has_a_report(tmp_path):
    convert([FILES / "stages_by_hand.yaml"], tmp_path)
    text = (tmp_path / "stages_by_hand.yaml").read_text()
    assert text.startswith("# conf/recipe/stages_by_hand.yaml: from stages_by_hand.yaml, a recipe of SparseML.\n")
    content = yaml.safe_load(text)
    assert {"/training@_here_": "finetune"} in content["defaults"]
    assert {"/modifier@pruning": "gmp"} in content["defaults"]
    assert content["defaults"][-1] == "_self_"
    assert content["pruning"] == {
        "params": [".*"],
        "initial_sparsity": 0.05,
        "final_sparsity": 0.9,
        "start_epoch": 0,
        "end_epoch": 2,
        "update_frequency": 0.5,
    }
    report = (tmp_path / "stages_by_hand.report.md").read_text()
    assert report.startswith("# stages_by_hand\n\n```text\n")
    assert "  18  GMPruningModifier             pruning: gmp" in report


@pytest.fixture
def folder(tmp_path):
    """Recipes in nested folders, and other files."""
    place = tmp_path / "old"
    (place / "deep" / "er").mkdir(parents=True)
    (place / ".git").mkdir()
    written(place, RANGE, "good.yaml")
    written(place / "deep" / "er", f"# Card\n\n---\n{RANGE}---\n", "card.v1.md")
    written(place / "deep", "# Words\n", "README.md")
    written(place, RANGE, "notes.txt")
    written(place / ".git", RANGE, "hidden.yaml")
    return place


def test_a_folder_is_searched_and_a_file_without_a_recipe_does_not_fail(folder, tmp_path):
    out = tmp_path / "out"
    rows = convert(recipe_files(folder, out), out)
    assert [(str(row.file.relative_to(folder)), row.status) for row in rows] == [
        ("deep/README.md", "no recipe"),
        ("deep/er/card.v1.md", "converted"),
        ("good.yaml", "converted"),
    ]
    names = {path.name for path in out.iterdir()}
    assert names == {"card_v1.yaml", "card_v1.report.md", "good.yaml", "good.report.md", "summary.md"}
    assert (out / "summary.md").read_text() == summary(rows)


def test_a_recipe_that_fails_does_not_stop_the_others(folder, tmp_path):
    text, line, message = MALFORMED["a parameter that is missing"]
    bad = written(folder, text, "bad.yaml")
    rows = {row.file.name: row for row in convert(recipe_files(folder, tmp_path), tmp_path / "out")}
    assert (rows["bad.yaml"].status, rows["bad.yaml"].notices) == ("failed", f"{bad}, line {line}: {message}")
    assert rows["good.yaml"].status == "converted"
    assert not (tmp_path / "out" / "bad.yaml").exists()


def test_the_summary_is_a_table_of_all_files(folder, tmp_path):
    written(folder, (FILES / "obert90.yaml").read_text(), "obert90.yaml")
    lines = summary(convert(recipe_files(folder, tmp_path), tmp_path / "out")).splitlines()
    assert [cell.strip() for cell in lines[0].split("|")[1:-1]] == ["file", "status", "modifiers", "notices"]
    row = next(line for line in lines if "obert90" in line)
    assert [cell.strip() for cell in row.split("|")[2:-1]] == [
        "converted",
        "pruning, distillation, learning_rate, learning_rate_2",
        "1 ignored, 4 differs",
    ]


def test_converting_again_replaces_only_files_made_from_the_same_recipe(folder, tmp_path):
    out = tmp_path / "out"
    convert(recipe_files(folder, out), out)
    (out / "card_v1.yaml").write_text("# conf/recipe/card_v1.yaml: mine.\n")
    rows = {row.file.name: row for row in convert(recipe_files(folder, out), out)}
    assert rows["good.yaml"].status == "converted"
    assert rows["card.v1.md"].notices == (
        f"{out / 'card_v1.yaml'} exists already and was not made from this file; "
        "rename the file, or choose another out=FOLDER."
    )
    assert (out / "card_v1.yaml").read_text() == "# conf/recipe/card_v1.yaml: mine.\n"


def test_two_recipes_with_the_same_name_do_not_overwrite_each_other(folder, tmp_path):
    written(folder / "deep", RANGE, "good.md".replace("md", "yml"))
    rows = [row for row in convert(recipe_files(folder, tmp_path), tmp_path / "out") if row.file.stem == "good"]
    assert [row.status for row in rows] == ["converted", "failed"]
    assert rows[1].notices == "another of the files has been written as good.yaml already; rename one of them."


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda place: place / "odl", r"path=.*/odl: there is no such file or folder\. Did you mean 'old'\?"),
        (lambda place: place / "old" / ".git" / "empty", r"the folder contains no \.yaml, \.yml, \.md files"),
    ],
)
def test_a_path_without_files_is_refused(folder, tmp_path, make, message):
    (folder / ".git" / "empty").mkdir()
    with pytest.raises(UserError, match=message):
        recipe_files(make(tmp_path), tmp_path / "out")


def test_files_of_which_none_holds_a_recipe_are_refused(folder, tmp_path):
    file = folder / "deep" / "README.md"
    with pytest.raises(UserError, match=r"^none of the 1 files contains a recipe .*README\.md contains no recipe"):
        convert([file], tmp_path / "out")
    assert not (tmp_path / "out").exists()


RATE = """\
  - !LearningRateModifier
    start_epoch: 0
    lr_class: MultiStepLR
    lr_kwargs: {gamma: 1e300, milestones: [1, 2]}
    init_lr: 0.1
"""
HOSTILE = {  # what a modifier of the file has, and a part of the message
    RATE: "line 3: lr_kwargs: gamma 1e+300 makes the learning rate larger than 1",
    "  - !ConstantPruningModifier {params: ['re:a{99999999999999999999}']}": "the repetition number is too large",
    f"  - !ConstantPruningModifier {{params: ['re:{'(' * 2000}{')' * 2000}']}}": "is not a regular expression",
    "  - !LayerPruningModifier {layers: []}": "line 3: layers is empty",
    f"  - !SetWeightDecayModifier {{weight_decay: {'9' * 5000}}}": "...9999999999999' cannot be read as int",
    "  - !SetWeightDecayModifier {weight_decay: .inf}": "weight_decay must be a number, 0 or more, got inf",
    '  - !SetWeightDecayModifier {weight_decay: "\\e[31m"}': r"got '\x1b[31m'",
}


def test_a_hostile_recipe_fails_alone_with_its_line(tmp_path):
    written(tmp_path, RANGE, "good.yaml")
    for i, modifier in enumerate(HOSTILE):
        written(tmp_path, f"{RANGE}{modifier}\n", f"hostile{i}.yaml")
    good, *hostile = convert(recipe_files(tmp_path, tmp_path / "out"), tmp_path / "out")
    assert good.status == "converted"
    for row, message in zip(hostile, HOSTILE.values(), strict=True):
        assert row.status == "failed"
        assert message in row.notices
        assert len(row.notices) < 500


def test_any_fault_of_the_translation_stops_only_its_file(tmp_path, monkeypatch):
    def faulty(path, *arguments):
        if "faulty" in path:
            raise ZeroDivisionError("nobody has thought of this")
        return translate_file(path, *arguments)

    monkeypatch.setattr(conversion, "translate_file", faulty)
    for name in ("faulty.yaml", "good.yaml"):
        written(tmp_path, RANGE, name)
    rows = convert(recipe_files(tmp_path, tmp_path / "out"), tmp_path / "out")
    assert [row.status for row in rows] == ["failed", "converted"]
    assert rows[0].notices.startswith("ZeroDivisionError: nobody has thought of this")
