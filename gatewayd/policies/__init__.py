"""What a route does to a request or response, one file per behaviour, as pure functions.

The compiler turns configuration into these once; a route without a policy holds None in its place.
"""
