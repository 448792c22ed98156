import { sparkPath } from "./series";

/** A word-sized line. `label` says the same in words. */
export function Spark({ values, label }: { values: readonly (number | null)[]; label: string }) {
  const path = sparkPath(values, 84, 18);
  if (path === null) return null;
  return (
    <svg class="spark" viewBox="-1 -2 86 22" role="img" aria-label={label} preserveAspectRatio="none">
      <path d={path} />
    </svg>
  );
}
