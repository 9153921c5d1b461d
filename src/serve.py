"""``python -m src.serve ...``, the same as ``winnow serve ...``."""

from winnow.commands.cli import run

if __name__ == "__main__":
    run("serve")
