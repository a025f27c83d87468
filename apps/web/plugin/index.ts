/** Vite plugin: puts the networks and ONNX Runtime's files beside the page, and completes the service worker. */

import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import type { Plugin } from "vite";
import { listNetworks, NAMES } from "./networks.ts";

const FLAVOURS = ["ort-wasm-simd-threaded", "ort-wasm-simd-threaded.asyncify"]; // processor; WebGPU

// Everything comes from the page's own folder; 'wasm-unsafe-eval' lets a browser compile WebAssembly, nothing else.
export const CSP = [
  "default-src 'none'", "script-src 'self' 'wasm-unsafe-eval'", "worker-src 'self'", "connect-src 'self'",
  "style-src 'self'", "img-src 'self' blob:", "media-src 'self' blob:", "manifest-src 'self'", "base-uri 'none'",
  "form-action 'none'",
].join("; ");

/** Content of each file that the page loads beside its own code, by path. */
function assets(project: string): Map<string, () => Uint8Array | string> {
  const repository = join(project, "../..");
  const networks = listNetworks(repository);
  const files = new Map<string, () => Uint8Array | string>([
    ["networks/networks.json", () => `${JSON.stringify(networks, null, 1)}\n`],
    ["networks/blazeface-short.onnx", () => readFileSync(join(repository, "headpose/detection/data/blazeface-short.onnx"))],
    ["licenses.txt", () => licenses(project, repository)],
  ]);
  for (const { file } of networks) files.set(`networks/${file}`, () => readFileSync(join(repository, "weights", file)));
  for (const name of FLAVOURS.flatMap((flavour) => [`${flavour}.mjs`, `${flavour}.wasm`])) {
    files.set(`ort/${name}`, () => readFileSync(join(project, "node_modules/onnxruntime-web/dist", name)));
  }
  return files;
}

/** Package of package-lock.json. */
interface Locked {
  readonly dev?: boolean;
  readonly license?: string;
  readonly version?: string;
}

/** Texts of the licenses of all that the page contains. */
function licenses(project: string, repository: string): string {
  const lock = JSON.parse(readFileSync(join(project, "package-lock.json"), "utf8")) as { packages: Record<string, Locked> };
  const parts = ["LICENSE", "NOTICE"].map((name) => [`headpose, ${name}`, readFileSync(join(repository, name), "utf8")]);
  for (const [path, { dev, license = "", version }] of Object.entries(lock.packages)) {
    if (path === "" || dev) continue;
    const folder = join(project, path);
    const own = readdirSync(folder).find((name) => /^licen[cs]e/i.test(name));
    // Some packages only name their license.
    const text = readFileSync(own ? join(folder, own) : join(project, "plugin/licenses", `${license}.txt`), "utf8");
    parts.push([`${path.replace("node_modules/", "")} ${version} (${license})`, text]);
  }
  return parts.map(([name, text]) => `${"=".repeat(80)}\n${name}\n${"=".repeat(80)}\n\n${text.trim()}\n`).join("\n");
}

/** Every file below a folder, as a path with slashes. */
function walk(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).replaceAll("\\", "/"))
    .sort();
}

/** Whether the service worker fetches a file only when the page first asks for it. */
function isLazy(path: string): boolean {
  const others = NAMES.slice(1).map((name) => `networks/${name}.onnx`);
  return path.includes("asyncify") || others.includes(path) || path === "licenses.txt" || path.includes("webgpu");
}

export function headpose(project: string): Plugin {
  let output = "";
  let building = false;
  return {
    name: "headpose",
    configResolved(config) {
      output = config.build.outDir;
      building = config.command === "build";
    },
    configureServer(server) {
      const files = assets(project);
      const types = { mjs: "text/javascript", wasm: "application/wasm", json: "application/json" } as Record<string, string>;
      server.middlewares.use((request, response, next) => {
        const path = new URL(request.url ?? "/", "http://localhost").pathname.slice(1);
        const content = files.get(path);
        if (!content) return next();
        response.setHeader("Content-Type", types[path.split(".").pop() ?? ""] ?? "application/octet-stream");
        response.end(content());
      });
    },
    transformIndexHtml: () =>
      building ? [{ tag: "meta", attrs: { "http-equiv": "Content-Security-Policy", content: CSP }, injectTo: "head-prepend" }] : [],
    generateBundle() {
      for (const [fileName, content] of assets(project)) this.emitFile({ type: "asset", fileName, source: content() });
    },
    closeBundle() {
      const worker = join(project, output, "sw.js");
      if (!building || !existsSync(worker)) return;
      const list = walk(join(project, output)).filter((path) => path !== "sw.js").map((path) => {
        const hash = createHash("sha256").update(readFileSync(join(project, output, path))).digest("hex");
        return { path, revision: hash.slice(0, 16), lazy: isLazy(path) };
      });
      let code = readFileSync(worker, "utf8");
      for (const [mark, text] of [["@@FILES@@", JSON.stringify(list)], ["@@CSP@@", CSP]]) {
        const place = new RegExp(`["'\`]${mark}["'\`]`);
        if (!place.test(code)) throw new Error(`sw.js has no ${mark}`);
        code = code.replace(place, () => JSON.stringify(text));
      }
      writeFileSync(worker, code);
    },
  };
}
