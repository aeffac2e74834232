"""Redis in memory, for tests without one.

Nothing of this package is imported by the others. It may import all of them.
"""
