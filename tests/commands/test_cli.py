import subprocess
import sys

import pytest

from winnow.commands import cli
from winnow.files.conf_folder import CONF


def started(module, *arguments):
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=CONF.parent, capture_output=True, text=True, timeout=120)


def printed(capsys, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["winnow", *arguments])
    cli.main()
    return capsys.readouterr().out


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_the_help_lists_every_command(capsys, monkeypatch, arguments):
    output = printed(capsys, monkeypatch, *arguments)
    assert output.startswith("usage: winnow COMMAND [name=value ...]")
    assert all(f"\n  {word} " in output for word in cli.WORDS)


def test_the_version_is_printed(capsys, monkeypatch):
    assert printed(capsys, monkeypatch, "--version").startswith("winnow ")


def test_an_unknown_command_is_refused_with_the_nearest_one(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["winnow", "trian"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code.startswith("error: winnow trian: the commands are train, plan, ")
    assert ended.value.code.endswith(" Did you mean 'train'?")


@pytest.mark.parametrize(
    ("start", "printed_name"), [(["winnow", "train"], "winnow train"), (["src.train"], "python -m src.train")]
)
def test_messages_name_commands_as_the_user_starts_them(tmp_path, start, printed_name):
    arguments = ["experiment=squad_layers", f"hydra.run.dir={tmp_path}", f"output_dir={tmp_path}"]
    ended = started(*start, *arguments)
    assert ended.returncode == 1
    assert f"is a sweep over recipe, teacher, seed: add -m after '{printed_name}'" in ended.stderr
