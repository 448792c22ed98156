// Who is signed in. unknown -> (signed out <-> signed in); unknown is left by the first answer of GET /session.

import { createContext } from "preact";
import { useCallback, useContext, useEffect, useState } from "preact/hooks";
import { ApiError, del, get, post, setCsrf, whenSignedOut } from "./client";
import { startLive, stopLive } from "./live";
import { asApiError } from "./resource";
import type { Role, Session } from "./types";

export type SessionState =
  | { is: "unknown"; error: ApiError | null }
  | { is: "out"; ended: boolean }
  | { is: "in"; session: Session };

const RETRY_MS = 3000;

export function useSession() {
  const [state, setState] = useState<SessionState>({ is: "unknown", error: null });

  const enter = useCallback((session: Session) => {
    setCsrf(session.csrf);
    setState({ is: "in", session });
    startLive();
  }, []);

  const look = useCallback(() => {
    get<Session>("/session").then(enter, (failed: unknown) => {
      const error = asApiError(failed);
      if (error.status === 401) setState({ is: "out", ended: false });
      else {
        setState({ is: "unknown", error });
        window.setTimeout(look, RETRY_MS);
      }
    });
  }, [enter]);

  useEffect(() => {
    whenSignedOut(() => {
      stopLive();
      setState((old) => ({ is: "out", ended: old.is === "in" }));
    });
    look();
  }, [look]);

  return {
    state,
    signIn: (name: string, password: string) => post<Session>("/session", { name, password }).then(enter),
    signOut: async () => {
      await del("/session").catch((failed: unknown) => {
        if (asApiError(failed).status !== 401) throw failed; // already ended: that is what was asked for
      });
      stopLive();
      setState({ is: "out", ended: false });
    },
  };
}

export const SessionContext = createContext<Session>({ person: "", role: "viewer", csrf: "" });

const RANK: Record<Role, number> = { viewer: 0, operator: 1, admin: 2 };
/** Whether the signed-in person may do what `role` may; the server decides, this only spares a useless button. */
export function useMay(role: Role): boolean {
  return RANK[useContext(SessionContext).role] >= RANK[role];
}
