"""Limits on what is read: an author may route, not crash or exhaust the process."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Caps of one file.

    `max_expanded_nodes` counts only the nodes that aliases and merge keys add to one document: what is
    written out is bounded by the file size, and an honest file of 4 MiB has more than 200,000 nodes.
    """

    max_file_bytes: int = 4 * 1024 * 1024
    max_documents: int = 10_000
    max_depth: int = 64
    max_expanded_nodes: int = 200_000
