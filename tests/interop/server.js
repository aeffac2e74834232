// One Socket.IO server in Node.js, with the published adapter.
//
// node server.js '{"adapter": "adapter-02", "client": "redis",
//                  "redisUrl": "redis://...", "options": {}}'
//
// It prints `port <n>` once it serves. SIGTERM starts a graceful shutdown.
// tests/support/js_server.py has a method for each operation.
import { createServer } from 'node:http';

import { Server } from 'socket.io';

import { announce, controlling } from './control.js';

// As in tests/support/node_app.py.
const NAMESPACES = ['/', '/chat'];

const settings = JSON.parse(process.argv[2]);

async function makeRedisClient(name, url) {
  // As a manager spells the servers of a cluster.
  const cluster = url.startsWith('redis+cluster://')
    ? url.split('://')[1].split(',').map((each) => `redis://${each}`) : null;
  const packaged = await import(name);
  let client;
  if (name === 'ioredis') {
    client = cluster ? new packaged.Cluster(cluster)
      : new packaged.Redis(url);
  } else {
    client = cluster
      ? packaged.createCluster({ rootNodes: cluster.map((each) => ({ url: each })) })
      : packaged.createClient({ url });
  }
  client.on('error', (error) => console.error(`Redis: ${error.message}`));
  if (name !== 'ioredis') {
    await client.connect();
  }
  return client;
}

const redisClient = await makeRedisClient(
  settings.client, settings.redisUrl);
const { createAdapter } = await import(settings.adapter);

const recorded = new Map([['connect', []], ['disconnect', []]]);

function record(what, entry) {
  if (!recorded.has(what)) {
    recorded.set(what, []);
  }
  recorded.get(what).push(entry);
}

// A broadcast operator for `where`: namespace, rooms, except, timeout
// (milliseconds), local, volatile.
function operator({ namespace = '/', rooms = [], except = [], ...flags }) {
  let chosen = io.of(namespace).to(rooms).except(except);
  if (flags.timeout !== undefined) {
    chosen = chosen.timeout(flags.timeout);
  }
  for (const flag of ['local', 'volatile']) {
    chosen = flags[flag] ? chosen[flag] : chosen;
  }
  return chosen;
}

function findSocket(sid, namespace) {
  return io.of(namespace).sockets.get(sid);
}

const operations = {
  emit(event, args, where) {
    operator(where).emit(event, ...args);
  },

  burst(event, count) {
    for (let number = 0; number < count; number += 1) {
      io.emit(event, number);
    }
  },

  emitWithAck(event, args, where) {
    return operator(where).emitWithAck(event, ...args);
  },

  async fetchSockets(where) {
    const sockets = await operator(where).fetchSockets();
    return sockets.map(({ id, handshake, rooms, data }) => ({
      id, handshake, rooms: [...rooms], data,
    }));
  },

  // Calls a method of a socket that fetchSockets() finds on any server.
  async onSocket(sid, namespace, method, args) {
    const [socket] = await io.of(namespace).in(sid).fetchSockets();
    socket[method](...args);
  },

  // Emits to such a socket, and waits for its acknowledgement.
  async askSocket(sid, namespace, event, args, timeout) {
    const [socket] = await io.of(namespace).in(sid).fetchSockets();
    return socket.timeout(timeout).emitWithAck(event, ...args);
  },

  socketsJoin(rooms, where) {
    operator(where).socketsJoin(rooms);
  },

  socketsLeave(rooms, where) {
    operator(where).socketsLeave(rooms);
  },

  disconnectSockets(close, where) {
    operator(where).disconnectSockets(close);
  },

  serverSideEmit(event, args, namespace) {
    io.of(namespace).serverSideEmit(event, ...args);
  },

  serverSideEmitWithAck(event, args, namespace) {
    return io.of(namespace).serverSideEmitWithAck(event, ...args);
  },

  // Records what arrives as `server-side:<event>`, and answers it.
  handleServerSide(event, answer, namespace) {
    io.of(namespace).on(event, (...args) => {
      const callback = args.at(-1);
      if (typeof callback === 'function') {
        args.pop();
        callback(answer);
      }
      record(`server-side:${event}`, args);
    });
  },

  serverCount(namespace) {
    return io.of(namespace).adapter.serverCount();
  },

  uid(namespace) {
    return io.of(namespace).adapter.uid;
  },

  rooms(sid, namespace) {
    return [...findSocket(sid, namespace).rooms];
  },

  setData(sid, data, namespace) {
    findSocket(sid, namespace).data = data;
  },

  recorded(what) {
    return recorded.get(what) ?? [];
  },
};

// The first is an option of the server, though it is among those of the
// adapter, as with a manager in Python.
const { connectionStateRecovery, ...adapterOptions } = settings.options;
const httpServer = createServer(controlling(operations));
const io = new Server(httpServer, {
  adapter: createAdapter(redisClient, adapterOptions),
  connectionStateRecovery,
  // Enough for an event with a megabyte of bytes from a client.
  maxHttpBufferSize: 1e7,
  serveClient: false,
});

for (const namespace of NAMESPACES) {
  io.of(namespace).on('connection', (socket) => {
    record('connect', [namespace, socket.id]);
    record('connected', {
      namespace,
      sid: socket.id,
      recovered: socket.recovered,
      rooms: [...socket.rooms].sort(),
      session: { ...socket.data },
    });
    socket.on('echo', (...args) => {
      const acknowledge = args.pop();
      acknowledge(...args);
    });
    socket.on('disconnect', (reason) => {
      record('disconnect', [namespace, socket.id, reason]);
    });
  });
}

process.on('SIGTERM', async () => {
  await io.close();
  // After the goodbye, for which close() does not wait.
  await redisClient.quit();
  process.exit(0);
});

announce(httpServer);
