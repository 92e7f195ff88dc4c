"""The front door: the command line, one short module per command."""

from importlib.metadata import version

__version__ = version("sdiag")
