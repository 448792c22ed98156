// Latency, memory and energy of one inference: measured where devices tell, else predicted and called so.

import type { ComponentChildren } from "preact";
import type { Basis, Prediction } from "../api/prediction";
import { bytes, count, micros, millijoules, plural } from "../text/format";
import { about, against, basisWord, basisWords, changeWords, latencyRange, measuredWords } from "../text/prediction";
import { useNow } from "../ui/now";
import { Badge } from "../ui/parts";

interface Props {
  prediction: Prediction;
  before: Prediction | null;
}

export function TotalTiles({ prediction, before }: Props) {
  const now = useNow(30_000);
  const measured = prediction.measured;
  return (
    <dl class="tiles" data-testid="on-device-totals">
      <Tile name="Latency" basis={measured ? "measurement" : prediction.basis}>
        {measured ? (
          <>
            <dd class="figure">{micros(measured.p50_us)}</dd>
            <dd class="aside">
              {measuredWords(measured, now)}; p95 {micros(measured.p95_us)}
            </dd>
            <dd class="aside">
              {against(micros(prediction.latency_us), measured.latency_ratio)}: {basisWords(prediction.words)}, on a device
              with nothing else to do
            </dd>
          </>
        ) : (
          <>
            <dd class="figure">{about(micros(prediction.latency_us))}</dd>
            <dd class="aside">{basisWords(prediction.words)}</dd>
            <dd class="aside">most likely {latencyRange(prediction)}</dd>
          </>
        )}
        <Change from={before?.latency_us} to={prediction.latency_us} text={micros} better="faster" worse="slower" />
      </Tile>
      <Tile name="Memory" basis={measured?.rss_bytes ? "measurement" : prediction.memory_basis}>
        {measured?.rss_bytes ? (
          <>
            <dd class="figure">{bytes(measured.rss_bytes)}</dd>
            <dd class="aside">{measured.words}, the whole agent</dd>
            <dd class="aside">{against(bytes(prediction.memory_bytes), measured.memory_ratio)}</dd>
          </>
        ) : (
          <dd class="figure">{about(bytes(prediction.memory_bytes))}</dd>
        )}
        <dd class="aside">
          weights {bytes(prediction.weight_bytes)}, values at their peak {bytes(prediction.peak_activation_bytes)}, the rest the runtime&apos;s own
        </dd>
        <Change from={before?.memory_bytes} to={prediction.memory_bytes} text={bytes} better="smaller" worse="larger" />
      </Tile>
      <Tile name="Energy" basis={measured?.energy_mj ? energyBasis(measured.energy_method) : prediction.energy_basis}>
        {measured?.energy_mj ? (
          <>
            <dd class="figure">{measured.energy_method?.startsWith("estimate") ? about(millijoules(measured.energy_mj)) : millijoules(measured.energy_mj)}</dd>
            <dd class="aside">
              of an inference, told by {plural(measured.energy_devices, "device")}, {measured.energy_method}
            </dd>
            {prediction.energy_mj !== null && <dd class="aside">{against(millijoules(prediction.energy_mj), measured.energy_ratio)}</dd>}
          </>
        ) : prediction.energy_mj === null ? (
          <>
            <dd class="figure">not known</dd>
            <dd class="aside">the profile states no power</dd>
          </>
        ) : (
          <>
            <dd class="figure">{about(millijoules(prediction.energy_mj))}</dd>
            <dd class="aside">of an inference: power beyond idle × latency, {basisWord(prediction.energy_basis)} power</dd>
          </>
        )}
        <Change from={before?.energy_mj} to={prediction.energy_mj} text={millijoules} better="less" worse="more" />
      </Tile>
      <Tile name="Work" basis={null}>
        <dd class="figure">{count(prediction.operations)}</dd>
        <dd class="aside">
          operations in {plural(prediction.layers.length, "layer")}; {plural(prediction.threads, "thread")} of {prediction.profile_name}
        </dd>
        <Change from={before?.operations} to={prediction.operations} text={count} better="less" worse="more" />
      </Tile>
    </dl>
  );
}

const energyBasis = (method: string | null): Basis | "estimate" => (method?.startsWith("estimate") ? "estimate" : "measurement");

const TONES = { datasheet: "idle", calibration: "busy", measurement: "good", estimate: "idle" } as const;
const WORDS = { datasheet: "datasheet", calibration: "calibrated", measurement: "measured", estimate: "estimate" } as const;

function Tile({ name, basis, children }: { name: string; basis: Basis | "estimate" | null; children: ComponentChildren }) {
  return (
    <div class="tile" data-testid={`on-device-${name.split(" ")[0]!.toLowerCase()}`}>
      <dt class="row apart">
        {name}
        {basis && <Badge word={{ text: WORDS[basis], tone: TONES[basis] }} />}
      </dt>
      {children}
    </div>
  );
}

interface ChangeProps {
  from: number | null | undefined;
  to: number | null;
  text: (value: number) => string;
  better: string;
  worse: string;
}
/** Both predicted in the same way: their ratio holds better than either of them. */
function Change({ from, to, text, better, worse }: ChangeProps) {
  if (!from || !to) return null;
  return (
    <dd class="aside">
      before {about(text(from))}: {changeWords(from, to, better, worse)}
    </dd>
  );
}
