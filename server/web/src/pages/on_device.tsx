// What a model, or an artifact beside the model it was made of, would do on a kind of device.

import { useState } from "preact/hooks";
import { ofArtifact, ofModel, type Prediction, type Totals, useOnAllProfiles, usePrediction } from "../api/prediction";
import type { ArtifactSummary, Model, Profile } from "../api/types";
import { Roofline, RooflineKey } from "../plot/roofline";
import { basisWords, layerWords } from "../text/prediction";
import { Card, Loaded, Notice } from "../ui/parts";
import { useQuery } from "../ui/route";
import { BoundShares, LayerTable } from "./on_device_layers";
import { ProfileBars } from "./on_device_profiles";
import { TotalTiles } from "./on_device_totals";

interface Props {
  model: Model;
  artifact: ArtifactSummary | null; // null: only the model as uploaded
  profiles: readonly Profile[];
}

const COMMON = "raspberry-pi-4"; // shown first where nothing says which kind of device matters

export function OnDevice({ model, artifact, profiles }: Props) {
  const [search, setSearch] = useQuery();
  const known = (id: string | null | undefined) => profiles.find((each) => each.id === id)?.id;
  const profile = known(search.get("on")) ?? artifact?.profile ?? known(COMMON) ?? profiles[0]?.id;
  if (profile === undefined) return null; // profiles are on their way
  const subject = artifact ? ofArtifact(artifact.digest) : ofModel(model.name);
  return (
    <section class="stack" aria-label="On a device" data-testid="on-device">
      <div class="row apart">
        <div>
          <h2>On a device</h2>
          <p class="note">
            {artifact ? `${artifact.recipe} for ${artifact.profile}, beside the model as uploaded` : "The model as uploaded"}: what the runtime there
            executes, one sample at a time
          </p>
        </div>
        <label class="on-device-choice">
          <span class="note">Device</span>
          <select class="inline" value={profile} onChange={(event) => setSearch({ on: event.currentTarget.value })} data-testid="on-device-profile">
            {!known(profile) && <option value={profile}>{profile}</option>}
            {profiles.map((each) => (
              <option key={each.id} value={each.id}>
                {each.name}
              </option>
            ))}
          </select>
        </label>
      </div>
      <OnProfile key={`${subject} ${profile}`} subject={subject} before={artifact ? ofModel(model.name) : null} profile={profile} />
      <OnAllProfiles key={subject} subject={subject} chosen={profile} onChoose={(id) => setSearch({ on: id })} />
    </section>
  );
}

function OnProfile({ subject, before, profile }: { subject: string; before: string | null; profile: string }) {
  const after = usePrediction(subject, profile);
  const original = usePrediction(before, profile);
  return (
    <Loaded from={after} lines={6}>
      {(value) => (
        <>
          {original.error && (
            <Notice tone="warn">
              <p>The model as uploaded is not beside it: {original.error.message}</p>
            </Notice>
          )}
          <TotalTiles prediction={value} before={original.value ?? null} />
          <Layers prediction={value} before={original.value ?? null} />
        </>
      )}
    </Loaded>
  );
}

function Layers({ prediction, before }: { prediction: Prediction; before: Prediction | null }) {
  const [chosen, setChosen] = useState<number | null>(null);
  const [under, setUnder] = useState<number | null>(null);
  const shown = prediction.layers[under ?? chosen ?? -1];
  const beside = prediction.layers.filter((layer) => layer.operations === 0);
  return (
    <>
      <Card
        title="Roofline"
        note={`${prediction.profile_name}, ${basisWords(prediction.words)}. A dot is a layer, its area the layer's time`}
        testid="roofline"
      >
        <RooflineKey calibrated={prediction.roofs.some((roof) => roof.basis === "calibration")} overlaid={before !== null} />
        {prediction.layers.length > beside.length ? (
          <Roofline
            layers={prediction.layers}
            roofs={prediction.roofs}
            before={before?.layers ?? []}
            says={layerWords}
            chosen={chosen}
            onChoose={setChosen}
            onLook={setUnder}
          />
        ) : (
          <p class="plot none">No layer of this model computes anything; it only moves numbers.</p>
        )}
        <p class="readout" aria-live="polite" data-testid="roofline-readout">
          {shown ? layerWords(shown) : "Point at a dot, tap it, or go from dot to dot with the arrow keys to see its layer."}
        </p>
        <BoundShares prediction={prediction} />
      </Card>
      <LayerTable prediction={prediction} chosen={chosen} onChoose={setChosen} />
    </>
  );
}

function OnAllProfiles({ subject, chosen, onChoose }: { subject: string; chosen: string; onChoose: (id: string) => void }) {
  const all = useOnAllProfiles(subject);
  if (all.error?.code === "not_predictable") return null; // said above, once
  return (
    <Card flush title="On every kind of device" note="Latency on a logarithmic scale; the line is where it most likely lies" testid="on-all-profiles">
      <Loaded from={all} lines={5}>
        {(value: { profiles: Totals[] }) => <ProfileBars all={value.profiles} chosen={chosen} onChoose={onChoose} />}
      </Loaded>
    </Card>
  );
}
