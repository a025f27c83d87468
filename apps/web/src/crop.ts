/** The crop of headpose/crop.py: from a picture and a tight box to a network's input. */

import type { Region } from "./region";
import { warp, warpTurned } from "./resample";
import type { Box, CropSpec, Pixels } from "./types";

const LARGEST_GRID = 8192; // as in crop.py: maximum side of the sampling grid, pixels

/** Where a crop lies: its outer corner, and pixels of the picture for each pixel of the crop. */
export interface Place {
  readonly x: number;
  readonly y: number;
  readonly perX: number;
  readonly perY: number;
}

/** Return where the crop of a tight box lies in the picture (`source_from_crop`). */
export function place(box: Box, spec: CropSpec): Place {
  const width = box.x2 - box.x1;
  const height = box.y2 - box.y1;
  const perX = (spec.scale * (spec.square ? Math.max(width, height) : width)) / spec.size;
  const perY = (spec.scale * (spec.square ? Math.max(width, height) : height)) / spec.size;
  const centerX = (box.x1 + box.x2) / 2;
  const centerY = (box.y1 + box.y2) / 2 + spec.shift_y * height;
  return { x: centerX - (perX * spec.size) / 2, y: centerY - (perY * spec.size) / 2, perX, perY };
}

/** Crop a face that is turned, upright (`cut` of a region). */
export function cutTurned(picture: Pixels, region: Region, spec: CropSpec): Pixels {
  const { width, height } = region;
  const perX = (spec.scale * (spec.square ? Math.max(width, height) : width)) / spec.size;
  const perY = (spec.scale * (spec.square ? Math.max(width, height) : height)) / spec.size;
  const finer = finerBy(perX, perY, spec);
  const [cos, sin] = [Math.cos((region.turn * Math.PI) / 180), Math.sin((region.turn * Math.PI) / 180)];
  const centerX = region.x - spec.shift_y * height * sin;
  const centerY = region.y + spec.shift_y * height * cos;
  const [a, b, d, e] = [cos * perX, -sin * perY, sin * perX, cos * perY].map((value) => value / finer);
  const half = (spec.size * finer) / 2 - 0.5; // between pixel centers
  const affine = [a, b, centerX - half * (a + b) - 0.5, d, e, centerY - half * (d + e) - 0.5] as const;
  return warpTurned(picture, affine, spec.size, finer, spec.border);
}

function finerBy(perX: number, perY: number, spec: CropSpec): number {
  const finest = Math.floor(LARGEST_GRID / spec.size);
  return Math.max(1, Math.min(Math.ceil(Math.max(perX, perY) - 1e-6), finest));
}

/** Crop a face: one sub-pixel warp, averaged by area where it shrinks the picture (`cut`). */
export function cut(picture: Pixels, box: Box, spec: CropSpec): Pixels {
  const { x, y, perX, perY } = place(box, spec);
  const finer = finerBy(perX, perY, spec);
  // From pixel corners to pixel centers, which is what warpAffine counts in.
  const grid = (origin: number, step: number) => ({ origin: origin + step / 2 - 0.5, step });
  return warp(picture, grid(x, perX / finer), grid(y, perY / finer), spec.size, finer, spec.border);
}

/** Normalize crops into one (N, 3, S, S) tensor (`normalize`). */
export function networkInput(crops: readonly Pixels[], spec: CropSpec): Float32Array {
  const pixels = spec.size * spec.size;
  const input = new Float32Array(crops.length * 3 * pixels);
  crops.forEach((crop, n) => {
    for (let channel = 0; channel < 3; channel++) {
      const scale = 1 / (255 * spec.std[channel]);
      const shift = spec.mean[channel] / spec.std[channel];
      const start = (3 * n + channel) * pixels;
      const from = spec.channels === "rgb" ? channel : 2 - channel;
      for (let i = 0; i < pixels; i++) input[start + i] = crop.data[3 * i + from] * scale - shift;
    }
  });
  return input;
}
