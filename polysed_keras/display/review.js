"use strict";

// The page's data, as review.py wrote them. Times are seconds of the recording.

const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent), items = data.items;
const bytesOf = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
const round = (seconds) => Math.round(1000 * seconds) / 1000;
const clock = (time) => `${Math.floor(time / 60)}:${(time % 60).toFixed(1).padStart(4, "0")}`;

// Answers: one for each item, {answer, onset, offset, added: [{label, onset, offset}]}. They stay in the browser.

const STORE = `polysed-review-${data.id}`;
let answers = items.map((item) => ({answer: "open", onset: item.asked[0], offset: item.asked[1], added: []}));
let current = 0, past = [], dragging = null, stopAt = Infinity;

function restore() {
  try {
    const kept = JSON.parse(localStorage.getItem(STORE) || "null");
    if (kept && kept.answers.length === items.length) ({answers, current} = kept);
    $("reviewer").value = localStorage.getItem("polysed-reviewer") || "";
  } catch (error) {
    say("This browser keeps no answers: save them before you close the page.");
  }
}

function keep() {
  try {
    localStorage.setItem(STORE, JSON.stringify({answers, current}));
    localStorage.setItem("polysed-reviewer", $("reviewer").value);
  } catch (error) { /* as told when the page was opened */ }
}

function change(action) {  // one that `undo` takes back
  past.push(JSON.stringify({current, answer: answers[current]}));
  action(answers[current]);
  keep();
  show();
}

function undo() {
  if (!past.length) return say("There is nothing to undo.");
  const before = JSON.parse(past.pop());
  current = before.current;
  answers[current] = before.answer;
  keep();
  open(current);
  say("Undone.");
}

function answer(choice) {
  change((given) => { given.answer = choice; });
  advance(`${items[current].label}: ${choice}.`);
}

function advance(said) {  // to the next item without an answer, or to the one after this
  const open_ = [...items.keys()].filter((index) => answers[index].answer === "open");
  if (!open_.length) return say(`${said} All are answered: save the corrections.`);
  open(open_.find((index) => index > current) ?? open_[0]);
  say(said);
  play(answers[current]);
}

function chosenLabel() {
  const label = $("label").value.trim();
  if (!label) { $("label").focus(); say("Choose or type a label first."); }
  return label;
}

function another() {
  const label = chosenLabel();
  if (!label) return;
  if (label === items[current].label) return say(`It is ${label} that was asked about: choose another label.`);
  change((given) => {
    given.answer = "no";
    given.added.push({label, onset: given.onset, offset: given.offset});
  });
  advance(`It is ${label}.`);
}

function add(onset, offset) {
  const label = chosenLabel();
  if (!label) return;
  change((given) => given.added.push({label, onset: round(onset), offset: round(offset)}));
  say(`Added ${label}, ${onset.toFixed(2)} to ${offset.toFixed(2)} seconds.`);
}

function addInMiddle() {
  const [begin, end] = items[current].heard, middle = (begin + end) / 2, half = Math.min(0.25, (end - begin) / 4);
  add(middle - half, middle + half);
}

function move(event, edge, time) {
  const [begin, end] = items[current].heard, least = 0.02;
  const limit = edge === "onset" ? [begin, event.offset - least] : [event.onset + least, end];
  event[edge] = round(Math.min(Math.max(time, limit[0]), limit[1]));
}

// What is shown.

const canvas = $("canvas"), context = canvas.getContext("2d"), audio = $("audio");
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`);
let tiles = [];

function say(text) { $("status").textContent = text; }

function open(index) {
  current = Math.min(Math.max(index, 0), items.length - 1);
  const item = items[current];
  audio.pause();
  if (audio.src) URL.revokeObjectURL(audio.src);
  audio.src = URL.createObjectURL(new Blob([bytesOf(item.audio)], {type: "audio/mpeg"}));
  tiles = item.spectrogram.tiles.map((source) => Object.assign(new Image(), {onload: draw, src: source}));
  $("label").value = item.label;
  say("");
  keep();
  show();
  $("question").focus({preventScroll: true});
}

function show() {
  const item = items[current], given = answers[current], done = answers.filter((each) => each.answer !== "open").length;
  const sure = item.confidence === null ? "" : `, confidence ${item.confidence.toFixed(2)}`;
  $("question").textContent = `${item.label}?`;
  $("where").textContent = `${current + 1} of ${items.length}: ${item.recording}, at ${clock(item.asked[0])}${sure}`;
  $("progress").max = items.length;
  $("progress").value = done;
  $("counts").textContent = `${done} of ${items.length} answered`;
  for (const choice of ["yes", "no", "unsure"]) $(choice).setAttribute("aria-pressed", given.answer === choice);
  $("events").replaceChildren(rowOf(given, item.label, null), ...given.added.map((event, index) =>
    rowOf(event, event.label, index)));
  canvas.setAttribute("aria-label", `Spectrogram of ${(item.heard[1] - item.heard[0]).toFixed(1)} seconds, with ` +
    [[item.label, given], ...given.added.map((event) => [event.label, event])].map(([label, event]) =>
      `${label} from ${event.onset.toFixed(2)} to ${event.offset.toFixed(2)} seconds`).join(", "));
  draw();
}

function rowOf(event, label, index) {
  const row = document.createElement("tr");
  row.append(Object.assign(document.createElement("th"), {scope: "row", textContent: index === null ? `${label} ?` : label}));
  for (const [edge, name] of [["onset", "Begin"], ["offset", "End"]]) {
    const input = Object.assign(document.createElement("input"), {type: "number", step: "0.01",
      value: event[edge].toFixed(2), inputMode: "decimal"});
    input.setAttribute("aria-label", `${name} of ${label}`);
    input.onchange = () => change((given) => move(index === null ? given : given.added[index], edge, Number(input.value)));
    row.insertCell().append(input);
  }
  const buttons = row.insertCell();
  buttons.append(button("▶", `Play ${label}`, () => play(event)));
  if (index !== null) buttons.append(" ", button("✕", `Remove ${label}`, () =>
    change((given) => given.added.splice(index, 1))));
  return row;
}

function button(text, label, action) {
  const made = Object.assign(document.createElement("button"), {type: "button", textContent: text, onclick: action});
  made.setAttribute("aria-label", label);
  return made;
}

const scaleOf = () => canvas.clientWidth / (items[current].heard[1] - items[current].heard[0]);
const placeOf = (time) => (time - items[current].heard[0]) * scaleOf();
const timeAt = (x) => items[current].heard[0] + x / scaleOf();

function draw() {
  const item = items[current], given = answers[current], sharp = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  Object.assign(canvas, {width: Math.round(width * sharp), height: Math.round(height * sharp)});
  context.setTransform(sharp, 0, 0, sharp, 0, 0);
  context.fillStyle = "#000";
  context.fillRect(0, 0, width, height);
  tiles.forEach((tile, index) => {
    const wide = tile.naturalWidth * item.spectrogram.frameSeconds * scaleOf();
    if (tile.complete && wide) context.drawImage(tile, index * item.spectrogram.tileSeconds * scaleOf(), 0, wide, height);
  });
  context.font = "12px system-ui, sans-serif";
  for (const [kilohertz, place] of item.spectrogram.ticks) write(`${kilohertz} kHz`, 4, height * (1 - place), "#fff");
  box(given, item.label, colour("asked"), given.answer === "no" ? [4, 4] : []);
  given.added.forEach((event, index) => box(event, event.label, colour("added"), [], index + 1));
  tick();
}

function box(event, label, edge, dashes, line = 0) {  // with its label in a line of its own
  const left = placeOf(event.onset), wide = Math.max(2, placeOf(event.offset) - left);
  context.lineWidth = 3;
  context.setLineDash(dashes);
  context.strokeStyle = edge;
  context.strokeRect(left, 2, wide, canvas.clientHeight - 4);
  context.setLineDash([]);
  write(label, left + 5, 16 + 15 * line, edge);
}

function write(text, x, y, fill) {  // readable on any spectrogram
  context.lineWidth = 3;
  context.strokeStyle = "#000";
  context.strokeText(text, x, y);
  context.fillStyle = fill;
  context.fillText(text, x, y);
}

function tick() {
  $("cursor").style.transform = `translateX(${placeOf(items[current].heard[0] + audio.currentTime)}px)`;
}

// Playing.

const LEAD = 0.1;  // after a jump into MP3 a browser is silent for so long

function play(event) {
  const begin = items[current].heard[0];
  stopAt = Math.max(event.offset, event.onset + 0.2) - begin + LEAD;
  audio.currentTime = Math.max(0, event.onset - begin - LEAD);
  audio.play().catch(() => say("Press Space to play: the browser waits for a key."));
}

function playOrPause() {
  if (!audio.paused) return audio.pause();
  stopAt = Infinity;
  if (audio.ended || audio.currentTime > audio.duration - 0.05) audio.currentTime = 0;
  audio.play().catch((error) => say(`The sound cannot be played: ${error.message}`));
}

function whilePlaying() {
  if (audio.currentTime >= stopAt) audio.pause();
  tick();
  if (!audio.paused) requestAnimationFrame(whilePlaying);
}

// Dragging: an edge that is near, or else a new event.

function edgeAt(x) {
  const given = answers[current], edges = [given, ...given.added].flatMap((event) => ["onset", "offset"].map((edge) =>
    ({event, edge, distance: Math.abs(placeOf(event[edge]) - x)})));
  return edges.filter(({distance}) => distance <= 8).sort((a, b) => a.distance - b.distance)[0];
}

function beginDrag(pointer) {
  const near = edgeAt(pointer.offsetX);
  const before = JSON.stringify({current, answer: answers[current]});
  dragging = near ? {...near, before} : {from: pointer.offsetX, before};
  canvas.setPointerCapture(pointer.pointerId);
}

function drag(pointer) {
  if (!dragging) { canvas.style.cursor = edgeAt(pointer.offsetX) ? "ew-resize" : "crosshair"; return; }
  if (dragging.event) {
    move(dragging.event, dragging.edge, timeAt(pointer.offsetX));
    draw();
  } else {
    draw();
    context.fillStyle = "rgb(86 180 233 / 50%)";
    context.fillRect(dragging.from, 0, pointer.offsetX - dragging.from, canvas.clientHeight);
  }
}

function endDrag(pointer) {
  const done = dragging;
  dragging = null;
  if (!done) return;
  if (done.event) {
    past.push(done.before);
    keep();
    show();
  } else if (Math.abs(pointer.offsetX - done.from) > 8) {
    const [begin, end] = items[current].heard, within = (time) => Math.min(Math.max(time, begin), end);
    const [onset, offset] = [timeAt(done.from), timeAt(pointer.offsetX)].map(within).sort((a, b) => a - b);
    add(onset, offset);
  } else {
    draw();
    play({onset: timeAt(pointer.offsetX), offset: items[current].heard[1]});
  }
}

// Saving.

function corrections() {
  const said = items.flatMap((item, index) => {
    const {answer: choice, onset, offset, added} = answers[index];
    const common = {recording: item.recording, digest: item.digest, heard: item.heard.map(round)};
    return [{...common, label: item.label, onset: round(onset), offset: round(offset), answer: choice,
      asked: item.asked, confidence: item.confidence},
      ...added.map((event) => ({...common, ...event, answer: "yes"}))];
  });
  return {[data.formatKey]: data.format, kind: data.kind, model: data.model, reviewer: $("reviewer").value.trim(),
    answers: said};
}

function present() {  // events that are there, by recording and time
  return corrections().answers.filter((event) => event.answer === "yes").sort((a, b) =>
    (a.recording < b.recording ? -1 : a.recording > b.recording ? 1 : a.onset - b.onset));
}

const lines = (header, rows) => [header, ...rows].map((row) => `${row.join("\t")}\n`).join("");

function toTsv() {
  return lines(["filename", "onset", "offset", "event_label"], present().map((event) =>
    [event.recording, event.onset.toFixed(3), event.offset.toFixed(3), event.label]));
}

function toRaven() {
  return lines(["Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Begin File", "Annotation"],
    present().map((event, index) => [index + 1, "Spectrogram 1", 1, event.onset.toFixed(3), event.offset.toFixed(3),
      event.recording, event.label]));
}

function toLabelStudio() {
  const byRecording = new Map();
  for (const event of present()) byRecording.set(event.recording, [...(byRecording.get(event.recording) || []), event]);
  return JSON.stringify([...byRecording].map(([recording, events]) => ({data: {audio: recording}, annotations: [{
    result: events.map((event, index) => ({id: `event${index}`, from_name: "label", to_name: "audio", type: "labels",
      value: {start: event.onset, end: event.offset, channel: 0, labels: [event.label]}}))}]})), null, 1);
}

function save(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], {type: "application/octet-stream"}));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  say(`Saved ${name}.`);
}

function nameOf(suffix) {
  const reviewer = $("reviewer").value.trim().replace(/[^\p{L}\p{N}]+/gu, "-");
  return `${reviewer || "review"}-${data.id}${suffix}`;
}

// What the user does.

const KEYS = {y: () => answer("yes"), n: () => answer("no"), u: () => answer("unsure"), o: another, a: addInMiddle,
  z: undo, " ": playOrPause, arrowleft: () => open(current - 1), arrowright: () => open(current + 1)};

document.onkeydown = (event) => {
  const typing = event.target.matches("input"), action = KEYS[event.key.toLowerCase()];
  if (typing && event.key === "Escape") event.target.blur();
  if (typing || !action || event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === " " && event.target.matches("button, audio")) return;  // which it presses
  event.preventDefault();
  action();
};

const CLICKS = {yes: KEYS.y, no: KEYS.n, unsure: KEYS.u, other: another, add: addInMiddle, undo, play: playOrPause,
  previous: KEYS.arrowleft, next: KEYS.arrowright,
  saveJson: () => save(nameOf(".corrections.json"), JSON.stringify(corrections(), null, 1)),
  saveTsv: () => save(nameOf(".tsv"), toTsv()), saveRaven: () => save(nameOf(".raven.txt"), toRaven()),
  saveLabelStudio: () => save(nameOf(".labelstudio.json"), toLabelStudio())};
for (const [id, action] of Object.entries(CLICKS)) $(id).onclick = () => action();
Object.assign(canvas, {onpointerdown: beginDrag, onpointermove: drag, onpointerup: endDrag,
  onpointercancel: () => { dragging = null; draw(); }});
$("reviewer").onchange = keep;
audio.onplay = whilePlaying;
audio.onseeking = audio.ontimeupdate = tick;
new ResizeObserver(draw).observe(canvas);
for (const label of data.labels) $("labels").append(Object.assign(document.createElement("option"), {value: label}));
restore();
open(current);
