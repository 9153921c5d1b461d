"""``python -m src.plan ...``, the same as ``winnow plan ...``."""

from winnow.commands.cli import run

if __name__ == "__main__":
    run("plan")
