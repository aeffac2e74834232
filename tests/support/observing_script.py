"""A script that watches a cluster until it is killed.

``python -m tests.support.observing_script REDIS_URL OPTIONS``; the options as
JSON. It writes a line when it has asked everything once, and goes on asking.
"""
import json
import sys

from redis_streams_adapter.observer import Observer


def main(url: str, options: str) -> None:
    with Observer(url, **json.loads(options)) as observer:
        while True:
            found = observer.cluster_stats()
            observer.nodes()
            observer.fetch_sockets()
            observer.room_counts()
            print(len(found), flush=True)


if __name__ == '__main__':
    main(*sys.argv[1:])
