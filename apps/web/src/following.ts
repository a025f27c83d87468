/**
 * The detector in a stream: it looks at the whole frame now and then, and in between only where faces were.
 *
 * A look at the whole frame costs many times as much as a look at one face.
 */

import { detect, detectAgain, type DetectorSettings, type Found, type RunBlazeFace } from "./detection";
import type { Pixels } from "./types";

const EVERY = 15; // frames between two looks at the whole frame, for newcomers
const SEARCH_MS = 100; // least time between two such looks for a lost face, or in an empty scene

/** Faces of a stream, frame by frame. */
export class Follower {
  /** Number of looks at the whole frame. */
  searches = 0;
  private known: Found[] = [];
  private since = 0;
  private searchedMs = -Infinity;

  /** Detect the faces of the next frame, at a time in milliseconds. */
  async next(run: RunBlazeFace, picture: Pixels, settings: DetectorSettings, timeMs: number): Promise<Found[]> {
    const due = timeMs - this.searchedMs >= SEARCH_MS;
    this.since++;
    if (this.since >= EVERY || (this.known.length === 0 && due)) return this.search(run, picture, settings, timeMs);
    const before = this.known.length;
    if (before) this.known = await detectAgain(run, picture, this.known, settings);
    return this.known.length < before && due ? this.search(run, picture, settings, timeMs) : this.known;
  }

  private async search(run: RunBlazeFace, picture: Pixels, settings: DetectorSettings, timeMs: number): Promise<Found[]> {
    this.searches++;
    this.since = 0;
    this.searchedMs = timeMs;
    this.known = await detect(run, picture, settings);
    return this.known;
  }
}
