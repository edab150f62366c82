"""What the user wrote, typed and frozen: one file per kind, and the rules that hold within one document.

`model.py` has the base classes and the scalar types; `gateway.py`, `virtual_service.py` and so on describe
the kinds; `kinds.py` is the one table of what is accepted; `meta.py` has the envelope (name, namespace,
labels, where it was read); `decode.py` turns a plain tree into a typed one and, when that fails,
`collect.py` finds every reason; `validate/` holds the facts no type can say (semantics 19); `support.py` is
the one table of fields that are accepted but not honoured yet. Nothing here knows anything that runs.
"""
