/** Value objects, as in headpose/types.py. */

import type { Region } from "./region";

/** Rotation from head axes to camera axes: 3x3, row by row (src/geometry.ts). */
export type Matrix = readonly number[];

/** Rectangle in pixels; pixel (i, j) covers [i, i + 1) x [j, j + 1). */
export interface Box {
  readonly x1: number;
  readonly y1: number;
  readonly x2: number;
  readonly y2: number;
}

/** Detected face: its tight box, the detector's confidence in [0, 1], and its region, which may be turned. */
export interface Face {
  readonly box: Box;
  readonly score: number;
  readonly region?: Region;
}

/** Angles in degrees. */
export interface Euler {
  readonly yaw: number;
  readonly pitch: number;
  readonly roll: number;
}

/** Pose of one face. */
export interface Pose extends Face {
  readonly rotation: Matrix;
  /** Number of the face in a stream, from 1. */
  readonly track?: number;
  /** Expected error in degrees, where the network states it. */
  readonly uncertainty?: number;
  /** Probability in [0, 1] that this is a face whose pose can be read, where the network states it. */
  readonly readable?: number;
}

/** Settings of a network's input, as in models.toml. */
export interface CropSpec {
  readonly size: number;
  readonly scale: number;
  readonly shift_y: number;
  readonly square: boolean;
  readonly interpolation: "linear";
  readonly border: "replicate" | "black";
  readonly channels: "rgb" | "bgr";
  readonly mean: readonly [number, number, number];
  readonly std: readonly [number, number, number];
}

/** Constants that fit the optional outputs of a network to held-out faces. */
export interface Calibration {
  readonly temperature: number;
  readonly face: { readonly temperature: number; readonly bias: number };
}

/** One network of the page, as the build lists it in networks.json. */
export interface NetworkInfo {
  readonly name: string;
  readonly file: string;
  readonly bytes: number;
  readonly precision: string;
  readonly license: string;
  readonly license_terms: string;
  readonly crop: CropSpec;
  readonly calibration: Calibration;
}

/** Picture in memory: bytes in the order R, G, B and, with `step` 4, A. */
export interface Pixels {
  readonly data: Uint8Array | Uint8ClampedArray;
  readonly width: number;
  readonly height: number;
  readonly step: 3 | 4;
}

/** Milliseconds that each stage of one frame took. */
export interface Times {
  readonly read: number;
  readonly detector: number;
  readonly crop: number;
  readonly network: number;
}
