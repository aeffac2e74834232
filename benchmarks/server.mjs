// One node of the peer in Node.js: socket.io with the published adapter, with
// default options apart from the name of the stream.
//
// node server.mjs PACKAGES '{"url": "redis://...", "cluster": "name"}'
//
// PACKAGES is the directory whose node_modules it takes. It serves on a free
// port of 127.0.0.1 and executes the commands of node.py: one JSON object a line
// on its standard input, answered in order on its standard output.
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { setImmediate as turn, setTimeout as sleep }
  from 'node:timers/promises';

const require = createRequire(`${process.argv[2]}/`);
const { Server } = require('socket.io');
const { createAdapter } = require('adapter-03');
const { createClient } = require('redis-5');

const { url, cluster } = JSON.parse(process.argv[3]);

// Emits between two turns of the event loop: a server that never comes back
// to it could neither send nor receive.
const EMITS_A_TURN = 100;

const now = () => Number(process.hrtime.bigint());

// As in payload.py.
function make(number, size, due = process.hrtime.bigint()) {
  const clock = due.toString().padStart(20, '0');
  return `${String(number).padStart(8, '0')} ${clock} `.padEnd(size, 'x');
}

function cpu() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

const answer = (values) => {
  process.stdout.write(`${JSON.stringify(values)}\n`);
};

const redisClient = createClient({ url });
redisClient.on('error', (error) => console.error(`Redis: ${error.message}`));
await redisClient.connect();

const httpServer = createServer();
const io = new Server(httpServer, {
  adapter: createAdapter(redisClient, { streamName: cluster }),
  serveClient: false,
});

io.on('connection', (socket) => {
  const { room } = socket.handshake.query;
  if (room !== undefined) {
    socket.join(room);
  }
});

function emit(to, number, size, binary, due) {
  const data = make(number, size, due);
  io.to(to).emit('m', binary ? Buffer.from(data) : data);
}

const commands = {
  port: () => ({ port: httpServer.address().port }),

  cpu: () => ({ cpu: cpu() }),

  async burst({ to, first, count, size = 100, binary = false,
    marker_to: markerTo }) {
    const begun = { cpu: cpu(), started: now() };
    for (let i = 0; i < count; i += 1) {
      emit(to, first + i, size, binary);
      if (i % EMITS_A_TURN === EMITS_A_TURN - 1) {
        await turn();
      }
    }
    if (markerTo) {
      emit(markerTo, first + count, size, binary);
    }
    return { ...begun, ended: now() };
  },

  async pace({ to, first, count, rate, size = 100, binary = false }) {
    const begun = { cpu: cpu(), started: now() };
    for (let i = 0; i < count; i += 1) {
      let due = BigInt(Math.floor(begun.started + (i / rate) * 1e9));
      const delay = (Number(due) - now()) / 1e6;
      if (delay > 0) {
        await sleep(delay);
        due = undefined;
      }
      if (to === null) {
        make(first + i, size, due);
      } else {
        emit(to, first + i, size, binary, due);
      }
    }
    return { ...begun, ended: now() };
  },
};

const lines = createInterface({ input: process.stdin });
lines.on('line', async (line) => {
  const { command, ...args } = JSON.parse(line);
  try {
    answer(await commands[command](args));
  } catch (error) {
    answer({ error: `${error.name}: ${error.message}` });
  }
});
lines.on('close', () => process.exit(0));

httpServer.listen(0, '127.0.0.1');
