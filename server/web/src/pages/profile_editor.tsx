// A profile's TOML in a text area, checked by the server while one types.

import { useEffect, useRef, useState } from "preact/hooks";
import { at, post, put } from "../api/client";
import type { ApiError } from "../api/client";
import { asApiError } from "../api/resource";
import type { ProfileProblem } from "../api/types";
import { plural } from "../text/format";
import { useAction } from "../ui/dialog";
import { Failure, Notice } from "../ui/parts";

const CHECK_AFTER_MS = 350; // without a key

interface EditorProps {
  id: string; // where it is stored
  text: string;
  onSaved: () => void;
  onCancel: () => void;
}
export function ProfileEditor({ id, text, onSaved, onCancel }: EditorProps) {
  const [written, setWritten] = useState(text);
  const check = useProblems(written);
  const save = useAction(() => put(`/profiles/${at(id)}`, { toml: written }), onSaved);
  const errors = check.problems?.filter((problem) => problem.level === "error").length ?? 0;
  return (
    <form
      class="stack"
      onSubmit={(event) => {
        event.preventDefault();
        save.run();
      }}
    >
      <textarea
        class="mono toml"
        aria-label={`Profile ${id} as TOML`}
        aria-describedby="profile-problems"
        rows={22}
        spellcheck={false}
        value={written}
        onInput={(event) => setWritten(event.currentTarget.value)}
        data-testid="profile-toml"
      />
      <div id="profile-problems" aria-live="polite" data-testid="profile-problems">
        {check.error ? <Failure error={check.error} /> : <Problems problems={check.problems} />}
      </div>
      {save.error && <Failure error={save.error} />}
      <div class="row">
        <button type="submit" class="primary" disabled={save.busy || errors > 0} data-testid="profile-save">
          Save
        </button>
        <button type="button" onClick={onCancel}>
          Cancel
        </button>
      </div>
    </form>
  );
}

function Problems({ problems }: { problems: readonly ProfileProblem[] | null }) {
  if (problems === null) return <p class="note">Checking.</p>;
  if (problems.length === 0) {
    return (
      <Notice tone="good">
        <p>A profile, and nothing looks odd.</p>
      </Notice>
    );
  }
  const errors = problems.filter((problem) => problem.level === "error").length;
  return (
    <Notice tone={errors > 0 ? "bad" : "warn"}>
      <p>{errors > 0 ? `${plural(errors, "thing")} to correct before it can be saved.` : "It can be saved; look at this first."}</p>
      <ul class="problems">
        {problems.map((problem, i) => (
          <li key={i}>
            {problem.path && <code>{problem.path}</code>} {problem.message}. <span class="note">{problem.fix}.</span>
          </li>
        ))}
      </ul>
    </Notice>
  );
}

/** What the server finds in the text, a moment after the last key. */
function useProblems(text: string): { problems: ProfileProblem[] | null; error: ApiError | null } {
  const [found, setFound] = useState<{ problems: ProfileProblem[] | null; error: ApiError | null }>({ problems: null, error: null });
  const newest = useRef(0);
  useEffect(() => {
    const attempt = ++newest.current;
    const timer = window.setTimeout(() => {
      post<{ problems: ProfileProblem[] }>("/profiles/validate", { toml: text }).then(
        ({ problems }) => attempt === newest.current && setFound({ problems, error: null }),
        (error: unknown) => attempt === newest.current && setFound({ problems: null, error: asApiError(error) }),
      );
    }, CHECK_AFTER_MS);
    return () => window.clearTimeout(timer);
  }, [text]);
  return found;
}
