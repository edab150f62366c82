"""What the process exits with; scripts and units rely on these numbers."""

from typing import Final

EXIT_OK: Final = 0
EXIT_RUNTIME: Final = 1
EXIT_USAGE: Final = 64
EXIT_INPUT: Final = 65  # input cannot be read or parsed
EXIT_UNREACHABLE: Final = 69  # no running gatewayd answers
EXIT_DRAIN_TIMED_OUT: Final = 75
EXIT_CANNOT_BIND: Final = 77
EXIT_REFUSED: Final = 78  # configuration refused at start
EXIT_FINDINGS: Final = 79  # findings at or above --fail-on
# explain
EXIT_NO_ROUTE: Final = 80
EXIT_DENIED: Final = 81
EXIT_NO_UPSTREAM: Final = 82
