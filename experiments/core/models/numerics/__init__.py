"""Layers of the models that torch does not have. These files import torch; the blocks of a spec do not."""
