"""TLS on listeners and towards upstreams: modes, contexts, certificates (semantics 3, 10)."""
