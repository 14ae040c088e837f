"use strict";

// The page's data, as viewer.py wrote them. Times are seconds; a posterior's byte is in steps of the slider.

const $ = (id) => document.getElementById(id);
const bytesOf = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
const data = JSON.parse($("data").textContent);
const posteriors = bytesOf(data.posteriors);  // numColumns rows of numFrames
const PRECISION = 1e-6;  // as in event_lists.py

// Events: all are in the data, by label and time. A threshold only drops those of lower confidence, compared as float32.

function detectEvents(step, minDuration) {  // step: of the threshold; null for the model's own decoding
  const threshold = Math.fround((step || 0) / data.steps), events = [];
  for (const [lane, first, end, confidence] of step === null ? data.decoded : data.found) {
    if (Math.fround(confidence) < threshold) continue;
    const last = events.at(-1);
    if (last && last.lane === lane && last.end === first) {  // clips one after the other
      last.sum += confidence * (end - first);
      last.end = end;
    } else {
      events.push({lane, first, end, sum: confidence * (end - first)});
    }
  }
  return events.filter(({first, end}) => (end - first) * data.timeResolution >= minDuration - PRECISION)
    .map(({lane, first, end, sum}) => ({lane, label: data.labels[lane], onset: first * data.timeResolution,
    offset: Math.min(end * data.timeResolution, data.end), confidence: sum / (end - first)}))
    .sort((a, b) => a.onset - b.onset || a.offset - b.offset || (a.label < b.label ? -1 : 1));
}

function toTsv(events) {  // as write_detections
  return events.map((event) => `${event.onset.toFixed(6)}\t${event.offset.toFixed(6)}\t${event.label}\n`).join("");
}

// What is shown.

const audio = $("audio"), scroller = $("scroller"), canvas = $("canvas"), context = canvas.getContext("2d");
const style = getComputedStyle(document.documentElement);
const colour = (name) => style.getPropertyValue(`--${name}`);
const reference = (data.reference || []).map(([onset, offset, lane]) => ({onset, offset, lane, label: data.labels[lane]}));
const tiles = data.spectrogram.tiles.map((source) => Object.assign(new Image(), {onload: requestDraw, src: source}));
const SPECTROGRAM = 144, AXIS = 24, BAR = 10;  // heights in CSS pixels
const BARS = data.reference ? 2 * BAR + 6 : BAR + 4, CURVE = 16, LANE = BARS + CURVE + 4;
const HEIGHT = SPECTROGRAM + AXIS + LANE * data.labels.length;
const MAX_ZOOM = 500;  // pixels a second: 10 for a frame of 20 ms

let estimated = [], selected = null, stopAt = Infinity, zoom = 0, whole = true, drawing = false, waiting = 0;

function currentStep() {
  return $("own").checked ? null : Math.round($("threshold").value * data.steps);
}

function update() {
  estimated = detectEvents(currentStep(), Math.max(0, Number($("minDuration").value) || 0));
  selected = null;
  $("thresholdText").value = Number($("threshold").value).toFixed(2);
  $("thresholdKey").hidden = $("own").checked;
  requestDraw();
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    fillTable($("estimatedRows"), estimated);
    say(`${estimated.length} estimated events of ${new Set(estimated.map((event) => event.lane)).size} labels.`);
  }, 150);
}

function say(text) { $("status").textContent = text; }

// Drawing: the canvas is as wide as what can be seen, and stays there while the timeline scrolls under it.

function requestDraw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => { drawing = false; draw(); });
}

function draw() {
  const width = scroller.clientWidth, scale = window.devicePixelRatio || 1, start = scroller.scrollLeft / zoom;
  const [wide, high] = [Math.round(width * scale), Math.round(HEIGHT * scale)];
  if (canvas.width !== wide || canvas.height !== high) {
    Object.assign(canvas.style, {width: `${width}px`, height: `${HEIGHT}px`});
    Object.assign(canvas, {width: wide, height: high});
  }
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, HEIGHT);
  drawSpectrogram(start, width);
  data.labels.forEach((_, lane) => drawLane(lane, start, width));
  drawBars(reference, 2, start, width, colour("reference"), colour("reference"));
  drawBars(estimated, data.reference ? BAR + 5 : 2, start, width, colour("estimated"), colour("estimated-edge"));
  drawAxis(start, width);
  $("cursor").style.transform = `translateX(${audio.currentTime * zoom}px)`;
}

function drawSpectrogram(start, width) {
  context.fillStyle = "#000";
  context.fillRect(0, 0, width, SPECTROGRAM);
  tiles.forEach((tile, index) => {
    const left = (index * data.spectrogram.tileSeconds - start) * zoom;
    const wide = tile.naturalWidth * data.spectrogram.frameSeconds * zoom;
    if (tile.complete && wide && left < width && left + wide > 0) context.drawImage(tile, left, 0, wide, SPECTROGRAM);
  });
}

function drawAxis(start, width) {
  const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800].find((each) => each * zoom > 70) || 3600;
  context.font = `12px ${getComputedStyle(document.body).fontFamily}`;
  for (let index = Math.ceil(start / step); (index * step - start) * zoom < width; index++) {
    const x = (index * step - start) * zoom;
    context.fillStyle = "rgb(0 0 0 / 15%)";
    context.fillRect(x, SPECTROGRAM, 1, HEIGHT - SPECTROGRAM);
    context.fillStyle = colour("ink");
    context.fillText(clock(index * step, step < 1 ? 1 : 0), x + 4, SPECTROGRAM + 16);
  }
}

function drawLane(lane, start, width) {
  const top = SPECTROGRAM + AXIS + lane * LANE, base = top + LANE - 2, step = currentStep();
  context.fillStyle = lane % 2 ? "#fff" : "#f4f4f4";
  context.fillRect(0, top, width, LANE);
  if (lane >= data.numColumns) return;  // a label of the reference alone
  const curve = new Path2D(`M -1 ${base}`);
  for (let x = 0; x <= width; x++) curve.lineTo(x, base - CURVE * highest(lane, start + x / zoom, start + (x + 1) / zoom));
  curve.lineTo(width + 1, base);
  context.fillStyle = colour("posterior");
  context.fill(curve);
  context.fillStyle = colour("ink");
  if (step !== null) context.fillRect(0, Math.round(base - CURVE * step / data.steps), width, 1);
}

function highest(lane, from, to) {  // posterior between two times
  const first = Math.floor(from / data.timeResolution), end = Math.max(first + 1, Math.floor(to / data.timeResolution));
  let reached = 0;
  for (let frame = first; frame < Math.min(end, data.numFrames); frame++) {
    reached = Math.max(reached, posteriors[lane * data.numFrames + frame]);
  }
  return reached / data.steps;
}

function drawBars(events, below, start, width, fill, edge) {
  const bars = new Path2D(), marked = new Path2D();
  for (const event of events) {
    const left = (event.onset - start) * zoom, wide = Math.max(2, (event.offset - event.onset) * zoom);
    if (left > width || left + wide < 0) continue;
    const place = [left + 0.5, SPECTROGRAM + AXIS + event.lane * LANE + below + 0.5, Math.max(1, wide - 1), BAR - 1];
    bars.rect(...place);
    if (event === selected) marked.rect(...place);
  }
  context.fillStyle = fill;
  context.fill(bars);
  context.strokeStyle = edge;
  context.stroke(bars);
  context.strokeStyle = "#000";
  context.lineWidth = 3;
  context.stroke(marked);
  context.lineWidth = 1;
}

function fillGutter() {
  const add = (text, y) => {
    const span = Object.assign(document.createElement("span"), {textContent: text, title: text});
    span.style.top = `${y}px`;
    $("gutter").append(span);
  };
  let above = -Infinity;  // ticks that would touch are left out
  for (const [kilohertz, place] of [...data.spectrogram.ticks].reverse()) {
    const y = Math.max(8, SPECTROGRAM * (1 - place));
    if (y - above >= 15) { add(`${kilohertz} kHz`, y); above = y; }
  }
  data.labels.forEach((label, lane) => add(label, SPECTROGRAM + AXIS + (lane + 0.5) * LANE));
}

// Zoom: pixels a second. The time at the middle, or under the pointer, stays where it is.

function setZoom(wanted, x = scroller.clientWidth / 2) {
  const time = (scroller.scrollLeft + x) / (zoom || 1), least = scroller.clientWidth / data.duration;
  whole = wanted <= least;
  zoom = Math.min(Math.max(wanted, least), Math.max(least, MAX_ZOOM));
  $("spacer").style.width = whole ? "100%" : `${data.duration * zoom}px`;
  scroller.scrollLeft = time * zoom - x;
  requestDraw();
}

// Playing. After a jump into MP3 a browser is silent for up to 0.1 s, so that an event is begun so much earlier.

const LEAD = 0.1;

function play(event) {
  select(event);
  stopAt = Math.max(event.offset, event.onset + 0.2);  // less could not be heard
  say(`Playing ${describe(event)}.`);
  moveTo(event.onset - LEAD);
  audio.play().catch((error) => say(`The sound cannot be played: ${error.message}`));
}

function select(event) {
  document.querySelectorAll("[aria-current]").forEach((row) => row.removeAttribute("aria-current"));
  selected = event;
  if (event.row) {
    event.row.setAttribute("aria-current", "true");
    const rows = event.row.closest(".rows"), from = event.row.offsetTop - rows.offsetTop;
    if (from < rows.scrollTop + 40 || from > rows.scrollTop + rows.clientHeight - 40) rows.scrollTop = from - 80;
  }
  requestDraw();
}

function moveTo(time) {
  audio.currentTime = Math.min(Math.max(0, time), data.duration);
  tell();
  follow();
}

function follow() {  // the cursor, and scroll where it leaves what can be seen
  const x = audio.currentTime * zoom - scroller.scrollLeft;
  if (x < 0 || x > scroller.clientWidth) scroller.scrollLeft = audio.currentTime * zoom - scroller.clientWidth / 10;
  $("cursor").style.transform = `translateX(${audio.currentTime * zoom}px)`;
}

function whilePlaying() {
  stopWhereDue();
  follow();
  if (!audio.paused) requestAnimationFrame(whilePlaying);
}

function stopWhereDue() {
  if (audio.currentTime < stopAt) return;
  stopAt = Infinity;
  audio.pause();
}

function tell() {  // a screen reader, where the cursor is and what sounds there
  const time = audio.currentTime, here = estimated.filter((event) => event.onset <= time && time < event.offset);
  scroller.setAttribute("aria-valuenow", time.toFixed(1));
  const labels = here.map((event) => event.label).join(", ") || "no event";
  scroller.setAttribute("aria-valuetext", `${time.toFixed(1)} seconds: ${labels}`);
}

function eventAt(x, y) {  // in CSS pixels of the canvas
  const lane = Math.floor((y - SPECTROGRAM - AXIS) / LANE), below = y - SPECTROGRAM - AXIS - lane * LANE;
  const time = (scroller.scrollLeft + x) / zoom, slack = 3 / zoom;
  const touched = (event) => event.lane === lane && event.onset - slack <= time && time <= event.offset + slack;
  if (data.reference && below < BAR + 3) return reference.find(touched);
  return estimated.find(touched) || reference.find(touched);
}

const clock = (time, digits) => {
  const rounded = Number(time.toFixed(digits));  // first, so that 59.9 s are 1:00
  return `${Math.floor(rounded / 60)}:${(rounded % 60).toFixed(digits).padStart(digits ? digits + 3 : 2, "0")}`;
};
const describe = (event) => `${event.label}, ${event.onset.toFixed(2)} to ${event.offset.toFixed(2)} seconds`;

// Tables: built in parts, so that thousands of rows do not hold up the page.

function fillTable(body, events) {
  const filling = body.filling = {};
  body.replaceChildren();
  const more = (from) => {
    if (body.filling !== filling) return;
    body.append(...events.slice(from, from + 300).map(rowOf));
    if (from + 300 < events.length) requestAnimationFrame(() => more(from + 300));
  };
  more(0);
}

function rowOf(event) {
  const row = event.row = document.createElement("tr"), button = document.createElement("button");
  Object.assign(button, {type: "button", textContent: "▶", onclick: () => play(event)});
  button.setAttribute("aria-label", `Play ${describe(event)}`);
  row.insertCell().append(button);
  row.insertCell().textContent = event.onset.toFixed(2);
  row.insertCell().textContent = event.offset.toFixed(2);
  row.append(Object.assign(document.createElement("th"), {scope: "row", textContent: event.label}));
  if (event.confidence !== undefined) row.insertCell().textContent = event.confidence.toFixed(2);
  return row;
}

function download() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([toTsv(estimated)], {type: "text/tab-separated-values"}));
  link.download = `${data.name.replace(/\.[^.]*$/, "")}.tsv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// What the user does.

const SECONDS = {ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10, Home: -1e9, End: 1e9};
const KEYS = {"+": () => setZoom(2 * zoom), "-": () => setZoom(zoom / 2),
  " ": () => (audio.paused ? audio.play() : audio.pause())};

function listen() {
  scroller.onkeydown = (event) => {
    const seconds = SECONDS[event.key], action = seconds ? () => moveTo(audio.currentTime + seconds) : KEYS[event.key];
    if (!action || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    action();
  };
  canvas.onclick = ({offsetX, offsetY}) => {
    const event = eventAt(offsetX, offsetY);
    if (event) { play(event); } else { stopAt = Infinity; moveTo((scroller.scrollLeft + offsetX) / zoom); }
  };
  scroller.onwheel = (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    setZoom(zoom * 2 ** (-event.deltaY / 200), event.clientX - scroller.getBoundingClientRect().left);
  };
  scroller.onscroll = requestDraw;
  $("zoomIn").onclick = () => setZoom(2 * zoom);
  $("zoomOut").onclick = () => setZoom(zoom / 2);
  $("zoomAll").onclick = () => setZoom(0);
  $("own").onchange = $("minDuration").oninput = update;
  $("threshold").oninput = () => { $("own").checked = false; update(); };
  $("download").onclick = download;
  audio.onplay = whilePlaying;
  audio.onpause = tell;
  audio.onseeking = () => {  // by the player's own controls: then the sound goes on
    if (selected && Math.abs(audio.currentTime - Math.max(0, selected.onset - LEAD)) > 0.01) stopAt = Infinity;
    follow();
  };
  audio.ontimeupdate = stopWhereDue;  // also where the page is hidden
  new ResizeObserver(() => setZoom(whole ? 0 : zoom)).observe(scroller);
}

$("name").textContent = data.name;
$("about").textContent = `${clock(data.duration, 0)} min; ${data.numColumns} labels; model: ${data.model}`;
audio.src = URL.createObjectURL(new Blob([bytesOf(data.audio)], {type: "audio/mpeg"}));
audio.setAttribute("aria-label", `Sound of ${data.name}`);
scroller.setAttribute("aria-valuemax", data.duration.toFixed(1));
$("referenceKey").hidden = $("referenceSection").hidden = !data.reference;
fillGutter();
fillTable($("referenceRows"), reference);
listen();
setZoom(0);
update();
tell();
