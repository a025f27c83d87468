/** From a picture to the poses of its faces, as headpose/estimator.py. */

import { cut, networkInput } from "./crop";
import { detect, type DetectorSettings, type RunBlazeFace } from "./detection";
import { readings, type Outputs } from "./reading";
import type { NetworkInfo, Pixels, Pose, Times } from "./types";

/** Head pose network: a (N, 3, S, S) input to its outputs by name. */
export type RunPose = (input: Float32Array, shape: readonly [number, number, number, number]) => Promise<Outputs>;

/** Poses of the faces of one picture, best face first, and the time of each stage. */
export interface Estimate {
  readonly poses: Pose[];
  readonly times: Omit<Times, "read">;
}

/** Detect the faces of a picture and estimate their poses. */
export async function estimate(
  blazeFace: RunBlazeFace,
  pose: RunPose,
  network: NetworkInfo,
  picture: Pixels,
  settings: DetectorSettings & { readonly maxFaces: number },
): Promise<Estimate> {
  const started = performance.now();
  const faces = (await detect(blazeFace, picture, settings)).slice(0, settings.maxFaces);
  const detected = performance.now();
  const { size } = network.crop;
  const input = networkInput(faces.map((face) => cut(picture, face.box, network.crop)), network.crop);
  const cropped = performance.now();
  const outputs = faces.length ? await pose(input, [faces.length, 3, size, size]) : { rotation: new Float32Array() };
  const found = readings(outputs, faces.length, network.calibration);
  const read = performance.now();
  return {
    poses: faces.map((face, i) => ({ ...face, ...found[i] })),
    times: { detector: detected - started, crop: cropped - detected, network: read - cropped },
  };
}
