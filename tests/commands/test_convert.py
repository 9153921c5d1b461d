import pytest

from tests.sparseml.test_reading import RANGE, written
from tests.toys import failure, run


def test_the_command_writes_the_files_and_prints_the_table(tmp_path):
    written(tmp_path, RANGE)
    output = run("convert", "path=old.yaml", "out=new", folder=tmp_path)
    assert output.strip() == (tmp_path / "new" / "summary.md").read_text().strip()
    assert "| old.yaml | converted |" in output
    assert (tmp_path / "new" / "old.yaml").is_file()
    assert not (tmp_path / ".hydra").exists()


def test_the_command_ends_with_status_1_if_a_recipe_could_not_be_translated(tmp_path):
    written(tmp_path, RANGE, "good.yaml")
    written(tmp_path, RANGE.replace("EpochRange", "EpochRage"), "bad.yaml")
    with pytest.raises(SystemExit) as ended:
        run("convert", "path=.", "out=new", folder=tmp_path)
    assert ended.value.code == 1
    assert (tmp_path / "new" / "good.yaml").is_file()
    assert (
        "bad.yaml, line 2: there is no modifier !EpochRageModifier. Did you mean 'EpochRangeModifier'?"
        in (tmp_path / "new" / "summary.md").read_text()
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["out=new"], "error: path must be given: add path=VALUE to the command."),
        (["path=old.yaml"], "error: out must be given: add out=VALUE to the command."),
        (["path=old.yml", "out=new"], "error: path=old.yml: there is no such file or folder. Did you mean 'old.yaml'?"),
    ],
)
def test_a_mistake_gives_one_line(tmp_path, arguments, message):
    written(tmp_path, RANGE)
    assert failure("convert", *arguments, folder=tmp_path) == message
