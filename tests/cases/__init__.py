"""The case runner: plays recorded cases against the real process. ``python -m tests.cases FILE...``

loading.py       files of both formats -> ``Case`` and ``Call``
vocabulary.py    the words of the golden format that are played and compared
scope.py         what is out of scope, from out_of_scope.yaml
patterns.py      ``<date>`` and its like; are two strings, header lists, bodies alike
counts.py        distributions: what is a sample and what is exact
golden.py        plays one case of the golden format       golden_check.py   compares what came of a call
                                                           golden_repeat.py  the same for a repeated call
routing.py       plays one case of the routing examples    routing_check.py  compares what came of a call
endpoints.py     the backends of a routing example, written as YAML documents
port_plan.py     upstream ports of a case -> free ports, and back
play.py          many cases at once -> ``CallResult``s; ``__main__.py`` prints them
"""
