import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { listNetworks, NAMES } from "../plugin/networks";
import { metadata } from "../plugin/onnx";
import { readings } from "../src/reading";
import { REPOSITORY } from "./networks";

const NONE = { temperature: 1, face: { temperature: 1, bias: 0 } };

/** A checkout with one network, whose files a test may change. */
function checkout(): string {
  const folder = mkdtempSync(join(tmpdir(), "headpose-"));
  for (const path of ["headpose/models.toml", "weights/student.onnx"]) {
    mkdirSync(join(folder, path, ".."), { recursive: true });
    copyFileSync(join(REPOSITORY, path), join(folder, path));
  }
  return folder;
}

test("the networks of the page are those of the manifest, with their terms", () => {
  const [first, ...others] = listNetworks(REPOSITORY);
  expect([first.name, ...others.map(({ name }) => name)]).toEqual(NAMES);
  expect(first.name).toBe("student");
  expect(first.crop.size).toBe(96);
  expect(first.license_terms).toContain("research use only");
  expect(others.some(({ license }) => license === "permissive")).toBe(true);
});

test("a file that is not the one of the manifest stops the build", () => {
  const folder = checkout();
  writeFileSync(join(folder, "weights/student.onnx"), "");
  expect(() => listNetworks(folder, ["student"])).toThrow(/SHA-256 differs/);
});

test("a crop that is not the file's stops the build", () => {
  const folder = checkout();
  const manifest = join(folder, "headpose/models.toml");
  writeFileSync(manifest, readFileSync(manifest, "utf8").replaceAll("scale = 1.3", "scale = 1.4"));
  expect(() => listNetworks(folder, ["student"])).toThrow(/another crop/);
  expect(() => listNetworks(folder, ["none"])).toThrow(/no network none/);
});

test("metadata of what is no ONNX file", () => {
  expect(() => metadata(new Uint8Array([255, 255]))).toThrow(/cut off/);
  expect(() => metadata(new TextEncoder().encode("not a network"))).toThrow(/ONNX file/);
  expect(metadata(new Uint8Array())).toEqual({});
});

test("a network's outputs are checked and calibrated", () => {
  const turned = Float32Array.from([1, 0, 0, 0, 1, 0, 0, 0, 1, 0.99, 0, 0, 0, 1.01, 0, 0, 0, 1]);
  const covariance = new Float32Array(18).map((_, i) => (i % 9 % 4 === 0 ? 0.01 : 0));
  const calibration = { temperature: 4, face: { temperature: 2, bias: 1 } };
  const [one, other] = readings({ rotation: turned, covariance, face: Float32Array.from([2, -2]) }, 2, calibration);
  expect(one.uncertainty).toBeCloseTo((Math.sqrt(8 / Math.PI) * 0.2 * 180) / Math.PI, 3);
  expect([one.readable, other.readable]).toEqual([expect.closeTo(1 / (1 + Math.exp(-2))), 0.5]);
  other.rotation.forEach((value, i) => expect(value).toBeCloseTo(i % 4 ? 0 : 1, 6));
  expect(readings({ rotation: turned }, 2, NONE)[0]).toEqual({ rotation: [1, 0, 0, 0, 1, 0, 0, 0, 1] });
});

test.each([
  ["too short", [1, 0, 0]], ["not finite", [NaN, 0, 0, 0, 1, 0, 0, 0, 1]], ["a mirror", [-1, 0, 0, 0, 1, 0, 0, 0, 1]],
  ["not orthonormal", [2, 0, 0, 0, 1, 0, 0, 0, 1]],
])("a matrix that is %s is no rotation", (_, values) => {
  expect(() => readings({ rotation: Float32Array.from(values) }, 1, NONE)).toThrow(/no rotation/);
});
