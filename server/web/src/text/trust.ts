// What each role of keys is for, and what to run where a signature is waited for.

import type { KeysRole, RoleOfKeys } from "../api/trust";
import type { Word } from "./words";

export const ROLE_WORDS: Record<string, { title: string; what: string }> = {
  root: { title: "Root", what: "names all other keys; devices pin it when they enrol" },
  release: { title: "Release", what: "says what may run at all" },
  director: { title: "Director", what: "says which device runs which release, and until when" },
};
export const roleTitle = (role: string) => ROLE_WORDS[role]?.title ?? role;

/** Where a role's private keys are, as a badge. */
export function whereWord({ role, keys, threshold }: KeysRole): Word {
  const here = keys.filter((key) => key.here).length;
  if (here >= threshold) {
    // A release key on the server is convenient and less safe; the director's has to be there.
    return role === "director" ? { text: "on the server", tone: "good" } : { text: "on the server", tone: "idle" };
  }
  return here === 0 ? { text: "kept elsewhere", tone: role === "director" ? "bad" : "good" } : { text: "in part elsewhere", tone: "warn" };
}

export interface Step {
  where: string;
  command: string;
}

/** What brings a signature: written out, so that it can be copied as it stands. */
export function signatureSteps(what: string, role: RoleOfKeys): Step[] {
  const bundle = `${what}.bundle`;
  return [
    { where: "On the server", command: `edgepress keys export ${what} -o ${bundle}` },
    { where: `Where a ${role} key is kept`, command: `edgepress keys sign ${bundle} --key ${role.toUpperCase()}-KEY.pem` },
    { where: "On the server again", command: `edgepress keys import ${bundle}` },
  ];
}
