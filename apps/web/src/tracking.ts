/** Numbers for the faces of a stream, and the One Euro filter on SO(3), as headpose/tracking.py and smoothing.py. */

import { iou } from "./decoding";
import { multiply, rotationFromVector, transpose, vectorFromRotation } from "./geometry";
import type { Box, Matrix, Pose } from "./types";

const FORGET_S = 0.5; // a face that is away for longer gets a new number
const LEAST_OVERLAP = 0.2;
const SHORTEST_S = 1e-3; // clocks of cameras and files sometimes stand still
// Cut-off frequencies of the One Euro filter (docs/tracking.md): at rest, their increase with speed, and of the speed.
const STILL_HZ = 1.0;
const TURN_HZ = 0.2;
const MOVE_HZ = 16.0;
const SPEED_HZ = 1.0;

/** Assign each face of a stream a stable number, and filter its pose and box. */
export class FaceTracker {
  private tracks: Track[] = [];
  private given = 0;

  /** Return the poses in the same order, with `track` set; filtered where `smooth`. */
  update(poses: readonly Pose[], timeS: number, smooth: boolean): Pose[] {
    this.tracks = this.tracks.filter((track) => timeS - track.seenS <= FORGET_S);
    const owners = this.match(poses);
    return poses.map((pose, i) => {
      let track = owners[i];
      if (!track) {
        track = new Track(++this.given, pose, timeS);
        this.tracks.push(track);
        return { ...pose, track: track.number };
      }
      const filtered = track.update(pose, timeS);
      return { ...(smooth ? filtered : pose), track: track.number };
    });
  }

  private match(poses: readonly Pose[]): (Track | undefined)[] {
    const pairs = poses.flatMap((pose, i) => this.tracks.map((track) => ({ i, track, overlap: iou(track.box, pose.box) })));
    const owners: (Track | undefined)[] = poses.map(() => undefined);
    for (const { i, track, overlap } of pairs.sort((a, b) => b.overlap - a.overlap)) {
      if (overlap >= LEAST_OVERLAP && !owners[i] && !owners.includes(track)) owners[i] = track;
    }
    return owners;
  }
}

/** One face: its last measured box and the state of its filters. */
class Track {
  box: Box;
  private rotation: Matrix;
  private measured: Matrix;
  private smoothPlace: number[];
  private turn = [0, 0, 0];
  private move = [0, 0, 0, 0];

  constructor(readonly number: number, pose: Pose, public seenS: number) {
    this.box = pose.box;
    this.rotation = this.measured = pose.rotation;
    this.smoothPlace = placeOf(pose.box);
  }

  update(pose: Pose, timeS: number): Pose {
    const elapsed = Math.max(timeS - this.seenS, SHORTEST_S);
    const turned = vectorFromRotation(multiply(pose.rotation, transpose(this.measured)));
    this.turn = faster(this.turn, turned, elapsed);
    const turnShare = lowPass(STILL_HZ + TURN_HZ * Math.hypot(...this.turn), elapsed);
    const rest = vectorFromRotation(multiply(pose.rotation, transpose(this.rotation)));
    this.rotation = multiply(rotationFromVector(rest.map((value) => turnShare * value)), this.rotation);

    const [now, before] = [placeOf(pose.box), placeOf(this.box)];
    const length = Math.max(now[2], now[3]);
    this.move = faster(this.move, now.map((value, i) => (value - before[i]) / length), elapsed);
    const moveShare = lowPass(STILL_HZ + MOVE_HZ * Math.hypot(...this.move), elapsed);
    this.smoothPlace = this.smoothPlace.map((value, i) => value + moveShare * (now[i] - value));

    this.measured = pose.rotation;
    this.box = pose.box;
    this.seenS = timeS;
    const [x, y, width, height] = this.smoothPlace;
    const box = { x1: x - width / 2, y1: y - height / 2, x2: x + width / 2, y2: y + height / 2 };
    return { ...pose, box, rotation: this.rotation };
  }
}

function faster(speed: readonly number[], moved: readonly number[], elapsed: number): number[] {
  const share = lowPass(SPEED_HZ, elapsed);
  return speed.map((value, i) => value + share * (moved[i] / elapsed - value));
}

/** Weight of the newest value in a first-order low-pass filter. */
function lowPass(cutoffHz: number, elapsed: number): number {
  return 1 / (1 + 1 / (2 * Math.PI * cutoffHz * elapsed));
}

function placeOf({ x1, y1, x2, y2 }: Box): number[] {
  return [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1];
}
