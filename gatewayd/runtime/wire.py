"""What a supervisor passes on of a reload, as it travels: JSON-able on the one side, :class:`News` on the other."""

from __future__ import annotations

from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

from gatewayd.sources import News
from gatewayd.sources.files import FoundFile, Unreadable


def to_wire(news: News) -> dict[str, Any]:
    """``news`` in words."""
    return {
        "found": [
            [
                list(paths),
                [[file.name, str(file.path) if file.path else None, file.problem] for file in found],
            ]
            for paths, found in news.found.items()
        ],
        "contents": {
            name: [content.code, str(content)]
            if isinstance(content, Unreadable)
            else b64encode(content).decode()
            for name, content in news.contents.items()
        },
    }


def from_wire(words: dict[str, Any]) -> News:
    """What :func:`to_wire` made."""
    return News(
        {
            tuple(paths): tuple(
                FoundFile(name, Path(path) if path else None, problem) for name, path, problem in found
            )
            for paths, found in words["found"]
        },
        {
            name: b64decode(content) if isinstance(content, str) else Unreadable(*content)
            for name, content in words["contents"].items()
        },
    )


def merged(first: News, second: News) -> News:
    """Both, the later one last."""
    return News({**first.found, **second.found}, {**first.contents, **second.contents})
