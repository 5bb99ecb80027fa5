// The interoperability cases with @grpc/grpc-js. Options and output are those of the C++ client.
'use strict';
const fs = require('node:fs');
const {parseArgs} = require('node:util');
const {grpc, Interop, Absent, bodyOf} = require('./proto.js');

const LARGE_REQUEST = 271828, LARGE_RESPONSE = 314159, SOAK_ROUNDS = 10, MANY_STREAMS = 200, LIMIT_MS = 30000;
const SPECIAL = '\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n';
const SIZES = [[27182, 31415], [8, 9], [1828, 2653], [45904, 58979]];
const BINARY = Buffer.from([0xab, 0xab, 0xab, 0, 0xff]);

const {values: options} = parseArgs({options: {address: {type: 'string'}, ca: {type: 'string'},
  authority: {type: 'string'}, cases: {type: 'string', default: ''}}});
const servers = new Set();

function expect(good, what) {
  if (!good) throw new Error(what);
}

function connect(Client = Interop, more = {}) {
  const channel = {'grpc.use_local_subchannel_pool': 1, 'grpc.enable_retries': 0, ...more};
  if (!options.ca) return new Client(options.address, grpc.credentials.createInsecure(), channel);
  channel['grpc.ssl_target_name_override'] = options.authority;
  return new Client(options.address, grpc.credentials.createSsl(fs.readFileSync(options.ca)), channel);
}

const stub = connect();
const within = (ms = LIMIT_MS) => ({deadline: Date.now() + ms});
const callOf = (body, sizes = [], more = {}) => (
  {body: bodyOf(body), answers: sizes.map((bytes) => ({bytes, ...more}))});

function expectBody(chunk, size) {
  expect(chunk.body.equals(bodyOf(size)), `body of ${chunk.body.length} instead of ${size}`);
}

// A call with one reply: {error, reply, status, initial}.
function single(client, method, message, {metadata = new grpc.Metadata(), limit = within()} = {}) {
  return new Promise((resolve) => {
    const got = {};
    const finish = () => { if ('reply' in got && got.status) resolve(got); };
    const call = client[method](message, metadata, limit, (error, reply) => { Object.assign(got, {error, reply}); finish(); });
    call.on('metadata', (initial) => {
      got.initial = initial;
      for (const name of initial.get('x-server')) servers.add(name);
    });
    call.on('status', (status) => { got.status = status; finish(); });
  });
}

async function good(client, method, message, more) {
  const got = await single(client, method, message, more);
  expect(!got.error, `${method}: ${got.error}`);
  return got;
}

// A stream of replies, one by one.
function reader(call) {
  const messages = [], waiting = [];
  let status = null, initial = null;
  const wake = () => { while (waiting.length) waiting.shift()(); };
  call.on('data', (message) => { messages.push(message); wake(); });
  call.on('error', () => {});
  call.on('metadata', (metadata) => { initial = metadata; });
  call.on('status', (got) => { status = got; wake(); });
  return {
    async next() {
      while (!messages.length && !status) await new Promise((resolve) => waiting.push(resolve));
      return messages.shift() || null;
    },
    async end() {
      expect(await this.next() === null, 'too many messages');
      return {...status, initial};
    },
  };
}

function expectStatus(status, code, message) {
  expect(status.code === code && (message === undefined || status.details === message),
    `status ${status.code} ${JSON.stringify(status.details)}`);
}

async function collect(client) {
  const total = await new Promise((resolve, reject) => {
    const call = client.Collect(new grpc.Metadata(), within(), (error, reply) => (error ? reject(error) : resolve(reply)));
    for (const [size] of SIZES) call.write(callOf(size));
    call.end();
  });
  expect(total.bytes === 74922 && total.messages === 4, JSON.stringify(total));
}

async function spread(compressed) {
  const sizes = SIZES.map(([, size]) => size);
  const replies = reader(stub.Spread(callOf(10, sizes, {compressed}), new grpc.Metadata(), within()));
  for (const size of sizes) expectBody(await replies.next(), size);
  expectStatus(await replies.end(), 0);
}

async function ending(code, message) {
  const request = {...callOf(5), ending: {code, message}};
  expectStatus((await single(stub, 'Unary', request)).status, code, message);
  const call = stub.Duplex(new grpc.Metadata(), within());
  call.write(request);
  call.end();
  expectStatus(await reader(call).end(), code, message);
}

async function largeUnary(client) {
  expectBody((await good(client, 'Unary', callOf(LARGE_REQUEST, [LARGE_RESPONSE]))).reply, LARGE_RESPONSE);
}

const gzip = () => connect(Interop, {'grpc.default_compression_algorithm': 2});

const cases = {
  async empty_unary() { await good(stub, 'Ping', {}); },
  async large_unary() { await largeUnary(stub); },
  async client_streaming() { await collect(stub); },
  async server_streaming() { await spread(false); },
  async ping_pong() {
    const call = stub.Duplex(new grpc.Metadata(), within());
    const replies = reader(call);
    for (const [request, answer] of SIZES) {
      call.write(callOf(request, [answer]));
      expectBody(await replies.next(), answer);
    }
    call.end();
    expectStatus(await replies.end(), 0);
  },
  async empty_stream() {
    const call = stub.Duplex(new grpc.Metadata(), within());
    call.end();
    expectStatus(await reader(call).end(), 0);
  },
  async client_compressed_unary() {
    expectBody((await good(gzip(), 'Unary', callOf(LARGE_REQUEST, [100]))).reply, 100);
  },
  async client_compressed_streaming() { await collect(gzip()); },
  async server_compressed_unary() {
    const {reply} = await good(stub, 'Unary', callOf(10, [LARGE_RESPONSE], {compressed: true}));
    expectBody(reply, LARGE_RESPONSE);
  },
  async server_compressed_streaming() { await spread(true); },
  async cancel_after_begin() {
    const code = await new Promise((resolve) => {
      const call = stub.Collect(new grpc.Metadata(), within(), (error) => resolve(error ? error.code : 0));
      call.cancel();
    });
    expect(code === grpc.status.CANCELLED, `status ${code}`);
  },
  async cancel_after_first_response() {
    const call = stub.Duplex(new grpc.Metadata(), within());
    const replies = reader(call);
    call.write(callOf(27182, [31415]));
    expectBody(await replies.next(), 31415);
    call.cancel();
    expectStatus(await replies.end(), grpc.status.CANCELLED);
  },
  async timeout_on_sleeping_server() {
    const call = stub.Duplex(new grpc.Metadata(), within(2000));
    call.write(callOf(27182, [10], {delay_ms: 20000}));
    expectStatus(await reader(call).end(), grpc.status.DEADLINE_EXCEEDED);
  },
  async status_code_and_message() {
    for (let code = 1; code <= 16; ++code) await ending(code, 'test status message');
  },
  async special_status_message() { await ending(2, SPECIAL); },
  async custom_metadata() {
    const metadata = new grpc.Metadata();
    metadata.set('x-echo-initial', 'test_initial_metadata_value');
    metadata.set('x-echo-trailing-bin', BINARY);
    const unary = await good(stub, 'Unary', callOf(3, [4]), {metadata});
    const call = stub.Duplex(metadata, within());
    call.write(callOf(3, [4]));
    call.end();
    const replies = reader(call);
    expectBody(await replies.next(), 4);
    const end = await replies.end();
    for (const [initial, trailing] of [[unary.initial, unary.status.metadata], [end.initial, end.metadata]]) {
      expect(initial.get('x-echo-initial')[0] === 'test_initial_metadata_value', 'initial metadata');
      expect(BINARY.equals(trailing.get('x-echo-trailing-bin')[0] || Buffer.alloc(0)), 'trailing metadata');
    }
  },
  async unimplemented_method() {
    expectStatus((await single(stub, 'Missing', {})).status, grpc.status.UNIMPLEMENTED);
  },
  async unimplemented_service() {
    expectStatus((await single(connect(Absent), 'Ping', {})).status, grpc.status.UNIMPLEMENTED);
  },
  async rpc_soak() {
    for (let i = 0; i < SOAK_ROUNDS; ++i) await largeUnary(stub);
  },
  async channel_soak() {
    for (let i = 0; i < SOAK_ROUNDS; ++i) {
      const fresh = connect();
      await largeUnary(fresh);
      fresh.close();
    }
  },
  async more_streams_than_allowed() {
    const calls = Array.from({length: MANY_STREAMS},
      () => good(stub, 'Unary', callOf(10, [20], {delay_ms: 30}), {limit: within(60000)}));
    for (const {reply} of await Promise.all(calls)) expectBody(reply, 20);
  },
};

async function main() {
  const passed = [], failed = {};
  for (const name of options.cases ? options.cases.split(',') : Object.keys(cases)) {
    try {
      await cases[name]();
      passed.push(name);
    } catch (error) {
      failed[name] = String(error.message);
    }
  }
  console.log(JSON.stringify({client: 'node', passed, failed, servers: [...servers].sort()}));
  process.exit(Object.keys(failed).length || !passed.length ? 1 : 0);
}

main();
