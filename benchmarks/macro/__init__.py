"""Whole-process benchmarks: CPU time per request of gatewayd, nginx and Envoy, same routes, one run.

`tools` says what must be installed; `processes` starts, pins and weighs process trees; `site` is the routing
table all proxies are given and `istio`, `nginx`, `envoy` are its three spellings, picked by `proxies`;
`origin` is the upstream, `sink` the one for uploads; `traffic` composes requests, `load` and `open_loop` send
them; `bench` holds a run together and `scenarios/` says what is measured; `results`, `goals` and `report`
turn rounds into the table.
"""
