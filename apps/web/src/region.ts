/** Regions of faces that are turned in the image plane, as in headpose/boxes.py. */

import constants from "./detector.json";
import type { Box } from "./types";

/** Box of a face as if it were upright, about its center, and its clockwise angle in degrees. */
export interface Region {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  readonly turn: number;
}

/** Angle above which the crop is turned with the face. */
export const TILTED_DEGREES = constants.tilted_degrees;

const ROUND = 0.1; // how far the box of a face at 45 degrees, which does not tell width from height, pulls to a square

/** Return the region of a face whose tight box is known and that is turned by an angle in degrees (`Region.of`). */
export function regionOf(box: Box, turn: number): Region {
  const [width, height] = [box.x2 - box.x1, box.y2 - box.y1];
  const angle = (turn * Math.PI) / 180;
  const double = Math.cos(2 * angle);
  const whole = width ** 2 + height ** 2;
  let shape = ((width ** 2 - height ** 2) * double) / (double ** 2 + ROUND * Math.sin(2 * angle) ** 2);
  if (turn) shape = Math.max(-0.8 * whole, Math.min(0.8 * whole, shape));
  return {
    x: (box.x1 + box.x2) / 2, y: (box.y1 + box.y2) / 2, turn,
    width: Math.sqrt((whole + shape) / 2), height: Math.sqrt((whole - shape) / 2),
  };
}

/** Return the tight box of the face in a region: that of the ellipse that touches its sides (`Region.bounds`). */
export function boundsOf({ x, y, width, height, turn }: Region): Box {
  const [cos, sin] = [Math.cos((turn * Math.PI) / 180), Math.sin((turn * Math.PI) / 180)];
  const halfWidth = Math.hypot(width * cos, height * sin) / 2;
  const halfHeight = Math.hypot(width * sin, height * cos) / 2;
  return { x1: x - halfWidth, y1: y - halfHeight, x2: x + halfWidth, y2: y + halfHeight };
}
