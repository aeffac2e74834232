"""Shared test infrastructure: real servers, real clients, real Redis."""
