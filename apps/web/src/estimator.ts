/** From a picture to the poses of its faces, as headpose/estimator.py. */

import { cut, cutTurned, networkInput } from "./crop";
import { detect, type DetectorSettings, type RunBlazeFace } from "./detection";
import type { Follower } from "./following";
import { inPlaneAngle, turnPicture } from "./geometry";
import { readings, type Outputs, type Reading } from "./reading";
import { regionOf, TILTED_DEGREES, type Region } from "./region";
import type { Face, NetworkInfo, Pixels, Pose, Times } from "./types";

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
  const regions = faces.map(({ region }) => (region && Math.abs(region.turn) > TILTED_DEGREES ? region : undefined));
  const crops = faces.map((face, i) => crop(picture, face, regions[i], network));
  const cropped = performance.now();
  const answers = await read(pose, network, crops, regions);
  // A box without a large angle whose head turns out to be far tilted is read once more, upright (headpose/looking.py).
  const again = faces.map((_, i) => i).filter((i) => !regions[i] && Math.abs(inPlaneAngle(answers[i].rotation)) > TILTED_DEGREES);
  for (const i of again) regions[i] = regionOf(faces[i].box, inPlaneAngle(answers[i].rotation));
  const second = await read(pose, network, again.map((i) => crop(picture, faces[i], regions[i], network)), again.map((i) => regions[i]));
  again.forEach((i, n) => (answers[i] = second[n]));
  return {
    poses: faces.map(({ box, score }, i) => ({ box, score, ...(regions[i] && { region: regions[i] }), ...answers[i] })),
    times: { detector: detected - started, crop: cropped - detected, network: performance.now() - cropped },
  };
}

function crop(picture: Pixels, face: Face, region: Region | undefined, network: NetworkInfo): Pixels {
  return region ? cutTurned(picture, region, network.crop) : cut(picture, face.box, network.crop);
}

/** Read crops, and turn the rotations from the axes of each crop to those of the camera. */
async function read(pose: RunPose, network: NetworkInfo, crops: readonly Pixels[], regions: readonly (Region | undefined)[]): Promise<Reading[]> {
  if (crops.length === 0) return [];
  const { size } = network.crop;
  const outputs = await pose(networkInput(crops, network.crop), [crops.length, 3, size, size]);
  return readings(outputs, crops.length, network.calibration).map((reading, i) => {
    const turn = regions[i]?.turn;
    return turn ? { ...reading, rotation: turnPicture(reading.rotation, turn) } : reading;
  });
}
