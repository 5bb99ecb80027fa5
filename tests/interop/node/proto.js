// interop.proto as @grpc/proto-loader sees it, and what both ends share. The packages are found through NODE_PATH.
'use strict';
const path = require('node:path');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const definition = loader.loadSync(path.join(__dirname, '..', 'interop.proto'),
  {keepCase: true, longs: Number, defaults: true, arrays: true});
const {Interop, Absent} = grpc.loadPackageDefinition(definition).weir.interop;

function bodyOf(size) {
  const body = Buffer.alloc(size);
  for (let i = 0; i < size; ++i) body[i] = i * 7 + size;
  return body;
}

module.exports = {grpc, Interop, Absent, bodyOf};
