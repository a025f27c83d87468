/** Mean times of the last frames, by stage, and the rate of frames. */

const FRAMES = 30;

export class Stopwatch {
  private stages = new Map<string, number[]>();
  private ends: number[] = [];

  /** Add the milliseconds of each stage of one frame that ended at a time in milliseconds. */
  add(stages: Readonly<Record<string, number>>, endMs: number): void {
    for (const [name, milliseconds] of Object.entries(stages)) {
      this.stages.set(name, [...(this.stages.get(name) ?? []), milliseconds].slice(-FRAMES));
    }
    this.ends = [...this.ends, endMs].slice(-FRAMES - 1);
  }

  /** Mean milliseconds of each stage. */
  get means(): [string, number][] {
    return [...this.stages].map(([name, values]) => [name, values.reduce((a, b) => a + b, 0) / values.length]);
  }

  /** Frames per second over the last frames; undefined before the second one. */
  get framesPerSecond(): number | undefined {
    const span = this.ends[this.ends.length - 1] - this.ends[0];
    return this.ends.length > 1 && span > 0 ? (1000 * (this.ends.length - 1)) / span : undefined;
  }

  reset(): void {
    this.stages.clear();
    this.ends = [];
  }
}
