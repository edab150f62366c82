"""Texts handed from the process that reads the disk to those that are to compile the very same.

One side reads through a :class:`Recorder` and passes on its :meth:`~Recorder.news`; the other gives them to a
:class:`Handed`, which takes the disk's place there. How they travel is not a matter of this module: they are tuples,
names and bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gatewayd.sources.files import FoundFile, Unreadable
from gatewayd.sources.limits import Limits
from gatewayd.sources.origin import FileSource, Stamp


@dataclass(frozen=True, slots=True)
class News:
    """What a reading came upon."""

    #: for each list of paths whose files are others than before: the files, in order
    found: Mapping[tuple[str, ...], tuple[FoundFile, ...]] = field(default_factory=dict)
    #: by name, of the files that were read: the content, or why there is none. All others are as they were.
    contents: Mapping[str, bytes | Unreadable] = field(default_factory=dict)


class Recorder:
    """Another source, and what came of asking it."""

    def __init__(self, source: FileSource) -> None:
        self._source = source
        self._last: dict[tuple[str, ...], Sequence[FoundFile]] = {}
        self._found: dict[tuple[str, ...], tuple[FoundFile, ...]] = {}
        self._contents: dict[str, bytes | Unreadable] = {}

    def news(self) -> News:
        """What was found since the last call."""
        news = News(self._found, self._contents)
        self._found, self._contents = {}, {}
        return news

    def find(self, paths: Sequence[str], changed: frozenset[str] | None = None) -> Sequence[FoundFile]:
        """The files of ``paths``."""
        key = tuple(paths)
        found = self._source.find(paths, changed)
        if found is not self._last.get(key):
            self._last[key] = found
            self._found[key] = tuple(found)
        return found

    def stamp(self, found: FoundFile) -> Stamp | None:
        """The stamp of the other source."""
        return self._source.stamp(found)

    def read(self, found: FoundFile, limits: Limits) -> bytes:
        """The content of a file, or Unreadable."""
        try:
            data = self._source.read(found, limits)
        except Unreadable as reason:
            self._contents[found.name] = reason
            raise
        self._contents[found.name] = data
        return data


class Handed:
    """Files as a :class:`Recorder` elsewhere found them. A text is let go once it was read here."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, ...], tuple[FoundFile, ...]] = {}
        self._contents: dict[str, bytes | Unreadable] = {}
        self._versions: dict[str, int] = {}

    def take(self, news: News) -> frozenset[str]:
        """From now on files are as ``news`` has them; the names that came, went or may have other contents."""
        changed = set(news.contents)
        for paths, found in news.found.items():
            names = {file.name for file in found}
            changed |= names.symmetric_difference(file.name for file in self._found.get(paths, ()))
        self._found.update(news.found)
        self._contents.update(news.contents)
        for name in news.contents:
            self._versions[name] = self._versions.get(name, 0) + 1
        listed = {file.name for found in self._found.values() for file in found}
        for name in changed - listed:
            self._contents.pop(name, None)
        return frozenset(changed)

    def find(self, paths: Sequence[str], changed: frozenset[str] | None = None) -> Sequence[FoundFile]:
        """The files of ``paths``, as they were told."""
        return self._found.get(tuple(paths), ())

    def stamp(self, found: FoundFile) -> Stamp | None:
        """Another one whenever news spoke of the file."""
        return Stamp(self._versions.get(found.name, 0), True)

    def read(self, found: FoundFile, limits: Limits) -> bytes:
        """The content that was handed over."""
        content = self._contents.get(found.name)
        if content is None:
            raise Unreadable("GWD0001", "cannot read: its text was not handed over")
        if isinstance(content, Unreadable):
            raise content
        del self._contents[found.name]
        return content
