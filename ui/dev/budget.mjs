// Fails the build where the page has grown beyond what it may weigh on the wire.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync } from 'node:zlib';

const BUNDLE = fileURLToPath(new URL('../../crates/server/src/ui/bundle', import.meta.url));
const BUDGET_BYTES = 110_000;

let total = 0;
for (const entry of readdirSync(BUNDLE, { recursive: true, withFileTypes: true })) {
  if (!entry.isFile()) continue;
  const path = join(entry.parentPath ?? entry.path, entry.name);
  const bytes = readFileSync(path);
  const size = brotliCompressSync(bytes).length;
  total += size;
  console.log(`${String(bytes.length).padStart(8)} B  ${String(size).padStart(7)} B brotli  ${path.slice(BUNDLE.length + 1)}`);
}
console.log(`total ${total} B brotli of ${BUDGET_BYTES}`);
if (total > BUDGET_BYTES) {
  console.error('The page is over its budget.');
  process.exit(1);
}
