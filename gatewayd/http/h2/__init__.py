"""HTTP/2 (RFC 9113) with HPACK (RFC 7541) and extended CONNECT (RFC 8441); see docs/architecture.md."""
