// The interoperability service with @grpc/grpc-js, in the clear on a port the kernel chooses: server.js NAME
// grpc-js does not compress what a server sends: `compressed` has no effect.
'use strict';
const {grpc, Interop, bodyOf} = require('./proto.js');

const STREAMS_MAX = 16;  // per connection, so that the tests reach it
const name = process.argv[2];
const counts = {calls: 0, cancelled: 0};

// Counts a call and answers its metadata; returns the trailers.
function enter(call) {
  counts.calls += 1;
  call.on('cancelled', () => { counts.cancelled += 1; });
  const initial = new grpc.Metadata();
  initial.set('x-server', name);
  for (const value of call.metadata.get('x-echo-initial')) initial.set('x-echo-initial', value);
  call.sendMetadata(initial);
  const trailers = new grpc.Metadata();
  for (const value of call.metadata.get('x-echo-trailing-bin')) trailers.set('x-echo-trailing-bin', value);
  return trailers;
}

// The error with which a call has to end, or null.
function wrong(message) {
  if (!message.body.equals(bodyOf(message.body.length))) {
    return {code: grpc.status.INVALID_ARGUMENT, details: 'the body has changed on its way'};
  }
  return message.ending ? {code: message.ending.code, details: message.ending.message} : null;
}

const pause = (call, ms) => new Promise((resolve) => {
  if (ms === 0) return resolve();
  const timer = setTimeout(resolve, ms);
  call.on('cancelled', () => { clearTimeout(timer); resolve(); });
});

async function answerAll(call, message) {
  for (const answer of message.answers) {
    await pause(call, answer.delay_ms);
    if (call.cancelled) return;
    if (!call.write({body: bodyOf(answer.bytes)})) await new Promise((resolve) => call.once('drain', resolve));
  }
}

// Not `for await`: leaving such a loop destroys the stream before its end was sent.
function duplex(call) {
  const trailers = enter(call);
  let last = Promise.resolve();
  let over = false;
  call.on('error', () => {});
  call.on('data', (message) => {
    last = last.then(async () => {
      if (over || call.cancelled) return;
      const error = wrong(message);
      if (error) {
        over = true;
        call.emit('error', Object.assign(error, {metadata: trailers}));
      } else {
        await answerAll(call, message);
      }
    });
  });
  call.on('end', () => last.then(() => { if (!over && !call.cancelled) call.end(trailers); }));
}

const service = {
  Ping(call, reply) {
    reply(null, {}, enter(call));
  },
  async Unary(call, reply) {
    const trailers = enter(call);
    const error = wrong(call.request);
    if (error) return reply(Object.assign(error, {metadata: trailers}));
    const [answer] = call.request.answers;
    if (!answer) return reply(null, {}, trailers);
    await pause(call, answer.delay_ms);
    return reply(null, {body: bodyOf(answer.bytes)}, trailers);
  },
  Collect(call, reply) {
    const trailers = enter(call);
    const total = {bytes: 0, messages: 0};
    let error = null;
    call.on('data', (message) => {
      error = error || wrong(message);
      total.bytes += message.body.length;
      total.messages += 1;
    });
    call.on('error', () => {});
    call.on('end', () => (error ? reply(error) : reply(null, total, trailers)));
  },
  async Spread(call) {
    const trailers = enter(call);
    const error = wrong(call.request);
    if (error) return call.emit('error', error);
    await answerAll(call, call.request);
    return call.end(trailers);
  },
  Duplex: duplex,
  Count(call, reply) {
    reply(null, counts);
  },
};

const server = new grpc.Server({'grpc.max_concurrent_streams': STREAMS_MAX});
server.addService(Interop.service, service);
server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  console.log(`port ${port}`);
});
