"""Finding a published checkpoint and reading only the tensors that are wanted.

A vision tower is a small part of a vision-language model. Config and index are read first, then
only the headers of the files that hold the wanted names, then only their bytes: from a plain
folder, the hub's cache, or the hub itself. Nothing is unpickled and no code of a repository is run.
"""

from degradation.encoders.checkpoint.checkpoint import Checkpoint
from degradation.encoders.checkpoint.header import TensorFacts
from degradation.encoders.checkpoint.opening import open_checkpoint, open_configuration

__all__ = ["Checkpoint", "TensorFacts", "open_checkpoint", "open_configuration"]
