// Time of the student's three files in ONNX Runtime's WebAssembly, one thread, here in Node: node scripts/measure-networks.mjs
// Rounds alternate between the files, so that other work on the machine slows all of them alike.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as ort from "onnxruntime-web";

const ROUNDS = Number(process.argv[2] ?? 60);
const WEIGHTS = join(import.meta.dirname, "../../../weights");
const NAMES = ["student", "student-fp16", "student-int8", "compact-clean"];

ort.env.wasm.numThreads = 1;
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const random = (() => {
  let state = 1;
  return () => (state = (state * 16807) % 2147483647) / 2147483647 - 0.5;
})();

const sessions = [];
for (const name of NAMES) {
  const session = await ort.InferenceSession.create(readFileSync(join(WEIGHTS, `${name}.onnx`)), { executionProviders: ["wasm"] });
  sessions.push({ name, session, times: [] });
}
const image = new ort.Tensor("float32", Float32Array.from({ length: 3 * 96 * 96 }, () => 4 * random()), [1, 3, 96, 96]);
for (let round = 0; round < ROUNDS + 5; round++) {
  for (const { session, times } of sessions) {
    const started = performance.now();
    await session.run({ image });
    if (round >= 5) times.push(performance.now() - started);
  }
}
const first = median(sessions[0].times);
for (const { name, times } of sessions) {
  console.log(`${name.padEnd(14)} ${median(times).toFixed(2)} ms  ${(median(times) / first).toFixed(2)} of ${NAMES[0]}`);
}
