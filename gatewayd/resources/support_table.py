"""The table of support as a page: `python -m gatewayd.resources.support_table > docs/istio_support.md`."""

from collections.abc import Iterator
from typing import Any

from gatewayd.resources.kinds import KINDS, MESH_GROUPS
from gatewayd.resources.mesh_config import MeshConfig
from gatewayd.resources.support_evidence import SINCE, TESTS, covering
from gatewayd.resources.unsupported import Entry, entries, field_paths

_HEAD = """\
# What gatewayd does with each field

This page is made from the tables in `gatewayd/resources/support.py` and `support_evidence.py`, by
`python -m gatewayd.resources.support_table > docs/istio_support.md`.
Every field below is decoded and checked. "yes": honoured, since the version named, as the tests named show.
"without effect": it does nothing at a gateway of Istio's either; using it is told as information. "not yet":
Istio honours it and gatewayd does not; using it gives a warning. Both findings are `GWD0014` and name the field.
"""


def render() -> str:
    """Return the whole document."""
    tops: list[tuple[str, str, Any]] = [
        (name, f"{name}.spec", kind.model) for name, kind in KINDS.items() if kind.group in MESH_GROUPS
    ]
    tops.append(("MeshConfig", "MeshConfig", MeshConfig))
    return "\n".join([_HEAD, *("\n".join(_section(*top)) for top in tops)])


def _section(kind: str, top: str, model: Any) -> Iterator[str]:
    yield f"## {kind}\n"
    rows = list(_rows(top, model))
    yield "| field | honoured | since | test | remarks |"
    yield "| --- | --- | --- | --- | --- |"
    for path, entry in rows:
        shown = path.removeprefix(f"{kind}.")
        if entry.value:
            shown += f": {entry.value}"
        if entry.key_prefix:
            shown += f" `{entry.key_prefix}...`"
        if entry.reason:
            yield f"| `{shown}` | {'not yet' if entry.later else 'without effect'} | | | {entry.reason} |"
        else:
            yield f"| `{shown}` | yes | {covering(path, SINCE)} | `{covering(path, TESTS)}` | |"
    yield ""


def _rows(top: str, model: Any) -> Iterator[tuple[str, Entry]]:
    """Yield the entries that stand at a field, in the order of the fields."""
    for path in [top, *(path for path, _ in field_paths(model, top))]:
        for entry in entries().get(path, ()):
            yield path, entry


if __name__ == "__main__":
    print(render(), end="")
