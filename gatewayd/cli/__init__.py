"""The command line. One module per command, imported only when that command is called.

``values.py`` reads flag values, ``codes.py`` says what the process exits with.
"""

from gatewayd.cli.app import main

__all__ = ["main"]
