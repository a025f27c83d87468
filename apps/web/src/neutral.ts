/** The neutral pose: how a person sits at rest. Angles are then relative to it. It is kept in this browser. */

import { departure, determinant, eulerFromRotation, meanRotation, nearestRotation, relativeTo } from "./geometry";
import type { Euler, Matrix, Pose } from "./types";

const KEY = "headpose.neutral";
const SPAN_S = 1; // it is the mean of the poses of the last second
const EXACT = 1e-3;

export class Neutral {
  private rotation: Matrix | undefined;
  private recent: { readonly timeS: number; readonly rotation: Matrix }[] = [];

  constructor(private readonly storage: Pick<Storage, "getItem" | "setItem" | "removeItem"> | undefined) {
    this.rotation = parsed(storage?.getItem(KEY) ?? null);
  }

  /** Angles of the neutral pose; undefined without one. */
  get euler(): Euler | undefined {
    return this.rotation && eulerFromRotation(this.rotation);
  }

  /** Whether there is a face to take it from. */
  get possible(): boolean {
    return this.recent.length > 0;
  }

  /** Add the pose of the first face of a frame; undefined where there is none. */
  see(timeS: number, pose: Pose | undefined): void {
    this.recent = this.recent.filter((each) => timeS >= each.timeS && timeS - each.timeS <= SPAN_S);
    if (pose) this.recent.push({ timeS, rotation: pose.rotation });
  }

  /** Forget the poses of the last second: the source changes. */
  forget(): void {
    this.recent = [];
  }

  /** Set it to the mean of the last second, or clear it where it is set. */
  toggle(): void {
    if (this.rotation) this.rotation = undefined;
    else if (this.possible) this.rotation = meanRotation(this.recent.map((each) => each.rotation));
    if (this.rotation) this.storage?.setItem(KEY, JSON.stringify(this.rotation));
    else this.storage?.removeItem(KEY);
  }

  /** Return poses relative to it, with the same boxes. */
  apply(poses: readonly Pose[]): Pose[] {
    const { rotation } = this;
    if (!rotation) return [...poses];
    return poses.map((pose) => ({ ...pose, rotation: relativeTo(pose.rotation, rotation) }));
  }
}

function parsed(text: string | null): Matrix | undefined {
  if (text === null) return undefined;
  try {
    const values: unknown = JSON.parse(text);
    if (!Array.isArray(values) || values.length !== 9 || !values.every(Number.isFinite)) return undefined;
    return departure(values) < EXACT && determinant(values) > 0 ? nearestRotation(values) : undefined;
  } catch {
    return undefined;
  }
}
