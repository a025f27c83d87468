import { expect, test } from "vitest";
import { DEFAULTS, detect, detectAgain } from "../src/detection";
import { iou } from "../src/decoding";
import { estimate } from "../src/estimator";
import { Follower } from "../src/following";
import { geodesicDegrees } from "../src/geometry";
import { golden, scene, turnedHead } from "./golden";
import { blazeFace, poseNetwork } from "./networks";

const SETTINGS = { ...DEFAULTS, maxFaces: 5 };
const CLOSE_UP = 80;
const wholeFrames = (shapes: readonly (readonly number[])[]) => shapes.filter((shape) => shape[3] !== CLOSE_UP).length;

test("the head of the photo has the box, score and pose of Python", async () => {
  const { width, height, poses } = golden.photo;
  const { run, network } = await poseNetwork("student");
  const found = await estimate(await blazeFace(), run, network, scene(width, height, [0, 0]), SETTINGS);
  expect(found.poses.length).toBe(poses.length);
  found.poses.forEach((pose, i) => {
    expect(iou(pose.box, poses[i].box)).toBeGreaterThan(0.99);
    expect(pose.score).toBeCloseTo(poses[i].score, 2);
    expect(geodesicDegrees(pose.rotation, poses[i].rotation)).toBeLessThan(0.2);
  });
  const none = await estimate(await blazeFace(), run, network, scene(64, 48), SETTINGS);
  expect(none.poses).toEqual([]);
});

test("a head on its side or upside down has the pose of Python", async () => {
  const { run, network } = await poseNetwork("student");
  const detector = await blazeFace();
  for (const [quarter, poses] of golden.photo.quarters.entries()) {
    const found = await estimate(detector, run, network, turnedHead(quarter), SETTINGS);
    expect(found.poses.length).toBe(poses.length);
    found.poses.forEach((pose, i) => {
      expect(iou(pose.box, poses[i].box)).toBeGreaterThan(0.98);
      expect(geodesicDegrees(pose.rotation, poses[i].rotation)).toBeLessThan(0.5);
    });
  }
  expect(golden.photo.quarters.flat().length).toBeGreaterThanOrEqual(3);
});

test("a known face is found again where it was, and where it has moved", async () => {
  const run = await blazeFace();
  const at = (x: number) => scene(240, 160, [x, 20]);
  const known = await detect(run, at(40));
  let same = known;
  for (let look = 0; look < 14; look++) same = await detectAgain(run, at(40), same);
  expect(iou(same[0].box, known[0].box)).toBeGreaterThan(0.8); // from look to look the box does not run away
  const [moved] = await detectAgain(run, at(52), known);
  const [expected] = await detect(run, at(52));
  expect(iou(moved.box, expected.box)).toBeGreaterThan(0.9);
  expect(await detectAgain(run, scene(240, 160), known)).toEqual([]);
});

test("a stream is searched at the start, now and then, and for a lost face", async () => {
  const shapes: (readonly number[])[] = [];
  const run = await blazeFace(shapes);
  const follower = new Follower();
  const next = (timeMs: number, place?: readonly [number, number]) => follower.next(run, scene(240, 160, place), DEFAULTS, timeMs);
  const levels = 1;
  for (let frame = 0; frame < 16; frame++) {
    const faces = await next(40 * frame, [30 + 2 * frame, 20]);
    expect(faces.length).toBe(1);
  }
  expect(follower.searches).toBe(2); // frames 0 and 15
  expect(wholeFrames(shapes)).toBe(2 * levels);
  expect((await next(680, [118, 20])).length).toBe(0); // far away, and too early for a search
  expect((await next(760, [118, 20])).length).toBe(1);
  expect(follower.searches).toBe(3);
  expect(await next(860)).toEqual([]);
  const before = follower.searches;
  expect(await next(900)).toEqual([]); // an empty scene is searched ten times a second at most
  expect(follower.searches).toBe(before);
});
