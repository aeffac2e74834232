"""What goes wrong around a cluster, and what must not come of it."""
