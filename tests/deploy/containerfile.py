"""A container file as its tests need it: the instructions, and what the last stage runs."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path


def instructions(path: Path) -> list[tuple[str, str]]:
    """(word, rest) of each instruction; lines that go on are joined, comments are gone."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    found = [line.strip().partition(" ") for line in joined.splitlines() if line.strip()]
    return [(word.upper(), rest.strip()) for word, _, rest in found]


class Image:
    """What the last stage of a container file says of the image."""

    def __init__(self, path: Path) -> None:
        everything = instructions(path)
        last = max(at for at, (word, _) in enumerate(everything) if word == "FROM")
        self._stage = everything[last:]

    def all(self, word: str) -> list[str]:
        """What every such instruction says."""
        return [rest for name, rest in self._stage if name == word]

    def one(self, word: str) -> str:
        """What the one such instruction says."""
        (rest,) = self.all(word)
        return rest

    def words(self, word: str) -> list[str]:
        """The words of an instruction in JSON form, such as ENTRYPOINT; of HEALTHCHECK those behind CMD."""
        found: list[str] = json.loads(self.one(word).rpartition("CMD ")[2] or self.one(word))
        return found

    @property
    def command(self) -> list[str]:
        """What a container runs."""
        return [*self.words("ENTRYPOINT"), *self.words("CMD")]

    @property
    def environment(self) -> dict[str, str]:
        """All variables."""
        pairs = (word.partition("=") for rest in self.all("ENV") for word in shlex.split(rest))
        return {name: value for name, _, value in pairs}
