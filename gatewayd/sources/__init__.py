"""Where configuration comes from: files, folders and stdin, read into typed resources and findings.

`yaml_tree.py` turns text into plain trees, strictly (YAML 1.2 scalars, no duplicate keys, bounded depth and
aliases); `scalars.py` is the core schema; `files.py` finds and reads files, `origin.py` is where texts come from;
`contents.py` turns a text into resources, `inventory.py` keeps those of all files; `mesh.py` reads the mesh
configuration.
"""

from gatewayd.sources.contents import SetAside
from gatewayd.sources.handed import Handed, News, Recorder
from gatewayd.sources.inventory import Inventory, Key, LoadResult, key_of
from gatewayd.sources.limits import Limits
from gatewayd.sources.load import collector_off, load
from gatewayd.sources.mesh import load_mesh_config
from gatewayd.sources.origin import Disk, FileSource
from gatewayd.sources.text import release_texts

__all__ = [
    "Disk",
    "FileSource",
    "Handed",
    "Inventory",
    "Key",
    "Limits",
    "LoadResult",
    "News",
    "Recorder",
    "SetAside",
    "collector_off",
    "key_of",
    "load",
    "load_mesh_config",
    "release_texts",
]
