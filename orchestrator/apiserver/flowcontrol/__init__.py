"""Priority and fairness: whose requests are worked on at once, and whose turn is next. Obeys the stored FlowSchemas."""

from orchestrator.apiserver.flowcontrol.flow_control import FlowControl, Ticket
from orchestrator.apiserver.flowcontrol.levels import TOO_MANY, Rejected
from orchestrator.apiserver.flowcontrol.matching import Digest

__all__ = ["TOO_MANY", "Digest", "FlowControl", "Rejected", "Ticket"]
