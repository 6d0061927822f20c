"use strict";
// openapi.json as a page: every address with its parameters, body and answers.

const make = (name, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};
const kind = (schema) => {
  if (!schema) return "";
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.anyOf) return schema.anyOf.map(kind).join(" or ");
  if (schema.type === "array") return `list of ${kind(schema.items) || "values"}`;
  const limits = [["minimum", "≥"], ["exclusiveMinimum", ">"], ["maximum", "≤"], ["exclusiveMaximum", "<"]];
  const said = limits.filter(([key]) => key in schema && Math.abs(schema[key]) < 2 ** 53).map(([key, sign]) => `${sign} ${schema[key]}`);
  return [schema.type || "", ...said, ...("default" in schema && typeof schema.default !== "object" ? [`default ${JSON.stringify(schema.default)}`] : [])].filter(Boolean).join(", ");
};

function table(rows, names) {
  const head = make("thead", {}, make("tr", {}, ...names.map((n) => make("th", { scope: "col", textContent: n }))));
  const body = rows.map((row) => make("tr", {}, ...row.map((cell, i) => make(i ? "td" : "th", i ? { textContent: cell } : { scope: "row", textContent: cell }))));
  return make("div", { className: "scroll" }, make("table", {}, head, make("tbody", {}, ...body)));
}

function operation(path, method, about) {
  const parts = [make("h2", { textContent: about.summary }), make("p", {}, make("code", { textContent: `${method.toUpperCase()} ${path}` }))];
  if (about.description) parts.push(make("p", { className: "about", textContent: about.description }));
  if (about.parameters?.length) parts.push(table(about.parameters.map((p) => [p.name, p.in, kind(p.schema), p.description || ""]), ["parameter", "place", "kind", ""]));
  const body = about.requestBody?.content;
  if (body) {
    const fields = Object.entries(body["application/json"].schema.properties).map(([name, s]) => [name, s.type === "object" ? "the options, as above" : kind(s), s.description || ""]);
    parts.push(table(fields, ["JSON field", "kind", ""]), make("p", { className: "about", textContent: `Or as ${Object.keys(body).filter((k) => k !== "application/json").join(", ")}.` }));
  }
  const answers = Object.entries(about.responses).map(([code, r]) => [code, r.description]);
  if (answers.length > 1) parts.push(make("details", {}, make("summary", { textContent: "Status codes" }), table(answers, ["status", "meaning"])));
  return make("section", {}, ...parts);
}

async function begin() {
  const place = document.getElementById("paths"), token = sessionStorage.getItem("token");
  try {
    const response = await fetch("openapi.json", { headers: token ? { Authorization: `Bearer ${token}` } : {} });
    const found = await response.json();
    if (!response.ok) throw new Error(found.error);
    const every = Object.entries(found.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, about]) => operation(path, method, about)));
    place.replaceChildren(...every);
  } catch (error) {
    place.replaceChildren(make("p", { textContent: `${error.message}` }));
  }
}
begin();
