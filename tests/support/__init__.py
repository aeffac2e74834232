"""Shared test infrastructure: real servers, real clients and a real Redis."""
