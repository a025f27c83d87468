/**
 * Rotations and angles, with the signs of headpose/geometry.py: axes x to the right in the image, y up, z towards the
 * camera; yaw > 0 to the LEFT of the image, pitch > 0 up, roll > 0 clockwise on the screen.
 */

import type { Euler, Matrix } from "./types";

export const IDENTITY: Matrix = [1, 0, 0, 0, 1, 0, 0, 0, 1];

const degrees = (radians: number) => (radians * 180) / Math.PI;
const radians = (angle: number) => (angle * Math.PI) / 180;
const clamp = (value: number) => Math.min(Math.max(value, -1), 1);
const wrapped = (angle: number) => ((((angle + 180) % 360) + 360) % 360) - 180;

/** Convert angles in degrees to a rotation. */
export function rotationFromEuler({ yaw, pitch, roll }: Euler): Matrix {
  const [cy, sy] = [Math.cos(radians(yaw)), Math.sin(radians(yaw))];
  const [cp, sp] = [Math.cos(radians(pitch)), Math.sin(radians(pitch))];
  const [cr, sr] = [Math.cos(radians(roll)), Math.sin(radians(roll))];
  return [
    cy * cr, cy * sr, -sy,
    sp * sy * cr - cp * sr, sp * sy * sr + cp * cr, sp * cy,
    cp * sy * cr + sp * sr, cp * sy * sr - sp * cr, cp * cy,
  ];
}

/** Convert a rotation to angles in degrees: of the two triples, the one with the smaller |pitch| + |roll|. */
export function eulerFromRotation(r: Matrix): Euler {
  const yaw = Math.asin(clamp(-r[2]));
  if (Math.hypot(r[0], r[1]) < 1e-7) return { yaw: degrees(yaw), pitch: degrees(Math.atan2(Math.sign(yaw) * r[3], r[4])), roll: 0 };
  const one = { yaw: degrees(yaw), pitch: degrees(Math.atan2(r[5], r[8])), roll: degrees(Math.atan2(r[1], r[0])) };
  const other = { yaw: wrapped(180 - one.yaw), pitch: wrapped(one.pitch + 180), roll: wrapped(one.roll + 180) };
  const size = (euler: Euler) => Math.abs(euler.pitch) + Math.abs(euler.roll);
  return size(other) < size(one) ? other : one;
}

/** Product of two matrices. */
export function multiply(a: Matrix, b: Matrix): Matrix {
  const result: number[] = [];
  for (let i = 0; i < 3; i++) {
    for (let j = 0; j < 3; j++) result.push(a[3 * i] * b[j] + a[3 * i + 1] * b[3 + j] + a[3 * i + 2] * b[6 + j]);
  }
  return result;
}

/** Transpose of a matrix: the inverse of a rotation. */
export function transpose(m: Matrix): Matrix {
  return [m[0], m[3], m[6], m[1], m[4], m[7], m[2], m[5], m[8]];
}

function cofactors(m: Matrix): Matrix {
  return [
    m[4] * m[8] - m[5] * m[7], m[5] * m[6] - m[3] * m[8], m[3] * m[7] - m[4] * m[6],
    m[2] * m[7] - m[1] * m[8], m[0] * m[8] - m[2] * m[6], m[1] * m[6] - m[0] * m[7],
    m[1] * m[5] - m[2] * m[4], m[2] * m[3] - m[0] * m[5], m[0] * m[4] - m[1] * m[3],
  ];
}

/** Determinant of a matrix. */
export function determinant(m: Matrix): number {
  const c = cofactors(m);
  return m[0] * c[0] + m[1] * c[1] + m[2] * c[2];
}

/**
 * Return the nearest rotation to a matrix with a positive determinant: its polar factor, by Newton's iteration
 * (Higham, "Computing the polar decomposition", 1986).
 */
export function nearestRotation(matrix: Matrix): Matrix {
  let m = matrix;
  for (let step = 0; step < 20; step++) {
    const inverseTransposed = cofactors(m).map((value) => value / determinant(m));
    const next = m.map((value, i) => (value + inverseTransposed[i]) / 2);
    const moved = Math.max(...next.map((value, i) => Math.abs(value - m[i])));
    m = next;
    if (moved < 1e-14) break;
  }
  return m;
}

/** Largest difference of R^T R from the identity. */
export function departure(r: Matrix): number {
  return Math.max(...multiply(transpose(r), r).map((value, i) => Math.abs(value - IDENTITY[i])));
}

/** Mean of rotations in the chordal sense. */
export function meanRotation(rotations: readonly Matrix[]): Matrix {
  return nearestRotation(IDENTITY.map((_, i) => rotations.reduce((sum, r) => sum + r[i], 0) / rotations.length));
}

/** Rotation relative to a neutral head pose: what a camera in front of the neutral face would see. */
export function relativeTo(rotation: Matrix, neutral: Matrix): Matrix {
  return multiply(transpose(neutral), rotation);
}

/** Clockwise angle in degrees on the screen from "up" to the head's up axis (`in_plane_angle`). */
export function inPlaneAngle(r: Matrix): number {
  return degrees(Math.atan2(r[1], r[4]));
}

/** Rotation after a clockwise rotation of the image by an angle in degrees (`turn_picture`). */
export function turnPicture(rotation: Matrix, clockwise: number): Matrix {
  return multiply(rotationFromEuler({ yaw: 0, pitch: 0, roll: clockwise }), rotation);
}

/** Direction of the nose and tilt about it, degrees (`direction_from_rotation`); smooth through a profile. */
export interface Direction {
  readonly azimuth: number;
  readonly elevation: number;
  readonly tilt: number;
}

/** Convert a rotation to the direction of the nose and the tilt about it. */
export function directionFromRotation(r: Matrix): Direction {
  const elevation = degrees(Math.asin(clamp(r[5])));
  if (Math.hypot(r[2], r[8]) < 1e-7) return { azimuth: degrees(Math.atan2(r[6], r[0])), elevation, tilt: 0 };
  return { azimuth: degrees(Math.atan2(-r[2], r[8])), elevation, tilt: degrees(Math.atan2(-r[3], r[4])) };
}

/** Angle in degrees of the rotation between two rotations. */
export function geodesicDegrees(a: Matrix, b: Matrix): number {
  const squares = a.reduce((sum, value, i) => sum + (value - b[i]) ** 2, 0);
  return degrees(2 * Math.asin(Math.min(Math.sqrt(squares / 8), 1)));
}

/** Directions of the head's axes on the screen, x (its left), y (up), z (out of the nose): right, down, to the camera. */
export function screenAxes(r: Matrix): [number, number, number][] {
  return [0, 1, 2].map((axis) => [r[axis], -r[3 + axis], r[6 + axis]]);
}

/** Convert an axis times an angle in degrees to a rotation (Rodrigues' formula). */
export function rotationFromVector(vector: readonly number[]): Matrix {
  const [x, y, z] = vector.map(radians);
  const angle = Math.hypot(x, y, z);
  const sine = angle < 1e-9 ? 1 : Math.sin(angle) / angle;
  const versine = angle < 1e-9 ? 0.5 : (1 - Math.cos(angle)) / angle ** 2;
  const cross = [0, -z, y, z, 0, -x, -y, x, 0];
  const square = multiply(cross, cross);
  return IDENTITY.map((value, i) => value + sine * cross[i] + versine * square[i]);
}

/** Convert a rotation of less than 180 degrees to its axis times its angle in degrees. */
export function vectorFromRotation(r: Matrix): number[] {
  const vector = [r[7] - r[5], r[2] - r[6], r[3] - r[1]];
  const sine = Math.hypot(...vector);
  const angle = Math.atan2(sine, r[0] + r[4] + r[8] - 1);
  return vector.map((value) => degrees(sine < 1e-12 ? value / 2 : (value * angle) / sine));
}

/** Eigenvalues of a symmetric matrix (Smith, "Eigenvalues of a symmetric 3 x 3 matrix", 1961). */
export function eigenvalues(m: Matrix): number[] {
  const mean = (m[0] + m[4] + m[8]) / 3;
  const off = m[1] ** 2 + m[2] ** 2 + m[5] ** 2;
  const p = Math.sqrt(((m[0] - mean) ** 2 + (m[4] - mean) ** 2 + (m[8] - mean) ** 2 + 2 * off) / 6);
  if (p === 0) return [mean, mean, mean];
  const half = determinant(m.map((value, i) => (value - mean * IDENTITY[i]) / p)) / 2;
  const angle = Math.acos(clamp(half)) / 3;
  return [0, 1, 2].map((k) => mean + 2 * p * Math.cos(angle + (2 * Math.PI * k) / 3));
}

/**
 * Expected angle in degrees of a rotation vector that is normally distributed around 0
 * (`headpose.geometry.expected_angle`), by the midpoint rule over an octant of the sphere.
 *
 * @param covariance 3x3, radians squared.
 */
export function expectedAngle(covariance: Matrix): number {
  const [a, b, c] = eigenvalues(covariance).map((value) => Math.max(value, 0));
  const points = 32;
  let sum = 0;
  for (let i = 0; i < points; i++) {
    const z2 = ((i + 0.5) / points) ** 2;
    for (let j = 0; j < points; j++) {
      const about = ((j + 0.5) * Math.PI) / (2 * points);
      sum += Math.sqrt((1 - z2) * (a * Math.cos(about) ** 2 + b * Math.sin(about) ** 2) + c * z2);
    }
  }
  return Math.min(degrees((Math.sqrt(8 / Math.PI) * sum) / points ** 2), 180);
}

const STRAIGHT = 2.5; // degrees; smaller angles are described as straight, as in headpose/draw.py

/** Describe the direction and the tilt of a head in words. Left and right refer to the image. */
export function describe(rotation: Matrix): string {
  const { azimuth, elevation, tilt } = directionFromRotation(rotation);
  const ways: string[] = [];
  if (Math.abs(azimuth) >= STRAIGHT) ways.push(`${Math.abs(azimuth).toFixed(0)}° ${azimuth > 0 ? "left" : "right"}`);
  if (Math.abs(elevation) >= STRAIGHT) ways.push(`${Math.abs(elevation).toFixed(0)}° ${elevation > 0 ? "up" : "down"}`);
  const looks = `looks ${ways.join(" and ") || "straight ahead"}`;
  if (Math.abs(tilt) < STRAIGHT) return looks;
  return `${looks}, tilted ${Math.abs(tilt).toFixed(0)}° ${tilt > 0 ? "" : "counter-"}clockwise`;
}
