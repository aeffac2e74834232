'use strict';
// Shows what the server sends. Every text is set as textContent: names of
// rooms, hosts and errors are others' data.
(() => {
  const POINTS = 300;
  const TREND = 40;
  // The time line shows this many seconds at least, and at most.
  const SHORT = 600, LONG = 6 * 3600;
  const SVG = 'http://www.w3.org/2000/svg';
  const get = id => document.getElementById(id);

  // -- numbers for people ---------------------------------------------------
  const known = value => value !== null && value !== undefined;
  const count = value => !known(value) ? '–'
    : value.toLocaleString('en', {maximumFractionDigits: value < 10 ? 1 : 0});
  const seconds = value => {
    if (!known(value)) return '–';
    if (value < 1) return Math.round(value * 1000) + ' ms';
    if (value < 120) return value.toFixed(value < 10 ? 1 : 0) + ' s';
    if (value < 7200) return Math.round(value / 60) + ' min';
    if (value < 172800) return Math.round(value / 3600) + ' h';
    return Math.round(value / 86400) + ' days';
  };
  const size = value => {
    if (!known(value)) return '–';
    const units = ['B', 'KB', 'MB', 'GB', 'TB'];
    let unit = 0;
    while (value >= 1024 && unit < 4) { value /= 1024; unit += 1; }
    return value.toFixed(value < 10 && unit ? 1 : 0) + ' ' + units[unit];
  };
  const clock = at => new Date(at * 1000).toLocaleTimeString();

  // -- elements -------------------------------------------------------------
  const make = (name, text, className) => {
    const each = document.createElement(name);
    if (text !== undefined) each.textContent = text;
    if (className) each.className = className;
    return each;
  };
  const draw = (name, attributes) => {
    const each = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) {
      each.setAttribute(key, value);
    }
    return each;
  };

  // The path of a line, in a box of 100 by 100. Unknown values and times
  // without a look are gaps.
  const path = (points, read, from, to, highest, gap) => {
    let text = '', before = null;
    for (const each of points) {
      const value = read(each);
      if (!known(value)) { before = null; continue; }
      const x = 100 * (each.time - from) / Math.max(to - from, 0.001);
      const y = 97 - 94 * value / highest;
      const joined = before !== null && each.time - before <= gap;
      text += (joined ? 'L' : 'M') + x.toFixed(2) + ' ' + y.toFixed(2);
      // A point alone is shown, too.
      if (!joined) text += 'h0.01';
      before = each.time;
    }
    return text;
  };

  // -- charts ---------------------------------------------------------------
  const CHARTS = [
    ['cluster-charts', 'Clients', count, [['clients', '']]],
    ['cluster-charts', 'Events per second', count, [
      ['sent_rate', 'sent'], ['received_rate', 'received'],
      ['delivered_rate', 'delivered']]],
    ['cluster-charts', 'Longest lag', seconds, [['lag', '']]],
    ['cluster-charts', 'Outboxes', count, [['outbox', '']]],
    ['stream-charts', 'Entries', count, [['length', '']]],
    ['stream-charts', 'Span', seconds, [['span', '']]],
    ['stream-charts', 'Entries per second', count, [['rate', '']]],
    ['stream-charts', 'Memory', size, [['memory', '']]]];

  const makeChart = ([place, title, format, series]) => {
    const figure = make('figure'), caption = make('figcaption');
    const now = make('strong', '–');
    figure.dataset.chart = title;
    caption.append(make('span', title), now);
    const svg = draw('svg', {
      viewBox: '0 0 100 100', preserveAspectRatio: 'none', role: 'img'});
    svg.append(draw('line', {x1: 0, x2: 100, y1: 97, y2: 97}));
    const lines = series.map((_, index) => draw('path', {class: 's' + index}));
    svg.append(...lines);
    const range = make('p', undefined, 'range');
    const since = make('span'), top = make('span');
    range.append(since, top);
    figure.append(caption, svg, range);
    if (series.length > 1) {
      const legend = make('p', undefined, 'legend');
      series.forEach(([, name], index) =>
        legend.append(make('span', name, 'k' + index)));
      figure.append(legend);
    }
    get(place).append(figure);
    return (points, interval) => {
      if (!points.length) return;
      const from = points[0].time, last = points[points.length - 1];
      const values = points.flatMap(
        each => series.map(([key]) => each[key])).filter(known);
      const highest = Math.max(...values, 0);
      series.forEach(([key], index) => lines[index].setAttribute('d', path(
        points, each => each[key], from, last.time, highest || 1,
        4 * interval + 12)));
      const text = series.map(
        ([key, name]) => (format(last[key]) + ' ' + name).trim()).join(', ');
      now.textContent = series.map(([key]) => format(last[key])).join(' / ');
      since.textContent = 'for ' + seconds(last.time - from);
      top.textContent = values.length ? 'highest ' + format(highest) : '';
      svg.setAttribute('aria-label', title + ': ' + text + '; highest '
        + format(highest) + ' in ' + seconds(last.time - from));
    };
  };
  const charts = CHARTS.map(makeChart);

  // -- tables ---------------------------------------------------------------
  const headings = {};
  // Rows are made again only as many as needed; cells are reused, so that a
  // selection or a screen reader's place survives.
  const fill = (id, rows) => {
    const table = get(id), body = table.tBodies[0];
    headings[id] = headings[id] || Array.from(
      table.tHead.rows[0].cells, each => each.textContent);
    while (body.rows.length > rows.length) body.deleteRow(-1);
    rows.forEach((cells, row) => {
      const line = body.rows[row] || body.insertRow();
      // On a small screen the style makes cards of rows: they remain rows
      // to a screen reader.
      line.setAttribute('role', 'row');
      cells.forEach((cell, column) => {
        const each = line.cells[column] || line.insertCell();
        each.setAttribute('role', 'cell');
        each.dataset.label = headings[id][column];
        const {text, bad, small, node} = typeof cell === 'object'
          ? cell : {text: cell};
        each.className = bad ? 'bad' : '';
        if (node) {
          each.replaceChildren(node);
        } else if (small) {
          const span = make('span', text);
          span.append(make('small', small));
          each.replaceChildren(span);
        } else if (each.textContent !== text || each.children.length) {
          each.textContent = text;
        }
      });
    });
  };

  const trends = new Map();
  const trend = (server, time) => {
    const points = trends.get(server.uid) || [];
    if (!points.length || points[points.length - 1].time < time) {
      points.push({time, value: server.delivered_rate});
    }
    if (points.length > TREND) points.shift();
    trends.set(server.uid, points);
    const highest = Math.max(...points.map(each => each.value || 0), 1);
    const svg = draw('svg', {
      viewBox: '0 0 100 100', preserveAspectRatio: 'none', class: 'trend',
      role: 'img', 'aria-label': 'delivered per second, highest '
        + count(Math.max(...points.map(each => each.value || 0), 0))});
    svg.append(draw('path', {class: 's2', d: path(
      points, each => each.value, points[0].time,
      points[points.length - 1].time, highest, 60)}));
    return {node: svg};
  };

  const NAMES = {python: 'Python', javascript: 'JavaScript'};
  const showServers = state => {
    const there = new Set(state.servers.map(each => each.uid));
    for (const uid of trends.keys()) if (!there.has(uid)) trends.delete(uid);
    fill('servers', [...state.servers.map(each => [
      known(each.host)
        ? {text: each.host, small: 'process ' + each.pid + ', up '
          + seconds(each.uptime)}
        : {text: each.uid, small: 'last seen ' + seconds(each.last_seen)
          + ' ago'},
      NAMES[each.language] || '–',
      {text: each.status || '–', bad: each.status === 'degraded',
        small: each.status === 'degraded' ? each.error : ''},
      count(each.clients), count(each.rooms), count(each.sent_rate),
      count(each.received_rate), count(each.delivered_rate),
      trend(each, state.time),
      {text: seconds(each.lag), bad: each.lag > 1},
      {text: count(each.outbox), bad: each.outbox > 1000},
      size(each.memory), {text: count(each.lost), bad: each.lost > 0},
      each.version || '–']),
    ...state.missing.map(uid => [
      uid, '–', {text: 'no answer', bad: true}])]);
  };

  const showPairs = (id, pairs, note) => {
    get(id).hidden = !pairs.length;
    get(id + '-note').textContent = note;
    fill(id, pairs.map(([name, value]) => [name, count(value)]));
  };

  // -- the time line --------------------------------------------------------
  const WORDS = {
    outage: 'Redis away', loss: 'lost', joined: 'server came',
    left: 'server left'};
  const sentence = (each, now) => {
    const by = each.by.length > 3
      ? each.by.slice(0, 3).join(', ') + ' and ' + (each.by.length - 3)
        + ' more' : each.by.join(', ');
    if (each.kind !== 'outage') {
      return WORDS[each.kind] + (each.text ? ' ' + each.text : '') + ' — '
        + by;
    }
    const end = known(each.to) ? 'for ' + seconds(each.to - each.from)
      : 'for ' + seconds(Math.max(0, now - each.from)) + ' until now';
    return WORDS.outage + ' ' + end + ' (' + each.text + ') — seen by ' + by;
  };
  const showEvents = (events, now, since) => {
    const oldest = Math.min(since, ...events.map(each => each.from));
    const span = Math.min(LONG, Math.max(SHORT, now - oldest + 10));
    const begin = now - span, lane = get('timeline');
    const marks = [];
    for (const each of events) {
      const to = known(each.to) ? each.to : now;
      if (to < begin) continue;
      const left = 100 * (Math.max(each.from, begin) - begin) / span;
      const mark = make('i', undefined, each.kind);
      mark.style.left = Math.min(left, 99.5) + '%';
      mark.style.width = Math.max(0, 100 * (to - begin) / span - left) + '%';
      mark.title = clock(each.from) + ' ' + sentence(each, now);
      marks.push(mark);
    }
    lane.replaceChildren(...marks);
    const outages = events.filter(each => each.kind === 'outage').length;
    const losses = events.filter(each => each.kind === 'loss').length;
    lane.setAttribute('aria-label', 'outages: ' + outages + ', losses: '
      + losses + ', listed below');
    get('timeline-scale').firstElementChild.textContent = clock(begin);
    const list = get('events');
    list.replaceChildren(...events.map(each => {
      const line = make('li', undefined, each.kind);
      const at = make('time', clock(each.from));
      at.dateTime = new Date(each.from * 1000).toISOString();
      line.append(at, make('span', sentence(each, now)));
      return line;
    }));
    if (!events.length) list.append(make('li', 'Nothing has happened.'));
  };

  // -- all of it ------------------------------------------------------------
  let points = [], about = {interval: 2}, began = Date.now() / 1000;
  const say = (text, kind) => {
    get('state').textContent = text;
    get('state').className = kind;
  };
  const showAll = state => {
    charts.forEach(each => each(points, about.interval));
    if (!state) { say('asking …', ''); return; }
    const away = !state.streams.length;
    const problem = get('problem');
    problem.hidden = !state.problem;
    problem.textContent = !state.problem ? ''
      : away ? 'Redis cannot be used: ' + state.problem
        + '. This page goes on when it is back.'
        : 'Not everything is known: ' + state.problem;
    say(away ? 'Redis is away' : 'live, ' + clock(state.time),
      away ? 'bad' : 'good');
    get('streams').hidden = state.streams.length < 2;
    fill('streams', state.streams.map(each => [
      each.stream, count(each.length), seconds(each.span), count(each.rate),
      size(each.memory)]));
    showEvents(state.events, state.time, began);
    document.body.classList.toggle('away', away);
    // While Redis is away, what was known last remains.
    if (away) return;
    showServers(state);
    const title = state.servers.length === 1 ? '1 server'
      : state.servers.length + ' servers';
    get('servers-title').textContent = title;
    document.title = title + ' · Cluster';
    const rooms = state.rooms;
    showPairs('rooms', rooms ? rooms.largest : [], !rooms
      ? 'Not known.' : !rooms.count ? 'No client is in a room of the namespace '
        + about.namespace + '.' : rooms.count + ' in the namespace '
        + about.namespace + (rooms.count > rooms.largest.length
          ? ', those with the most clients:' : ''));
    const recoveries = state.recoveries;
    showPairs('recoveries', recoveries ? [
      ['recovered', recoveries.recovered],
      ...Object.entries(recoveries.refused)] : [], recoveries
      ? 'Since the servers started.' : 'No server has recovery on.');
    const losses = Object.entries(state.losses || {});
    const all = losses.reduce((sum, [, value]) => sum + value, 0);
    showPairs('losses', all ? losses : [], all
      ? 'Since the servers started.' : 'Nothing was lost.');
    get('losses').classList.toggle('bad', all > 0);
  };

  const connect = () => {
    const source = new EventSource('events');
    source.addEventListener('hello', event => {
      about = JSON.parse(event.data);
      points = about.points;
      if (points.length) began = Math.min(began, points[0].time);
      get('about').textContent = about.redis + ', '
        + (about.streams.length > 1 ? 'streams ' : 'stream ')
        + about.streams.join(', ') + ' · ' + about.version;
      showAll(about.state);
    });
    source.addEventListener('sample', event => {
      const {point, state} = JSON.parse(event.data);
      points.push(point);
      if (points.length > POINTS) points.shift();
      showAll(state);
    });
    source.onerror = () => {
      say('the dashboard does not answer; trying again …', 'bad');
      // The browser tries again by itself, but not after a refusal.
      if (source.readyState === EventSource.CLOSED) {
        source.close();
        setTimeout(connect, 3000);
      }
    };
  };
  connect();
})();
