"""``python -m src.sensitivity ...``, the same as ``winnow sensitivity ...``."""

from winnow.commands.sensitivity import main

if __name__ == "__main__":
    main()
