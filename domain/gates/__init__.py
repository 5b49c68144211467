"""Gates: conditions on metrics that a version must meet before an alias points to it."""

from domain.gates.decide import Compared, GateDecision, GateNotMet, Sides, decide, names_of
from domain.gates.parse import Gate, parse_gate

__all__ = ["Compared", "Gate", "GateDecision", "GateNotMet", "Sides", "decide", "names_of", "parse_gate"]
