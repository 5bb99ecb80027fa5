#!/usr/bin/env node
// Exercises the chat service with Node's stock gRPC client. Run `npm ci` in this folder first.
//   node chat_client.js --address HOST:PORT [--ca FILE] [--authority NAME] [--plaintext] [--proto chat.proto]
// Prints a line per check and ends with one line of JSON. The first mismatch ends it: exit code 1.
import {readFileSync} from 'node:fs';
import {isDeepStrictEqual, parseArgs} from 'node:util';
import {fileURLToPath} from 'node:url';
import grpc from '@grpc/grpc-js';
import protoLoader from '@grpc/proto-loader';

const LARGE = 1 << 20;
const LIMIT_MS = 20_000;
const BINARY = Buffer.from(Array.from({length: 256}, (_, i) => i));
const DIFFICULT = '100 % wrong:\nnaïve "quotes", ünïcödé ☂, tab\tand more';

class Mismatch extends Error {}

function expect(what, got, wanted) {
  if (isDeepStrictEqual(got, wanted)) return;
  const show = (value) => String(Buffer.isBuffer(value) ? value.toString('hex') : JSON.stringify(value)).slice(0, 200);
  throw new Mismatch(`${what}: got ${show(got)} instead of ${show(wanted)}`);
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const within = (ms = LIMIT_MS) => ({deadline: Date.now() + ms});

function metadataOf(entries = {}) {
  const metadata = new grpc.Metadata();
  for (const [key, value] of Object.entries(entries)) metadata.set(key, value);
  return metadata;
}

// How the call ended: {code, details, metadata: trailers}. Also for calls that end OK.
const ending = (call) => new Promise((resolve) => call.on('status', resolve));
const initialOf = (call) => new Promise((resolve) => call.on('metadata', resolve));

// A call with one reply: {reply, error, status, initial}.
async function single(start) {
  let settle;
  const answered = new Promise((resolve) => (settle = resolve));
  const call = start((error, reply) => settle({error, reply}));
  const initial = [];
  call.on('metadata', (metadata) => initial.push(metadata));
  const [answer, status] = await Promise.all([answered, ending(call)]);
  return {...answer, status, initial: initial[0]};
}

// All messages of a call that streams replies, and how it ended.
async function collected(call) {
  const messages = [];
  call.on('data', (message) => messages.push(message));
  call.on('error', () => {});  // the status tells
  const status = await ending(call);
  return {messages, status};
}

function expectOk(status) {
  expect('status', [status.code, status.details], [grpc.status.OK, status.details]);
}

function checksOf(client, transport) {
  const say = (request, entries, options = within()) =>
    single((done) => client.Say(request, metadataOf(entries), options, done));

  const collect = async (count, size) => {
    const {reply, status} = await single((done) => {
      const call = client.Collect(metadataOf(), within(), done);
      for (let i = 1; i <= count; i++) call.write({sequence: i, payload: Buffer.alloc(size, 'c')});
      call.end();
      return call;
    });
    expectOk(status);
    expect('reply', [reply.messages, reply.bytes, reply.inOrder], [count, count * size, true]);
    expect('trailer', status.metadata.get('messages-received'), [String(count)]);
  };

  const chatInTurn = async (count, size) => {
    const call = client.Chat(metadataOf({'x-trailing-bytes-bin': BINARY}), within());
    const tasks = new Set();
    let asked = 0, answered = 0, problem = null;
    const ask = () => {
      asked++;
      call.write({sequence: asked, text: String(asked), payload: Buffer.alloc(size, asked % 256)});
    };
    call.on('error', () => {});
    call.on('data', (reply) => {
      answered++;
      try {
        expect('sequence', [reply.sequence, reply.inReplyTo, reply.text], [answered, answered, String(answered)]);
        expect('payload', reply.payload, Buffer.alloc(size, answered % 256));
      } catch (error) {
        problem ??= error;
      }
      tasks.add(reply.servedBy);
      if (asked < count) ask();
      else call.end();
    });
    ask();
    const status = await ending(call);
    if (problem) throw problem;
    expectOk(status);
    expect('replies', answered, count);
    expect('tasks that served the stream', tasks.size, 1);
    expect('messages-received', status.metadata.get('messages-received'), [String(count)]);
    expect('trailer', status.metadata.get('x-trailing-bytes-bin'), [BINARY]);
  };

  return {
    'unary': async () => {
      for (const size of [0, 1, 100, LARGE]) {
        const payload = Buffer.alloc(size, 0xfe);
        const {reply, status} = await say({sequence: size, text: 'caffè ☕', payload});
        expectOk(status);
        expect('reply', [reply.sequence, reply.text], [size, 'caffè ☕']);
        expect('payload', reply.payload, payload);
        expect('servedBy is there', reply.servedBy.length > 0, true);
      }
    },
    'unary empty message': async () => {
      const {reply, status} = await say({});
      expectOk(status);
      expect('payload', reply.payload.length, 0);
    },
    'unary metadata and trailers': async () => {
      const {reply, status, initial} = await say({}, {
        'x-initial-text': 'a, b; c="d"', 'x-initial-bytes-bin': BINARY,
        'x-trailing-text': '~tail~', 'x-trailing-bytes-bin': BINARY,
      });
      expectOk(status);
      expect('x-initial-text', initial.get('x-initial-text'), ['a, b; c="d"']);
      expect('x-initial-bytes-bin', initial.get('x-initial-bytes-bin'), [BINARY]);
      expect('x-trailing-text', status.metadata.get('x-trailing-text'), ['~tail~']);
      expect('x-trailing-bytes-bin', status.metadata.get('x-trailing-bytes-bin'), [BINARY]);
      expect('served-by', initial.get('served-by'), [reply.servedBy]);
      expect('messages-received', status.metadata.get('messages-received'), ['1']);
    },
    'unary error status': async () => {
      for (let code = 1; code <= 16; code++) {
        const {error, status} = await say({behaviour: {failCode: code, failMessage: DIFFICULT}},
                                          {'x-trailing-bytes-bin': BINARY});
        expect('code', [status.code, error?.code], [code, code]);
        expect('message', status.details, DIFFICULT);
        expect('trailer', status.metadata.get('x-trailing-bytes-bin'), [BINARY]);
      }
    },
    'unary deadline': async () => {
      const began = Date.now();
      const {status} = await say({behaviour: {delayMs: 10_000}}, {}, within(300));
      const took = Date.now() - began;
      expect('code', status.code, grpc.status.DEADLINE_EXCEEDED);
      expect(`ended within bounds (${took} ms)`, took > 250 && took < 3000, true);
    },
    'unary cancel': async () => {
      const {status} = await single((done) => {
        const call = client.Say({behaviour: {delayMs: 10_000}}, metadataOf(), within(), done);
        setTimeout(() => call.cancel(), 200);
        return call;
      });
      expect('code', status.code, grpc.status.CANCELLED);
    },
    'unary unknown method': async () => {
      const same = (value) => value;
      const {status} = await single((done) => transport.makeUnaryRequest(
        '/weir.chat.v1.ChatService/Nothing', same, same, Buffer.alloc(0), metadataOf(), within(), done));
      expect('code', status.code, grpc.status.UNIMPLEMENTED);
    },
    'collect': async () => {
      for (const [count, size] of [[0, 0], [1, 0], [100, 1000], [4, LARGE]]) await collect(count, size);
    },
    'collect refused while the client still sends': async () => {
      const began = Date.now();
      const {status} = await single((done) => {
        const call = client.Collect(metadataOf(), within(), done);
        call.on('error', () => {});
        call.write({sequence: 1, behaviour: {failCode: 9, failMessage: 'enough'}});
        return call;
      });
      expect('status', [status.code, status.details], [grpc.status.FAILED_PRECONDITION, 'enough']);
      expect('did not wait for the client', Date.now() - began < 5000, true);
    },
    'watch': async () => {
      for (const [count, size] of [[1, 0], [200, 1000], [4, LARGE]]) {
        const call = client.Watch({topic: 't', behaviour: {count, replyBytes: size}}, metadataOf(), within());
        const {messages, status} = await collected(call);
        expectOk(status);
        expect('messages', messages.map((m) => [m.sequence, m.payload.length]),
               Array.from({length: count}, (_, i) => [i + 1, size]));
      }
    },
    'watch messages arrive one by one': async () => {
      const call = client.Watch({behaviour: {count: 4, delayMs: 200}}, metadataOf(), within());
      const times = [];
      call.on('data', () => times.push(Date.now()));
      call.on('error', () => {});
      expectOk(await ending(call));
      expect(`spread over the stream's length (${times})`, times.at(-1) - times[0] > 300, true);
    },
    'watch that ends with an error': async () => {
      const behaviour = {count: 3, failCode: 10, failMessage: DIFFICULT};
      const {messages, status} = await collected(client.Watch({behaviour}, metadataOf(), within()));
      expect('messages before it', messages.map((m) => m.sequence), [1, 2, 3]);
      expect('status', [status.code, status.details], [grpc.status.ABORTED, DIFFICULT]);
    },
    'watch cancel': async () => {
      const call = client.Watch({behaviour: {count: 1000, delayMs: 20}}, metadataOf(), within());
      let got = 0;
      call.on('data', () => ++got === 3 && call.cancel());
      call.on('error', () => {});
      const status = await ending(call);
      expect('code', status.code, grpc.status.CANCELLED);
      expect('messages before it', got >= 3 && got < 20, true);
    },
    'watch deadline': async () => {
      const began = Date.now();
      const call = client.Watch({behaviour: {count: 1000, delayMs: 20}}, metadataOf(), within(500));
      const {messages, status} = await collected(call);
      const took = Date.now() - began;
      expect('code', status.code, grpc.status.DEADLINE_EXCEEDED);
      expect(`ended within bounds (${took} ms)`, took > 400 && took < 3000, true);
      expect('messages arrived before it', messages.length > 0, true);
    },
    'chat': async () => {
      for (const [count, size] of [[1, 0], [200, 100], [4, LARGE]]) await chatInTurn(count, size);
    },
    'chat without a message': async () => {
      const call = client.Chat(metadataOf(), within());
      const result = collected(call);
      call.end();
      const {messages, status} = await result;
      expectOk(status);
      expect('messages', messages.length, 0);
    },
    'chat half-close waits for the answers': async () => {
      const call = client.Chat(metadataOf(), within());
      const initial = initialOf(call);
      const result = collected(call);
      for (let i = 1; i <= 50; i++) call.write({sequence: i, behaviour: {count: 4}});
      call.end();
      const {messages, status} = await result;
      expectOk(status);
      expect('messages', messages.map((m) => [m.sequence, m.inReplyTo]),
             Array.from({length: 200}, (_, i) => [i + 1, Math.floor(i / 4) + 1]));
      expect('served-by', (await initial).get('served-by'), [messages[0].servedBy]);
    },
    'chat that ends with an error': async () => {
      const call = client.Chat(metadataOf(), within());
      const result = collected(call);
      call.write({sequence: 1, behaviour: {failCode: 8, failMessage: DIFFICULT}});
      const {messages, status} = await result;
      expect('messages before it', messages.length, 1);
      expect('status', [status.code, status.details], [grpc.status.RESOURCE_EXHAUSTED, DIFFICULT]);
    },
    'chat cancel': async () => {
      const call = client.Chat(metadataOf(), within());
      call.on('data', () => call.cancel());
      call.on('error', () => {});
      call.write({sequence: 1});
      expect('code', (await ending(call)).code, grpc.status.CANCELLED);
    },
  };
}

function parsed() {
  const {values} = parseArgs({options: {
    address: {type: 'string'}, ca: {type: 'string'}, authority: {type: 'string'},
    plaintext: {type: 'boolean', default: false},
    proto: {type: 'string', default: fileURLToPath(new URL('../../../examples/chat/proto/chat.proto', import.meta.url))},
  }});
  if (!values.address) {
    console.error('chat_client.js: --address HOST:PORT is missing');
    process.exit(2);
  }
  return values;
}

async function main() {
  const options = parsed();
  const settings = {'grpc.enable_http_proxy': 0, 'grpc.max_receive_message_length': 8 << 20};
  if (options.authority) {
    settings['grpc.default_authority'] = options.authority;
    settings['grpc.ssl_target_name_override'] = options.authority;
  }
  const credentials = options.plaintext ? grpc.credentials.createInsecure()
                                        : grpc.credentials.createSsl(options.ca ? readFileSync(options.ca) : null);
  const definition = protoLoader.loadSync(options.proto, {longs: Number, defaults: true});
  const service = grpc.loadPackageDefinition(definition).weir.chat.v1.ChatService;
  const client = new service(options.address, credentials, settings);
  let passed = 0, failure = null;
  for (const [title, check] of Object.entries(checksOf(client, client))) {
    const overdue = sleep(2 * LIMIT_MS).then(() => { throw new Mismatch('did not end'); });
    overdue.catch(() => {});
    try {
      await Promise.race([check(), overdue]);
    } catch (error) {
      failure = `${title}: ${error instanceof Mismatch ? error.message : error.stack}`;
      console.log('FAILED', failure);
      break;
    }
    console.log('ok    ', title);
    passed++;
  }
  client.close();
  console.log(JSON.stringify({client: 'node grpc-js ' + grpcVersion(), ok: failure === null, passed, failure}));
  process.exit(failure === null ? 0 : 1);
}

function grpcVersion() {
  return JSON.parse(readFileSync(new URL('./node_modules/@grpc/grpc-js/package.json', import.meta.url))).version;
}

await main();
