import { defineConfig } from 'vite';

// The server replaces {{.PathPrefix}} and {{.Version}} in index.html, so every asset URL
// must be relative: the page does not know its prefix at build time.
export default defineConfig({
  base: './',
  build: {
    outDir: '../crates/server/src/ui/bundle',
    emptyOutDir: true,
    target: 'es2022',
    // The first versions with light-dark().
    cssTarget: ['chrome123', 'firefox120', 'safari17.5'],
    // The content policy is `default-src 'self'`: a data: URI would be blocked.
    assetsInlineLimit: 0,
    modulePreload: false,
    sourcemap: false,
    reportCompressedSize: false,
  },
  server: { proxy: { '/api': 'http://127.0.0.1:7099' } },
});
