"""The page of ``redis-streams-adapter demo --web``, without a browser."""
import json
import re
from http.client import HTTPConnection
from typing import Any, Callable, Dict, Mapping, Optional, Tuple

from .demo_run import Run, RUN_TIMEOUT
from .wait import wait_until

#: The buttons of the page.
BUTTONS = ('kill-server', 'freeze-redis', 'restart-redis', 'cut-connections',
           'drop-client')

#: Seconds for a button: what it breaks, and all clients' return.
BUTTON_TIMEOUT = 60.0


class DemoPage:
    """The page of a run that has just been started.

    :param demo: the run.
    """

    def __init__(self, demo: Run) -> None:
        demo.wait_for('  Open ')
        found = re.search(r'^  Open +(http://127.0.0.1:(\d+)/)$', demo.text,
                          re.M)
        assert found is not None, demo.text
        self.url, self.port = found[1], int(found[2])
        page = self.ask('GET', '/')[1]
        token = re.search('name="token" content="([^"]+)"', page)
        assert token is not None, page
        self.token = token[1]

    def ask(self, method: str, path: str,
            headers: Optional[Mapping[str, str]] = None) -> Tuple[int, str]:
        """Send a request; return the status and the body."""
        connection = HTTPConnection('127.0.0.1', self.port,
                                    timeout=RUN_TIMEOUT)
        try:
            connection.request(method, path, headers=dict(headers or {}))
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def state(self) -> Dict[str, Any]:
        """What the page shows now."""
        return dict(json.loads(self.ask('GET', '/state')[1]))

    def press(self, button: str) -> int:
        """Press a button; return the status of the response."""
        return self.ask('POST', f'/press/{button}',
                        {'X-Demo-Token': self.token})[0]

    def wait_for(self, condition: Callable[[Dict[str, Any]], bool],
                 what: str) -> Dict[str, Any]:
        """Wait until the page shows something; return what it shows."""
        state: Dict[str, Any] = {}

        def shown() -> bool:
            state.clear()
            state.update(self.state())
            return condition(state)

        wait_until(shown, BUTTON_TIMEOUT, lambda: f'{what}; it is {state}')
        return state

    def press_and_wait(self, button: str) -> Dict[str, Any]:
        """Press a button, and wait until all that it broke works again and
        every client has received more; return what the page shows then."""
        assert self.press(button) == 202
        self.wait_for(lambda state: not state['busy'], f'the end of {button}')
        due = self.state()['events']
        return self.wait_for(
            lambda state: all(each['received'] > due
                              for each in state['clients']),
            f'more than {due} events for each client')


def errors(state: Mapping[str, Any]) -> Dict[str, Tuple[int, int, int]]:
    """The clients that did not get everything once and in order, with how
    many events were lost, came twice and out of order; a problem of the
    demo has a place of its own."""
    found = {each['name']: (each['lost'], each['twice'], each['disordered'])
             for each in state['clients']
             if each['lost'] or each['twice'] or each['disordered']}
    found.update(dict.fromkeys(state['problems'], (0, 0, 0)))
    return found
