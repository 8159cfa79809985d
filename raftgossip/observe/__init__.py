"""Sinks for facts: log lines now; what a node does never depends on who watches."""
