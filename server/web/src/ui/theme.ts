// Light, dark, or as the system says.

import { useEffect, useState } from "preact/hooks";

export type Theme = "system" | "light" | "dark";
const KEY = "edgepress-theme";
const listeners = new Set<() => void>();
const system = window.matchMedia("(prefers-color-scheme: dark)");
system.addEventListener("change", () => listeners.forEach((listener) => listener()));

export function theme(): Theme {
  const set = document.documentElement.dataset["theme"];
  return set === "light" || set === "dark" ? set : "system";
}

export function setTheme(next: Theme): void {
  const root = document.documentElement;
  if (next === "system") delete root.dataset["theme"];
  else root.dataset["theme"] = next;
  try {
    if (next === "system") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, next);
  } catch {
    // storage is blocked: the choice holds until the page closes
  }
  listeners.forEach((listener) => listener());
}

export const isDark = () => (theme() === "system" ? system.matches : theme() === "dark");

/** Rerenders when the colours change; for canvases, which know no style sheet. */
export function useDark(): boolean {
  const [dark, set] = useState(isDark());
  useEffect(() => {
    const read = () => set(isDark());
    listeners.add(read);
    return () => void listeners.delete(read);
  }, []);
  return dark;
}
