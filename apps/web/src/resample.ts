/**
 * Resampling of pictures. Every resize and every crop of the page is separable: a weighted sum over rows of weighted
 * sums over columns. `Taps` holds the weights of one axis.
 */

import type { Pixels } from "./types";

/** Weights of one axis: output i is the sum of `weights[offset[i] + j] * source[first[i] + j]`, j < count. */
export interface Taps {
  readonly first: Int32Array;
  /** One more entry than outputs; the difference of neighbours is the number of weights. */
  readonly offset: Int32Array;
  readonly weights: Float32Array;
}

/**
 * Weights of cv2.resize with INTER_AREA for an axis that shrinks: each output is the mean of the pixels it covers.
 */
export function areaTaps(source: number, target: number): Taps {
  const scale = source / target;
  return collect(target, source, (i, add) => {
    const end = Math.min((i + 1) * scale, source);
    for (let x = Math.floor(i * scale); x < end; x++) {
      const covered = Math.min(x + 1, end) - Math.max(x, i * scale);
      if (covered > 1e-6) add(x, covered / scale);
    }
  });
}

/** Weights of cv2.resize with INTER_LINEAR for an axis that grows. */
export function linearTaps(source: number, target: number): Taps {
  return sampledTaps(source, target, 0, source / target, 1, "replicate");
}

/**
 * Weights of a crop (headpose/crop.py, `cut`): bilinear samples on a grid that is `finer` times finer than the output,
 * averaged over cells of `finer`.
 *
 * @param source Length of the axis in pixels.
 * @param target Number of outputs.
 * @param origin Outer edge of the first output, in pixels of the source.
 * @param scale Pixels of the source for each output.
 * @param finer Samples for each output.
 * @param border Value outside of the source: its edge pixel, or black.
 */
export function sampledTaps(
  source: number,
  target: number,
  origin: number,
  scale: number,
  finer: number,
  border: "replicate" | "black",
): Taps {
  return collect(target, source, (i, add) => {
    for (let sample = 0; sample < finer; sample++) {
      const at = origin + (scale * (i * finer + sample + 0.5)) / finer - 0.5;
      const low = Math.floor(at);
      for (const [x, weight] of [[low, 1 - (at - low)], [low + 1, at - low]]) {
        const inside = Math.min(Math.max(x, 0), source - 1);
        if (weight > 0 && (border === "replicate" || inside === x)) add(inside, weight / finer);
      }
    }
  });
}

function collect(target: number, source: number, each: (i: number, add: (x: number, weight: number) => void) => void): Taps {
  const first = new Int32Array(target);
  const offset = new Int32Array(target + 1);
  const weights: number[] = [];
  let previous = 0;
  for (let i = 0; i < target; i++) {
    let start = -1;
    const own: number[] = [];
    each(i, (x, weight) => {
      if (start < 0) start = x;
      while (own.length <= x - start) own.push(0);
      own[x - start] += weight;
    });
    if (start < 0) start = previous === 0 ? 0 : source; // nothing of the source is in this output
    first[i] = start;
    previous = start + own.length;
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
  for (let i = 0; i < sums.length; i++) data[i] = Math.min(sums[i] + 0.5, 255);
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
