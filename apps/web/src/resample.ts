/**
 * Resampling of pictures, value for value as OpenCV does it: the detector's boxes depend on it more than one would think (a
 * noise of a tenth of a grey level moves them by half a pixel).
 *
 * Resizes are separable: a weighted sum over rows of weighted sums over columns; `Taps` holds the weights of one axis.
 * Crops are affine warps.
 */

import type { Pixels } from "./types";

/** Weights of one axis: output i is the sum of `weights[offset[i] + j] * source[first[i] + j]`, j < count. */
export interface Taps {
  readonly first: Int32Array;
  /** One more entry than outputs; the difference of neighbors is the number of weights. */
  readonly offset: Int32Array;
  readonly weights: Float32Array;
}

/**
 * Weights of cv2.resize with INTER_AREA for an axis that shrinks: each output is the mean of the pixels it covers.
 */
export function areaTaps(source: number, target: number): Taps {
  const scale = source / target;
  return collect(target, (i, add) => {
    const end = Math.min((i + 1) * scale, source);
    for (let x = Math.floor(i * scale); x < end; x++) {
      const covered = Math.min(x + 1, end) - Math.max(x, i * scale);
      if (covered > 1e-6) add(x, covered / scale);
    }
  });
}

/** Weights of cv2.resize with INTER_LINEAR for an axis that grows. */
export function linearTaps(source: number, target: number): Taps {
  return collect(target, (i, add) => {
    const at = ((i + 0.5) * source) / target - 0.5;
    const low = Math.floor(at);
    const inside = (x: number) => Math.min(Math.max(x, 0), source - 1);
    add(inside(low), 1 - (at - low));
    add(inside(low + 1), at - low);
  });
}

type Add = (x: number, weight: number) => void;

function collect(target: number, each: (i: number, add: Add) => void): Taps {
  const first = new Int32Array(target);
  const offset = new Int32Array(target + 1);
  const weights: number[] = [];
  for (let i = 0; i < target; i++) {
    let start = -1;
    const own: number[] = [];
    each(i, (x, weight) => {
      if (start < 0) start = x;
      while (own.length <= x - start) own.push(0);
      own[x - start] += weight;
    });
    first[i] = start;
    for (const weight of own) weights.push(weight);
    offset[i + 1] = weights.length;
  }
  return { first, offset, weights: Float32Array.from(weights) };
}

/** Resample a picture. Returns bytes in the order R, G, B. */
export function resample(picture: Pixels, columns: Taps, rows: Taps): Pixels {
  const width = columns.first.length;
  const height = rows.first.length;
  const sums = new Float32Array(width * height * 3);
  const line = new Float32Array(width * 3);
  const last = rows.first[height - 1] + rows.offset[height] - rows.offset[height - 1];
  let begin = 0;
  for (let y = rows.first[0]; y < Math.min(last, picture.height); y++) {
    while (begin < height && endOf(rows, begin) <= y) begin++;
    if (begin === height) break;
    if (rows.first[begin] > y) continue;
    sumColumns(picture, y, columns, line);
    for (let row = begin; row < height && rows.first[row] <= y; row++) {
      if (endOf(rows, row) <= y) continue;
      const weight = rows.weights[rows.offset[row] + y - rows.first[row]];
      const start = row * width * 3;
      for (let i = 0; i < width * 3; i++) sums[start + i] += weight * line[i];
    }
  }
  const data = new Uint8Array(sums.length);
  for (let i = 0; i < sums.length; i++) data[i] = sums[i] + 0.5;
  return { data, width, height, step: 3 };
}

function endOf(taps: Taps, i: number): number {
  return taps.first[i] + taps.offset[i + 1] - taps.offset[i];
}

function sumColumns(picture: Pixels, y: number, columns: Taps, line: Float32Array): void {
  const { data, step } = picture;
  const { first, offset, weights } = columns;
  const row = y * picture.width * step;
  for (let i = 0; i < first.length; i++) {
    let red = 0;
    let green = 0;
    let blue = 0;
    let at = row + first[i] * step;
    for (let tap = offset[i]; tap < offset[i + 1]; tap++, at += step) {
      const weight = weights[tap];
      red += weight * data[at];
      green += weight * data[at + 1];
      blue += weight * data[at + 2];
    }
    line[3 * i] = red;
    line[3 * i + 1] = green;
    line[3 * i + 2] = blue;
  }
}

type Border = "replicate" | "black";

/** One axis of a crop: the sampling grid in pixels of the picture, `at(i) = origin + step * i` between pixel centers. */
export interface Grid {
  readonly origin: number;
  readonly step: number;
}

/**
 * Warp an upright part of a picture into a square, as cv2.warpAffine (bilinear, positions rounded to 1/32 pixel, samples to
 * bytes) and, where `finer` is above 1, cv2.resize with INTER_AREA do one after the other.
 *
 * @param columns Grid of `size * finer` samples.
 * @param rows Likewise.
 * @param border Value outside of the picture: its edge pixel, or black.
 */
export function warp(picture: Pixels, columns: Grid, rows: Grid, size: number, finer: number, border: Border): Pixels {
  const side = size * finer;
  const lines = new Lines(picture, columns, side, border);
  const sums = new Int32Array(size * size * 3);
  for (let j = 0; j < side; j++) {
    const at = (roundHalfEven((rows.origin + rows.step * j) * 1024) + 16) >> 5;
    const lower = at & 31;
    const upper = 32 - lower;
    const [top, bottom] = lines.pair(at >> 5);
    let to = Math.floor(j / finer) * size * 3;
    for (let i = 0; i < side * 3; to += 3) {
      for (const end = i + finer * 3; i < end; i += 3) {
        sums[to] += (upper * top[i] + lower * bottom[i] + 512) >> 10;
        sums[to + 1] += (upper * top[i + 1] + lower * bottom[i + 1] + 512) >> 10;
        sums[to + 2] += (upper * top[i + 2] + lower * bottom[i + 2] + 512) >> 10;
      }
    }
  }
  return means(sums, size, finer);
}

/** Return the means of cells of `finer` x `finer` bytes, rounded as cv2.resize does. */
function means(sums: Int32Array, size: number, finer: number): Pixels {
  const area = finer * finer;
  const data = new Uint8Array(sums.length);
  for (let i = 0; i < sums.length; i++) data[i] = finer === 2 ? (sums[i] + 2) >> 2 : roundHalfEven(sums[i] / area);
  return { data, width: size, height: size, step: 3 };
}

/** Affine transform between pixel centers, row by row: x = a * i + b * j + c, y = d * i + e * j + f. */
export type Affine = readonly [number, number, number, number, number, number];

/** Warp a turned part of a picture into a square, like `warp`; several times as slow. */
export function warpTurned(picture: Pixels, [a, b, c, d, e, f]: Affine, size: number, finer: number, border: Border): Pixels {
  const { data, width, height, step } = picture;
  const side = size * finer;
  const sums = new Int32Array(size * size * 3);
  const byte = (x: number, y: number, channel: number): number => {
    const [column, row] = [Math.min(Math.max(x, 0), width - 1), Math.min(Math.max(y, 0), height - 1)];
    return border === "black" && (column !== x || row !== y) ? 0 : data[(row * width + column) * step + channel];
  };
  for (let j = 0; j < side; j++) {
    const startX = roundHalfEven((b * j + c) * 1024) + 16;
    const startY = roundHalfEven((e * j + f) * 1024) + 16;
    for (let i = 0; i < side; i++) {
      const atX = (startX + roundHalfEven(a * i * 1024)) >> 5;
      const atY = (startY + roundHalfEven(d * i * 1024)) >> 5;
      const x = atX >> 5;
      const y = atY >> 5;
      const right = atX & 31;
      const lower = atY & 31;
      const to = (Math.floor(j / finer) * size + Math.floor(i / finer)) * 3;
      for (let channel = 0; channel < 3; channel++) {
        const top = (32 - right) * byte(x, y, channel) + right * byte(x + 1, y, channel);
        const bottom = (32 - right) * byte(x, y + 1, channel) + right * byte(x + 1, y + 1, channel);
        sums[to + channel] += ((32 - lower) * top + lower * bottom + 512) >> 10;
      }
    }
  }
  return means(sums, size, finer);
}

/** Rows of a picture, sampled along x and multiplied by 32; the two newest are kept, since neighbors share them. */
class Lines {
  private readonly left: Int32Array;
  private readonly right: Int32Array;
  private readonly leftWeight: Int32Array;
  private readonly rightWeight: Int32Array;
  private readonly kept: { y: number; line: Int32Array }[];

  constructor(private readonly picture: Pixels, { origin, step }: Grid, side: number, private readonly border: Border) {
    const { width } = picture;
    const first = roundHalfEven(origin * 1024) + 16;
    const at = new Int32Array(side).map((_, i) => (first + roundHalfEven(step * i * 1024)) >> 5);
    const inside = (x: number) => Math.min(Math.max(x, 0), width - 1);
    const weight = (x: number, share: number) => (border === "black" && inside(x) !== x ? 0 : share);
    this.left = at.map((x) => inside(x >> 5) * picture.step);
    this.right = at.map((x) => inside((x >> 5) + 1) * picture.step);
    this.leftWeight = at.map((x) => weight(x >> 5, 32 - (x & 31)));
    this.rightWeight = at.map((x) => weight((x >> 5) + 1, x & 31));
    this.kept = [0, 1].map(() => ({ y: NaN, line: new Int32Array(side * 3) }));
  }

  /** Return the rows y and y + 1. They are overwritten by later calls. */
  pair(y: number): [Int32Array, Int32Array] {
    const top = this.get(y, y + 1);
    return [top, this.get(y + 1, y)];
  }

  private get(y: number, spared: number): Int32Array {
    let slot = this.kept.find((each) => each.y === y);
    if (!slot) {
      slot = this.kept[0].y === spared ? this.kept[1] : this.kept[0];
      slot.y = y;
      this.sample(y, slot.line);
    }
    return slot.line;
  }

  private sample(y: number, line: Int32Array): void {
    const { data, width, height, step } = this.picture;
    const { left, right, leftWeight, rightWeight } = this;
    const row = Math.min(Math.max(y, 0), height - 1);
    if (this.border === "black" && row !== y) {
      line.fill(0);
      return;
    }
    for (let i = 0, to = 0; i < left.length; i++, to += 3) {
      const p = row * width * step + left[i];
      const q = row * width * step + right[i];
      line[to] = leftWeight[i] * data[p] + rightWeight[i] * data[q];
      line[to + 1] = leftWeight[i] * data[p + 1] + rightWeight[i] * data[q + 1];
      line[to + 2] = leftWeight[i] * data[p + 2] + rightWeight[i] * data[q + 2];
    }
  }
}

/** Round as Python's `round` and OpenCV's cvRound do. */
export function roundHalfEven(value: number): number {
  const low = Math.floor(value);
  if (value - low !== 0.5) return Math.round(value);
  return low % 2 === 0 ? low : low + 1;
}
