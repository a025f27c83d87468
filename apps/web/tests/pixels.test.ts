import { expect, test } from "vitest";
import { cut, cutTurned, networkInput } from "../src/crop";
import { boundsOf, regionOf } from "../src/region";
import { levelSizes, resize } from "../src/detection";
import { differences, drawnPicture, golden, unpacked } from "./golden";

const MEAN = 0.1; // of a resize that grows; the others are equal but for the rounding of halves

test.each(golden.crops)("a crop that $name is that of crop.py", ({ box, spec, pixels, channel_means }) => {
  const crop = cut(drawnPicture(), box, spec);
  expect(differences(crop.data, unpacked(pixels)).largest).toBe(0);
  const input = networkInput([crop], spec);
  const area = spec.size ** 2;
  channel_means.forEach((expected, channel) => {
    const plane = input.subarray(channel * area, (channel + 1) * area);
    expect(plane.reduce((sum, value) => sum + value, 0) / area).toBeCloseTo(expected, 1.7);
  });
});

test.each(golden.turned_crops)("a crop turned by $region.turn degrees is that of crop.py", ({ region, spec, pixels, of, bounds }) => {
  expect(differences(cutTurned(drawnPicture(), region, spec).data, unpacked(pixels)).largest).toBe(0);
  expect(boundsOf(region)).toEqual(Object.fromEntries(Object.entries(bounds).map(([side, value]) => [side, expect.closeTo(value, 4)])));
  expect(regionOf(boundsOf(region), region.turn)).toEqual(Object.fromEntries(Object.entries(of).map(([name, value]) => [name, expect.closeTo(value, 4)])));
});

test("several crops follow each other in the input", () => {
  const [one, other] = [golden.crops[0], golden.crops[1]].map(({ box, spec }) => cut(drawnPicture(), box, spec));
  const both = networkInput([one, other], golden.crops[0].spec);
  const second = networkInput([other], golden.crops[0].spec);
  expect(both.subarray(both.length / 2)).toEqual(second);
});

test.each(golden.levels)("a level of $size is that of cv2.resize", ({ part, size, pixels }) => {
  const level = resize(drawnPicture(...part), ...size);
  expect([level.width, level.height]).toEqual(size);
  const { largest, mean } = differences(level.data, unpacked(pixels));
  expect(largest).toBeLessThanOrEqual(1);
  expect(mean).toBeLessThanOrEqual(MEAN);
});

test.each(golden.level_sizes)("the levels of a $picture picture", ({ picture, min_face, levels }) => {
  expect(levelSizes(...picture, min_face)).toEqual(levels);
});
