"""gatewayd: serve Istio and Kubernetes YAML without a cluster.

The rooms and how they stand are drawn in ``docs/architecture.md``; a test holds the import floors.
"""

__version__ = "0.1.0"
