"""The commands that show a cluster, run as a user runs them."""
