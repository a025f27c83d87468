/** Rows of results, for the table, the chart and the CSV file. */

import { directionFromRotation, eulerFromRotation } from "./geometry";
import type { Euler, Pose } from "./types";

/** Columns of `headpose estimate --csv` (headpose/streams/sinks.py), and what the network says of its answer. */
export const COLUMNS = [
  "frame", "image", "face", "x1", "y1", "x2", "y2", "score", "yaw", "pitch", "roll", "azimuth", "elevation", "tilt", "time_s",
  "uncertainty", "readable", "reliable", "track",
] as const;

const MOST_ROWS = 200_000; // two hours of one face at 30 frames/s; older rows are dropped

/** One face in one frame. */
export interface Result {
  readonly frame: number;
  /** Name of the picture; "" for a stream. */
  readonly image: string;
  /** Number of the face in the frame, from 1. */
  readonly face: number;
  /** Time in seconds since the start of the stream; undefined for a picture. */
  readonly timeS?: number;
  readonly pose: Pose;
  readonly euler: Euler;
}

/** Results of one source, in order. */
export class ResultLog {
  results: Result[] = [];
  /** Number of results that were dropped because there were too many. */
  dropped = 0;
  private frames = 0;

  /** Add the poses of one frame. */
  add(poses: readonly Pose[], image: string, timeS?: number): Result[] {
    const frame = this.frames++;
    const added = poses.map((pose, i) => ({
      frame, image, face: i + 1, timeS, pose, euler: eulerFromRotation(pose.rotation),
    }));
    this.results.push(...added);
    if (this.results.length > MOST_ROWS * 1.1) {
      this.dropped += this.results.length - MOST_ROWS;
      this.results = this.results.slice(-MOST_ROWS);
    }
    return added;
  }
}

/** Write results as CSV, with a header and one line for each face. */
export function toCsv(results: readonly Result[]): string {
  const lines = results.map(({ frame, image, face, timeS, pose, euler }) => {
    const { box, score, uncertainty, readable, track } = pose;
    const { azimuth, elevation, tilt } = directionFromRotation(pose.rotation);
    return [
      frame, quoted(image), face, ...[box.x1, box.y1, box.x2, box.y2].map((side) => side.toFixed(2)), score.toFixed(4),
      ...[euler.yaw, euler.pitch, euler.roll, azimuth, elevation, tilt].map((angle) => angle.toFixed(3)),
      timeS?.toFixed(3) ?? "", uncertainty?.toFixed(3) ?? "", readable?.toFixed(4) ?? "", "true", track ?? "",
    ].join(",");
  });
  return [COLUMNS.join(","), ...lines, ""].join("\r\n");
}

function quoted(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
