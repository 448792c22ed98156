import { useState } from "preact/hooks";
import { useAction } from "../ui/dialog";
import { Field } from "../ui/field";
import { Logo } from "../ui/icon";
import { Failure, Notice } from "../ui/parts";

export function SignIn({ signIn, ended }: { signIn: (name: string, password: string) => Promise<void>; ended: boolean }) {
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  const action = useAction(() => signIn(name, password));
  return (
    <main class="gate">
      <div class="gate-box">
        <h1 class="brand">
          <Logo />
          edgepress
        </h1>
        <form
          class="card"
          onSubmit={(event) => {
            event.preventDefault();
            action.run();
          }}
        >
          {ended && !action.error && (
            <Notice tone="warn">
              <p>Your session has ended. Sign in again to go on where you were.</p>
            </Notice>
          )}
          {action.error && <Failure error={action.error} />}
          <Field label="Name">
            {(ids) => (
              <input
                {...ids}
                name="username"
                autocomplete="username"
                autocapitalize="none"
                spellcheck={false}
                required
                autofocus
                value={name}
                onInput={(event) => setName(event.currentTarget.value)}
                data-testid="sign-in-name"
              />
            )}
          </Field>
          <Field label="Password">
            {(ids) => (
              <input
                {...ids}
                type="password"
                name="password"
                autocomplete="current-password"
                required
                value={password}
                onInput={(event) => setPassword(event.currentTarget.value)}
                data-testid="sign-in-password"
              />
            )}
          </Field>
          <button type="submit" class="primary" disabled={action.busy} data-testid="sign-in-submit">
            {action.busy ? "Signing in" : "Sign in"}
          </button>
        </form>
        <small>
          At its first start the server prints the name and the password of the first login beside its address.
        </small>
      </div>
    </main>
  );
}
