"""The commands: ``winnow train`` and its siblings; each module is one of them."""
