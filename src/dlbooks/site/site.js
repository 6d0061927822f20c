"use strict";
// Search, filters and the two orders of the index, plots with a read-out, pictures over time, large pictures, buttons that copy.
// Every page says the same without it.

const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const make = (name, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};

// ── index ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

// A section such as "b5 4.7.2", or "4.7.2" of any book, is inside a place, or a place inside it.
const section = /^(b\d\s+)?\d+(\.\d+)*$/;
const meets = (wanted, place) => {
  const [a, b] = section.exec(wanted)[1] ? [wanted.replace(/\s+/, " "), place] : [wanted, place.replace(/^b\d /, "")];
  return a === b || a.startsWith(`${b}.`) || b.startsWith(`${a}.`);
};

function index() {
  const search = document.getElementById("search");
  if (!search) return;
  const known = JSON.parse(document.getElementById("search-index").textContent);
  const count = document.getElementById("count"), resting = count.textContent;
  const buttons = all(".switch button"), sections = all("[data-section]"), rows = all("tr[data-key]"), chips = all("[data-filter]");
  const visible = () => all("[data-section]:not([hidden]) tr[data-key]:not([hidden]), .sets tr[data-key]:not([hidden])");

  // 2: in the names or the sections, 1: in the prose or the code, 0: not at all.
  const rank = (entry, word) => {
    if (section.test(word) && (/[.\s]/.test(word) ? entry.sections.some((place) => meets(word, place)) : entry.names.includes(word))) return 2;
    if (section.test(word)) return 0;
    return entry.names.includes(word) ? 2 : entry.words.includes(` ${word}`) ? 1 : 0;
  };
  const filter = () => {
    const words = search.value.toLowerCase().match(/b\d\s+\d[\d.]*|\S+/g)?.map((word) => word.replace(/\.+$/, "")).filter(Boolean) ?? [];
    const chosen = {};
    for (const chip of chips) if (chip.getAttribute("aria-pressed") === "true") (chosen[chip.dataset.filter] ??= []).push(chip.dataset.value);
    const groups = Object.entries(chosen);
    for (const row of rows) {
      const entry = known[row.dataset.key];
      row.rank = Math.min(2, ...words.map((word) => rank(entry, word)));
      row.hidden = !row.rank || !groups.every(([name, values]) => values.some((value) => row.dataset[name]?.split(name === "book" ? " " : "\n").includes(value)));
    }
    const wanted = words.length > 0 || groups.length > 0;
    for (const missing of all(".missing")) {
      const lines = all(".line", missing);
      for (const line of lines) line.hidden = !words.every((word) => line.textContent.toLowerCase().includes(word.replace(/^b\d\s+/, "")));
      missing.hidden = groups.some(([name]) => name !== "book") || lines.every((line) => line.hidden);
      missing.open = words.length > 0;
    }
    for (const group of all(".group")) {
      const other = group.dataset.book && chosen.book && !chosen.book.includes(group.dataset.book);
      group.hidden = other || !group.querySelector("tr[data-key]:not([hidden]), .missing:not([hidden])");
    }
    const shown = new Set(visible().map((row) => row.dataset.key)), sets = [...shown].filter((key) => key.startsWith("data/")).length;
    const many = (number, what) => `${number} ${what}${number === 1 ? "" : "s"}`;
    count.textContent = wanted ? `${many(shown.size - sets, "chapter")}${sets ? ` and ${many(sets, "data set")}` : ""} found` : resting;
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
  for (const chip of chips) {
    chip.addEventListener("click", () => {
      chip.setAttribute("aria-pressed", String(chip.getAttribute("aria-pressed") !== "true"));
      filter();
    });
  }
  search.addEventListener("input", filter);
  search.addEventListener("keydown", (event) => {
    const found = visible(), first = found.find((row) => row.rank === 2) ?? found[0];
    if (event.key === "Enter" && first) location.href = first.querySelector("th a").href;
    if (event.key === "Escape") { search.value = ""; filter(); }
  });
  addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || document.activeElement === search) return;
    event.preventDefault();
    search.focus();
  });
  addEventListener("hashchange", fromAddress);
  for (const part of all(".switch, .filters, #keys")) part.hidden = false;
  fromAddress();
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
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

// Every animation can be stopped; for who asked the system for less motion it stands still from the start.
function animations() {
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  for (const image of all('.picture img[src$=".gif"]')) {
    const canvas = make("canvas", { hidden: true });
    const button = make("button", { type: "button", className: "play" });
    const play = (on) => {
      if (!on) {
        Object.assign(canvas, { width: image.naturalWidth, height: image.naturalHeight });
        canvas.getContext("2d").drawImage(image, 0, 0);
      }
      canvas.hidden = on;
      image.hidden = !on;
      button.textContent = on ? "Stop" : "Play";
    };
    const start = () => {
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", image.alt);
      image.after(canvas);
      image.closest("figure").append(button);
      button.addEventListener("click", () => play(!canvas.hidden));
      play(!calm);
    };
    image.complete && image.naturalWidth ? start() : image.addEventListener("load", start, { once: true });
  }
}

// One figure at several steps: a slider instead of links.
function sequences() {
  for (const figure of all(".sequence")) {
    const links = all(".steps a", figure), picture = figure.querySelector("img"), caption = figure.querySelector("figcaption");
    const slider = make("input", { type: "range", min: 0, max: links.length - 1, value: links.length - 1 });
    const step = make("output");
    const show = () => {
      const link = links[slider.value];
      picture.src = picture.parentElement.href = link.href;
      picture.alt = caption.textContent = link.title;
      step.textContent = link.textContent;
      slider.setAttribute("aria-valuetext", `${figure.dataset.unit} ${link.textContent}`);
    };
    slider.addEventListener("input", show);
    figure.querySelector(".steps").replaceWith(make("label", { className: "steps" }, `${figure.dataset.unit} `, step, slider));
    show();
  }
}

// ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

function copies() {
  for (const block of all(".commands pre")) {
    const button = make("button", { type: "button", className: "copy", textContent: "Copy" });
    button.setAttribute("aria-label", `Copy ${block.textContent}`);
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(block.textContent);
        button.textContent = "Copied";
      } catch { // a browser that does not let pages write: the text is selected instead
        getSelection().selectAllChildren(block);
        button.textContent = "Selected";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    block.after(button);
  }
}

index();
sequences();
pictures();
animations();
copies();
const data = document.getElementById("curves-data");
if (data) {
  const series = JSON.parse(data.textContent);
  for (const figure of all(".curve[data-curve]")) plot(figure, series[figure.dataset.curve]);
}
