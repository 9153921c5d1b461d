"""``python -m src.train ...``, the same as ``winnow train ...``."""

from winnow.commands.train import main

if __name__ == "__main__":
    main()
