// Colours of lines, told apart by colour-blind people too (after Okabe and Ito, 2008), for light and dark grounds.

const LIGHT = ["#1f4fd8", "#c2570c", "#0b7a5e", "#a3338f", "#7a5c00", "#0b7fa8", "#b3263a", "#5b5f6b"] as const;
const DARK = ["#8aa9ff", "#f5a05a", "#4fd1a8", "#e58bd4", "#e0c04f", "#5cc8f0", "#ff8a93", "#a9b0bf"] as const;

export const MAX_LINES = 10;
export const lineColor = (i: number, dark: boolean): string => (dark ? DARK : LIGHT)[i % LIGHT.length]!;
/** Dashes beside colours from the fifth line on, so that colour is not the only sign; the ninth is the first, dotted. */
export const lineDash = (i: number): number[] | undefined => (i >= 8 ? [2, 3] : i >= 4 ? [6, 3] : undefined);
