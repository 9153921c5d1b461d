"""``python -m winnow WORD ...``, where the console command is not on the path."""

from winnow.commands.cli import main

main()
