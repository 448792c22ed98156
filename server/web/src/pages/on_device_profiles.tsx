// The same model on every kind of device: its latency with what it may be off by.

import type { Totals } from "../api/prediction";
import { logarithmic, placeLog } from "../plot/scale";
import { bytes, micros, millijoules } from "../text/format";
import { about, basisWords, latencyRange } from "../text/prediction";
import { Empty } from "../ui/parts";

interface Props {
  all: readonly Totals[];
  chosen: string;
  onChoose: (profile: string) => void;
}
export function ProfileBars({ all, chosen, onChoose }: Props) {
  if (all.length === 0) {
    return (
      <Empty icon="device" title="No device profiles">
        There is no kind of device to predict for.
      </Empty>
    );
  }
  const scale = logarithmic(all.flatMap((each) => [each.low_us, each.high_us, each.measured?.p50_us ?? each.low_us]));
  return (
    <div class="table-box" tabIndex={0} role="region" aria-label="On every kind of device">
      <table class="fixed on-profiles">
        <thead>
          <tr>
            <th scope="col" class="first-col">
              Device profile
            </th>
            <th scope="col">Latency</th>
            <th scope="col" class="num col-2 narrow">
              Memory
            </th>
            <th scope="col" class="num col-2 narrow">
              Energy
            </th>
          </tr>
        </thead>
        <tbody>
          {all.map((each) => {
            const [low, high] = [placeLog(each.low_us, scale), placeLog(each.high_us, scale)];
            const measured = each.measured;
            return (
              <tr key={each.profile} class={each.profile === chosen ? "chosen" : ""}>
                <th scope="row">
                  <button
                    type="button"
                    class="text"
                    aria-pressed={each.profile === chosen}
                    onClick={() => onChoose(each.profile)}
                    data-testid={`on-profile-${each.profile}`}
                  >
                    {each.profile_name}
                  </button>
                  <span class="sub">{measured ? `${measured.words}; ${basisWords(each.words)}` : basisWords(each.words)}</span>
                </th>
                <td>
                  <div class="bar after">
                    <div class="bar-track whisker-track" aria-hidden="true">
                      <div class="bar-fill soft" style={{ width: `${placeLog(each.latency_us, scale)}%` }} />
                      <div class="whisker" style={{ left: `${low}%`, width: `${high - low}%` }} />
                      {measured && <div class="whisker-measured" style={{ left: `${placeLog(measured.p50_us, scale)}%` }} />}
                    </div>
                    <span class="bar-text">{measured ? micros(measured.p50_us) : about(micros(each.latency_us))}</span>
                  </div>
                  <span class="sub">{measured ? `predicted ${about(micros(each.latency_us))}` : latencyRange(each)}</span>
                </td>
                <td class="num col-2">{about(bytes(each.memory_bytes))}</td>
                <td class="num col-2">{about(millijoules(each.energy_mj))}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}
