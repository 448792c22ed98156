// In place of a fleet, where there is none yet.

import type { Model } from "../api/types";
import { plural } from "../text/format";
import { Link } from "../ui/link";
import { Card } from "../ui/parts";

export function FirstSteps({ models }: { models: readonly Model[] }) {
  return (
    <Card title="Three steps to a running model" testid="first-steps">
      <ol class="steps">
        <li>
          <span class="step-no">1</span>
          <h3>Register a device</h3>
          <p>It gets a code, and trades it for its credentials.</p>
          <Link href="/devices" class="button small">
            Register a device
          </Link>
        </li>
        <li class={models.length > 0 ? "done" : ""}>
          <span class="step-no">2</span>
          <h3>Upload a model</h3>
          <p>{models.length > 0 ? `${plural(models.length, "model")} uploaded.` : "ONNX, or a PyTorch export, with a data set if you have one."}</p>
          <Link href="/models" class="button small">
            {models.length > 0 ? "See the models" : "Upload a model"}
          </Link>
        </li>
        <li>
          <span class="step-no">3</span>
          <h3>Push it</h3>
          <p>It is compressed for each profile, signed, tried on a canary, and rolled out.</p>
        </li>
      </ol>
      <p class="note">
        <code>edgepress demo</code> does all three with three agents on this machine.
      </p>
    </Card>
  );
}
