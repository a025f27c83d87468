/** BlazeFace in two stages on an image pyramid, as in headpose/detection/blazeface.py, which says why. */

import { cut, networkInput, place } from "./crop";
import { blend, decode, dropDuplicates, iou, sigmoid, type Row } from "./decoding";
import constants from "./detector.json";
import { areaTaps, linearTaps, resample, roundHalfEven } from "./resample";
import type { CropSpec, Face, Pixels } from "./types";

/** BlazeFace's network: (N, 3, H, W) in [-1, 1] to boxes (N, A, 16) and logits (N, A). */
export type RunBlazeFace = (
  input: Float32Array,
  shape: readonly [number, number, number, number],
) => Promise<{ boxes: Float32Array; logits: Float32Array }>;

const CLOSE = constants.close as unknown as CropSpec;
const logit = (score: number) => Math.log(score / (1 - score));

/** Detector settings. */
export interface DetectorSettings {
  /** Minimum score of a face, in (0, 1). */
  readonly minScore: number;
  /** Longer side, in pixels, of the smallest tight box to detect. Larger values are faster. */
  readonly minFace: number;
}

export const DEFAULTS: DetectorSettings = { minScore: constants.min_score, minFace: constants.min_face };

/** Detect the faces of a picture, best first; each has the tight box of the 68 landmarks. */
export async function detect(run: RunBlazeFace, picture: Pixels, settings: DetectorSettings = DEFAULTS): Promise<Face[]> {
  const minLogit = logit(settings.minScore);
  const proposed = Math.min(logit(constants.proposed_score), minLogit);
  const pyramid = [picture];
  for (const [width, height] of levelSizes(picture.width, picture.height, settings.minFace)) {
    pyramid.push(resize(pyramid[pyramid.length - 1], width, height));
  }
  const proposals: Row[] = [];
  for (const level of pyramid.slice(1)) proposals.push(...(await propose(run, level, picture, proposed)));
  const best = blend(proposals).slice(0, constants.most_proposals);
  return faces(await confirm(run, pyramid, best, proposed), picture, minLogit);
}

/**
 * Detect faces where they were in the frame before: the second stage alone, whose boxes `detect` returns, too. A face
 * whose box has moved by more than about half of its side is lost.
 */
export async function detectAgain(run: RunBlazeFace, picture: Pixels, known: readonly Face[], settings: DetectorSettings = DEFAULTS): Promise<Face[]> {
  const minLogit = logit(settings.minScore);
  const proposed = Math.min(logit(constants.proposed_score), minLogit);
  return faces(await confirm(run, [picture], known.map(detectorRow), proposed), picture, minLogit);
}

/** Return the faces of the boxes that are sure enough, best first. */
function faces(confirmed: readonly Row[], picture: Pixels, minLogit: number): Face[] {
  const longer = Math.max(picture.width, picture.height);
  const sure = confirmed.filter((row) => {
    const small = row.x2 - row.x1 < constants.small_share * longer;
    return row.logit >= minLogit + (small ? constants.small_margin : 0);
  });
  return dropDuplicates(sure).map(tight);
}

/** Return the (width, height) of each level of the pyramid, finest first. */
export function levelSizes(width: number, height: number, minFace: number): [number, number][] {
  const { coarsest_side: coarsest, finest_side: finestSide, smallest_seen: seen, largest_step: step } = constants;
  const longer = Math.max(width, height);
  const finest = Math.min(Math.max((seen / minFace) * longer, coarsest), finestSide);
  const steps = Math.ceil(Math.log(finest / coarsest) / Math.log(step));
  const sizes: [number, number][] = [];
  for (let index = 0; index <= steps; index++) {
    const side = finest * (coarsest / finest) ** (index / Math.max(steps, 1));
    const scaled = (length: number) => Math.max(1, roundHalfEven((length * side) / longer));
    sizes.push([scaled(width), scaled(height)]);
  }
  return sizes;
}

/** Resize as cv2.resize does: by area where the picture shrinks, otherwise bilinear. */
export function resize(picture: Pixels, width: number, height: number): Pixels {
  const taps = width < picture.width ? areaTaps : linearTaps;
  return resample(picture, taps(picture.width, width), taps(picture.height, height));
}

/** Return the proposals of one level, in pixels of the whole picture. */
export async function propose(run: RunBlazeFace, level: Pixels, picture: Pixels, minLogit: number): Promise<Row[]> {
  const { multiple } = constants;
  const width = Math.ceil(level.width / multiple) * multiple;
  const height = Math.ceil(level.height / multiple) * multiple;
  const input = new Float32Array(3 * width * height).fill(-1); // black
  for (let channel = 0; channel < 3; channel++) {
    for (let y = 0; y < level.height; y++) {
      const to = (channel * height + y) * width;
      const from = y * level.width * level.step + channel;
      for (let x = 0; x < level.width; x++) input[to + x] = level.data[from + x * level.step] / 127.5 - 1;
    }
  }
  const { boxes, logits } = await run(input, [1, 3, height, width]);
  let rows = decode(boxes, logits, height, width, minLogit);
  if (Math.max(level.width, level.height) > constants.coarsest_side) {
    rows = rows.filter((row) => row.x2 - row.x1 <= constants.largest_on_level);
  }
  const [perX, perY] = [picture.width / level.width, picture.height / level.height];
  return rows.map((row) => ({
    x1: row.x1 * perX, y1: row.y1 * perY, x2: row.x2 * perX, y2: row.y2 * perY, logit: row.logit,
  }));
}

/** Run the second stage: keep the proposals that the network still sees in a crop of each. */
export async function confirm(run: RunBlazeFace, pyramid: readonly Pixels[], proposals: readonly Row[], minLogit: number): Promise<Row[]> {
  const { width, height } = pyramid[0];
  const smallest = (constants.smallest_seen / constants.coarsest_side) * Math.max(width, height);
  const confirmed: Row[] = [];
  for (let start = 0; start < proposals.length; start += constants.batch) {
    const batch = proposals.slice(start, start + constants.batch);
    const input = networkInput(batch.map((row) => closeView(pyramid, row)), CLOSE);
    const { boxes, logits } = await run(input, [batch.length, 3, CLOSE.size, CLOSE.size]);
    const count = logits.length / batch.length;
    batch.forEach((row, n) => {
      const own = decode(
        boxes.subarray(16 * n * count, 16 * (n + 1) * count), logits.subarray(n * count, (n + 1) * count),
        CLOSE.size, CLOSE.size, minLogit,
      );
      const { x, y, perX } = place(row, CLOSE);
      for (const found of blend(own)) {
        const box = { x1: x + found.x1 * perX, y1: y + found.y1 * perX, x2: x + found.x2 * perX, y2: y + found.y2 * perX };
        if (!(iou(row, box) > constants.same_face)) continue;
        const small = box.x2 - box.x1 < smallest;
        confirmed.push({ ...box, logit: small ? found.logit : (found.logit + row.logit) / 2 });
        break;
      }
    });
  }
  return confirmed;
}

/** Return the close crop of a proposal, from the smallest level of the pyramid with enough detail. */
export function closeView(pyramid: readonly Pixels[], row: Row): Pixels {
  const [whole] = pyramid;
  const detail = CLOSE.size / CLOSE.scale / Math.max(row.x2 - row.x1, row.y2 - row.y1);
  let source: Pixels | undefined;
  for (const level of pyramid) {
    if (level.width >= detail * whole.width && (!source || level.width < source.width)) source = level;
  }
  source ??= whole;
  const [perX, perY] = [source.width / whole.width, source.height / whole.height];
  return cut(source, { x1: row.x1 * perX, y1: row.y1 * perY, x2: row.x2 * perX, y2: row.y2 * perY }, CLOSE);
}

/** Convert a detector's box to the tight box of the landmarks. */
function tight(row: Row): Face {
  const { left, top, right, bottom } = constants.offsets;
  const [width, height] = [row.x2 - row.x1, row.y2 - row.y1];
  const box = { x1: row.x1 + left * width, y1: row.y1 + top * height, x2: row.x2 + right * width, y2: row.y2 + bottom * height };
  return { box, score: sigmoid(row.logit) };
}

/** Convert a tight box to the detector's box: the inverse of `tight`. */
function detectorRow({ box, score }: Face): Row {
  const { left, top, right, bottom } = constants.offsets;
  const width = (box.x2 - box.x1) / (1 + right - left);
  const height = (box.y2 - box.y1) / (1 + bottom - top);
  const [x, y] = [box.x1 - left * width, box.y1 - top * height];
  const sure = Math.min(Math.max(score, 1e-6), 1 - 1e-6);
  return { x1: x, y1: y, x2: x + width, y2: y + height, logit: logit(sure) };
}
