import { expect, test } from "vitest";
import { anchors, blend, decode, dropDuplicates, sigmoid, type Row } from "../src/decoding";
import { golden } from "./golden";

const { height, width, boxes, logits, rows, blended, overlapping, kept } = golden.decoding;
const raw = new Float32Array(16 * boxes.length);
boxes.forEach((box, i) => raw.set(box, 16 * i));
const values = ({ x1, y1, x2, y2, logit, leftX, leftY }: Row) => [x1, y1, x2, y2, logit, leftX, leftY];

function expectRows(found: readonly Row[], expected: readonly number[][]): void {
  expect(found.length).toBe(expected.length);
  found.forEach((row, i) => expected[i].forEach((value, j) => expect(values(row)[j]).toBeCloseTo(value, 2)));
}

test("boxes are decoded and blended as in decoding.py", () => {
  const found = decode(raw, Float32Array.from(logits), height, width, -1);
  expect(found.length).toBe(rows);
  expect(rows).toBeGreaterThan(blended.length);
  expectRows(blend(found), blended);
});

test("overlapping faces and parts of faces are dropped as in decoding.py", () => {
  const given = overlapping.map(([x1, y1, x2, y2, logit]) => ({ x1, y1, x2, y2, logit, leftX: 1, leftY: 0 }));
  expect(kept.length).toBe(3);
  expectRows(dropDuplicates(given), kept);
});

test("what is not finite or empty is no box", () => {
  const bad = new Float32Array(16 * 4);
  [[0, 0, 5, 5], [NaN, 0, 5, 5], [0, 0, 0, 5], [0, 0, 5, -1]].forEach((box, i) => bad.set(box, 16 * i));
  expect(decode(bad, new Float32Array([1, 1, 1, 1]), 16, 16, 0).length).toBe(1);
  expect(decode(bad, new Float32Array([NaN, 1, 1, 1]), 16, 16, 0).length).toBe(0);
});

test("anchors lie in the middle of their cells", () => {
  expect([...anchors(16, 32).subarray(0, 8)]).toEqual([4, 4, 4, 4, 12, 4, 12, 4]);
  expect(anchors(16, 32).length / 2).toBe(2 * 4 * 2 + 1 * 2 * 6);
});

test("scores of extreme logits", () => {
  expect([sigmoid(-1e9), sigmoid(0), sigmoid(1e9)]).toEqual([expect.closeTo(0), 0.5, 1]);
});
