"""What holds for all tests.

Property tests try the same examples in each run and have no deadline: a machine that is busy stops a process for
longer than any sensible one, and a run is to fail for what was changed. To look further, run with
``--hypothesis-profile default``.
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.load_profile("ci")
#: A fixed port, and many processes: who tests metrics or the admin port says where.
os.environ.setdefault("GATEWAYD_METRICS", "off")
os.environ.setdefault("GATEWAYD_ADMIN", "off")
