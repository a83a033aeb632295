// A made-up but believable profile of a Go service, the same on every run, and its Arrow reports
// in the columns that the server gives.
import { binary, bool, dictionary, int32, int64, list, tableFromArrays, tableToIPC, uint16, uint32, uint64, utf8 } from '@uwdata/flechette';

function random(seed) {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const SPINE = [
  [0.52, ['net/http.(*Server).Serve.gowrap3', 'net/http.(*conn).serve', 'net/http.serverHandler.ServeHTTP', 'net/http.(*ServeMux).ServeHTTP', 'net/http.HandlerFunc.ServeHTTP', 'github.com/acme/checkout/middleware.Trace.func1', 'github.com/acme/checkout/api.(*Router).ServeHTTP']],
  [0.19, ['runtime.gcBgMarkWorker', 'runtime.systemstack', 'runtime.gcBgMarkWorker.func2', 'runtime.gcDrain']],
  [0.14, ['google.golang.org/grpc.(*Server).serveStreams.func2.1', 'google.golang.org/grpc.(*Server).handleStream', 'google.golang.org/grpc.(*Server).processUnaryRPC']],
  [0.08, ['runtime.mcall', 'runtime.park_m', 'runtime.schedule', 'runtime.findRunnable']],
  [0.07, ['main.main', 'github.com/acme/checkout/cmd.(*App).Run', 'github.com/acme/checkout/cart.(*Reconciler).Loop']],
];

const LIBRARY = {
  'github.com/acme/checkout/api': ['(*Router).route', '(*Handler).CreateOrder', '(*Handler).GetCart', '(*Handler).ListItems', 'decodeRequest', 'writeJSON', 'validate'],
  'github.com/acme/checkout/cart': ['(*Cart).Total', '(*Cart).Apply', '(*Store).Load', '(*Store).Save', 'mergeItems', 'applyDiscounts'],
  'github.com/acme/checkout/pricing': ['(*Engine).Quote', '(*Engine).evaluateRules', '(*Rule).Match', 'roundMoney', 'taxFor'],
  'encoding/json': ['Marshal', '(*encodeState).marshal', '(*encodeState).reflectValue', 'structEncoder.encode', 'mapEncoder.encode', 'Unmarshal', '(*decodeState).object', '(*decodeState).value', 'checkValid', '(*decodeState).literalStore'],
  'runtime': ['mallocgc', 'mallocgcSmallScanNoHeader', 'nextFreeFast', '(*mcache).nextFree', 'scanobject', 'greyobject', 'findObject', 'memmove', 'growslice', 'mapaccess1_faststr', 'mapassign_faststr', 'futex', 'usleep', 'heapBitsSetType', 'wbBufFlush'],
  'database/sql': ['(*DB).QueryContext', '(*DB).query', '(*Rows).Next', '(*Rows).Scan', 'convertAssignRows', '(*Tx).Commit'],
  'github.com/jackc/pgx/v5': ['(*Conn).Query', '(*Conn).Exec', '(*baseRows).Scan', '(*Batch).Queue', '(*connRows).Next'],
  'compress/flate': ['(*compressor).deflate', '(*compressor).findMatch', '(*huffmanBitWriter).writeTokens', '(*Writer).Close'],
  'crypto/tls': ['(*Conn).Write', '(*Conn).writeRecordLocked', '(*halfConn).encrypt', '(*Conn).readRecord'],
  'internal/poll': ['(*FD).Write', '(*FD).Read', '(*fdMutex).rwlock'],
  'syscall': ['Syscall', 'write', 'read', 'RawSyscall6'],
  'google.golang.org/grpc/internal/transport': ['(*http2Server).HandleStreams', '(*loopyWriter).run', '(*http2Server).writeHeader'],
  'google.golang.org/protobuf/proto': ['MarshalOptions.Marshal', 'UnmarshalOptions.unmarshal'],
  'reflect': ['Value.Field', 'Value.Interface', 'packEface', 'Value.MapIndex', 'copyVal'],
  'strconv': ['AppendFloat', 'ryuFtoaShortest', 'appendEscapedRune', 'ParseInt'],
  'sync': ['(*Pool).Get', '(*Pool).Put', '(*Mutex).lockSlow', '(*RWMutex).RLock'],
  'go.opentelemetry.io/otel/sdk/trace': ['(*tracer).Start', '(*recordingSpan).End', '(*recordingSpan).SetAttributes'],
};
const KERNEL = ['entry_SYSCALL_64_after_hwframe', 'do_syscall_64', 'ksys_write', 'vfs_write', 'sock_write_iter', 'tcp_sendmsg', 'tcp_sendmsg_locked', '__tcp_push_pending_frames', 'tcp_write_xmit', '__ip_queue_xmit', 'ip_finish_output2', '__dev_queue_xmit', 'net_rx_action', 'copy_user_enhanced_fast_string'];
const NATIVE = ['ZSTD_compressBlock_fast', 'ZSTD_compressBlock_doubleFast_extDict_generic', 'std::__detail::_Executor<char const*, std::allocator<std::sub_match<char const*>>>::_M_dfs(std::__detail::_Match_mode, long)', '<alloc::vec::Vec<T,A> as core::iter::traits::collect::Extend<T>>::extend', 'core::ptr::drop_in_place<tokio::runtime::task::core::Stage<hyper::proto::h1::dispatch::Dispatcher>>'];

const packages = Object.keys(LIBRARY);
const APP = '/usr/local/bin/checkout';

/** Shares of a function in the base of a comparison. */
const CHANGES = [1, 1.05, 0.5, 1, 1.6, 0.97, 1, 0.2];

/** A profile of about `size` nodes. */
export function makeProfile(size) {
  const next = random(7);
  const nodes = [{ name: '', parent: -1, cumulative: 0, flat: 0, before: 0, flatBefore: 0, children: [], binary: null, file: null, line: 0, address: 0n }];
  const child = (parent, name) => {
    for (const row of nodes[parent].children) if (nodes[row].name === name) return row;
    const kernel = KERNEL.includes(name);
    const native = NATIVE.includes(name);
    const package_ = name.slice(0, name.indexOf('.', name.lastIndexOf('/') + 1));
    const unsymbolised = name.startsWith('0x');
    nodes.push({
      name,
      parent,
      cumulative: 0,
      flat: 0,
      before: 0,
      flatBefore: 0,
      children: [],
      binary: kernel ? '[kernel.kallsyms]' : native || unsymbolised ? '/usr/lib/x86_64-linux-gnu/libzstd.so.1.5.5' : APP,
      file: kernel || unsymbolised ? null : native ? '/build/zstd/lib/compress/zstd_fast.c' : `${package_.startsWith('github.com') || package_.includes('.') ? '/src/vendor/' : '/usr/local/go/src/'}${package_}/${name.length % 2 ? 'server' : 'encode'}.go`,
      line: 20 + (name.length * 37) % 900,
      address: unsymbolised ? BigInt(name) : kernel ? 0xffffffff81000000n + BigInt(nodes.length * 16) : BigInt(0x400000 + nodes.length * 32),
    });
    nodes[parent].children.push(nodes.length - 1);
    return nodes.length - 1;
  };
  const pick = (from) => from[Math.floor(next() ** 1.7 * from.length)];
  const anywhere = (from) => {
    const package_ = packages[Math.floor(from() * packages.length)];
    return `${package_}.${LIBRARY[package_][Math.floor(from() * LIBRARY[package_].length)]}`;
  };
  // What a function usually calls: a few others, the first most often.
  const callees = new Map();
  const usual = (name) => {
    let list = callees.get(name);
    if (!list) {
      const own = random([...name].reduce((h, c) => Math.imul(h ^ c.charCodeAt(0), 16777619), 2166136261));
      const package_ = name.slice(0, name.indexOf('.', name.lastIndexOf('/') + 1));
      const home = LIBRARY[package_] ? package_ : packages[0];
      const near = LIBRARY[home];
      list = Array.from({ length: 3 + Math.floor(own() * 4) }, () =>
        home === 'runtime' || own() < 0.45 ? `${home}.${near[Math.floor(own() * near.length)]}` : anywhere(own));
      callees.set(name, list);
    }
    return list[Math.floor(next() ** 1.9 * list.length)];
  };
  let samples = 0;
  while (nodes.length < size && samples < size * 8) {
    samples++;
    let choice = next();
    let spine = SPINE[0];
    for (const candidate of SPINE) {
      spine = candidate;
      choice -= candidate[0];
      if (choice < 0) break;
    }
    let row = 0;
    for (const name of spine[1]) row = child(row, name);
    const depth = 1 + Math.floor((next() * 3.1) ** 2.3 + next() * 5);
    for (let d = 0; d < depth; d++) {
      const roll = next();
      if (roll < 0.02) {
        for (const name of KERNEL.slice(0, 3 + Math.floor(next() * (KERNEL.length - 3)))) row = child(row, name);
        break;
      }
      if (roll < 0.028) row = child(row, pick(NATIVE));
      else if (roll < 0.036) row = child(row, `0x7f${(0x1000 + Math.floor(next() * 40) * 64).toString(16)}a40`);
      else row = child(row, roll < 0.09 ? anywhere(next) : usual(nodes[row].name));
    }
    const value = Math.round(1e7 * (1 + Math.floor(next() * 3)));
    nodes[row].flat += value;
    // What a base would have: more of some functions, less of others, most as it is.
    const before = Math.round(value * CHANGES[nodes[row].name.length % CHANGES.length]);
    nodes[row].flatBefore += before;
    for (let at = row; at >= 0; at = nodes[at].parent) {
      nodes[at].cumulative += value;
      nodes[at].before += before;
    }
  }
  for (const node of nodes) node.children.sort((a, b) => (nodes[a].name < nodes[b].name ? -1 : 1));
  const empty = { nodes: [{ ...nodes[0], cumulative: 0, flat: 0, before: 0, flatBefore: 0, children: [] }], total: 0 };
  return { nodes, total: nodes[0].cumulative, empty: () => empty };
}

const bytes = new TextEncoder();
const known = new Map();
function text(value) {
  if (value === null || value === '') return null;
  let found = known.get(value);
  if (!found) known.set(value, (found = bytes.encode(value)));
  return found;
}

/** The rows that a request gets: budget and threshold first, then breadth first order. */
function choose(profile, { threshold, maxNodes, focus }) {
  const { nodes, total } = profile;
  let root = 0;
  const chain = [0];
  for (const name of focus) {
    const next = nodes[root].children.find((row) => nodes[row].name === name);
    if (next === undefined) break;
    root = next;
    chain.push(root);
  }
  const least = (total * threshold) / 100;
  const below = [];
  const stack = [...nodes[root].children];
  while (stack.length) {
    const row = stack.pop();
    below.push(row);
    stack.push(...nodes[row].children);
  }
  below.sort((a, b) => nodes[b].cumulative - nodes[a].cumulative || a - b);
  const kept = new Set(chain);
  for (const row of below) {
    if (kept.size >= maxNodes || nodes[row].cumulative < least) break;
    kept.add(row);
  }
  const order = [];
  const depth = [];
  const parent = [];
  const queue = [[0, -1, 0]];
  for (let i = 0; i < queue.length; i++) {
    const [row, up, d] = queue[i];
    order.push(row);
    parent.push(up);
    depth.push(d);
    for (const next of nodes[row].children) if (kept.has(next)) queue.push([next, i, d + 1]);
  }
  return { order, parent, depth };
}

export function flameArrow(profile, options) {
  const { nodes } = profile;
  const { order, parent, depth } = choose(profile, options);
  const column = (read) => order.map((row) => read(nodes[row]));
  const children = order.map(() => []);
  parent.forEach((up, row) => up >= 0 && children[up].push(row));
  const offset = order.map(() => 0n);
  const used = order.map(() => 0n);
  parent.forEach((up, row) => {
    if (up < 0) return;
    offset[row] = offset[up] + used[up];
    used[up] += BigInt(nodes[order[row]].cumulative);
  });
  let trimmed = 0;
  order.forEach((row, i) => {
    const node = nodes[row];
    trimmed += node.cumulative - node.flat - Number(used[i]);
  });
  const symbolised = (node) => !node.name.startsWith('0x');
  const data = {
    labels_only: order.map((row) => (row === 0 ? null : false)),
    location_address: column((n) => (n.address === 0n ? null : n.address)),
    mapping_file: column((n) => text(n.binary)),
    mapping_build_id: column(() => null),
    location_line: column((n) => (symbolised(n) ? n.line : null)),
    inlined: order.map(() => false),
    function_startline: column((n) => n.line),
    function_name: column((n) => (symbolised(n) ? text(n.name) : null)),
    function_system_name: column(() => null),
    function_file_name: column((n) => text(n.file)),
    children: children.map((rows) => (rows.length ? rows : null)),
    parent,
    cumulative: column((n) => BigInt(n.cumulative)),
    flat: column((n) => BigInt(n.flat)),
    diff: column((n) => (options.compares ? BigInt(n.cumulative - n.before) : 0n)),
    timestamp: order.map(() => 0n),
    depth,
    value_offset: offset,
  };
  const binaryDictionary = () => dictionary(binary(), uint32());
  const table = tableFromArrays(data, {
    types: {
      labels_only: bool(), location_address: uint64(), mapping_file: binaryDictionary(), mapping_build_id: binaryDictionary(), location_line: uint16(), inlined: bool(),
      function_startline: uint16(), function_name: binaryDictionary(), function_system_name: binaryDictionary(), function_file_name: binaryDictionary(),
      children: list(uint32()), parent: int32(), cumulative: uint64(), flat: uint64(), diff: int64(), timestamp: int64(), depth: uint16(), value_offset: uint64(),
    },
    useBigInt: true,
  });
  return { bytes: tableToIPC(table, { format: 'stream' }), trimmed, height: depth[depth.length - 1] + 1 };
}

export function tableArrow(profile, compares = false) {
  const { nodes } = profile;
  const rows = new Map();
  const visit = (row, above) => {
    const node = nodes[row];
    let entry = rows.get(node.name);
    if (row > 0) {
      if (!entry) rows.set(node.name, (entry = { node, cumulative: 0, flat: 0, before: 0, flatBefore: 0 }));
      entry.flat += node.flat;
      entry.flatBefore += node.flatBefore;
      if (!above.has(node.name)) {
        entry.cumulative += node.cumulative;
        entry.before += node.before;
      }
    }
    const inner = row > 0 && !above.has(node.name) ? new Set(above).add(node.name) : above;
    for (const child of node.children) visit(child, inner);
  };
  visit(0, new Set());
  const all = [...rows.values()];
  const nothing = all.map(() => null);
  const data = {
    mapping_file: all.map((r) => r.node.binary), mapping_build_id: nothing,
    location_address: all.map((r) => r.node.address), location_line: all.map((r) => BigInt(r.node.line)), function_startline: all.map((r) => BigInt(r.node.line)),
    function_name: all.map((r) => (r.node.name.startsWith('0x') ? null : r.node.name)), function_system_name: nothing, function_file_name: all.map((r) => r.node.file),
    cumulative: all.map((r) => BigInt(r.cumulative)), cumulative_diff: compares ? all.map((r) => BigInt(r.cumulative - r.before)) : nothing, flat: all.map((r) => BigInt(r.flat)),
    flat_diff: all.map((r) => (compares ? BigInt(r.flat - r.flatBefore) : 0n)),
  };
  const string16 = () => dictionary(utf8(), uint16());
  const string32 = () => dictionary(utf8(), uint32());
  return tableToIPC(tableFromArrays(data, {
    types: {
      mapping_file: string16(), mapping_build_id: string16(), location_address: uint64(), location_line: int64(), function_startline: int64(),
      function_name: string32(), function_system_name: string16(), function_file_name: string32(),
      cumulative: int64(), cumulative_diff: int64(), flat: int64(), flat_diff: int64(),
    },
  }), { format: 'stream' });
}
