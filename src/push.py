"""``python -m src.push ...``, the same as ``winnow push ...``."""

from winnow.commands.cli import run

if __name__ == "__main__":
    run("push")
