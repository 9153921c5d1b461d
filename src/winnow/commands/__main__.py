"""``python -m winnow.commands ...`` is ``winnow train ...``, for the processes that a training starts."""

from winnow.commands.cli import run

run("train")
