// The list of files that could not be tagged, with the reasons.

const AT_ONCE = 200;
let listed = 0, reason = null;

function drawErrors() {
  const found = new Map();
  for (const one of failures) found.set(one.status, (found.get(one.status) ?? 0) + 1);
  const button = (text, status) => {
    const choice = element("button", { type: "button", onclick: () => { reason = status; drawErrors(); } }, text);
    choice.setAttribute("aria-pressed", String(reason === status));
    return element("li", {}, choice);
  };
  const each = [...found].sort((a, b) => b[1] - a[1]);
  byId("reasons").replaceChildren(
    button(`all ${failures.length.toLocaleString("en")}`, null),
    ...each.map(([status, count]) => button(`${status} ${count.toLocaleString("en")}`, status)),
  );
  byId("error-table").tBodies[0].replaceChildren();
  listed = 0;
  listMore();
}

function listMore() {
  const some = failures.filter((one) => reason === null || one.status === reason);
  byId("error-table").tBodies[0].append(...some.slice(listed, listed + AT_ONCE).map(({ folder, name, status, message }) => {
    const { text, near } = folders[folder], path = join(wellFormed(text), wellFormed(name));
    const link = element("a", { href: near + encodeName(name), target: "_blank", rel: "noopener noreferrer" }, path);
    return element("tr", {}, element("td", {}, link), element("td", {}, status), element("td", {}, message));
  }));
  listed += AT_ONCE;
  byId("more-errors").hidden = listed >= some.length;
}

byId("more-errors").onclick = listMore;
