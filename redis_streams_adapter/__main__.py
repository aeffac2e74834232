"""``python -m redis_streams_adapter`` is ``redis-streams-adapter``."""
import sys

from .cli import main

if __name__ == '__main__':
    sys.exit(main())
