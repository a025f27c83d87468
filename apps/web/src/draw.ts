/** Drawing of poses, as headpose/draw.py does: x (to the head's left) red, y (up) green, z (out of the nose) blue. */

import { screenAxes } from "./geometry";
import type { Box, Euler, Pose } from "./types";

export type Style = "axes" | "cube" | "box";

export const COLORS = { yaw: "#3cd250", pitch: "#ff3c3c", roll: "#3282ff" } as const;
const AXES = [COLORS.pitch, COLORS.yaw, COLORS.roll];
const SHADE = "#191919";

type Point = readonly [number, number];

/** Draw a picture with its poses. Where `mirror`, both are mirrored and the labels are not. */
export function drawFrame(
  canvas: HTMLCanvasElement,
  bitmap: ImageBitmap,
  poses: readonly Pose[],
  labels: readonly Euler[],
  style: Style,
  mirror: boolean,
): void {
  if (canvas.width !== bitmap.width) canvas.width = bitmap.width;
  if (canvas.height !== bitmap.height) canvas.height = bitmap.height;
  const context = canvas.getContext("2d");
  if (!context) return;
  context.save();
  if (mirror) context.setTransform(-1, 0, 0, 1, canvas.width, 0);
  context.drawImage(bitmap, 0, 0);
  for (const pose of [...poses].reverse()) drawPose(context, pose, style);
  context.restore();
  poses.forEach((pose, i) => drawLabel(context, pose, labels[i], mirror, poses.length > 1 ? (pose.track ?? i + 1) : undefined));
}

function drawPose(context: CanvasRenderingContext2D, pose: Pose, style: Style): void {
  const { x1, y1, x2, y2 } = pose.box;
  const side = sideOf(pose.box);
  const thickness = Math.max(2, Math.round(side / 45));
  context.lineCap = "round";
  if (style === "box") {
    line(context, [[x1, y1], [x2, y1], [x2, y2], [x1, y2], [x1, y1]], "#ffffff", thickness);
    return;
  }
  const center: Point = [(x1 + x2) / 2, (y1 + y2) / 2];
  const axes = screenAxes(pose.rotation);
  if (style === "cube") return drawCube(context, center, 0.55 * side, axes, thickness);
  const nearestLast = [0, 1, 2].sort((a, b) => axes[a][2] - axes[b][2]);
  for (const axis of nearestLast) {
    const end: Point = [center[0] + 0.62 * side * axes[axis][0], center[1] + 0.62 * side * axes[axis][1]];
    line(context, [center, end], AXES[axis], thickness);
    dot(context, end, 0.9 * thickness, AXES[axis]);
  }
}

function drawCube(context: CanvasRenderingContext2D, center: Point, half: number, axes: readonly (readonly number[])[], thickness: number): void {
  const corner = (x: number, y: number, z: number): Point =>
    [0, 1].map((i) => center[i] + half * (x * axes[0][i] + y * axes[1][i] + z * axes[2][i])) as unknown as Point;
  const around: Point[] = [[-1, -1], [1, -1], [1, 1], [-1, 1]];
  const face = (z: number) => [...around, around[0]].map(([x, y]) => corner(x, y, z));
  const parts = [
    () => line(context, face(-1), AXES[0], thickness),
    () => around.forEach(([x, y]) => line(context, [corner(x, y, -1), corner(x, y, 1)], AXES[2], thickness)),
    () => line(context, face(1), AXES[1], thickness),
  ];
  if (axes[2][2] < 0) parts.reverse(); // the head looks away: its back is nearer to the camera
  for (const part of parts) part();
}

function line(context: CanvasRenderingContext2D, points: readonly Point[], color: string, thickness: number): void {
  context.beginPath();
  points.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
  for (const [style, width] of [[SHADE, thickness + 2], [color, thickness]] as const) {
    context.strokeStyle = style;
    context.lineWidth = width;
    context.stroke();
  }
}

function dot(context: CanvasRenderingContext2D, [x, y]: Point, radius: number, color: string): void {
  for (const [style, size] of [[SHADE, radius + 1], [color, radius]] as const) {
    context.fillStyle = style;
    context.beginPath();
    context.arc(x, y, size, 0, 2 * Math.PI);
    context.fill();
  }
}

/** Draw the angles below a face, inside of the picture, each in the color of the axis that it turns about. */
function drawLabel(context: CanvasRenderingContext2D, pose: Pose, euler: Euler, mirror: boolean, number?: number): void {
  const { width, height } = context.canvas;
  const side = sideOf(pose.box);
  const size = Math.min(Math.max(0.12 * side, 11), 0.07 * Math.max(height, 160));
  context.font = `600 ${size}px system-ui, sans-serif`;
  const parts: [string, string][] = number === undefined ? [] : [[`${number}: `, "#ffffff"]];
  for (const name of ["yaw", "pitch", "roll"] as const) {
    parts.push([`${name === "yaw" ? "" : "  "}${signed(euler[name])}`, lighter(COLORS[name])]);
  }
  const total = parts.reduce((sum, [text]) => sum + context.measureText(text).width, 0);
  const middle = (pose.box.x1 + pose.box.x2) / 2;
  let x = Math.min(Math.max((mirror ? width - middle : middle) - total / 2, 4), Math.max(4, width - total - 4));
  const y = Math.min(Math.max((pose.box.y1 + pose.box.y2) / 2 + 0.68 * side + size, size + 2), height - 0.4 * size);
  context.lineJoin = "round";
  context.strokeStyle = SHADE;
  context.lineWidth = Math.max(3, size / 5);
  for (const [text, color] of parts) {
    context.strokeText(text, x, y);
    context.fillStyle = color;
    context.fillText(text, x, y);
    x += context.measureText(text).width;
  }
}

function sideOf(box: Box): number {
  return Math.max(box.x2 - box.x1, box.y2 - box.y1);
}

/** Return a whole angle with its sign; no -0. */
export function signed(angle: number, digits = 0): string {
  const text = angle.toFixed(digits);
  const zero = Number(text) === 0;
  return `${zero ? "" : angle > 0 ? "+" : "−"}${zero ? text.replace("-", "") : text.replace("-", "")}`;
}

function lighter(color: string): string {
  const part = (at: number) => Math.round(0.7 * parseInt(color.slice(at, at + 2), 16) + 0.3 * 255);
  return `rgb(${part(1)}, ${part(3)}, ${part(5)})`;
}
