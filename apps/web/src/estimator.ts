/** From a picture to the poses of its faces, as headpose/estimator.py. */

import { cut, networkInput } from "./crop";
import { detect, type DetectorSettings, type RunBlazeFace } from "./detection";
import type { Follower } from "./following";
import { readings, type Outputs } from "./reading";
import type { NetworkInfo, Pixels, Pose, Times } from "./types";

/** Head pose network: a (N, 3, S, S) input to its outputs by name. */
export type RunPose = (input: Float32Array, shape: readonly [number, number, number, number]) => Promise<Outputs>;

/** Poses of the faces of one picture, best face first, and the time of each stage. */
export interface Estimate {
  readonly poses: Pose[];
  readonly times: Omit<Times, "read">;
}

/** Detect the faces of a picture, or of the next frame of a stream that `follower` follows, and estimate their poses. */
export async function estimate(
  blazeFace: RunBlazeFace,
  pose: RunPose,
  network: NetworkInfo,
  picture: Pixels,
  settings: DetectorSettings & { readonly maxFaces: number },
  follower?: Follower,
): Promise<Estimate> {
  const started = performance.now();
  const found = follower ? follower.next(blazeFace, picture, settings, started) : detect(blazeFace, picture, settings);
  const faces = (await found).slice(0, settings.maxFaces);
  const detected = performance.now();
  const { size } = network.crop;
  const input = networkInput(faces.map((face) => cut(picture, face.box, network.crop)), network.crop);
  const cropped = performance.now();
  const outputs = faces.length ? await pose(input, [faces.length, 3, size, size]) : { rotation: new Float32Array() };
  const answers = readings(outputs, faces.length, network.calibration);
  const read = performance.now();
  return {
    poses: faces.map((face, i) => ({ ...face, ...answers[i] })),
    times: { detector: detected - started, crop: cropped - detected, network: read - cropped },
  };
}
