import { defineConfig, type Plugin } from 'vite';

/** Parts that the first one asks for, the most wanted first: the browser is told of them before it has read it. */
const WANTED_AT_ONCE = ['draw', 'SeriesPlot'];

/** Has `index.html` name {@link WANTED_AT_ONCE}, so that they are fetched beside the first part and not after it. */
const preload: Plugin = {
  name: 'preload',
  transformIndexHtml: {
    order: 'post',
    handler: (_, { bundle }) => {
      const parts = Object.values(bundle ?? {}).filter((part) => part.type === 'chunk');
      const named = new Set(parts.filter((part) => part.isEntry).map((part) => part.fileName));
      return WANTED_AT_ONCE.flatMap((name, i) => {
        const part = parts.find((candidate) => candidate.isDynamicEntry && candidate.name === name);
        if (!part) throw new Error(`no part is called ${name}`);
        return [part.fileName, ...part.imports]
          .filter((file) => !named.has(file) && named.add(file))
          .map((file) => ({
            tag: 'link',
            attrs: { rel: 'modulepreload', href: `./${file}`, ...(i > 0 ? { fetchpriority: 'low' } : {}) },
            injectTo: 'head' as const,
          }));
      });
    },
  },
};

// The server replaces {{.PathPrefix}} and {{.Version}} in index.html, so every asset URL
// must be relative: the page does not know its prefix at build time.
export default defineConfig({
  base: './',
  plugins: [preload],
  build: {
    outDir: '../crates/server/src/ui/bundle',
    emptyOutDir: true,
    target: 'es2022',
    // The first versions with light-dark().
    cssTarget: ['chrome123', 'firefox120', 'safari17.5'],
    // One sheet: a part that comes later must not change the layout when it does.
    cssCodeSplit: false,
    // The content policy is `default-src 'self'`: a data: URI would be blocked.
    assetsInlineLimit: 0,
    modulePreload: false,
    sourcemap: false,
    reportCompressedSize: false,
  },
  server: { proxy: { '/api': 'http://127.0.0.1:7099' } },
});
