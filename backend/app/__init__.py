"""The AIMgentix backend: keeps the audit events of agents, and answers questions about them."""

__version__ = "0.1.0"
