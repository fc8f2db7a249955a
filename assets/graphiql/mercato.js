// GraphiQL for Mercato: the examples, the "Act as" bar and the fetcher that carries its credentials.
//
// The server fills in #mercato-config: { examples, tenants, logins, apiKey, demoProductId }. Only the
// demo shop sends logins and a key; anywhere else people put their own headers in the header editor.
"use strict";

const ENDPOINT = "/graphql";
const config = JSON.parse(document.getElementById("mercato-config").textContent);

const LOGIN = `mutation Login($input: LoginInput!) {
  login(input: $input) { accessToken expiresAt viewer { email role } userErrors { code message } }
}`;

// ---- Who asks -------------------------------------------------------------------------------------

// Headers that say who asks. One of them in the header editor replaces the bar's choice altogether: the
// server refuses a token and a tenant that contradict each other.
const CREDENTIALS = ["authorization", "x-api-key", "x-tenant"];

// The login in use and its token, kept in memory only: a reload is an anonymous shopper again.
let session = null;

/** Logs in and answers the session, or throws an Error that a person can read. */
async function logIn(login) {
  const { tenant, email, password } = login;
  const variables = { input: { tenant, email, password } };
  const answer = await post({ query: LOGIN, variables }, new Headers());
  const { data, errors } = await resultOf(answer);
  const result = data?.login;
  const problem = errors?.[0] ?? result?.userErrors?.[0];
  if (problem) throw new Error(problem.message);
  if (!result?.accessToken) throw new Error("This account asks for a second factor: log in with mfaVerify.");
  return { login, token: result.accessToken, expiresAt: Date.parse(result.expiresAt), viewer: result.viewer };
}

/** The headers of one request: the bar's credentials, then whatever the header editor says. */
async function headersFor(edited = {}) {
  const headers = new Headers();
  const names = Object.keys(edited).map((name) => name.toLowerCase());
  if (!CREDENTIALS.some((name) => names.includes(name))) {
    if (session && session.expiresAt <= Date.now()) session = await logIn(session.login);
    if (session) headers.set("Authorization", `Bearer ${session.token}`);
    else if (config.apiKey) headers.set("X-API-Key", config.apiKey);
  }
  for (const [name, value] of Object.entries(edited)) headers.set(name, value);
  return headers;
}

// ---- Talking to the server ------------------------------------------------------------------------

const JSON_TYPES = "application/graphql-response+json, application/json;q=0.9";

function post(request, headers, signal) {
  headers.set("Content-Type", "application/json");
  if (!headers.has("Accept")) headers.set("Accept", `${JSON_TYPES}, text/event-stream;q=0.8`);
  return fetch(ENDPOINT, { method: "POST", headers, body: JSON.stringify(request), signal });
}

/** Parses an answer; what is not JSON (a proxy's error page, say) is shown as an error, not thrown away. */
async function resultOf(response) {
  const text = await response.text();
  try {
    return JSON.parse(text);
  } catch {
    return { errors: [{ message: `HTTP ${response.status} ${response.statusText}`.trim() }], body: text };
  }
}

/** Yields the results of a subscription, the `next` events of a Server-Sent Events stream. */
async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const events = (pending + value).split(/\r?\n\r?\n/);
    pending = events.pop();
    for (const lines of events.map((event) => event.split(/\r?\n/))) {
      if (lines.some((line) => /^event: ?complete$/.test(line))) return;
      const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5));
      if (data.length) yield JSON.parse(data.join("\n"));
    }
  }
}

/** A subscription's stream in the shape GraphiQL consumes. Its stop button ends the connection. */
function observable(response, abort) {
  return {
    subscribe(observer) {
      const run = async () => {
        for await (const result of eventsOf(response)) observer.next(result);
        observer.complete();
      };
      run().catch((error) => abort.signal.aborted || observer.error(error));
      return { unsubscribe: () => abort.abort() };
    },
  };
}

async function fetcher(request, { headers: edited } = {}) {
  // For a moment after a tab is changed, GraphiQL still holds the name of the operation in the last one.
  const { operationName, ...rest } = request;
  const isThere = new RegExp(`\\b${operationName}\\b`).test(request.query);
  const abort = new AbortController();
  const response = await post(isThere ? request : rest, await headersFor(edited), abort.signal);
  const isStream = response.headers.get("Content-Type")?.startsWith("text/event-stream");
  return isStream ? observable(response, abort) : resultOf(response);
}

// ---- The "Act as" bar -----------------------------------------------------------------------------

function element(tag, properties) {
  return Object.assign(document.createElement(tag), properties);
}

function shopName(subdomain) {
  return config.tenants?.find((tenant) => tenant.subdomain === subdomain)?.name ?? subdomain;
}

function showBar() {
  const status = element("span", { role: "status" });
  const say = (text, failed = false) => {
    status.textContent = text;
    status.toggleAttribute("data-failed", failed);
  };
  const buttons = [];
  const press = (button) => buttons.forEach((each) => each.setAttribute("aria-pressed", each === button));
  const addButton = (label, title, act) => {
    const button = element("button", { type: "button", title, textContent: label });
    button.addEventListener("click", () => act(button));
    buttons.push(button);
    return button;
  };

  let latest; // The button pressed last: a login that answers after another click no longer counts.
  const actAnonymously = (button) => {
    latest = button;
    session = null;
    press(button);
    say("Not logged in: requests carry the shop's API key");
  };
  const actAs = (login) => async (button) => {
    latest = button;
    say(`Logging in as ${login.email} …`);
    try {
      const opened = await logIn(login);
      if (latest !== button) return;
      session = opened;
      press(button);
      say(`${session.viewer.email} · ${session.viewer.role} of ${shopName(login.tenant)}`);
    } catch (error) {
      if (latest === button) say(`Could not log in as ${login.email}: ${error.message}`, true);
    }
  };

  const bar = document.getElementById("mercato-bar");
  bar.append(element("span", { className: "mercato-label", textContent: "Act as:" }));
  const anonymous = addButton("Anonymous shopper", "Sends the shop's API key", actAnonymously);
  bar.append(anonymous);
  let tenant = config.logins[0].tenant;
  for (const login of config.logins) {
    if (login.tenant !== tenant) {
      tenant = login.tenant;
      bar.append(element("span", { className: "mercato-label", textContent: `${shopName(tenant)}:` }));
    }
    bar.append(addButton(login.label, `${login.email} of ${shopName(login.tenant)}`, actAs(login)));
  }
  bar.append(status);
  bar.hidden = false;
  actAnonymously(anonymous);
}

// ---- The page -------------------------------------------------------------------------------------

/**
 * GraphiQL keeps tabs across visits, but a demo shop that is seeded again has new ids. The stored
 * example follows, so that it still runs.
 */
function followDemoProduct() {
  const now = config.demoProductId;
  if (!now) return;
  const before = localStorage.getItem("mercato:demoProductId");
  if (before && before !== now) {
    for (const key of ["graphiql:tabState", "graphiql:variables"]) {
      const stored = localStorage.getItem(key);
      if (stored) localStorage.setItem(key, stored.replaceAll(before, now));
    }
  }
  localStorage.setItem("mercato:demoProductId", now);
}

followDemoProduct();
if (config.logins?.length) showBar();

const { createElement } = React;
ReactDOM.createRoot(document.getElementById("mercato-graphiql")).render(
  createElement(
    GraphiQL,
    {
      fetcher,
      defaultTabs: config.examples?.map(({ query, variables }) => ({ query, variables })),
      defaultEditorToolsVisibility: true,
      inputValueDeprecation: true,
      plugins: [GraphiQLPluginExplorer.explorerPlugin()],
    },
    createElement(GraphiQL.Logo, {}, createElement("span", { className: "mercato-logo" }, "Mercato")),
  ),
);
