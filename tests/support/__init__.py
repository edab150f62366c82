"""Tools for tests that meet real sockets: a process, a client that sends bytes, upstreams that note them.

wire.py             one TCP or TLS connection as a buffer with an end: closed, reset, tls_error
h1_text.py          reads HTTP/1 heads and bodies from a wire and keeps them as they came
behaviour.py        what an upstream is told to do with one request
kernel_queues.py    bytes sent and not read yet, as the kernel counts them
recorder.py         ``Recorder``: an upstream that notes every request and answers as its behaviour says
raw_client.py       ``RawClient``: sends exactly the bytes given and says what came back
ports.py            free ports, held until the moment they are needed
gateway_process.py  ``GatewayProcess``: ``python -m gatewayd run`` with free ports, readiness, a sure end
envoy_process.py    ``EnvoyProcess``: the real Envoy with routes and clusters of the test's own
in_process.py       ``InProcess``: the data path alone, in the test's own loop, checked when the block ends
bare_sockets.py     ``Net``: both peers of the proxy as bare sockets, for what the order of events decides
fake_transport.py   ``FakeTransport``: no socket at all
half_close_stress.py  relays that half-close on uvloop, in a process of their own
certificates.py     throw-away certificates by the ``openssl`` command
"""
