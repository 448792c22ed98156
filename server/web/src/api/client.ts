// One way to the server: JSON in, JSON out, every failure an ApiError whose message a person can read.

const BASE = "/api/v1";

export class ApiError extends Error {
  constructor(
    readonly status: number, // 0: no answer at all
    readonly code: string,
    message: string,
  ) {
    super(message);
    this.name = "ApiError";
  }
}

let csrf = "";
let onSignedOut: () => void = () => {};

export function setCsrf(token: string): void {
  csrf = token;
}

/** Called when the server says that the session has ended. */
export function whenSignedOut(listener: () => void): void {
  onSignedOut = listener;
}

export const UNREACHABLE =
  "The server does not answer. Check that `edgepress serve` is running; this page tries again by itself.";

export async function request<T>(
  method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE",
  path: string,
  body?: unknown,
  signal?: AbortSignal,
): Promise<T> {
  const headers: Record<string, string> = { Accept: "application/json" };
  if (method !== "GET") headers["X-CSRF-Token"] = csrf;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response: Response;
  try {
    response = await fetch(BASE + path, {
      method,
      headers,
      credentials: "same-origin",
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(signal ? { signal } : {}),
    });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(0, "unreachable", UNREACHABLE);
  }
  return answer<T>(response.status, await response.text(), path !== "/session");
}

export const get = <T>(path: string, signal?: AbortSignal) => request<T>("GET", path, undefined, signal);
export const post = <T>(path: string, body: unknown = {}) => request<T>("POST", path, body);
export const put = <T>(path: string, body: unknown) => request<T>("PUT", path, body);
export const patch = <T>(path: string, body: unknown) => request<T>("PATCH", path, body);
export const del = <T>(path: string) => request<T>("DELETE", path);

function answer<T>(status: number, text: string, endsSession: boolean): T {
  if (status >= 200 && status < 300) return (text === "" ? undefined : JSON.parse(text)) as T;
  const error = readError(status, text);
  if (status === 401 && endsSession) onSignedOut();
  throw error;
}

/** The error in an answer: the API's own message, or a plain sentence where something else answered. */
export function readError(status: number, text: string): ApiError {
  try {
    const { error } = JSON.parse(text) as { error?: { code?: unknown; message?: unknown } };
    if (error && typeof error.message === "string") {
      return new ApiError(status, typeof error.code === "string" ? error.code : "error", error.message);
    }
  } catch {
    // not JSON: a proxy or the web server itself answered
  }
  if (status === 413) return new ApiError(status, "too_large", "The file is larger than the server takes.");
  if (status >= 502 && status <= 504) return new ApiError(status, "unreachable", UNREACHABLE);
  return new ApiError(status, "error", `The server answered with status ${status} and no explanation.`);
}

/** POST text that is no JSON, such as a CSV file. */
export async function uploadText<T>(path: string, text: string, type: string): Promise<T> {
  let response: Response;
  try {
    response = await fetch(BASE + path, {
      method: "POST",
      headers: { Accept: "application/json", "X-CSRF-Token": csrf, "Content-Type": type },
      credentials: "same-origin",
      body: text,
    });
  } catch {
    throw new ApiError(0, "unreachable", UNREACHABLE);
  }
  return answer<T>(response.status, await response.text(), true);
}

export interface Upload<T> {
  done: Promise<T>;
  cancel: () => void;
}

/** Send a file as the raw body. XMLHttpRequest, because fetch tells no upload progress. */
export function upload<T>(path: string, file: Blob, onProgress: (sent: number) => void): Upload<T> {
  const xhr = new XMLHttpRequest();
  const done = new Promise<T>((resolve, reject) => {
    xhr.open("POST", BASE + path);
    xhr.setRequestHeader("X-CSRF-Token", csrf);
    xhr.setRequestHeader("Accept", "application/json");
    xhr.setRequestHeader("Content-Type", "application/octet-stream");
    xhr.upload.onprogress = (event) => onProgress(event.loaded);
    xhr.onload = () => {
      try {
        resolve(answer<T>(xhr.status, xhr.responseText, true));
      } catch (error) {
        reject(error);
      }
    };
    xhr.onerror = () =>
      reject(
        new ApiError(0, "unreachable", "The upload broke off: the server closed the connection. Try again."),
      );
    xhr.onabort = () => reject(new ApiError(0, "cancelled", "The upload was cancelled."));
    xhr.send(file);
  });
  return { done, cancel: () => xhr.abort() };
}

/** A query string without the absent values. */
export function query(values: Record<string, string | number | null | undefined>): string {
  const pairs = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return pairs.length === 0
    ? ""
    : "?" + pairs.map(([key, value]) => `${key}=${encodeURIComponent(String(value))}`).join("&");
}

export const at = encodeURIComponent;
