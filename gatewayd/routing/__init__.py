"""HOT: from a request's head to its route: pure data, compiled once, no resources, sockets or clusters.

``table.py`` leads from host to virtual host to route;
``hosts.py`` is the host look-up; ``conditions.py`` is what a rule is made of, ``matchers.py`` how each is
written (MATCHERS); ``index.py`` holds the ordered rules of a virtual host so that many rules are not many
comparisons, ``filing.py`` says where each goes, ``paths.py`` finds prefixes and regular expressions;
``weights.py`` picks one of several destinations; ``route.py`` is what a route is and does.
"""
