import { describe, expect, it } from "vitest";
import { cellAt, layOut, placeOf, type Spot, stepFrom } from "./heat_layout";

const count = (n: number, from = 0) => Array.from({ length: n }, (_, i) => from + i);
const FLEET = [
  { name: "pi", cells: count(6000) },
  { name: "jetson", cells: count(3990, 6000) },
  { name: "lab", cells: count(10, 9990) },
];
const DESK = { width: 1000, height: 360, names: 150 };
const PHONE = { width: 330, height: 420, names: 0 };

describe("the layout", () => {
  it("gives 10,000 cells a place each that leads back to them", () => {
    for (const room of [DESK, PHONE]) {
      const layout = layOut(FLEET, room);
      const seen = new Set<string>();
      layout.groups.forEach((group, g) =>
        group.cells.forEach((_, place) => {
          const { x, y } = placeOf(layout, { group: g, place });
          expect(x + layout.size).toBeLessThanOrEqual(room.width);
          expect(y + layout.size).toBeLessThanOrEqual(layout.height);
          seen.add(`${x} ${y}`);
          if (place % 97 === 0) expect(cellAt(layout, x + layout.size / 2, y + layout.size / 2)).toEqual({ group: g, place });
        }),
      );
      expect(seen.size).toBe(10_000);
    }
  });
  it("draws few cells large and many small", () => {
    expect(layOut([{ name: "pi", cells: count(3) }], DESK).pitch).toBe(26);
    expect(layOut(FLEET, DESK).pitch).toBe(5);
    const some = layOut([{ name: "pi", cells: count(1500) }], DESK);
    expect(some.pitch).toBeGreaterThan(8);
    expect(some.height).toBeLessThanOrEqual(DESK.height);
  });
  it("has nothing where no cell is", () => {
    const layout = layOut([{ name: "pi", cells: count(3) }], DESK);
    expect(cellAt(layout, 10, 5)).toBeNull(); // the name
    expect(cellAt(layout, 150 + 4 * layout.pitch, 5)).toBeNull();
    expect(cellAt(layout, 160, 500)).toBeNull();
    expect(layOut([], DESK)).toMatchObject({ height: 0, groups: [] });
  });
});

describe("arrow keys", () => {
  const layout = layOut([{ name: "a", cells: count(25) }, { name: "b", cells: count(3) }], { width: 260, height: 40, names: 0 });
  it.each<[string, Spot, Spot]>([
    ["ArrowRight", { group: 0, place: 24 }, { group: 1, place: 0 }],
    ["ArrowRight", { group: 1, place: 2 }, { group: 1, place: 2 }],
    ["ArrowLeft", { group: 1, place: 0 }, { group: 0, place: 24 }],
    ["ArrowLeft", { group: 0, place: 0 }, { group: 0, place: 0 }],
    ["Home", { group: 1, place: 2 }, { group: 0, place: 0 }],
    ["End", { group: 0, place: 5 }, { group: 1, place: 2 }],
    ["x", { group: 0, place: 5 }, { group: 0, place: 5 }],
  ])("%s from %j leads to %j", (key, from, to) => expect(stepFrom(layout, from, key)).toEqual(to));
  it("up and down come back to the same cell inside a group", () => {
    const wide = layOut([{ name: "a", cells: count(400) }], { width: 260, height: 400, names: 0 });
    for (const place of [0, 7, 120, 250]) {
      const below = stepFrom(wide, { group: 0, place }, "ArrowDown");
      expect(below.place).toBe(place + wide.columns);
      expect(stepFrom(wide, below, "ArrowUp").place).toBe(place);
    }
  });
  it("down from the last row goes into the next group, up from the first into the one above", () => {
    const last = { group: 0, place: 24 };
    expect(stepFrom(layout, last, "ArrowDown").group).toBe(1);
    expect(stepFrom(layout, { group: 1, place: 1 }, "ArrowUp").group).toBe(0);
  });
});
