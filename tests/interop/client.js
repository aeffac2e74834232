// Real JavaScript clients: any number of them in one process.
//
// It prints `port <n>` once it serves.
// tests/support/js_client.py has a method for each operation.
import { createServer } from 'node:http';
import { setTimeout } from 'node:timers/promises';

import { Manager } from 'socket.io-client';

import { announce, controlling } from './control.js';

class Client {
  constructor(url, transports, options) {
    this.events = new Map();
    // Namespaces, names and arguments, in the order of arrival.
    this.log = [];
    this.connects = [];
    this.disconnects = [];
    this.errors = [];
    // What has happened to it, and when, for the report of a failed test.
    this.history = [];
    this.answers = new Map();
    this.delays = new Map();
    this.sockets = new Map();
    this.manager = new Manager(url, {
      reconnection: false, transports, ...options,
    });
  }

  // Records what has happened.
  note(...what) {
    this.history.push([Date.now() / 1000, what.join(' ')]);
  }

  // Lets it reconnect to this server from now on.
  setServer(url) {
    this.manager.uri = url;
    this.note('reconnects to', url);
  }

  // The state of the connection, for a report.
  condition() {
    const { engine, _readyState, _reconnecting } = this.manager;
    return [
      'manager', _readyState, _reconnecting ? 'reconnecting' : '',
      'engine', engine.readyState, 'of port', engine.port,
      engine.transport.name, engine.transport.readyState,
      engine.upgrading ? 'upgrading' : '',
    ].join(' ');
  }

  connect(namespace, auth) {
    const socket = this.manager.socket(namespace, { auth });
    this.sockets.set(namespace, socket);
    socket.onAny((name, ...args) => this.take(namespace, name, args));
    socket.on('connect', () => {
      this.connects.push(
        [namespace, socket.id, Boolean(socket.recovered), this.log.length]);
      this.note('connected to', this.manager.engine.port);
    });
    socket.on('connect_error', (error) => {
      this.errors.push([namespace, error.message, error.data]);
      this.note('not connected:', error.message);
    });
    socket.on('disconnect', (reason) => {
      this.disconnects.push([namespace, reason]);
      this.note('disconnected:', reason);
    });
    return this.arrival(socket, 0);
  }

  // The socket's id once it is connected.
  arrival(socket, timeout) {
    return new Promise((resolve, reject) => {
      const timer = timeout && globalThis.setTimeout(
        () => finish(reject, new Error('no connection in time')), timeout);
      const onConnect = () => finish(resolve, socket.id);
      const onError = (error) => finish(reject, error);
      const finish = (settle, value) => {
        globalThis.clearTimeout(timer);
        socket.off('connect', onConnect);
        socket.off('connect_error', onError);
        settle(value);
      };
      socket.on('connect', onConnect);
      socket.on('connect_error', onError);
    });
  }

  async take(namespace, name, args) {
    const acknowledge = typeof args.at(-1) === 'function' ? args.pop() : null;
    this.log.push([namespace, name, args]);
    if (!this.events.has(name)) {
      this.events.set(name, []);
    }
    this.events.get(name).push(args);
    const answer = this.answers.get(name) ?? [];
    if (acknowledge && answer !== 'never') {
      await setTimeout(this.delays.get(name) ?? 0);
      acknowledge(...answer);
    }
  }

  // Loses the connection without a word to the server, as in a network
  // failure.
  drop() {
    const { engine } = this.manager;
    const { transport } = engine;
    this.note('dropped:', this.condition());
    if (transport.ws) {
      transport.ws.terminate();
      return;
    }
    // Otherwise it would send a packet to close the connection.
    transport.readyState = 'closed';
    transport.pollXhr?.abort();
    if (engine.readyState === 'opening') {
      transport.onError('dropped');
    } else {
      engine._onClose('transport close');
    }
  }
}

const clients = new Map();

const operations = {
  // Returns the socket ids, one for each namespace.
  async connect(id, url, namespaces, transports, auth, options) {
    const client = new Client(url, transports, options);
    clients.set(id, client);
    return Promise.all(
      namespaces.map((each) => client.connect(each, auth)));
  },

  // Connects a client to one more namespace, without waiting for it.
  begin(id, namespace) {
    clients.get(id).connect(namespace, {}).catch(() => {});
  },

  // Lets the client lose its next connection as soon as a packet arrives
  // after that many events.
  dropNextConnection(id, count) {
    const client = clients.get(id);
    const { manager } = client;
    const decoded = manager.ondecoded;
    let left = count;
    let engine = null;
    manager.ondecoded = (packet) => {
      if (engine === manager.engine) {
        return;
      }
      const isEvent = packet.data instanceof Array;
      if (engine === null && (left === 0 || !isEvent)) {
        engine = manager.engine;
        client.drop();
        return;
      }
      left -= engine === null;
      decoded.call(manager, packet);
    };
  },

  // Disconnects from a namespace and connects again, at once.
  reconnectNamespace(id, namespace) {
    const socket = clients.get(id).sockets.get(namespace);
    socket.disconnect();
    socket.connect();
  },

  // The sid if the client believes that it is connected, otherwise null.
  connectedSid(id, namespace) {
    const { connected, id: sid } = clients.get(id).sockets.get(namespace);
    return connected ? sid : null;
  },

  // Connects sockets that have lost their connection to a server, the same or
  // another one, as the client's own reconnection does. Returns what
  // `connect` returns.
  async move(id, url, timeout) {
    const client = clients.get(id);
    client.setServer(url);
    return Promise.all([...client.sockets.values()].map((socket) => {
      if (socket.connected) {
        throw new Error(`${socket.id} has not lost its connection`);
      }
      const arrival = client.arrival(socket, timeout);
      socket.connect();
      return arrival;
    }));
  },

  // Lets the client's own reconnection go to this server from now on.
  setServer(id, url) {
    clients.get(id).setServer(url);
  },

  // Lets the client's own reconnection go on for that many milliseconds, and
  // then loses the connection, whatever its state.
  async reconnectBriefly(id, url, delay) {
    const client = clients.get(id);
    client.setServer(url);
    await setTimeout(delay);
    client.drop();
  },

  // What the client would send to recover its state.
  state(id, namespace) {
    const socket = clients.get(id).sockets.get(namespace);
    return [socket._pid, socket._lastOffset];
  },

  setState(id, namespace, pid, offset) {
    const socket = clients.get(id).sockets.get(namespace);
    socket._pid = pid;
    socket._lastOffset = offset ?? undefined;
  },

  // What has happened to the client, and the state of its connection.
  history: (id) => [
    ...clients.get(id).history,
    [Date.now() / 1000, clients.get(id).condition()],
  ],

  connects: (id) => clients.get(id).connects,
  errors: (id) => clients.get(id).errors,
  log: (id, start) => clients.get(id).log.slice(start),
  // The port of the server that it is connected to, connects to, or was
  // connected to last.
  port: (id) => Number(clients.get(id).manager.engine.port),
  transport: (id) => clients.get(id).manager.engine.transport.name,
  names: (id) => clients.get(id).log.map(([, name]) => name),
  count: (id, name) => clients.get(id).events.get(name)?.length ?? 0,
  received: (id, name) => clients.get(id).events.get(name) ?? [],
  disconnects: (id) => clients.get(id).disconnects,

  answer(id, name, args, delay = 0) {
    clients.get(id).answers.set(name, args);
    clients.get(id).delays.set(name, delay);
  },

  neverAnswer(id, name) {
    clients.get(id).answers.set(name, 'never');
  },

  call(id, name, args, namespace, timeout) {
    return new Promise((resolve, reject) => {
      const socket = clients.get(id).sockets.get(namespace);
      socket.timeout(timeout).emit(name, ...args, (error, ...answer) => {
        if (error) {
          reject(error);
        } else {
          resolve(answer);
        }
      });
    });
  },

  close(id) {
    const { sockets } = clients.get(id);
    for (const socket of sockets.values()) {
      socket.disconnect();
    }
  },

  // Closes the Engine.IO connection, without a DISCONNECT packet.
  cut(id) {
    clients.get(id).manager.engine.close();
  },

  drop(id) {
    clients.get(id).drop();
  },
};

announce(createServer(controlling(operations)));
