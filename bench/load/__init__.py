"""Load on a server: by a client of our own, which says what each request took, and by an external generator."""

from bench.load.connections import Load, load, reply

__all__ = ["Load", "load", "reply"]
