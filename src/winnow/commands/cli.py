"""The console command: ``winnow WORD ...`` is ``python -m src.WORD ...`` of the repository."""

import sys
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec

from winnow import signals
from winnow.command_line import command_line, resuming_command, use_console_names
from winnow.errors import nearest, short_errors
from winnow.extras import require_extra

WORDS = {
    "train": "train, prune, distil and quantise one model, or a sweep of them",
    "plan": "show each event of a recipe with its epoch and step; nothing is trained",
    "sensitivity": "show which matrices of a finished model bear pruning; nothing is trained",
    "evaluate": "evaluate the model of a run again, or its deployment",
    "export": "write the deployment of a run, verified against PyTorch",
    "predict": "run a deployed model on texts; prints JSON lines",
    "serve": "run a deployed model as an HTTP service",
    "push": "upload the model of a run, and its deployment, to the Hugging Face hub",
    "report": "put all runs below some folders in one table",
    "convert": "translate recipes of SparseML into native ones",
}
_WITHOUT_TRAINING = ("predict", "serve")  # commands that run without the packages of the extra train
_HELP = {"--help", "-h"}


def main() -> None:
    word, *arguments = sys.argv[1:] or ["--help"]
    if word == "--version":
        print(f"winnow {version('winnow-transformers')}")
    elif word in _HELP:
        print(_help())
    elif word in WORDS:
        use_console_names()
        sys.argv[1:] = arguments
        # Lightning starts the other processes of a data-parallel run with `python -m` and this name.
        sys.modules["__main__"].__spec__ = find_spec("winnow.commands.__main__")
        run(word)
    else:
        sys.exit(f"error: winnow {word}: the commands are {', '.join(WORDS)}.{nearest(word, WORDS)}")


def run(word: str) -> None:
    """Run a command as this process, which a signal can stop from here on, also while it imports its packages."""
    train = word == "train"
    signals.install(f"resume with: {resuming_command()}" if train else "run the same command again")
    try:
        with short_errors():
            if not _HELP.isdisjoint(sys.argv[1:]):
                import_module("winnow.commands.help").main(word)
                return
            if word not in _WITHOUT_TRAINING:
                require_extra(command_line(word), "train", "torch")
            import_module(f"winnow.commands.{word}").main()
    finally:
        signals.ended()


def _help() -> str:
    words = "\n".join(f"  {word:12}{purpose}" for word, purpose in WORDS.items())
    return (
        "usage: winnow COMMAND [name=value ...]\n\n"
        f"{words}\n\n"
        "winnow COMMAND --help lists the settings of a command; winnow --version prints the version."
    )
