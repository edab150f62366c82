"""TLS on listeners and towards upstreams: modes, contexts, certificates (semantics 3, 10).

OpenSSL and ``cryptography`` take some 12 MiB, which a gateway without a certificate does not need. So whatever is
imported at the start (``spec``, ``modes``, ``store``, ``credentials``, ``client_hello``) does without them, and what
needs them is imported by the first that has something to do with a certificate.
"""
