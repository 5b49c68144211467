"""How whoever answers instead of a route says for which."""

ROUTE = "millrace_route"
"""Where that stands in the scope: a template such as `/books/{id}`, never a path that a client has chosen."""
UNMATCHED = "unmatched"
"""Stands for the route of a request that none answers."""
