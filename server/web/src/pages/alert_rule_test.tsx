// What a rule would have said over the last day, asked without saving it.

import { useEffect, useRef } from "preact/hooks";
import type { Rule, RuleTest } from "../api/alerts";
import { usePreview } from "../api/use_preview";
import { subjectWords } from "../text/alerts";
import { date, span } from "../text/format";
import { Failure, Skeleton } from "../ui/parts";

const HOURS = 24;

export function DryRun({ body }: { body: Rule }) {
  const found = usePreview<RuleTest>(`/alert-rules/test?hours=${HOURS}`, body);
  const test = found.value;
  const box = useRef<HTMLDivElement>(null);
  // It stands below the fields: who asked for it sees it.
  useEffect(() => box.current?.scrollIntoView({ block: "nearest" }), [test, found.error]);
  return (
    <div class="dry-run" role="status" data-testid="rule-dry-run" ref={box}>
      {found.error ? <Failure error={found.error} /> : test ? <Said test={test} /> : <Skeleton lines={2} />}
    </div>
  );
}

function Said({ test }: { test: RuleTest }) {
  const length = Math.max(1, test.to_ms - test.from_ms);
  const at = (ms: number) => `${(Math.max(0, ms - test.from_ms) / length) * 100}%`;
  return (
    <>
      <b>{test.words}</b>
      <div class="dry-run-line" aria-hidden="true">
        {test.firings.map((each, i) => (
          <span key={i} style={{ left: at(each.from_ms), width: `${((each.to_ms ?? test.to_ms) - Math.max(each.from_ms, test.from_ms)) / length * 100}%` }} />
        ))}
      </div>
      <div class="dry-run-ends" aria-hidden="true">
        <span>{date(test.from_ms)}</span>
        <span>now</span>
      </div>
      {test.firings.length > 0 && (
        <ul>
          {test.firings.map((each, i) => (
            <li key={i}>
              <b>{subjectWords(each.subject)}</b>, {date(each.from_ms)}
              {each.to_ms === null ? ", still" : `, for ${span(each.to_ms - each.from_ms)}`}: {each.sentence}
            </li>
          ))}
        </ul>
      )}
      {test.without_data > 0 && (
        <p class="note">
          {test.without_data} of {test.subjects} had too little data to say anything.
        </p>
      )}
    </>
  );
}
