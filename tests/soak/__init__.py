"""The fault test: checked load through everything that may happen to a service, and a count of what was lost.

``driver.py`` runs a plan: reloads, bad configurations, half-written files, certificates swapped, upstreams and workers
killed, workers replaced, upgrades, and a drain at the end (``faults.py``). Meanwhile clients (``http_load.py``,
``http2_load.py``, ``grpc_load.py``, ``stream_load.py``) send messages that no other client sends and check every byte
that comes back, which configuration answered, and who was asked (``world.py`` counts). ``site.py`` writes the
configuration, ``echo.py`` and ``grpc_echo.py`` are the upstreams, ``service.py`` the processes under test.

The short form is a test, ``test_short.py``; ``make soak`` runs the long one.
"""
