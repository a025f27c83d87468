/** The page's side of the worker. */

import type { DetectorSettings } from "./detection";
import type { Answer, Backend, Request } from "./messages";
import type { NetworkInfo } from "./types";

type Poses = Extract<Answer, { kind: "poses" }>;
type Pending = { resolve: (answer: Answer) => void; reject: (error: Error) => void };

/** Estimator in a worker: one network at a time. */
export class Client {
  private readonly worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  private readonly pending = new Map<number, Pending>();
  private last = 0;

  constructor() {
    this.worker.onmessage = ({ data }: MessageEvent<Answer>) => {
      const waiting = this.pending.get(data.id);
      this.pending.delete(data.id);
      if (data.kind === "error") waiting?.reject(new Error(data.message));
      else waiting?.resolve(data);
    };
    this.worker.onerror = (event) => {
      event.preventDefault();
      for (const { reject } of this.pending.values()) reject(new Error(event.message || "the worker did not start"));
      this.pending.clear();
    };
  }

  /** Load a network, and the detector. */
  async load(network: NetworkInfo, backend: Backend, threads: number): Promise<void> {
    await this.ask({ kind: "load", id: ++this.last, network, backend, threads });
  }

  /**
   * Estimate the poses of a picture, or of a frame of a stream with a number. It moves to the worker and comes back with
   * the answer.
   */
  async estimate(bitmap: ImageBitmap, settings: DetectorSettings & { readonly maxFaces: number }, stream?: number): Promise<Poses> {
    return (await this.ask({ kind: "frame", id: ++this.last, bitmap, stream, settings }, [bitmap])) as Poses;
  }

  private ask(request: Request, moved: Transferable[] = []): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.pending.set(request.id, { resolve, reject });
      this.worker.postMessage(request, moved);
    });
  }
}
