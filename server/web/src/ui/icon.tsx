// Line icons on a 16 by 16 grid. Decoration only: the word stands beside them, or the button has a label.

const PATHS = {
  fleet: "M2 12.5h12M3.5 12.5V8M7 12.5v-9M10.5 12.5V6M13 12.5V4.5",
  device: "M4 4h8v8H4zM6.5 6.5h3v3h-3zM6 4V2M10 4V2M6 14v-2M10 14v-2M4 6H2M4 10H2M14 6h-2M14 10h-2",
  profile: "M2.5 2.5h11v11h-11zM5 10.5V8.5M8 10.5v-5M11 10.5V7",
  model: "M8 1.8l5.5 3v6.4L8 14.2l-5.5-3V4.8zM2.5 4.8L8 8l5.5-3.2M8 8v6.2",
  search: "M7 2.5a4.5 4.5 0 110 9 4.5 4.5 0 010-9M10.3 10.3L14 14",
  job: "M2.5 3.5h11M8 6v5M5.5 8.5L8 6l2.5 2.5M2.5 13.5h11",
  rollout: "M8 13.5V8M8 8L3.5 4.5M8 8l4.5-3.5M8 8V3M6.5 4.5L8 3l1.5 1.5",
  chart: "M2 13.5h12M2.5 10l3-3.5 3 2 5-5.5",
  group: "M5.5 7a2 2 0 100-4 2 2 0 000 4M10.8 7.4a1.7 1.7 0 100-3.4M1.8 13c.2-2.4 1.7-3.8 3.7-3.8S9 10.6 9.2 13M10.6 9.4c2 0 3.2 1.2 3.5 3.2",
  key: "M6 6.5a3 3 0 110 .1M8.6 7.4L14 7.4M12 7.4v2.2M14 7.4v1.6",
  audit: "M3.5 2h6l3 3v9h-9zM9.5 2v3h3M5.5 7.5h5M5.5 9.5h5M5.5 11.5h3",
  settings: "M2 4.5h6M11 4.5h3M2 11.5h3M8 11.5h6M9.5 3v3M6.5 10v3",
  plus: "M8 3v10M3 8h10",
  upload: "M8 10.5v-8M5 5.5l3-3 3 3M2.5 10.5v3h11v-3",
  push: "M2.5 8h8M7.5 4.5L11 8l-3.5 3.5M13.5 3v10",
  close: "M4 4l8 8M12 4l-8 8",
  copy: "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
  sun: "M8 5.2a2.8 2.8 0 110 5.6 2.8 2.8 0 010-5.6M8 1.2v1.6M8 13.2v1.6M1.2 8h1.6M13.2 8h1.6M3.2 3.2l1.1 1.1M11.7 11.7l1.1 1.1M3.2 12.8l1.1-1.1M11.7 4.3l1.1-1.1",
  moon: "M13.2 9.6A5.6 5.6 0 116.4 2.8a4.6 4.6 0 006.8 6.8z",
  system: "M2 3h12v8H2zM6 13.5h4M8 11v2.5",
  bell: "M4 11V7.2a4 4 0 018 0V11l1.3 1.8H2.7zM6.6 14.3h2.8",
  mute: "M4 11V7.2a4 4 0 016.5-3.1M12 7.4V11l1.3 1.8H4.5M6.6 14.3h2.8M2 2l12 12.3",
  alert: "M8 2l6.5 11.5h-13zM8 6.5v3.2M8 11.3v.4",
  info: "M8 2a6 6 0 100 12A6 6 0 008 2zM8 7.2v3.6M8 4.9v.4",
  check: "M3 8.5l3.2 3L13 4.5",
  download: "M8 2.5v8M5 7.5l3 3 3-3M2.5 13.5h11",
  out: "M9.5 3H3v10h6.5M6.5 8h7M11 5.5L13.5 8 11 10.5",
} as const;
export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}

export function Logo() {
  return (
    <svg class="logo" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
      <rect width="32" height="32" rx="7" class="logo-ground" />
      <path d="M7 8.5h18M7 23.5h18" class="logo-plates" />
      <rect x="12.5" y="12.5" width="7" height="7" rx="1.5" class="logo-weight" />
    </svg>
  );
}
