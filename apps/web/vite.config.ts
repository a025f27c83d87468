import { defaultClientConditions } from "vite";
import { defineConfig } from "vitest/config";
import { headpose } from "./plugin/index.ts";

export default defineConfig({
  base: "./", // the page works in any folder of a server
  plugins: [headpose(import.meta.dirname)],
  // ONNX Runtime's files stay separate files: the threads of WebAssembly start from them.
  resolve: { conditions: ["onnxruntime-web-use-extern-wasm", ...defaultClientConditions] },
  worker: { format: "es" },
  build: {
    target: "es2022",
    outDir: "dist",
    assetsInlineLimit: 0, // no data: addresses, which the Content-Security-Policy forbids
    chunkSizeWarningLimit: 2000,
    rolldownOptions: {
      input: { index: "index.html", sw: "src/sw.ts" },
      output: { entryFileNames: ({ name }) => (name === "sw" ? "sw.js" : "assets/[name]-[hash].js") },
    },
  },
  test: { include: ["tests/**/*.test.ts"], environment: "node", testTimeout: 60_000 },
});
