"use strict";
// Asks one chapter and shows its answer. What a chapter takes and which options it has stands in GET v1; answers are drawn by what they hold.

const byId = (id) => document.getElementById(id);
const make = (name, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};
const SVG = "http://www.w3.org/2000/svg";
const svg = (name, attributes, ...children) => {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
};
const LONGEST_SIDE = 1600; // pixels of a picture that is sent; a phone's would be too large

let chapters = [], chapter = null, given = null, drawn = false, turn = 0;

// ── the server ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

async function call(path, options = {}) {
  const token = sessionStorage.getItem("token");
  const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch {
    throw new Error("The server does not answer.");
  }
  const found = await response.json().catch(() => ({ error: `The server said ${response.status}.` }));
  if (response.status === 401) byId("door").hidden = false;
  if (!response.ok) throw new Error(found.error);
  return found;
}

async function begin() {
  try {
    chapters = await call("v1");
    byId("door").hidden = true;
  } catch (error) {
    byId("about").textContent = error.message;
    return;
  }
  byId("chapter").replaceChildren(...chapters.map((c) => make("option", { value: c.chapter, textContent: `${c.title} (${c.chapter})` })));
  const wanted = decodeURIComponent(location.hash.slice(1));
  choose(chapters.some((c) => c.chapter === wanted) ? wanted : chapters[0].chapter);
}

// ── the question ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

function choose(name) {
  chapter = chapters.find((c) => c.chapter === name);
  byId("chapter").value = name;
  byId("title").textContent = chapter.title;
  byId("about").textContent = `${chapter.about[0].toUpperCase()}${chapter.about.slice(1)}.`;
  document.title = `Ask ${name}`;
  history.replaceState(null, "", `#${name}`);
  const takes = chapter.takes, picture = takes.endsWith("picture");
  byId("draw").hidden = takes !== "gray picture";
  byId("drop").hidden = !(picture || takes === "sound");
  byId("type").hidden = !(takes === "text" || takes === "numbers");
  byId("recorder").hidden = takes !== "sound" || !navigator.mediaDevices;
  byId("dropwords").textContent = picture ? "Drop a picture here, or choose one" : "Drop a recording here, or choose one";
  byId("file").accept = picture ? "image/*" : "audio/*";
  byId("wordslabel").textContent = takes === "text" ? "Text" : "Numbers: JSON, or a row per line";
  byId("words").value = chapter.example;
  byId("words").rows = takes === "text" ? 4 : 6;
  const names = Object.keys(chapter.aliases);
  byId("aliases").hidden = names.length < 2;
  byId("alias").replaceChildren(make("option", { value: "", textContent: "any model" }), ...names.map((n) => make("option", { value: n, textContent: n })));
  const fields = Object.entries(chapter.options).filter(([key]) => key !== "seen").map(([key, about]) => field(key, about));
  byId("fields").replaceChildren(...fields);
  byId("options").hidden = !fields.length;
  forget();
  wipe();
  byId("answer").replaceChildren(make("p", { className: "soft", textContent: "Nothing asked yet." }));
  byId("facts").replaceChildren();
  command();
  drift();
}

function field(key, about) {
  const choices = about.enum || about.anyOf?.find((a) => a.enum)?.enum, type = about.type || about.anyOf?.[0]?.type;
  let input;
  if (choices) {
    input = make("select", {}, ...choices.map((c) => make("option", { value: c, textContent: c, selected: c === about.default })));
  } else if (type === "boolean") {
    input = make("input", { type: "checkbox", checked: about.default === true });
  } else if (type === "integer" || type === "number") {
    input = make("input", { type: "number", step: type === "integer" ? "1" : "any", value: about.default ?? "" });
    for (const [side, name] of [["min", "minimum"], ["max", "maximum"]]) if (name in about && Math.abs(about[name]) < 2 ** 53) input[side] = about[name];
  } else {
    input = make("input", { type: "text", value: about.default ?? "" });
  }
  input.name = key;
  input.dataset.type = choices ? "string" : type;
  return type === "boolean" ? make("label", {}, input, key) : make("label", {}, key, input);
}

function options() {
  const found = {};
  for (const input of byId("fields").querySelectorAll("[name]")) {
    const type = input.dataset.type;
    if (type === "boolean") found[input.name] = input.checked;
    else if (type === "integer" || type === "number") {
      if (input.value !== "") found[input.name] = Number(input.value);
    } else found[input.name] = input.value;
  }
  if ("seen" in chapter.options) found.seen = true;
  return found;
}

function numbers(text) {
  if (text.trim().startsWith("[")) {
    try {
      return JSON.parse(text);
    } catch {
      throw new Error("These numbers are no JSON: a bracket or comma is missing.");
    }
  }
  const rows = text.split("\n").map((line) => line.split(/[,;\s]+/).filter(Boolean)).filter((row) => row.length);
  const bad = rows.flat().find((word) => Number.isNaN(Number(word)));
  if (bad !== undefined) throw new Error(`${bad} is not a number.`);
  if (!rows.length) throw new Error("Give some numbers.");
  const values = rows.map((row) => row.map(Number));
  return values.length === 1 || values.every((row) => row.length === 1) ? values.flat() : values;
}

async function question() {
  const takes = chapter.takes;
  if (takes === "text") return byId("words").value;
  if (takes === "numbers") return numbers(byId("words").value);
  if (given) return base64(given);
  if (takes === "gray picture" && drawn) return base64(await new Promise((resolve) => byId("pad").toBlob(resolve, "image/png")));
  throw new Error(takes === "sound" ? "Record something, or choose a wav file." : takes === "gray picture" ? "Draw something, or choose a picture." : "Choose a picture.");
}

function base64(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(new Error("The file cannot be read."));
    reader.readAsDataURL(blob);
  });
}

async function ask(event) {
  event?.preventDefault();
  if (!byId("door").hidden) {
    sessionStorage.setItem("token", byId("token").value);
    if (!chapter) return begin();
    byId("door").hidden = true;
  }
  if (!chapter) return begin();
  const mine = ++turn, answer = byId("answer"), began = performance.now();
  answer.classList.add("busy");
  byId("send").disabled = true;
  try {
    const input = await question(), alias = byId("alias").value;
    const body = JSON.stringify({ input, options: options() });
    const found = await call(`v1/${chapter.chapter}${alias ? `?alias=${encodeURIComponent(alias)}` : ""}`, { method: "POST", headers: { "Content-Type": "application/json" }, body });
    if (mine !== turn) return;
    answer.replaceChildren(...shown(found.answers[0], chapter.takes === "numbers" ? input : null));
    byId("facts").replaceChildren(...[`model ${found.alias}, ${found.version}`, `${Math.round(performance.now() - began)} ms`].map((t) => make("span", { textContent: t })));
    drift();
  } catch (error) {
    if (mine !== turn) return;
    answer.replaceChildren(make("p", { className: "problem", textContent: error.message }));
    byId("facts").replaceChildren();
  } finally {
    if (mine === turn) {
      answer.classList.remove("busy");
      byId("send").disabled = false;
    }
  }
  command();
}

function command() {
  const takes = chapter.takes, kind = { text: "text/plain", numbers: "text/csv", sound: "audio/wav" }[takes] || "image/png";
  const file = { text: "prompt.txt", numbers: "numbers.csv", sound: "digit.wav" }[takes] || "picture.png";
  const changed = Object.entries(options()).filter(([key, value]) => key !== "seen" && value !== chapter.options[key].default);
  const query = new URLSearchParams(changed).toString();
  const quoted = `${location.origin}/v1/${chapter.chapter}${query ? `?${query}` : ""}`;
  const token = sessionStorage.getItem("token") ? ' -H "Authorization: Bearer $DLBOOKS_TOKEN"' : "";
  byId("curl").textContent = `curl -H "Content-Type: ${kind}"${token} --data-binary @${file} "${quoted}"`;
}

async function drift() {
  try {
    const found = await call(`v1/${chapter.chapter}/drift`);
    byId("drift").replaceChildren(...found.words.map((words) => make("li", { textContent: words[0].toUpperCase() + words.slice(1) + "." })));
  } catch { /* it is no part of the answer */ }
}

// ── the answer ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

const short = (value) => (Number.isInteger(value) ? String(value) : Math.abs(value) >= 1e5 || (value && Math.abs(value) < 1e-3) ? value.toExponential(2) : String(+value.toPrecision(4)));
const isNumbers = (value) => Array.isArray(value) && value.length > 0 && value.every((v) => typeof v === "number" || v === null);
const isRows = (value) => Array.isArray(value) && value.length > 0 && value.every(isNumbers);

function shown(answer, asked) {
  const parts = [], facts = [];
  for (const [key, value] of Object.entries(answer)) {
    if (key === "classes") parts.push(bars(value));
    else if (key === "seen") continue;
    else if (typeof value === "string" && value.startsWith("data:image/")) parts.push(picture(value, key));
    else if (Array.isArray(value) && value.every((v) => typeof v === "string" && v.startsWith("data:image/"))) parts.push(...value.map((v, i) => picture(v, `${key} ${i + 1}`)));
    else if (typeof value === "string" && (value.length > 40 || value.includes("\n") || key === "text")) parts.push(make("p", { className: isDrawing(value) ? "said map" : "said", textContent: value }));
    else if (key === "x" && isNumbers(answer.y)) continue;
    else if ((key === "low" || key === "high") && answer.mean) continue; // the band around it
    else if (isNumbers(value) && value.length > 2) parts.push(plot(key, value, answer, asked));
    else if (isRows(value)) parts.push(plot(key, value, answer, asked));
    else if (Array.isArray(value) && value.length && typeof value[0] === "object") parts.push(table(value));
    else facts.push(make("dt", { textContent: key }), make("dd", { textContent: words(value) }));
  }
  if (facts.length) parts.push(make("dl", {}, ...facts));
  if (answer.seen) parts.push(picture(answer.seen, "what the net saw"));
  return parts;
}

// Whether a text is a drawing in characters: lines of one length.
function isDrawing(text) {
  const lines = text.trimEnd().split("\n");
  return lines.length > 2 && lines.every((line) => line.length === lines[0].length);
}

function words(value) {
  if (typeof value === "number") return short(value);
  if (value === null) return "nothing";
  if (Array.isArray(value)) return value.map(words).join(", ");
  if (typeof value === "object") return Object.entries(value).map(([k, v]) => `${k} ${words(v)}`).join(", ");
  return String(value);
}

function bars(classes) {
  const rows = classes.map((c) => {
    const bar = make("span", { className: "bar" });
    bar.style.setProperty("--share", c.probability);
    return make("tr", {}, make("th", { scope: "row", textContent: c.class }), make("td", { className: "num", textContent: `${(100 * c.probability).toFixed(1)} %` }), make("td", {}, bar));
  });
  return make("table", { className: "bars" }, make("tbody", {}, ...rows));
}

function picture(source, title) {
  const image = make("img", { src: source, alt: title });
  image.addEventListener("load", () => {
    if (image.naturalWidth > 160) return;
    image.className = "coarse";
    image.style.width = `${image.naturalWidth * Math.max(1, Math.floor(224 / image.naturalWidth))}px`;
  });
  return make("figure", {}, image, make("figcaption", { textContent: title }));
}

function table(rows) {
  const names = [...new Set(rows.flatMap(Object.keys))];
  const head = make("thead", {}, make("tr", {}, ...names.map((n) => make("th", { scope: "col", textContent: n }))));
  const body = rows.map((row) => make("tr", {}, ...names.map((n) => make("td", { textContent: words(row[n] ?? "") }))));
  return make("div", { className: "scroll" }, make("table", {}, head, make("tbody", {}, ...body)));
}

// Numbers as lines over their places, or over the answer's x; what was asked goes before in gray if the answer continues it.
function plot(key, value, answer, asked) {
  const columns = isRows(value) ? value[0].map((_, i) => value.map((row) => row[i])) : [value];
  const x = key === "y" && isNumbers(answer.x) && answer.x.length === value.length ? answer.x : null;
  const continues = !x && key === "mean" && asked; // a forecast
  const before = !continues ? [] : (isRows(asked) ? asked[0].map((_, i) => asked.map((row) => row[i])) : [asked]).slice(-columns.length);
  const sides = continues && answer.low && answer.high ? [answer.low, answer.high].map((side) => (isRows(side) ? side[0].map((_, i) => side.map((row) => row[i])) : [side])) : null;
  const start = continues ? before[0].length : 0;
  const lines = [
    ...before.map((line) => ({ points: line.map((v, i) => [i, v]), color: "var(--soft)" })),
    ...columns.map((line, k) => ({ points: line.map((v, i) => [x ? x[i] : start + i, v]), color: `var(--c${k % 8})` })),
  ];
  for (const line of lines) line.points = line.points.filter((p) => p[1] !== null).sort((a, b) => a[0] - b[0]);
  const bands = !sides ? [] : columns.map((_, k) => sides[0][k].map((v, i) => [start + i, v]).concat(sides[1][k].map((v, i) => [start + i, v]).reverse()));
  const every = [...lines.flatMap((line) => line.points), ...bands.flat()], wide = 480, high = 240, edge = 54;
  const range = (k) => {
    const found = every.map((p) => p[k]), low = Math.min(...found), top = Math.max(...found);
    return top > low ? [low, top] : [low - 1, top + 1];
  };
  const [[x0, x1], [y0, y1]] = [range(0), range(1)];
  const px = (v) => edge + ((v - x0) / (x1 - x0)) * (wide - edge - 12), py = (v) => 14 + ((y1 - v) / (y1 - y0)) * (high - 14 - 28);
  const drawing = svg("svg", { viewBox: `0 0 ${wide} ${high}`, role: "img", "aria-label": `${key}: ${columns[0].length} values from ${short(y0)} to ${short(y1)}` });
  for (const v of [y0, (y0 + y1) / 2, y1]) {
    drawing.append(svg("line", { x1: edge, x2: wide - 12, y1: py(v), y2: py(v), stroke: "var(--line)" }), svg("text", { x: edge - 6, y: py(v) + 4, "text-anchor": "end" }, short(v)));
  }
  drawing.append(svg("text", { x: edge, y: high - 8 }, short(x0)), svg("text", { x: wide - 12, y: high - 8, "text-anchor": "end" }, short(x1)));
  bands.forEach((points, k) => drawing.append(svg("polygon", { points: points.map((p) => `${px(p[0]).toFixed(1)},${py(p[1]).toFixed(1)}`).join(" "), fill: `var(--c${k % 8})`, opacity: 0.2 })));
  for (const { points, color } of lines) {
    const path = points.map((p, i) => `${i ? "L" : "M"}${px(p[0]).toFixed(1)} ${py(p[1]).toFixed(1)}`).join("");
    drawing.append(svg("path", { d: path, stroke: color }));
    if (points.length <= 60) for (const p of points) drawing.append(svg("circle", { cx: px(p[0]), cy: py(p[1]), r: 2.5, fill: color }));
  }
  const list = make("details", {}, make("summary", { textContent: "The numbers" }), make("p", { className: "soft", textContent: words(value) }));
  return make("figure", {}, drawing, make("figcaption", { textContent: before.length ? "What was given in gray, then the forecast" : key }), list);
}

// ── drawing, files, recording ────────────────────────────────────────────────────────────────────────────────────────────────

const pad = byId("pad"), ink = pad.getContext("2d");
let last = null, soon = 0;

function wipe() {
  ink.fillStyle = "#fff";
  ink.fillRect(0, 0, pad.width, pad.height);
  drawn = false;
}

function forget() {
  given = null;
  byId("file").value = "";
  byId("preview").hidden = byId("sound").hidden = true;
}

function line(from, to) {
  Object.assign(ink, { strokeStyle: "#111", lineWidth: 22, lineCap: "round", lineJoin: "round" });
  ink.beginPath();
  ink.moveTo(...from);
  ink.lineTo(...to);
  ink.stroke();
  drawn = true;
}

const place = (event) => {
  const box = pad.getBoundingClientRect();
  return [((event.clientX - box.left) / box.width) * pad.width, ((event.clientY - box.top) / box.height) * pad.height];
};

pad.addEventListener("pointerdown", (event) => {
  clearTimeout(soon);
  forget();
  pad.setPointerCapture(event.pointerId);
  last = place(event);
  line(last, [last[0] + 0.1, last[1]]);
});
pad.addEventListener("pointermove", (event) => {
  if (!last) return;
  for (const step of event.getCoalescedEvents?.() ?? [event]) {
    const next = place(step);
    line(last, next);
    last = next;
  }
});
for (const end of ["pointerup", "pointercancel"]) {
  pad.addEventListener(end, () => {
    if (!last) return;
    last = null;
    soon = setTimeout(ask, 500); // a digit may have a second stroke
  });
}
byId("clear").addEventListener("click", () => {
  clearTimeout(soon);
  wipe();
  forget();
});
byId("stroke").addEventListener("click", () => {
  wipe();
  forget();
  const shapes = [[[80, 80], [200, 75], [130, 225]], [[90, 95], [150, 60], [190, 105], [85, 215], [205, 215]], [[85, 75], [195, 80], [130, 135], [190, 180], [140, 225], [80, 205]], [[165, 225], [165, 60], [75, 165], [215, 165]]];
  const shape = shapes[Math.floor(Math.random() * shapes.length)];
  shape.slice(1).forEach((point, i) => line(shape[i], point));
  ask();
});

async function take(file) {
  if (!file || !chapter) return;
  forget();
  try {
    if (chapter.takes === "sound") {
      given = file.type.includes("wav") ? file : await wav(file);
      byId("sound").src = URL.createObjectURL(given);
      byId("sound").hidden = false;
    } else {
      given = await reduced(file);
      byId("preview").src = URL.createObjectURL(given);
      byId("preview").hidden = false;
    }
  } catch {
    given = file; // the server says what is wrong with it
  }
  ask();
}

async function reduced(file) {
  const image = await createImageBitmap(file), scale = LONGEST_SIDE / Math.max(image.width, image.height);
  if (scale >= 1) return file;
  const canvas = make("canvas", { width: Math.round(image.width * scale), height: Math.round(image.height * scale) });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
}

// Any recording the browser can play, as a wav file: one channel, 16 bits.
async function wav(blob) {
  const rate = 16000, heard = await new AudioContext().decodeAudioData(await blob.arrayBuffer());
  const offline = new OfflineAudioContext(1, Math.ceil(heard.duration * rate), rate), source = offline.createBufferSource();
  source.buffer = heard;
  source.connect(offline.destination);
  source.start();
  const samples = (await offline.startRendering()).getChannelData(0), view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at, word) => [...word].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples.length, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((s, i) => view.setInt16(44 + 2 * i, Math.max(-1, Math.min(1, s)) * 32767, true));
  return new Blob([view], { type: "audio/wav" });
}

let recorder = null;
byId("record").addEventListener("click", async () => {
  if (recorder) return recorder.stop();
  const says = byId("recording");
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true }), parts = [];
    recorder = new MediaRecorder(stream);
    recorder.ondataavailable = (event) => parts.push(event.data);
    recorder.onstop = () => {
      for (const track of stream.getTracks()) track.stop();
      recorder = null;
      byId("record").setAttribute("aria-pressed", "false");
      byId("record").textContent = "Record";
      says.textContent = "";
      take(new Blob(parts));
    };
    recorder.start();
    byId("record").setAttribute("aria-pressed", "true");
    byId("record").textContent = "Stop";
    says.textContent = "Listening, at most five seconds";
    setTimeout(() => recorder?.stop(), 5000);
  } catch {
    says.textContent = "No microphone: choose a wav file instead.";
  }
});

byId("file").addEventListener("change", (event) => take(event.target.files[0]));
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    byId("drop").classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => event.relatedTarget || byId("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  byId("drop").classList.remove("over");
  if (!byId("drop").hidden) take(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => {
  const file = event.clipboardData?.files[0];
  if (file && !byId("drop").hidden) take(file);
});
byId("chapter").addEventListener("change", (event) => choose(event.target.value));
byId("fields").addEventListener("change", command);
byId("ask").addEventListener("submit", async (event) => {
  await ask(event);
  byId("answer").scrollIntoView({ block: "nearest" });
});
byId("words").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) ask(event);
});
wipe();
begin();
