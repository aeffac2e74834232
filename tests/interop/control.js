// A test process controls a Node.js process with POST /control, in the JSON of
// tests/support/json_values.py.
import { writeSync } from 'node:fs';

const BINARY = new Set(['$bytes', '$bytearray']);

// Converts a value of JSON to what it represents.
function revive(_, value) {
  if (value === null || typeof value !== 'object') {
    return value;
  }
  const keys = Object.keys(value);
  if (keys.length !== 1 || !keys[0].startsWith('$')) {
    return value;
  }
  const [kind] = keys;
  const content = value[kind];
  if (BINARY.has(kind)) {
    return Buffer.from(content, 'base64');
  }
  switch (kind) {
    case '$tuple':
      return content;
    case '$dict':
      return Object.fromEntries(content);
    case '$date':
      return new Date(content);
    default:
      throw new Error(`unknown kind of value: ${kind}`);
  }
}

function dump(value) {
  if (value === undefined) {
    return null;
  }
  if (value === null || typeof value !== 'object') {
    return value;
  }
  if (value instanceof ArrayBuffer) {
    return { $bytes: Buffer.from(value).toString('base64') };
  }
  if (ArrayBuffer.isView(value)) {
    const { buffer, byteOffset, byteLength } = value;
    return {
      $bytes: Buffer.from(buffer, byteOffset, byteLength).toString('base64'),
    };
  }
  if (value instanceof Date) {
    return { $date: value.getTime() };
  }
  if (Array.isArray(value)) {
    return value.map(dump);
  }
  const pairs = Object.entries(value).map(([key, each]) => [key, dump(each)]);
  return pairs.some(([key]) => key.startsWith('$'))
    ? { $dict: pairs }
    : Object.fromEntries(pairs);
}

async function perform(operations, body) {
  try {
    const { operation, arguments: args } = JSON.parse(body, revive);
    return { result: dump(await operations[operation](...args)) };
  } catch (error) {
    return {
      error: {
        types: [error.name],
        text: error.message,
        traceback: error.stack,
        responses: dump(error.responses),
      },
    };
  }
}

// A request handler that carries out operations.
export function controlling(operations) {
  return async (request, response) => {
    if (request.url !== '/control') {
      return;
    }
    const chunks = [];
    for await (const chunk of request) {
      chunks.push(chunk);
    }
    const answer = await perform(
      operations, Buffer.concat(chunks).toString());
    response.setHeader('Content-Type', 'application/json');
    response.end(JSON.stringify(answer));
  };
}

// Serves on a free port of the loopback interface, and prints the port.
export function announce(httpServer) {
  httpServer.listen(0, '127.0.0.1', () => {
    writeSync(1, `port ${httpServer.address().port}\n`);
  });
}
