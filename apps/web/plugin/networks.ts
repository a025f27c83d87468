/** The networks of the page, from the manifest of the package: files, crops and terms are stated there alone. */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { parse } from "smol-toml";
import type { Calibration, NetworkInfo } from "../src/types.ts";
import { metadata } from "./onnx.ts";

/** Networks of the page; the first one is the default. docs/guides/web.md has the measurements behind the choice. */
export const NAMES = ["student", "student-int8", "compact-clean"];

type Entry = Omit<NetworkInfo, "name" | "calibration"> & { readonly sha256: string };

/** Read the list of networks from a checkout. Throws where a file is not the one that the manifest lists. */
export function listNetworks(repository: string, names: readonly string[] = NAMES): NetworkInfo[] {
  const toml = parse(readFileSync(join(repository, "headpose/models.toml"), "utf8"));
  const manifest = JSON.parse(JSON.stringify(toml)) as Record<string, Entry>; // plain objects, to compare
  return names.map((name) => {
    const entry = manifest[name];
    if (!entry) throw new Error(`headpose/models.toml has no network ${name}`);
    const file = readFileSync(join(repository, "weights", entry.file));
    if (createHash("sha256").update(file).digest("hex") !== entry.sha256) {
      throw new Error(`weights/${entry.file} is not the file that headpose/models.toml lists: its SHA-256 differs`);
    }
    const stated = metadata(file);
    if (!isDeepStrictEqual(JSON.parse(stated["headpose.crop"] ?? "{}"), entry.crop)) {
      throw new Error(`weights/${entry.file} states another crop than headpose/models.toml`);
    }
    const { bytes, precision, license, license_terms, crop } = entry;
    return { name, file: entry.file, bytes, precision, license, license_terms, crop, calibration: calibration(stated["headpose.model"]) };
  });
}

function calibration(model = "{}"): Calibration {
  const { calibration: stated = {} } = JSON.parse(model) as { calibration?: Partial<Calibration> };
  return { temperature: stated.temperature ?? 1, face: { temperature: 1, bias: 0, ...stated.face } };
}
