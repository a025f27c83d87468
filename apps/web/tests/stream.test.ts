import { expect, test } from "vitest";
import { eulerFromRotation, rotationFromEuler } from "../src/geometry";
import { Neutral } from "../src/neutral";
import { COLUMNS, ResultLog, toCsv } from "../src/results";
import { Stopwatch } from "../src/stopwatch";
import { FaceTracker } from "../src/tracking";
import type { Pose } from "../src/types";
import { golden } from "./golden";

const BOX = { x1: 10, y1: 20, x2: 40, y2: 80 };
const pose = (yaw: number, more: Partial<Pose> = {}): Pose => ({ box: BOX, score: 0.9, rotation: rotationFromEuler({ yaw, pitch: -10, roll: 5 }), ...more });

class Memory {
  readonly values = new Map<string, string>();
  getItem = (key: string) => this.values.get(key) ?? null;
  setItem = (key: string, value: string) => void this.values.set(key, value);
  removeItem = (key: string) => void this.values.delete(key);
}

test("faces are numbered and smoothed as in tracking.py", () => {
  const tracker = new FaceTracker();
  const numbers = new Set<number>();
  for (const { time_s, given, tracked } of golden.stream) {
    const found = tracker.update(given, time_s, true);
    expect(found.map(({ track }) => track)).toEqual(tracked.map(({ track }) => track));
    found.forEach((each, i) => {
      numbers.add(each.track ?? 0);
      each.rotation.forEach((value, j) => expect(value).toBeCloseTo(tracked[i].rotation[j], 5));
      for (const side of ["x1", "y1", "x2", "y2"] as const) expect(each.box[side]).toBeCloseTo(tracked[i].box[side], 4);
    });
  }
  expect(numbers.size).toBe(4); // both faces return with new numbers after the gap
});

test("without smoothing the poses stay as they are", () => {
  const tracker = new FaceTracker();
  tracker.update([pose(0)], 0, false);
  const [found] = tracker.update([pose(25)], 0.1, false);
  expect(found).toEqual({ ...pose(25), track: 1 });
});

test("a neutral pose is the mean of the last second, is kept, and is cleared", () => {
  const memory = new Memory();
  const neutral = new Neutral(memory);
  neutral.toggle();
  expect(neutral.euler).toBeUndefined();
  [[0, 80], [5, 10], [5.4, 14]].forEach(([timeS, yaw]) => neutral.see(timeS, pose(yaw)));
  neutral.toggle();
  expect(neutral.euler?.yaw).toBeCloseTo(12, 1);
  const again = new Neutral(memory);
  const [relative] = again.apply([pose(12)]);
  expect(Math.abs(eulerFromRotation(relative.rotation).yaw)).toBeLessThan(0.2);
  expect(relative.box).toBe(BOX);
  again.toggle();
  expect(memory.values.size).toBe(0);
  expect(again.apply([pose(12)])).toEqual([pose(12)]);
});

test.each(["", "{", "[1,2]", "[1,0,0,0,1,0,0,0,-1]", "[0,0,0,0,0,0,0,0,0]", '["a",0,0,0,1,0,0,0,1]', "null"])("a damaged neutral pose %j is none", (text) => {
  const memory = new Memory();
  memory.setItem("headpose.neutral", text);
  expect(new Neutral(memory).euler).toBeUndefined();
});

test("results become CSV with the columns of the command", () => {
  const log = new ResultLog();
  log.add([pose(30), pose(0, { uncertainty: 4.25, readable: 0.9, track: 3 })], 'a "b",c.jpg');
  log.add([], "");
  log.add([pose(-5)], "", 1.5);
  const lines = toCsv(log.results).split("\r\n");
  expect(lines[0]).toBe(COLUMNS.join(","));
  const cells = lines.map((line) => line.split(","));
  expect(lines[1].startsWith('0,"a ""b"",c.jpg",1,10.00,20.00,40.00,80.00,0.9000,30.000,-10.000,5.000,')).toBe(true);
  expect(lines[1].endsWith(",,,,true,")).toBe(true);
  expect(lines[2].endsWith(",,4.250,0.9000,true,3")).toBe(true);
  expect(lines[3].startsWith("2,,1,")).toBe(true);
  expect(cells[3][COLUMNS.indexOf("time_s")]).toBe("1.500");
  expect(Number(cells[3][COLUMNS.indexOf("azimuth")])).toBeCloseTo(-5, 0);
  expect(lines.length).toBe(5);
});

test("the stopwatch shows the mean of the last frames", () => {
  const watch = new Stopwatch();
  expect(watch.framesPerSecond).toBeUndefined();
  for (let frame = 0; frame < 40; frame++) watch.add({ draw: frame < 10 ? 100 : 2 }, frame * 50);
  expect(watch.means).toEqual([["draw", 2]]);
  expect(watch.framesPerSecond).toBeCloseTo(20);
});
