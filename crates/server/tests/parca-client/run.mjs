// Bundles client.mjs, for Parca's client is written for bundlers, and runs it.
//
//   npm ci --ignore-scripts && node run.mjs --base http://127.0.0.1:7070
//
// Prints `N passed, N failed`; exits 1 if any failed. The server needs no data: the script brings its own.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const at = process.argv.indexOf('--base');
const base = at < 0 ? 'http://127.0.0.1:7070' : process.argv[at + 1];
const folder = await mkdtemp(join(tmpdir(), 'parca-client-'));
try {
  const outfile = join(folder, 'client.mjs');
  await build({
    entryPoints: [join(dirname(fileURLToPath(import.meta.url)), 'client.mjs')],
    bundle: true,
    platform: 'node',
    format: 'esm',
    logLevel: 'warning',
    outfile,
  });
  const { run } = await import(pathToFileURL(outfile));
  process.exitCode = (await run(base.replace(/\/$/, ''))) ? 0 : 1;
} finally {
  await rm(folder, { recursive: true });
}
