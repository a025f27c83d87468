/** The worker: reads the pixels of each frame and runs both networks, so that the page stays responsive. */

import type { InferenceSession, Tensor } from "onnxruntime-web";
import type { RunBlazeFace } from "./detection";
import { estimate, type RunPose } from "./estimator";
import { Follower } from "./following";
import type { Answer, Backend, Request } from "./messages";
import type { NetworkInfo, Pixels } from "./types";

declare const self: DedicatedWorkerGlobalScope;

type Ort = typeof import("onnxruntime-web");
/** Both networks on one back end. */
interface Loaded {
  readonly network: NetworkInfo;
  readonly blazeFace: RunBlazeFace;
  readonly pose: RunPose;
}

// The worker's file is in assets/, beside the folders of the networks and of ONNX Runtime.
const ROOT = new URL("../", self.location.href);
const FLAVOUR: Record<Backend, string> = {
  wasm: "ort/ort-wasm-simd-threaded",
  webgpu: "ort/ort-wasm-simd-threaded.asyncify",
};
const CLOSED = "the worker has no network: load one first";

let loaded: Loaded | undefined;
let followed: { readonly stream: number; readonly follower: Follower } | undefined;
let canvas: OffscreenCanvas | undefined;

// Requests run one after the other: a network is not replaced while it reads a frame.
let queue: Promise<void> = Promise.resolve();
self.onmessage = ({ data }: MessageEvent<Request>) => {
  queue = queue.then(() => answer(data)).catch((error: unknown) => {
    const message = error instanceof Error ? error.message : String(error);
    reply({ kind: "error", id: data.id, message });
  });
};

async function answer(request: Request): Promise<void> {
  if (request.kind === "load") {
    const started = performance.now();
    loaded = await load(request.network, request.backend, request.threads);
    reply({ kind: "loaded", id: request.id, loadMs: performance.now() - started });
    return;
  }
  if (!loaded) throw new Error(CLOSED);
  const started = performance.now();
  const pixels = pixelsOf(request.bitmap);
  const read = performance.now() - started;
  const { id, bitmap, stream, settings } = request;
  if (stream !== undefined && followed?.stream !== stream) followed = { stream, follower: new Follower() };
  const follower = stream === undefined ? undefined : followed?.follower;
  const { poses, times } = await estimate(loaded.blazeFace, loaded.pose, loaded.network, pixels, settings, follower);
  self.postMessage({ kind: "poses", id, bitmap, poses, times: { read, ...times } } satisfies Answer, [bitmap]);
}

function reply(message: Answer): void {
  self.postMessage(message);
}

function pixelsOf(bitmap: ImageBitmap): Pixels {
  const { width, height } = bitmap;
  if (canvas?.width !== width || canvas.height !== height) canvas = new OffscreenCanvas(width, height);
  // Without the hint, the picture would go to the graphics card and back.
  const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
  if (!context) throw new Error("this browser gives no canvas to a worker: a newer one is needed");
  context.drawImage(bitmap, 0, 0);
  return { data: context.getImageData(0, 0, width, height).data, width, height, step: 4 };
}

async function load(network: NetworkInfo, backend: Backend, threads: number): Promise<Loaded> {
  const ort = (backend === "webgpu" ? await import("onnxruntime-web/webgpu") : await import("onnxruntime-web/wasm")) as Ort;
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.wasmPaths = { mjs: new URL(`${FLAVOUR[backend]}.mjs`, ROOT).href, wasm: new URL(`${FLAVOUR[backend]}.wasm`, ROOT).href };
  const [detector, pose] = [await bytes("networks/blazeface-short.onnx"), await bytes(`networks/${network.file}`)];
  // BlazeFace's input changes its size from level to level: WebGPU would compile new shaders for each.
  const blazeFace = await ort.InferenceSession.create(detector, { executionProviders: ["wasm"] });
  const poses = await ort.InferenceSession.create(pose, { executionProviders: [backend] });
  return {
    network,
    blazeFace: async (input, shape) => {
      const { boxes, scores } = await run(ort, blazeFace, input, shape);
      return { boxes, logits: scores };
    },
    pose: (input, shape) => run(ort, poses, input, shape),
  };
}

async function bytes(path: string): Promise<Uint8Array> {
  const response = await fetch(new URL(path, ROOT));
  if (!response.ok) throw new Error(`cannot load ${path}: ${response.status} ${response.statusText}`);
  return new Uint8Array(await response.arrayBuffer());
}

async function run(ort: Ort, session: InferenceSession, input: Float32Array, shape: readonly number[]): Promise<Record<string, Float32Array>> {
  const results = await session.run({ image: new ort.Tensor("float32", input, shape) });
  const read = async ([name, tensor]: [string, Tensor]) => [name, (await tensor.getData()) as Float32Array] as const;
  return Object.fromEntries(await Promise.all(Object.entries(results).map(read)));
}
