import { describe, expect, test } from "vitest";
import * as geometry from "../src/geometry";
import type { Matrix } from "../src/types";
import { eulerOf, golden } from "./golden";

const near = (found: readonly number[], expected: readonly number[], digits = 5) => {
  expect(found.length).toBe(expected.length);
  found.forEach((value, i) => expect(value).toBeCloseTo(expected[i], digits));
};
const turn = (yaw: number, pitch: number, roll: number) => geometry.rotationFromEuler({ yaw, pitch, roll });

describe.each(golden.rotations)("the rotation of $euler", ({ euler, rotation, smallest, neutral, relative, geodesic, noisy, nearest, vector, direction, in_plane, turned }) => {
  test("is that of geometry.py", () => {
    near(geometry.rotationFromEuler(eulerOf(euler)), rotation);
    const { yaw, pitch, roll } = geometry.eulerFromRotation(rotation);
    near([yaw, pitch, roll], smallest, 4);
  });
  test("has the direction and the angle in the image plane of geometry.py", () => {
    const { azimuth, elevation, tilt } = geometry.directionFromRotation(rotation);
    near([azimuth, elevation, tilt], direction, 4);
    expect(geometry.inPlaneAngle(rotation)).toBeCloseTo(in_plane, 4);
    near(geometry.turnPicture(rotation, 70), turned);
  });
  test("is relative to a neutral pose as in geometry.py", () => {
    near(geometry.relativeTo(rotation, neutral), relative);
    expect(geometry.geodesicDegrees(rotation, neutral)).toBeCloseTo(geodesic, 4);
  });
  test("has the nearest rotation and the vector of geometry.py", () => {
    near(geometry.nearestRotation(noisy), nearest);
    near(geometry.vectorFromRotation(neutral), vector, 4);
    near(geometry.rotationFromVector(vector), neutral);
  });
});

test("the axes on the screen: yaw to the left of the image, pitch up, roll clockwise", () => {
  const nose = (r: Matrix) => geometry.screenAxes(r)[2];
  expect(nose(turn(40, 0, 0))[0]).toBeLessThan(-0.5);
  expect(nose(turn(0, 30, 0))[1]).toBeLessThan(-0.4); // down is positive on the screen
  expect(geometry.screenAxes(turn(0, 0, 30))[1][0]).toBeGreaterThan(0.4);
});

test("relative to itself every pose is straight, and a head that turns about its own axis changes its yaw alone", () => {
  near(geometry.relativeTo(turn(10, -20, 5), turn(10, -20, 5)), geometry.IDENTITY);
  const camera = turn(0, -20, 0); // above the screen
  const turned = geometry.multiply(camera, turn(35, 0, 0));
  const { yaw, pitch, roll } = geometry.eulerFromRotation(geometry.relativeTo(turned, camera));
  near([yaw, pitch, roll], [35, 0, 0]);
});

test("the mean of two rotations lies between them", () => {
  const { yaw, pitch, roll } = geometry.eulerFromRotation(geometry.meanRotation([turn(10, 0, 0), turn(20, 0, 0)]));
  near([yaw, pitch, roll], [15, 0, 0]);
});

test("the expected angle of a round covariance is that of the Maxwell distribution", () => {
  const sigma = 0.05;
  const expected = (Math.sqrt(8 / Math.PI) * sigma * 180) / Math.PI;
  expect(geometry.expectedAngle(geometry.IDENTITY.map((value) => value * sigma ** 2))).toBeCloseTo(expected, 5);
  // About one axis alone it is that of the half-normal distribution.
  const flat = [sigma ** 2, 0, 0, 0, 0, 0, 0, 0, 0];
  expect(geometry.expectedAngle(flat)).toBeCloseTo((Math.sqrt(2 / Math.PI) * sigma * 180) / Math.PI, 2);
});

test("eigenvalues of a turned diagonal matrix", () => {
  const r = turn(20, -35, 50);
  const m = geometry.multiply(geometry.multiply(r, [3, 0, 0, 0, 2, 0, 0, 0, 0.5]), geometry.transpose(r));
  near([...geometry.eigenvalues(m)].sort(), [0.5, 2, 3]);
});

test.each([
  [[0, 0, 0], "looks straight ahead"],
  [[0, -10, 0], "looks 10° down"],
  [[-30, 0, -20], "looks 30° right, tilted 20° counter-clockwise"],
])("%j in words", (euler, words) => {
  expect(geometry.describe(geometry.rotationFromEuler(eulerOf(euler)))).toBe(words);
});
