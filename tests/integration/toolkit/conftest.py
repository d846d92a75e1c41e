"""Example services and servers for the tests of toolkit and agents."""

from __future__ import annotations

from support.toolkit import example, loopback_without_proxy, restart_agent, serve

__all__ = ["example", "loopback_without_proxy", "restart_agent", "serve"]
