"""A fault: something to say about a field, before anybody knows where in which file it is written."""

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from gatewayd.findings import Level
from gatewayd.resources.meta import PathItem


@dataclass(frozen=True, slots=True)
class Fault:
    """`path` leads from the top of the document to the value that is meant.

    With `key` it leads to a mapping, and that key of it is meant.
    """

    path: tuple[PathItem, ...]
    message: str
    help: str = ""
    key: str | None = None
    code: str = "IST0106"
    level: Level = "error"


def unknown_word(what: str, word: str, choices: list[str]) -> tuple[str, str]:
    """Return message and help for a word that is none of `choices`, with the nearest right one."""
    message = f'unknown {what} "{word[:80]}"'
    if nearest := nearest_word(word, choices):
        message += f' (did you mean "{nearest}"?)'
    return message, f"expected one of: {', '.join(choices)}" if choices else "nothing is expected here"


def nearest_word(word: str, choices: list[str]) -> str | None:
    """Return the choice that was probably meant: the same letters in other case, else a close spelling."""
    plain = _plain(word)
    for choice in choices:
        if _plain(choice) == plain:
            return choice
    close = get_close_matches(word[:80], choices, n=1, cutoff=0.6)
    return close[0] if close else None


def describe(value: Any) -> str:
    """Return what a value is, in words for a message."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"the number {value}"
    if isinstance(value, str):
        return f'the text "{value[:60]}"'
    return "a mapping" if isinstance(value, dict) else "a list"


def _plain(word: str) -> str:
    return word.replace("_", "").replace("-", "").lower()
