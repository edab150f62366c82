"""The same requests through gatewayd and through the real Envoy, compared one by one.

Each test gives one configuration twice: as Istio YAML, and as the Envoy routes and clusters that istiod makes of it.
Requests are drawn with a recorded seed; upstreams follow a script that comes with the request.
"""
