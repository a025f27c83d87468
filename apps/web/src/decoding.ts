/**
 * Decoding of BlazeFace's outputs, as in headpose/detection/decoding.py: anchors, boxes, and what replaces non-maximum
 * suppression. src/detector.json has the numbers; tests/programs/test_web.py compares them with Python's.
 */

import constants from "./detector.json";
import type { Box } from "./types";

/** Box in pixels with its score as a logit, and a vector to the left of the head: to the right of an upright image. */
export interface Row extends Box {
  readonly logit: number;
  readonly leftX: number;
  readonly leftY: number;
}

const anchorCache = new Map<string, Float32Array>();

/** Return the centers (x, y) of the anchors for an input size, one after the other, in the order of the outputs. */
export function anchors(height: number, width: number): Float32Array {
  const key = `${height}x${width}`;
  const known = anchorCache.get(key);
  if (known) return known;
  const centers: number[] = [];
  for (const [stride, count] of constants.strides) {
    for (let y = 0; y < Math.floor(height / stride); y++) {
      for (let x = 0; x < Math.floor(width / stride); x++) {
        for (let n = 0; n < count; n++) centers.push((x + 0.5) * stride, (y + 0.5) * stride);
      }
    }
  }
  const made = Float32Array.from(centers);
  if (anchorCache.size > 64) anchorCache.clear(); // a folder of pictures has many sizes
  anchorCache.set(key, made);
  return made;
}

/**
 * Decode the boxes of one input and drop those with a low score.
 *
 * @param boxes (A, 16): center x and y relative to the anchor, width, height, six key points; pixels.
 * @param logits (A).
 */
export function decode(boxes: Float32Array, logits: Float32Array, height: number, width: number, minLogit: number): Row[] {
  const centers = anchors(height, width);
  const rows: Row[] = [];
  for (let a = 0; a < logits.length; a++) {
    const [x, y, w, h, rightEyeX, rightEyeY, leftEyeX, leftEyeY, , , mouthX, mouthY] = boxes.subarray(16 * a, 16 * a + 12);
    if (!(logits[a] >= minLogit && w > 0 && h > 0)) continue;
    const [cx, cy] = [x + centers[2 * a], y + centers[2 * a + 1]];
    // The eyes are close together in a profile: the vector from mouth to eyes, turned by a right angle, is added.
    const [upX, upY] = [(rightEyeX + leftEyeX) / 2 - mouthX, (rightEyeY + leftEyeY) / 2 - mouthY];
    const [leftX, leftY] = [leftEyeX - rightEyeX - upY, leftEyeY - rightEyeY + upX];
    const row = { x1: cx - w / 2, y1: cy - h / 2, x2: cx + w / 2, y2: cy + h / 2, logit: logits[a], leftX, leftY };
    if (Object.values(row).every(Number.isFinite)) rows.push(row);
  }
  return rows;
}

/** Return the score in [0, 1] of a logit. */
export function sigmoid(logit: number): number {
  return 1 / (1 + Math.exp(-Math.min(Math.max(logit, -constants.most_logit), constants.most_logit)));
}

/** Merge overlapping boxes to their score-weighted mean; the best score of each cluster stays. Best first. */
export function blend(rows: readonly Row[]): Row[] {
  let left = bestFirst(rows);
  const blended: Row[] = [];
  while (left.length) {
    const [best] = left;
    const cluster = left.filter((row) => row === best || iou(best, row) > constants.same_face);
    left = left.filter((row) => !cluster.includes(row));
    const weights = cluster.map((row) => sigmoid(row.logit));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const mean = (side: Exclude<keyof Row, "logit">) => cluster.reduce((sum, row, i) => sum + weights[i] * row[side], 0) / total;
    const box = { x1: mean("x1"), y1: mean("y1"), x2: mean("x2"), y2: mean("y2") };
    blended.push({ ...box, logit: best.logit, leftX: mean("leftX"), leftY: mean("leftY") });
  }
  return blended;
}

/** Drop boxes that overlap a better one, and parts of a larger, better one. Best first. */
export function dropDuplicates(rows: readonly Row[]): Row[] {
  const kept: Row[] = [];
  for (const row of bestFirst(rows)) {
    const isPart = (other: Row) => shared(row, other) > constants.part * area(row) && area(other) > area(row);
    if (!kept.some((other) => isPart(other) || iou(row, other) > constants.same_face)) kept.push(row);
  }
  return kept;
}

/** Intersection over union of two boxes, in [0, 1]. */
export function iou(a: Box, b: Box): number {
  const both = shared(a, b);
  return both / (area(a) + area(b) - both);
}

function bestFirst(rows: readonly Row[]): Row[] {
  return [...rows].sort((a, b) => b.logit - a.logit);
}

function shared(a: Box, b: Box): number {
  const width = Math.min(a.x2, b.x2) - Math.max(a.x1, b.x1);
  const height = Math.min(a.y2, b.y2) - Math.max(a.y1, b.y1);
  return Math.max(width, 0) * Math.max(height, 0);
}

function area(box: Box): number {
  return (box.x2 - box.x1) * (box.y2 - box.y1);
}
