"""The snapshot in Envoy's own words, as ``/config_dump`` shows it: what istioctl and other scripts read.

Everything here is a message of Envoy's API as JSON, made of what is in force and nothing else; loaded into an Envoy it
would do the same. Private keys never come here.
"""
