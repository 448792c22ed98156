// Where each cell of a heat map lies: groups below each other, a group's cells row by row beside (or below) its name.
// Plain arithmetic on plain values; heat_map.tsx draws.

export interface HeatGroup {
  name: string;
  cells: readonly number[]; // indices of devices
}

export interface PlacedGroup {
  name: string;
  cells: readonly number[];
  top: number; // of the group, px
  height: number; // of the group with its name, px
  cellsTop: number;
}

export interface HeatLayout {
  pitch: number; // from one cell to the next, px
  size: number; // of a cell, px
  left: number; // where cells begin
  columns: number;
  height: number;
  groups: readonly PlacedGroup[];
}

interface Room {
  width: number;
  height: number; // wanted; cells shrink to stay below it, to PITCH_MIN
  names: number; // width of the column of names; 0: names stand above their cells
}

const PITCH_MIN = 5;
const PITCH_MAX = 26;
const NAME_LINE = 20; // a name above its cells
const NAME_ROWS = 36; // name and count beside its cells
const BETWEEN = 8;

export function layOut(groups: readonly HeatGroup[], room: Room): HeatLayout {
  for (let pitch = PITCH_MAX; pitch > PITCH_MIN; pitch--) {
    const tried = withPitch(groups, room, pitch);
    if (tried.height <= room.height) return tried;
  }
  return withPitch(groups, room, PITCH_MIN);
}

function withPitch(groups: readonly HeatGroup[], room: Room, pitch: number): HeatLayout {
  const columns = Math.max(1, Math.floor((room.width - room.names) / pitch));
  let top = 0;
  const placed = groups.map((group) => {
    const rows = Math.ceil(group.cells.length / columns) * pitch;
    const cellsTop = top + (room.names > 0 ? 0 : NAME_LINE);
    const height = room.names > 0 ? Math.max(rows, NAME_ROWS) : NAME_LINE + rows;
    const here = { name: group.name, cells: group.cells, top, height, cellsTop };
    top += height + BETWEEN;
    return here;
  });
  const gap = pitch >= 12 ? 2 : 1;
  return { pitch, size: pitch - gap, left: room.names, columns, height: Math.max(0, top - BETWEEN), groups: placed };
}

export interface Spot {
  group: number;
  place: number; // among the group's cells
}

export function cellAt(layout: HeatLayout, x: number, y: number): Spot | null {
  const column = Math.floor((x - layout.left) / layout.pitch);
  if (column < 0 || column >= layout.columns) return null;
  for (const [group, placed] of layout.groups.entries()) {
    if (y < placed.cellsTop || y >= placed.top + placed.height) continue;
    const place = Math.floor((y - placed.cellsTop) / layout.pitch) * layout.columns + column;
    return place < placed.cells.length ? { group, place } : null;
  }
  return null;
}

export function placeOf(layout: HeatLayout, spot: Spot): { x: number; y: number } {
  const row = Math.floor(spot.place / layout.columns);
  const column = spot.place % layout.columns;
  return { x: layout.left + column * layout.pitch, y: layout.groups[spot.group]!.cellsTop + row * layout.pitch };
}

/** Where an arrow key leads; it stays at an edge. Up and down go on into the neighbouring group. */
export function stepFrom(layout: HeatLayout, spot: Spot, key: string): Spot {
  const { columns, groups } = layout;
  const column = spot.place % columns;
  const size = (group: number) => groups[group]!.cells.length;
  const clamp = (group: number, place: number): Spot => ({ group, place: Math.max(0, Math.min(size(group) - 1, place)) });
  switch (key) {
    case "ArrowRight":
      if (spot.place < size(spot.group) - 1) return { ...spot, place: spot.place + 1 };
      return spot.group < groups.length - 1 ? { group: spot.group + 1, place: 0 } : spot;
    case "ArrowLeft":
      if (spot.place > 0) return { ...spot, place: spot.place - 1 };
      return spot.group > 0 ? { group: spot.group - 1, place: size(spot.group - 1) - 1 } : spot;
    case "ArrowDown":
      if (Math.floor(spot.place / columns) < Math.floor((size(spot.group) - 1) / columns)) return clamp(spot.group, spot.place + columns);
      return spot.group < groups.length - 1 ? clamp(spot.group + 1, column) : spot;
    case "ArrowUp": {
      if (spot.place >= columns) return { ...spot, place: spot.place - columns };
      if (spot.group === 0) return spot;
      const last = Math.floor((size(spot.group - 1) - 1) / columns) * columns;
      return clamp(spot.group - 1, last + column);
    }
    case "Home":
      return { group: 0, place: 0 };
    case "End":
      return { group: groups.length - 1, place: size(groups.length - 1) - 1 };
    default:
      return spot;
  }
}
