import { defineConfig } from "vite";

// EDGEPRESS_URL: where `npm run dev` sends API calls; the server of this repository by default.
declare const process: { env: Record<string, string | undefined> };
const server = process.env.EDGEPRESS_URL ?? "http://127.0.0.1:8080";

export default defineConfig({
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: process.env.EDGEPRESS_WEB_OUT ?? "../edgepress_server/static",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0, // everything is a file of its own: the page needs no data: URLs for scripts or styles
    chunkSizeWarningLimit: 300,
  },
  server: { proxy: { "/api": { target: server, changeOrigin: false } } },
});
