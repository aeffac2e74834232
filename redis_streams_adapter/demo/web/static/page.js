'use strict';
// Shows the state that the demo sends, and presses its buttons. Every text is
// set as text, never as HTML.

const token = document.querySelector('meta[name=token]').content;
const buttons = Array.from(document.querySelectorAll('#buttons button'));
const byId = (id) => document.getElementById(id);

// The number of columns and rows changes only when the page is opened.
function fill(table, rows) {
  const body = table.tBodies[0];
  while (body.rows.length > rows.length) {
    body.deleteRow(-1);
  }
  rows.forEach((cells, at) => {
    const row = body.rows[at] || body.insertRow();
    cells.forEach(([text, kind, label], place) => {
      const cell = row.cells[place] || row.insertCell();
      set(cell, text, kind);
      if (label) {
        cell.dataset.label = label;
      }
    });
  });
}

function set(element, text, kind = '') {
  const shown = typeof text === 'number' ? text.toLocaleString('en') : text;
  if (element.textContent !== shown) {
    element.textContent = shown;
  }
  if (element.className !== kind) {
    element.className = kind;
  }
}

const zero = (number) => (number === 0 ? 'zero' : 'some');
const sum = (rows, name) => rows.reduce((all, each) => all + each[name], 0);

function show(state) {
  const {clients, servers} = state;
  // What is still under way at the very end is lost.
  const lost = (each) => each.lost + (state.verdict ? each.waiting : 0);
  set(byId('events'), state.events);
  set(byId('received'), sum(clients, 'received'));
  const all = clients.reduce((number, each) => number + lost(each), 0);
  set(byId('lost'), all, zero(all));
  for (const name of ['twice', 'disordered']) {
    const number = sum(clients, name);
    set(byId(name), number, zero(number));
  }
  fill(byId('clients'), clients.map((each) => [
    [each.name],
    [each.connected ? each.server : 'away', each.connected ? '' : 'wait'],
    [each.received, '', 'received'],
    [each.waiting, each.waiting ? 'wait' : '', 'waiting'],
    [lost(each), zero(lost(each)), 'lost'],
    [each.twice, zero(each.twice), 'twice'],
    [each.disordered, zero(each.disordered), 'out of order'],
    [each.returns ? `${each.recovered} of ${each.returns}` : '–',
      each.recovered === each.returns ? '' : 'some', 'recovered'],
  ]));
  const mark = (word) =>
    (word === 'serving' || word === 'running' ? 'zero' : 'wait');
  fill(byId('servers'), [...servers.map((each) => [
    [each.name], [each.state, mark(each.state)],
    [each.pid ? String(each.pid) : '–'], [each.clients],
  ]), [['Redis'], [state.redis, mark(state.redis)], ['–'], ['–']]]);
  const log = byId('log');
  const lines = state.log.map((each) => {
    const line = document.createElement('li');
    const at = document.createElement('time');
    at.textContent = each.at;
    line.append(at, each.text);
    return line;
  });
  const key = JSON.stringify(state.log);
  if (log.dataset.key !== key) {
    log.dataset.key = key;
    log.replaceChildren(...lines.reverse());
  }
  for (const button of buttons) {
    const available = state.buttons.includes(button.dataset.name);
    button.disabled = Boolean(state.busy || state.verdict) || !available;
    button.title = available ? ''
      : 'Only with a Redis that the demo has started itself';
  }
  if (state.verdict) {
    set(byId('busy'), state.verdict,
      state.verdict.startsWith('PASS') ? 'pass' : 'fail');
  } else if (state.busy) {
    set(byId('busy'), `${state.busy} …`, 'wait');
  } else {
    set(byId('busy'), 'Everything works.');
  }
}

async function press(button) {
  button.disabled = true;
  try {
    const response = await fetch(`press/${button.dataset.name}`, {
      method: 'POST', headers: {'X-Demo-Token': token}});
    if (!response.ok) {
      set(byId('busy'), await response.text(), 'wait');
    }
  } catch {
    set(byId('busy'), 'The demo does not answer.', 'fail');
  }
}

for (const button of buttons) {
  button.disabled = true;
  button.addEventListener('click', () => press(button));
}

let ended = false;
const events = new EventSource('events');
events.onmessage = (message) => {
  const state = JSON.parse(message.data);
  ended = state.verdict !== '';
  show(state);
};
events.onerror = () => {
  for (const button of buttons) {
    button.disabled = true;
  }
  if (ended) {
    events.close();
  } else {
    set(byId('busy'), 'The demo does not answer.', 'fail');
  }
};
