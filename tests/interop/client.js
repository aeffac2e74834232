// Real JavaScript clients: any number of them in one process.
//
// It prints `port <n>` once it can be steered.
// tests/support/js_client.py has a class for one client.
import { createServer } from 'node:http';
import { setTimeout } from 'node:timers/promises';

import { Manager } from 'socket.io-client';

import { announce, controlling } from './control.js';

class Client {
  constructor(url, transport) {
    this.events = new Map();
    this.names = [];
    this.disconnects = [];
    this.answers = new Map();
    this.delays = new Map();
    this.sockets = new Map();
    this.manager = new Manager(url, {
      reconnection: false, transports: [transport],
    });
  }

  connect(namespace, auth) {
    const socket = this.manager.socket(namespace, { auth });
    this.sockets.set(namespace, socket);
    socket.onAny((name, ...args) => this.take(name, args));
    socket.on('disconnect', (reason) => {
      this.disconnects.push([namespace, reason]);
    });
    return new Promise((resolve, reject) => {
      socket.on('connect', () => resolve(socket.id));
      socket.on('connect_error', reject);
    });
  }

  async take(name, args) {
    let acknowledge = () => {};
    if (typeof args.at(-1) === 'function') {
      acknowledge = args.pop();
    }
    this.names.push(name);
    if (!this.events.has(name)) {
      this.events.set(name, []);
    }
    this.events.get(name).push(args);
    const answer = this.answers.get(name) ?? [];
    if (answer !== 'never') {
      await setTimeout(this.delays.get(name) ?? 0);
      acknowledge(...answer);
    }
  }
}

const clients = new Map();

const operations = {
  // Returns the socket ids, one for each namespace.
  async connect(id, url, namespaces, transport, auth) {
    const client = new Client(url, transport);
    clients.set(id, client);
    return Promise.all(
      namespaces.map((each) => client.connect(each, auth)));
  },

  names: (id) => clients.get(id).names,
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

  // Ends the connection as a network would.
  cut(id) {
    clients.get(id).manager.engine.close();
  },
};

announce(createServer(controlling(operations)));
