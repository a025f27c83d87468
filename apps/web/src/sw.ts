/**
 * Service worker: the page works offline after the first load, and is isolated, so that ONNX Runtime may use threads.
 *
 * The build replaces the list of files. What is `lazy` (other networks, WebGPU) is kept on first use.
 */

export {}; // a module: its names are its own

const worker = self as unknown as ServiceWorkerGlobalScope;

interface Entry {
  readonly path: string;
  readonly revision: string;
  readonly lazy: boolean;
}

const FILES = JSON.parse("@@FILES@@") as Entry[];
const CSP = "@@CSP@@";
const CACHE = "headpose-web";
const ROOT = new URL("./", worker.location.href);
const BY_ADDRESS = new Map(FILES.map((entry) => [new URL(entry.path, ROOT).href, entry]));

const key = (entry: Entry) => new URL(`${entry.path}?revision=${entry.revision}`, ROOT).href;

worker.addEventListener("install", (event) => event.waitUntil(install()));
worker.addEventListener("activate", (event) => event.waitUntil(activate()));
worker.addEventListener("fetch", (event) => {
  const { request } = event;
  const address = new URL(request.url);
  if (request.method !== "GET" || address.origin !== worker.location.origin) return;
  address.search = address.hash = "";
  if (address.href === ROOT.href) address.href += "index.html";
  const entry = BY_ADDRESS.get(address.href);
  if (entry) event.respondWith(answer(entry));
});

async function install(): Promise<void> {
  const cache = await caches.open(CACHE);
  await Promise.all(FILES.filter((entry) => !entry.lazy).map((entry) => stored(cache, entry)));
}

async function activate(): Promise<void> {
  const cache = await caches.open(CACHE);
  const wanted = new Set(FILES.map(key));
  const old = (await cache.keys()).filter((request) => !wanted.has(request.url));
  await Promise.all(old.map((request) => cache.delete(request)));
  await worker.clients.claim();
}

/** Return a file from the cache; fetch it and keep it if it is not there. */
async function stored(cache: Cache, entry: Entry): Promise<Response> {
  const found = await cache.match(key(entry));
  if (found) return found;
  const response = await fetch(new URL(entry.path, ROOT), { cache: "no-cache" });
  if (!response.ok) throw new Error(`${entry.path}: ${response.status}`);
  await cache.put(key(entry), response.clone());
  return response;
}

async function answer(entry: Entry): Promise<Response> {
  const response = await stored(await caches.open(CACHE), entry);
  const headers = new Headers(response.headers);
  for (const name of ["Content-Encoding", "Content-Length"]) headers.delete(name); // the body is decoded already
  headers.set("Content-Security-Policy", CSP);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  headers.set("Cross-Origin-Resource-Policy", "same-origin");
  return new Response(response.body, { status: 200, headers });
}
