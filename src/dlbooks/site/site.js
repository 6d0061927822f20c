"use strict";
// Search and the two orders of the index, plots with a read-out, large pictures. Every page says the same without it.

const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const make = (name, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};

// ── index ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

function index() {
  const search = document.getElementById("search");
  if (!search) return;
  const count = document.getElementById("count"), resting = count.textContent;
  const buttons = all(".switch button"), sections = all("[data-section]");
  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of all("tr[data-search]")) row.hidden = !words.every((word) => row.dataset.search.includes(word));
    for (const group of all(".group")) group.hidden = !group.querySelector("tr[data-search]:not([hidden])");
    const shown = new Set(all("[data-section]:not([hidden]) tr[data-search]:not([hidden]) th a").map((a) => a.href)).size;
    count.textContent = words.length ? `${shown} chapter${shown === 1 ? "" : "s"} found` : resting;
  };
  const order = (name) => {
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.view === name));
    for (const section of sections) section.hidden = section.dataset.section !== name;
    filter();
  };
  const fromAddress = () => order(/^#(book|B\d)/.test(location.hash) ? "book" : "family");
  for (const button of buttons) {
    button.addEventListener("click", () => {
      history.replaceState(null, "", `#${button.dataset.view}`);
      order(button.dataset.view);
    });
  }
  search.addEventListener("input", filter);
  addEventListener("hashchange", fromAddress);
  document.querySelector(".switch").hidden = false;
  fromAddress();
}

// ── plots ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

const short = (value) => (value === 0 ? "0" : Math.abs(value) >= 1e5 || Math.abs(value) < 1e-3 ? value.toExponential(2).replace(/\.?0+e/, "e") : String(+value.toPrecision(4)));

function ticks(low, high, count) {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= raw);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(+(i * step).toPrecision(12));
  return found;
}

function logTicks(low, high) {
  const found = [], decades = Math.log10(high / low);
  for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++) {
    if (decades > 8 && e % 2) continue;
    for (const m of decades < 1.5 ? [1, 2, 5] : decades < 3 ? [1, 3] : [1]) found.push(m * 10 ** e);
  }
  return found.filter((t) => t >= low * 0.999 && t <= high * 1.001);
}

function plot(figure, series) {
  const names = Object.keys(series), hidden = new Set();
  const values = names.flatMap((name) => series[name].map((p) => p[1]));
  const positive = values.every((v) => v > 0), spread = Math.max(...values) / Math.min(...values);
  let log = positive && spread > 30, at = null, scale = null;
  const color = (i) => `var(--c${i % 8})`;

  const read = make("div", { className: "read" });
  const holder = make("div", { tabIndex: 0 });
  holder.setAttribute("role", "img");
  holder.setAttribute("aria-label", `${figure.querySelector("figcaption").textContent.trim()} over training steps. Arrow keys move the read-out.`);
  const keys = names.map((name, i) => {
    const button = make("button", { type: "button" });
    button.style.setProperty("--color", color(i));
    button.addEventListener("click", () => {
      hidden.has(name) ? hidden.delete(name) : hidden.size < names.length - 1 && hidden.add(name);
      draw();
    });
    return button;
  });
  const steps = [...new Set(names.flatMap((name) => series[name].map((p) => p[0])))].sort((a, b) => a - b);
  const step = make("span");
  read.setAttribute("aria-live", "polite");
  read.append(step, ...keys);

  if (positive && spread > 10) {
    const box = make("input", { type: "checkbox", checked: log });
    box.addEventListener("change", () => { log = box.checked; draw(); });
    figure.querySelector("figcaption").append(make("label", {}, box, " logarithmic"));
  }

  function say() {
    step.textContent = `step ${at ?? steps[steps.length - 1]}`;
    names.forEach((name, i) => {
      const until = at === null ? series[name] : series[name].filter((p) => p[0] <= at);
      const point = until[until.length - 1];
      keys[i].textContent = `${name.replaceAll("_", " ")} ${point ? short(point[1]) : "–"}`;
      keys[i].setAttribute("aria-pressed", String(!hidden.has(name)));
    });
    const line = holder.querySelector(".cursor");
    if (line) {
      line.setAttribute("visibility", at === null ? "hidden" : "visible");
      if (at !== null) line.setAttribute("transform", `translate(${scale.x(at)} 0)`);
    }
  }

  function draw() {
    const shown = names.filter((name) => !hidden.has(name)).flatMap((name) => series[name]);
    const width = Math.max(holder.clientWidth, 240), height = Math.round(Math.min(340, Math.max(200, width * 0.5)));
    let low = Math.min(...shown.map((p) => p[1])), high = Math.max(...shown.map((p) => p[1]));
    if (low === high) [low, high] = log ? [low / 2, high * 2] : [low - 0.5, high + 0.5];
    const first = steps[0], last = steps[steps.length - 1] === first ? first + 1 : steps[steps.length - 1];
    const marks = log ? logTicks(low, high) : ticks(low, high, 5);
    const left = 14 + 7 * Math.max(...marks.map((t) => short(t).length)), right = 16, top = 10, bottom = 26;
    const f = log ? Math.log : (v) => v;
    const pad = (f(high) - f(low)) * 0.04, base = f(low) - pad, span = f(high) - f(low) + 2 * pad;
    const x = (s) => left + ((s - first) / (last - first)) * (width - left - right);
    const y = (v) => height - bottom - ((f(v) - base) / span) * (height - top - bottom);
    scale = { x, left, right, width, first, last };
    const parts = [];
    for (const t of marks) parts.push(`<line class="grid" x1="${left}" x2="${width - right}" y1="${y(t)}" y2="${y(t)}"/><text x="${left - 8}" y="${y(t) + 4}" text-anchor="end">${short(t)}</text>`);
    for (const t of ticks(first, last, width < 480 ? 4 : 7)) parts.push(`<text x="${x(t)}" y="${height - 8}" text-anchor="middle">${short(t)}</text>`);
    names.forEach((name, i) => {
      if (hidden.has(name)) return;
      const points = series[name].map((p) => `${x(p[0]).toFixed(1)},${y(p[1]).toFixed(1)}`);
      parts.push(`<path style="stroke:${color(i)}" d="M${points.join("L")}"/>`);
      if (points.length < 40) for (const p of points) parts.push(`<circle r="2.4" style="fill:${color(i)}" cx="${p.split(",")[0]}" cy="${p.split(",")[1]}"/>`);
    });
    parts.push(`<line class="cursor" y1="${top}" y2="${height - bottom}" visibility="hidden"/>`);
    holder.innerHTML = `<svg width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" aria-hidden="true">${parts.join("")}</svg>`;
    say();
  }

  const nearest = (wanted) => steps.reduce((best, s) => (Math.abs(s - wanted) < Math.abs(best - wanted) ? s : best), steps[0]);
  holder.addEventListener("pointermove", (event) => {
    const place = (event.clientX - holder.getBoundingClientRect().left - scale.left) / (scale.width - scale.left - scale.right);
    at = nearest(scale.first + place * (scale.last - scale.first));
    say();
  });
  holder.addEventListener("pointerleave", () => { at = null; say(); });
  holder.addEventListener("keydown", (event) => {
    const here = at === null ? steps.length - 1 : steps.indexOf(at), jump = Math.max(1, Math.round(steps.length / 50));
    const goal = { ArrowLeft: here - jump, ArrowRight: here + jump, Home: 0, End: steps.length - 1 }[event.key];
    if (goal === undefined) return;
    event.preventDefault();
    at = steps[Math.min(Math.max(goal, 0), steps.length - 1)];
    say();
  });

  all(":scope > img", figure).forEach((img) => img.remove());
  figure.querySelector("figcaption").after(holder, read);
  say();
  let drawn = 0;
  new ResizeObserver(() => {
    if (holder.clientWidth && holder.clientWidth !== drawn) {
      drawn = holder.clientWidth;
      draw();
    }
  }).observe(holder);
}

// ── pictures ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

function pictures() {
  const links = all(".picture a");
  if (!links.length) return;
  const image = make("img"), caption = make("figcaption");
  const control = (text, action) => {
    const button = make("button", { type: "button", textContent: text });
    button.addEventListener("click", action);
    return button;
  };
  let current = 0;
  const show = (number) => {
    current = (number + links.length) % links.length;
    const source = links[current].querySelector("img");
    image.src = links[current].href;
    image.alt = source.alt;
    image.style.imageRendering = source.getAttribute("width") < 240 ? "pixelated" : "";
    caption.textContent = source.alt;
  };
  const close = () => dialog.close();
  const steps = links.length > 1 ? [control("Previous", () => show(current - 1)), control("Next", () => show(current + 1))] : [];
  const dialog = make("dialog", {}, make("form", {}, ...steps, control("Close", close)), make("figure", { style: "margin:0" }, image, caption));
  dialog.setAttribute("aria-label", "Figure");
  dialog.addEventListener("click", (event) => event.target === dialog && close());
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") show(current - 1);
    if (event.key === "ArrowRight") show(current + 1);
  });
  document.body.append(dialog);
  links.forEach((link, number) => {
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      show(number);
      dialog.showModal();
    });
  });
}

// Who asked the system for less motion sees the first picture of an animation; the large picture plays it.
function still() {
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  for (const image of all('.picture img[src$=".gif"]')) {
    const freeze = () => {
      const canvas = make("canvas", { width: image.naturalWidth, height: image.naturalHeight });
      canvas.getContext("2d").drawImage(image, 0, 0);
      canvas.style.maxWidth = "100%";
      image.hidden = true;
      image.after(canvas);
    };
    image.complete && image.naturalWidth ? freeze() : image.addEventListener("load", freeze, { once: true });
  }
}

index();
pictures();
still();
const data = document.getElementById("curves-data");
if (data) {
  const series = JSON.parse(data.textContent);
  for (const figure of all(".curve[data-curve]")) plot(figure, series[figure.dataset.curve]);
}
