"""``python -m src.plan ...``, the same as ``winnow plan ...``."""

from winnow.commands.plan import main

if __name__ == "__main__":
    main()
