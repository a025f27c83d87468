/** What a network reads off its crops, checked and calibrated, as headpose/reading.py does. */

import { departure, determinant, expectedAngle, nearestRotation } from "./geometry";
import type { Calibration, Matrix } from "./types";

/** Outputs of a network for N crops by name: rotation (N, 3, 3), and covariance (N, 3, 3) and face (N) where it has them. */
export type Outputs = Readonly<Record<string, Float32Array>>;

/** What a network says of one face. */
export interface Reading {
  readonly rotation: Matrix;
  readonly uncertainty?: number;
  readonly readable?: number;
}

// Largest difference of R^T R from the identity: in fp32 arithmetic, and in fp16 or int8.
const EXACT = 1e-4;
const ROUNDED = 0.1;

/** Convert the outputs for `count` crops. Throws where they are no rotations. */
export function readings(outputs: Outputs, count: number, calibration: Calibration): Reading[] {
  const { rotation, covariance, face } = outputs;
  if (!rotation || rotation.length !== 9 * count) throw new Error("the network returned no rotation");
  return Array.from({ length: count }, (_, n) => ({
    rotation: checkedRotation([...rotation.subarray(9 * n, 9 * n + 9)]),
    ...(covariance && {
      uncertainty: expectedAngle([...covariance.subarray(9 * n, 9 * n + 9)].map((value) => calibration.temperature * value)),
    }),
    ...(face && { readable: 1 / (1 + Math.exp(-(face[n] / calibration.face.temperature + calibration.face.bias))) }),
  }));
}

function checkedRotation(matrix: Matrix): Matrix {
  const off = departure(matrix);
  if (!(off <= ROUNDED && determinant(matrix) > 0)) throw new Error("the network returned no rotation");
  return off <= EXACT ? matrix : nearestRotation(matrix);
}
