// Every number of one profile, with its basis and source beside it.

import type { ProfileDetail } from "../api/types";
import { BASIS_MEANS, basisWord, type Figure, groups } from "../text/profile";
import { Badge, Card } from "../ui/parts";

/** A figure whose source is there on demand. */
export function FigureCell({ figure }: { figure: Figure }) {
  if (figure.source === null) return <>{figure.text}</>;
  return (
    <details class="sourced">
      <summary>
        <span>{figure.text}</span>
        {figure.basis ? <Badge word={basisWord(figure.basis)} /> : <span class="badge idle">why</span>}
      </summary>
      <p class="note">{figure.source}</p>
    </details>
  );
}

export function ProfileFigures({ profile }: { profile: ProfileDetail }) {
  return (
    <Card flush title="Figures" note="Each with what it rests on and where it can be looked up.">
      <div class="table-box" tabIndex={0} role="region" aria-label="Figures">
        <table class="profile-figures" data-testid="profile-figures">
          <thead>
            <tr>
              <th scope="col">Figure</th>
              <th scope="col">Value</th>
              <th scope="col">Basis</th>
              <th scope="col">Source, or reason</th>
            </tr>
          </thead>
          {groups([profile]).map(([group, rows]) => (
            <tbody key={group}>
              <tr class="group">
                <th scope="rowgroup" colSpan={4}>
                  {group}
                </th>
              </tr>
              {rows.map((row, i) => {
                const figure = row.read(profile);
                if (figure.source === null) return null;
                const above = i > 0 ? rows[i - 1]!.read(profile).source : null;
                return (
                  <tr key={row.field}>
                    <th scope="row">
                      {row.label}
                      <span class="sub mono">{row.field}</span>
                    </th>
                    <td class="value">{figure.text}</td>
                    <td>
                      {figure.basis && (
                        <span title={BASIS_MEANS[figure.basis]}>
                          <Badge word={basisWord(figure.basis)} />
                        </span>
                      )}
                    </td>
                    <td class="source">{figure.source === above ? "as above" : figure.source}</td>
                  </tr>
                );
              })}
            </tbody>
          ))}
        </table>
      </div>
    </Card>
  );
}
