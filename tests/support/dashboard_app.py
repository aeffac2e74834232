"""Serves a dashboard in one mode: ``dashboard_app MODE URL [OPTIONS]``.

It is mounted under ``/watch``. ``/state`` says how many look, how often the
servers were asked, and whether there are connections.
"""
import sys


def main(mode: str, url: str, options: str = '{}') -> None:
    if mode == 'gevent':
        from gevent import monkey
        monkey.patch_all()
    elif mode == 'eventlet':
        import eventlet
        eventlet.monkey_patch()
    import json
    import socket

    from redis_streams_adapter.dashboard import Dashboard

    dashboard = Dashboard(url, **json.loads(options))
    source = dashboard._source
    look, asked = source.look, [0]

    def counted():
        asked[0] += 1
        return look()

    source.look = counted

    def app(environ, start_response):
        path = environ['PATH_INFO']
        if path == '/state':
            body = json.dumps({
                'viewers': dashboard._feed.viewers, 'asked': asked[0],
                'connected': source._redis is not None}).encode()
            start_response('200 OK', [
                ('Content-Type', 'application/json'),
                ('Content-Length', str(len(body)))])
            return [body]
        if path == '/close':
            dashboard.close()
            start_response('200 OK', [('Content-Length', '0')])
            return [b'']
        environ['SCRIPT_NAME'] = '/watch'
        environ['PATH_INFO'] = path[len('/watch'):]
        return dashboard(environ, start_response)

    listener = socket.create_server(('127.0.0.1', 0))
    port = listener.getsockname()[1]
    if mode == 'threading':
        from redis_streams_adapter.dashboard.server import make_server
        listener.close()
        server = make_server(app, '127.0.0.1', port)
        print('port', port, flush=True)
        server.serve_forever()
        return
    print('port', port, flush=True)
    if mode == 'gevent':
        from gevent.pywsgi import WSGIServer
        WSGIServer(listener, app, log=None).serve_forever()
    else:
        import eventlet.wsgi
        eventlet.wsgi.server(listener, app, log_output=False)


if __name__ == '__main__':
    main(*sys.argv[1:])
