/** What headpose computes in Python (tests/programs/test_web_golden.py), and the picture that it starts from. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Region } from "../src/region";
import type { Box, CropSpec, Euler, Pixels, Pose } from "../src/types";

export interface Golden {
  crops: { name: string; box: Box; spec: CropSpec; pixels: string; channel_means: number[] }[];
  levels: { part: [number, number]; size: [number, number]; pixels: string }[];
  turned_crops: { region: Region; spec: CropSpec; pixels: string; of: Region; bounds: Box }[];
  level_sizes: { picture: [number, number]; min_face: number; levels: [number, number][] }[];
  decoding: {
    height: number; width: number; boxes: number[][]; logits: number[]; rows: number; blended: number[][];
    overlapping: number[][]; kept: number[][];
  };
  rotations: {
    euler: number[]; rotation: number[]; smallest: number[]; neutral: number[]; relative: number[]; geodesic: number;
    noisy: number[]; nearest: number[]; vector: number[];
    direction: number[]; in_plane: number; turned: number[];
  }[];
  photo: { width: number; height: number; pixels: string; poses: Pose[]; quarters: Pose[][] };
  stream: { time_s: number; given: Pose[]; tracked: Pose[] }[];
}

export const golden = JSON.parse(readFileSync(join(import.meta.dirname, "golden.json"), "utf8")) as Golden;

/** The drawn picture, or its upper left part; the formula is that of test_web_golden.py. */
export function drawnPicture(width = 230, height = 170): Pixels {
  const data = new Uint8Array(4 * width * height).fill(255);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const red = Math.min(Math.abs(((x * 4) % 512) - 256), 255);
      const green = Math.min(Math.abs(((y * 6 + x) % 512) - 256), 255);
      data.set([red, green, (x + y) % 97 < 40 ? 200 : 30], 4 * (y * width + x));
    }
  }
  return { data, width, height, step: 4 };
}

/** The head of the photo, turned clockwise by quarters of a turn, on grey: test_web_golden.py makes it, too. */
export function turnedHead(quarter: number): Pixels {
  const { width: side, pixels } = golden.photo;
  const head = unpacked(pixels);
  const data = new Uint8Array(3 * (side + 80) ** 2).fill(90);
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const [toX, toY] = [[x, y], [side - 1 - y, x], [side - 1 - x, side - 1 - y], [y, side - 1 - x]][quarter];
      const from = 3 * (y * side + x);
      data.set(head.subarray(from, from + 3), 3 * ((toY + 40) * (side + 80) + toX + 40));
    }
  }
  return { data, width: side + 80, height: side + 80, step: 3 };
}

/** A grey picture with the head of the photo at a place, or without it. */
export function scene(width: number, height: number, place?: readonly [number, number]): Pixels {
  const data = new Uint8Array(3 * width * height).fill(90);
  const head = unpacked(golden.photo.pixels);
  const side = golden.photo.width;
  for (let y = 0; place && y < golden.photo.height; y++) {
    data.set(head.subarray(3 * y * side, 3 * (y + 1) * side), 3 * ((place[1] + y) * width + place[0]));
  }
  return { data, width, height, step: 3 };
}

export const unpacked = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "base64"));

/** Largest and mean difference of two arrays of bytes. */
export function differences(a: Uint8Array | Uint8ClampedArray, b: Uint8Array): { largest: number; mean: number } {
  if (a.length !== b.length) throw new Error(`${a.length} bytes against ${b.length}`);
  let [largest, sum] = [0, 0];
  a.forEach((value, i) => {
    largest = Math.max(largest, Math.abs(value - b[i]));
    sum += Math.abs(value - b[i]);
  });
  return { largest, mean: sum / a.length };
}

export const eulerOf = ([yaw, pitch, roll]: number[]): Euler => ({ yaw, pitch, roll });
