"""Servers that are more than one process on one port."""
