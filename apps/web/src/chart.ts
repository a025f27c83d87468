/** Chart of the last ten seconds of one face. */

import { signed } from "./draw";
import type { Euler } from "./types";

const SPAN_S = 10;
const GAP_S = 1; // a longer gap interrupts the lines
const NAMES = ["yaw", "pitch", "roll"] as const;
// Lines differ by their dashes, too, for people who do not tell the colors apart.
const DASHES: Record<(typeof NAMES)[number], number[]> = { yaw: [], pitch: [6, 4], roll: [2, 3] };

/** Angles over the last ten seconds. */
export class Chart {
  private points: { readonly timeS: number; readonly euler: Euler }[] = [];

  constructor(private readonly canvas: HTMLCanvasElement) {}

  /** Add the angles of the face at a time in seconds; undefined where no face is seen. */
  add(timeS: number, euler: Euler | undefined): void {
    const last = this.points[this.points.length - 1];
    if (last && timeS < last.timeS) this.points = []; // the video was started again
    if (euler) this.points.push({ timeS, euler });
    this.points = this.points.filter((point) => timeS - point.timeS <= SPAN_S);
    this.draw(timeS);
  }

  /** Remove all lines. */
  clear(): void {
    this.points = [];
    this.draw(0);
  }

  private draw(nowS: number): void {
    const { canvas } = this;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
    const context = canvas.getContext("2d");
    if (!context || !width) return;
    const style = getComputedStyle(canvas);
    const color = (name: string) => style.getPropertyValue(`--${name}`).trim();
    const largest = Math.max(30, ...this.points.flatMap(({ euler }) => NAMES.map((name) => Math.abs(euler[name]))));
    const limit = [30, 60, 90, 180].find((each) => each >= largest) ?? 180;
    const margin = 34 * ratio;
    const x = (timeS: number) => margin + (width - margin) * (1 - (nowS - timeS) / SPAN_S);
    const y = (angle: number) => height / 2 - (angle / limit) * (height / 2 - 8 * ratio);
    context.clearRect(0, 0, width, height);
    context.font = `${11 * ratio}px system-ui, sans-serif`;
    context.textBaseline = "middle";
    context.textAlign = "right";
    context.lineWidth = ratio;
    for (const angle of [-limit, 0, limit]) {
      context.fillStyle = color("muted");
      context.fillText(`${signed(angle)}°`, margin - 5 * ratio, y(angle));
      context.strokeStyle = color("line");
      context.beginPath();
      context.moveTo(margin, y(angle));
      context.lineTo(width, y(angle));
      context.stroke();
    }
    context.lineWidth = 2 * ratio;
    for (const name of NAMES) {
      context.strokeStyle = color(name);
      context.setLineDash(DASHES[name].map((length) => length * ratio));
      context.beginPath();
      let before = -Infinity;
      for (const { timeS, euler } of this.points) {
        if (timeS - before > GAP_S) context.moveTo(x(timeS), y(euler[name]));
        else context.lineTo(x(timeS), y(euler[name]));
        before = timeS;
      }
      context.stroke();
    }
    context.setLineDash([]);
  }
}
