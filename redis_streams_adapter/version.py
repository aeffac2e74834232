"""Which version of this package is it?"""
from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version('redis-streams-adapter')
except PackageNotFoundError:
    # Run from a source tree that was never installed.
    VERSION = '0+unknown'
