// Two to four profiles side by side: bars for what they can do, and every figure with its basis and source.

import type { ProfileDetail } from "../api/types";
import { Bar } from "../plot/bars";
import { logarithmic } from "../plot/scale";
import { groups, ROWS, type Row } from "../text/profile";
import { Link } from "../ui/link";
import { Card } from "../ui/parts";
import { FigureCell } from "./profile_figures";

const PLOTTED: readonly (readonly [string, readonly string[]])[] = [
  ["Peak, CPU", ["compute.fp32.gflops", "compute.fp16.gflops", "compute.int8.gops"]],
  ["Peak, GPU", ["gpu.compute.fp32.gflops", "gpu.compute.fp16.gflops", "gpu.compute.int8.gops"]],
  ["Memory bandwidth", ["memory.bandwidth.gb_per_s"]],
  ["Memory", ["memory.ram_mib", "memory.usable.mib"]],
  ["Power, whole device", ["power.idle_mw", "power.typical_mw", "power.tdp_mw"]],
];

export function ProfileBars({ profiles }: { profiles: readonly ProfileDetail[] }) {
  return (
    <Card title="What they can do" note="Peaks, not what a model reaches. Bars are logarithmic: the same length is the same factor.">
      <div class="profile-bars" data-testid="profile-bars">
        {PLOTTED.map(([title, fields]) => (
          <Plot key={title} title={title} rows={ROWS.filter((row) => fields.includes(row.field))} profiles={profiles} />
        ))}
      </div>
    </Card>
  );
}

function Plot({ title, rows, profiles }: { title: string; rows: readonly Row[]; profiles: readonly ProfileDetail[] }) {
  const values = rows.flatMap((row) => profiles.map((profile) => row.read(profile).value)).filter((value) => value !== null);
  if (values.length === 0) return null;
  const scale = logarithmic(values);
  return (
    <section>
      <h3>{title}</h3>
      {rows.map((row) => {
        const figures = profiles.map((profile) => row.read(profile));
        if (figures.every((figure) => figure.value === null)) return null;
        return (
          <div class="profile-bar-group" key={row.field}>
            {rows.length > 1 && <h4>{row.label}</h4>}
            {profiles.map((profile, i) => {
              const { value, text } = figures[i]!;
              return (
                <div class={`profile-bar p${i}`} key={profile.id}>
                  <span class="profile-bar-name">{profile.id}</span>
                  <Bar value={value === null ? null : Math.log10(value)} scale={scale} text={text} kind="after" />
                </div>
              );
            })}
          </div>
        );
      })}
    </section>
  );
}

export function ProfileTable({ profiles }: { profiles: readonly ProfileDetail[] }) {
  return (
    <Card flush title="Every figure" note="Press a basis for where the figure comes from.">
      <div class="table-box" tabIndex={0} role="region" aria-label="Figures of the profiles">
        <table class="profile-table" data-testid="profile-table">
          <thead>
            <tr>
              <th scope="col">Figure</th>
              {profiles.map((profile) => (
                <th scope="col" key={profile.id}>
                  <Link href={`/profiles/${profile.id}`}>{profile.name}</Link>
                </th>
              ))}
            </tr>
          </thead>
          {groups(profiles).map(([group, rows]) => (
            <tbody key={group}>
              <tr class="group">
                <th scope="rowgroup" colSpan={profiles.length + 1}>
                  {group}
                </th>
              </tr>
              {rows.map((row) => (
                <tr key={row.field}>
                  <th scope="row">{row.label}</th>
                  {profiles.map((profile) => (
                    <td key={profile.id}>
                      <FigureCell figure={row.read(profile)} />
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          ))}
        </table>
      </div>
    </Card>
  );
}
