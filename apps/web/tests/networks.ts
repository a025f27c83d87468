/** Both networks in ONNX Runtime's WebAssembly, as the worker runs them. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as ort from "onnxruntime-web";
import { listNetworks } from "../plugin/networks";
import type { RunBlazeFace } from "../src/detection";
import type { RunPose } from "../src/estimator";

export const REPOSITORY = join(import.meta.dirname, "../../..");

ort.env.wasm.numThreads = 1;

async function session(path: string) {
  const made = await ort.InferenceSession.create(readFileSync(join(REPOSITORY, path)));
  return async (input: Float32Array, shape: readonly number[]) => {
    const results = await made.run({ image: new ort.Tensor("float32", input, shape) });
    return Object.fromEntries(Object.entries(results).map(([name, { data }]) => [name, data as Float32Array]));
  };
}

/** The detector. `shapes` collects the shapes of its inputs. */
export async function blazeFace(shapes: (readonly number[])[] = []): Promise<RunBlazeFace> {
  const run = await session("headpose/detection/data/blazeface-short.onnx");
  return async (input, shape) => {
    shapes.push(shape);
    const { boxes, scores } = await run(input, shape);
    return { boxes, logits: scores };
  };
}

/** A head pose network of the page, by its name. */
export async function poseNetwork(name: string): Promise<{ run: RunPose; network: ReturnType<typeof listNetworks>[number] }> {
  const [network] = listNetworks(REPOSITORY, [name]);
  return { run: await session(`weights/${network.file}`), network };
}
