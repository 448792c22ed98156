import { expect, it } from "vitest";
import { type Clock, throttle } from "./throttle";

function fakeClock() {
  let now = 0;
  let waiting: { at: number; call: () => void } | null = null;
  const clock: Clock = {
    now: () => now,
    later: (call, ms) => {
      waiting = { at: now + ms, call };
      return 1;
    },
    forget: () => {
      waiting = null;
    },
  };
  const pass = (ms: number) => {
    now += ms;
    if (waiting && waiting.at <= now) {
      const due = waiting.call;
      waiting = null;
      due();
    }
  };
  return { clock, pass };
}

it("a burst is one call at once and one at the end", () => {
  const { clock, pass } = fakeClock();
  let calls = 0;
  const throttled = throttle(() => calls++, 1000, clock);
  for (let i = 0; i < 10; i++) throttled();
  expect(calls).toBe(1);
  pass(999);
  expect(calls).toBe(1);
  pass(1);
  expect(calls).toBe(2);
  pass(5000);
  expect(calls).toBe(2);
  throttled();
  expect(calls).toBe(3);
});

it("a cancelled call does not run", () => {
  const { clock, pass } = fakeClock();
  let calls = 0;
  const throttled = throttle(() => calls++, 1000, clock);
  throttled();
  throttled();
  throttled.cancel();
  pass(2000);
  expect(calls).toBe(1);
});
