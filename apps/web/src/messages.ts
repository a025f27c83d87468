/** What the page and its worker say to each other. */

import type { DetectorSettings } from "./detection";
import type { NetworkInfo, Pose, Times } from "./types";

export type Backend = "wasm" | "webgpu";

/** Request to the worker; the answer has the same `id`. */
export type Request =
  | { readonly kind: "load"; readonly id: number; readonly network: NetworkInfo; readonly backend: Backend; readonly threads: number }
  | {
      readonly kind: "frame";
      readonly id: number;
      readonly bitmap: ImageBitmap;
      /** Number of the stream that the frame belongs to; undefined for a picture. */
      readonly stream?: number;
      readonly settings: DetectorSettings & { readonly maxFaces: number };
    };

/** Answer of the worker. The picture comes back with its poses, so that both are shown together. */
export type Answer =
  | { readonly kind: "loaded"; readonly id: number; readonly loadMs: number }
  | { readonly kind: "poses"; readonly id: number; readonly bitmap: ImageBitmap; readonly poses: Pose[]; readonly times: Times }
  | { readonly kind: "error"; readonly id: number; readonly message: string };
