/** BlazeFace in two stages on an image pyramid, as in headpose/detection/blazeface.py, which says why. */

import { cut, networkInput, place } from "./crop";
import { blend, decode, dropDuplicates, iou, sigmoid, type Row } from "./decoding";
import constants from "./detector.json";
import { boundsOf, regionOf, TILTED_DEGREES } from "./region";
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

/** Face with the detector's own box, from which `detectAgain` starts. */
export interface Found extends Face {
  readonly detected: Row;
}

/** Detect the faces of a picture, best first; each has the tight box of the 68 landmarks. */
export async function detect(run: RunBlazeFace, picture: Pixels, settings: DetectorSettings = DEFAULTS): Promise<Found[]> {
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
export async function detectAgain(run: RunBlazeFace, picture: Pixels, known: readonly Found[], settings: DetectorSettings = DEFAULTS): Promise<Found[]> {
  const minLogit = logit(settings.minScore);
  const proposed = Math.min(logit(constants.proposed_score), minLogit);
  return faces(await confirm(run, [picture], known.map(({ detected }) => detected), proposed), picture, minLogit);
}

/** Return the faces of the boxes that are sure enough, best first. */
function faces(confirmed: readonly Row[], picture: Pixels, minLogit: number): Found[] {
  const longer = Math.max(picture.width, picture.height);
  const sure = confirmed.filter((row) => {
    const small = row.x2 - row.x1 < constants.small_share * longer;
    const tilted = Math.abs(turnOf(row)) > TILTED_DEGREES;
    return row.logit >= minLogit + (small ? constants.small_margin : tilted ? constants.tilted_margin : 0);
  });
  return dropDuplicates(sure).map(face);
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
async function propose(run: RunBlazeFace, level: Pixels, picture: Pixels, minLogit: number): Promise<Row[]> {
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
  return rows.map((row) => ({ ...row, x1: row.x1 * perX, y1: row.y1 * perY, x2: row.x2 * perX, y2: row.y2 * perY }));
}

/** Run the second stage: keep the proposals that the network still sees in a crop of each (`_confirm`). */
async function confirm(run: RunBlazeFace, pyramid: readonly Pixels[], proposals: readonly Row[], minLogit: number): Promise<Row[]> {
  const upright = await look(run, pyramid, proposals, 0, minLogit);
  const seen = await turned(run, pyramid, proposals, upright, minLogit);
  return seen.flatMap((row, i) => {
    if (!row) return [];
    const alone = isSmall(row, pyramid[0]) || Math.abs(turnOf(row)) > TILTED_DEGREES;
    return [{ ...row, logit: alone ? row.logit : (row.logit + proposals[i].logit) / 2 }];
  });
}

/** Look at doubtful, large proposals in turned crops, too, and return the best looks (`_turned`). */
async function turned(
  run: RunBlazeFace, pyramid: readonly Pixels[], proposals: readonly Row[], upright: readonly (Row | undefined)[], minLogit: number,
): Promise<(Row | undefined)[]> {
  const logitOf = (row: Row | undefined) => row?.logit ?? -Infinity;
  const doubtful = proposals.map((_, i) => i).filter((i) =>
    logitOf(upright[i]) < constants.upright && proposals[i].logit >= constants.worth_turning && !isSmall(proposals[i], pyramid[0]),
  ).slice(0, constants.most_turned);
  const best = [...upright];
  for (const quarter of doubtful.length ? [1, 2, 3] : []) {
    const looks = await look(run, pyramid, doubtful.map((i) => proposals[i]), quarter, minLogit);
    looks.forEach((row, n) => {
      const i = doubtful[n];
      const least = Math.max(logitOf(best[i]), logitOf(upright[i]) + constants.turned_margin);
      if (logitOf(row) > least) best[i] = row;
    });
  }
  return best;
}

/** Return what the network sees in crops of proposals that are turned by quarters of a turn (`_look`). */
async function look(run: RunBlazeFace, pyramid: readonly Pixels[], proposals: readonly Row[], quarter: number, minLogit: number): Promise<(Row | undefined)[]> {
  const seen: (Row | undefined)[] = [];
  for (let start = 0; start < proposals.length; start += constants.batch) {
    const batch = proposals.slice(start, start + constants.batch);
    const input = networkInput(batch.map((row) => closeView(pyramid, row)), CLOSE);
    const { boxes, logits } = await run(rotated(input, CLOSE.size, quarter), [batch.length, 3, CLOSE.size, CLOSE.size]);
    const count = logits.length / batch.length;
    batch.forEach((row, n) => {
      const own = decode(
        boxes.subarray(16 * n * count, 16 * (n + 1) * count), logits.subarray(n * count, (n + 1) * count),
        CLOSE.size, CLOSE.size, minLogit,
      );
      const { x, y, perX } = place(row, CLOSE);
      const found = blend(own).map((each) => {
        const back = turnBack(each, quarter);
        return { ...back, x1: x + back.x1 * perX, y1: y + back.y1 * perX, x2: x + back.x2 * perX, y2: y + back.y2 * perX };
      });
      seen.push(found.find((each) => iou(row, each) > constants.same_face));
    });
  }
  return seen;
}

/** Rotate planes of a tensor by quarters of a turn, as numpy.rot90 does in its last two axes. */
function rotated(planes: Float32Array, side: number, quarter: number): Float32Array {
  if (quarter === 0) return planes;
  const result = new Float32Array(planes.length);
  const last = side - 1;
  for (let plane = 0; plane < planes.length; plane += side * side) {
    for (let i = 0; i < side; i++) {
      for (let j = 0; j < side; j++) {
        const [row, column] = quarter === 1 ? [j, last - i] : quarter === 2 ? [last - i, last - j] : [last - j, i];
        result[plane + i * side + j] = planes[plane + row * side + column];
      }
    }
  }
  return result;
}

/** Convert a box from a crop that is turned clockwise by quarters of a turn to one that is upright (`_turn_back`). */
function turnBack(row: Row, quarter: number): Row {
  const [cos, sin] = [[1, 0], [0, 1], [-1, 0], [0, -1]][quarter];
  const middle = CLOSE.size / 2;
  const [x, y] = [(row.x1 + row.x2) / 2 - middle, (row.y1 + row.y2) / 2 - middle];
  const [halfX, halfY] = [(row.x2 - row.x1) / 2, (row.y2 - row.y1) / 2];
  const [centerX, centerY] = [cos * x - sin * y + middle, sin * x + cos * y + middle];
  const [right, down] = [Math.abs(cos) * halfX + Math.abs(sin) * halfY, Math.abs(sin) * halfX + Math.abs(cos) * halfY];
  return {
    x1: centerX - right, y1: centerY - down, x2: centerX + right, y2: centerY + down, logit: row.logit,
    leftX: cos * row.leftX - sin * row.leftY, leftY: sin * row.leftX + cos * row.leftY,
  };
}

/** Clockwise angle of a face in the image plane, degrees. */
function turnOf(row: Row): number {
  return (Math.atan2(row.leftY, row.leftX) * 180) / Math.PI;
}

/** Whether the coarsest level shows a box below the network's smallest size. */
function isSmall(row: Row, { width, height }: Pixels): boolean {
  return row.x2 - row.x1 < (constants.smallest_seen / constants.coarsest_side) * Math.max(width, height);
}

/** Return the close crop of a proposal, from the smallest level of the pyramid with enough detail. */
function closeView(pyramid: readonly Pixels[], row: Row): Pixels {
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

/** Convert a detector's box to the tight box of the landmarks, turned with the face (`TightOffsets.face`). */
function face(row: Row): Found {
  const { left, top, right, bottom } = constants.offsets;
  const [width, height] = [row.x2 - row.x1, row.y2 - row.y1];
  const box = { x1: row.x1 + left * width, y1: row.y1 + top * height, x2: row.x2 + right * width, y2: row.y2 + bottom * height };
  const [score, turn] = [sigmoid(row.logit), turnOf(row)];
  if (Math.abs(turn) <= TILTED_DEGREES) return { box, score, region: regionOf(box, turn), detected: row };
  const [x, y] = [(row.x1 + row.x2) / 2, (row.y1 + row.y2) / 2];
  const [toRight, down] = [(box.x1 + box.x2) / 2 - x, (box.y1 + box.y2) / 2 - y];
  const [cos, sin] = [Math.cos((turn * Math.PI) / 180), Math.sin((turn * Math.PI) / 180)];
  const center = { x: x + cos * toRight - sin * down, y: y + sin * toRight + cos * down };
  const region = { ...center, width: box.x2 - box.x1, height: box.y2 - box.y1, turn };
  return { box: boundsOf(region), score, region, detected: row };
}
