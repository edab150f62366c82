"""Where the checks write down what they find."""

from collections.abc import Iterable

from gatewayd.resources.faults import Fault, unknown_word
from gatewayd.resources.meta import PathItem

Path = tuple[PathItem, ...]
SPEC: Path = ("spec",)


class Notes:
    """Faults found so far."""

    __slots__ = ("faults",)

    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def error(self, path: Path, message: str, help_text: str = "", code: str = "IST0106") -> None:
        """Note something that makes the document unusable."""
        self.faults.append(Fault(path, message, help_text, code=code))

    def warning(self, path: Path, message: str, help_text: str = "", code: str = "IST0133") -> None:
        """Note something that is valid, but probably not what was meant."""
        self.faults.append(Fault(path, message, help_text, code=code, level="warning"))

    def unknown(self, path: Path, what: str, word: str, choices: Iterable[str]) -> None:
        """Note a word that is none of `choices`, with the nearest right one."""
        self.faults.append(Fault(path, *unknown_word(what, word, list(choices))))
