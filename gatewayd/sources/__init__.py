"""Where configuration comes from: files, folders and stdin, read into typed resources and findings.

`yaml_tree.py` turns text into plain trees, strictly (YAML 1.2 scalars, no duplicate keys, bounded depth and
aliases); `scalars.py` is the core schema; `files.py` finds and reads files, `origin.py` is where texts come from;
`load.py` puts them together; `mesh.py` reads the mesh configuration.
"""

from gatewayd.sources.handed import Handed, News, Recorder
from gatewayd.sources.limits import Limits
from gatewayd.sources.load import LoadResult, SetAside, load
from gatewayd.sources.memory import FileMemory
from gatewayd.sources.mesh import load_mesh_config
from gatewayd.sources.origin import Disk, FileSource
from gatewayd.sources.text import release_texts

__all__ = [
    "Disk",
    "FileMemory",
    "FileSource",
    "Handed",
    "Limits",
    "LoadResult",
    "News",
    "Recorder",
    "SetAside",
    "load",
    "load_mesh_config",
    "release_texts",
]
