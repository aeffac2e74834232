"""The examples, run as their docstrings describe."""
