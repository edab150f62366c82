"""``gatewayd demo``: the bookinfo example served for real, with small backends of our own.

``run.py`` starts two processes, ``gatewayd run`` on the example's folder and one with all backends, and
ends both; ``backends.py`` is that second process, also useful by hand beside the folders of ``examples/``;
``bookinfo.py`` and ``echo.py`` are the backends, on the server of ``web.py``, ``lines.py`` is one that speaks
no HTTP, ``secure.py`` gives any of them TLS; ``certificates.py`` makes what the gateway serves HTTPS with;
``folders.py`` finds the examples in a checkout and in an installed package; ``tour.py`` is the table of lines
to try.
"""

from __future__ import annotations

from collections.abc import Sequence


def run_demo(
    http_port: int = 8080,
    https_port: int = 8443,
    bind: Sequence[str] = ("127.0.0.1",),
    run_flags: Sequence[str] = (),
) -> int:
    """Serve the bundled example until INT or TERM; the exit code.

    ``http_port`` and ``https_port`` are the ports to serve on, ``bind`` the IP addresses to listen on,
    ``run_flags`` go to ``gatewayd run`` as they are. 77: a port cannot be bound; other codes are those of
    ``gatewayd run``.
    """
    from gatewayd.demo.run import Wish, serve_demo  # later, so that backends.py can be a program of its own

    return serve_demo(Wish(http_port, https_port, tuple(bind), tuple(run_flags)))
