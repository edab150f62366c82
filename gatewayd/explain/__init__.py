"""Where a request would go, and why not elsewhere, by the engine that serves requests: parser, table, plan and policies
are the proxy's own, so there is no second opinion. Everything here reads a snapshot and changes nothing.
"""
