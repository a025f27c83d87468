/** The page: sources, results, settings and keys. */

import { Chart } from "./chart";
import { Client } from "./client";
import { DEFAULTS } from "./detection";
import { drawFrame, signed, type Style } from "./draw";
import type { Backend } from "./messages";
import { Neutral } from "./neutral";
import { listNetworks, page, say, sentence, setState, showAngles, showLicense, showMessage, showRows, showTimes } from "./page";
import { ResultLog, toCsv, type Result } from "./results";
import { isVideo, nextFrame, openCamera, openPicture, openVideo, type Stream } from "./sources";
import { Stopwatch } from "./stopwatch";
import { FaceTracker } from "./tracking";
import type { NetworkInfo, Pose } from "./types";

const SHOW_TIMES_MS = 500;
const MOST_THREADS = 4;
const CAMERA_MIN_FACE = 80; // pixels, as in apps/webcam.py: who sits at a camera is not far away
const MOST_TABLE_ROWS = 200;

/** Picture on the screen. */
interface Shown {
  readonly bitmap: ImageBitmap;
  readonly poses: readonly Pose[];
  readonly results: readonly Result[];
  readonly fromCamera: boolean;
}

const client = new Client();
const chart = new Chart(page.chart);
const watch = new Stopwatch();
const neutral = new Neutral(storage());
let networks: readonly NetworkInfo[] = [];
let log = new ResultLog();
let stream: Stream | undefined;
let shown: Shown | undefined;
let timesShownMs = 0;
// Increases with each new source: what an earlier one still waits for is dropped.
let turn = 0;

/** The browser's storage; undefined where it is blocked. */
function storage(): Storage | undefined {
  try {
    return window.localStorage;
  } catch {
    return undefined;
  }
}

function threads(): number {
  return window.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, MOST_THREADS) : 1;
}

async function start(): Promise<void> {
  const response = await fetch("networks/networks.json");
  if (!response.ok) throw new Error(`cannot load networks/networks.json: ${response.status}`);
  networks = (await response.json()) as NetworkInfo[];
  listNetworks(networks);
  if (await hasWebGpu()) page.backend.append(new Option("Graphics card (WebGPU)", "webgpu"));
  await loadNetwork();
}

async function hasWebGpu(): Promise<boolean> {
  const gpu = (navigator as { gpu?: { requestAdapter(): Promise<unknown> } }).gpu;
  try {
    return Boolean(await gpu?.requestAdapter());
  } catch {
    return false;
  }
}

async function loadNetwork(): Promise<void> {
  const network = networks.find(({ name }) => name === page.network.value) ?? networks[0];
  showLicense(network);
  say(`Loading ${network.name} …`);
  try {
    await client.load(network, page.backend.value as Backend, threads());
  } catch (error) {
    if (page.backend.value === "wasm") throw error;
    page.backend.value = "wasm";
    showMessage(`The graphics card cannot run this network (${String(error)}). The processor is used.`);
    await client.load(network, "wasm", threads());
  }
  watch.reset();
  if (document.body.dataset.state === "loading") setState("ready");
  say(`Ready: ${network.name}, ${threads()} ${threads() === 1 ? "thread" : "threads"}.`);
}

/** End the current source, and return the number of the next one. */
function endSource(): number {
  stream?.close();
  stream = undefined;
  shown?.bitmap.close();
  shown = undefined;
  log = new ResultLog();
  neutral.forget();
  chart.clear();
  watch.reset();
  showRows([]);
  showAngles(undefined);
  showMessage("");
  page.picture.hidden = page.chartFigure.hidden = page.pause.hidden = page.position.hidden = true;
  page.empty.hidden = false;
  page.save.disabled = true;
  page.camera.textContent = "Start camera";
  showNeutral();
  setState("ready");
  return ++turn;
}

/** Read a frame and show it. Returns the results, or undefined where the source has changed meanwhile. */
async function read(mine: number, bitmap: ImageBitmap, image: string, capture: number, timeS?: number, tracker?: FaceTracker): Promise<readonly Result[] | undefined> {
  const asked = performance.now();
  const minFace = Number(page.minFace.value) || (stream?.kind === "camera" ? CAMERA_MIN_FACE : DEFAULTS.minFace);
  const settings = { ...DEFAULTS, minFace, maxFaces: Number(page.maxFaces.value) };
  const answer = await client.estimate(bitmap, settings, tracker && mine);
  const answered = performance.now();
  if (mine !== turn) {
    answer.bitmap.close();
    return undefined;
  }
  let { poses } = answer;
  if (tracker && timeS !== undefined) {
    poses = tracker.update(poses, timeS, page.smooth.checked).sort((a, b) => (a.track ?? 0) - (b.track ?? 0));
    neutral.see(timeS, poses[0]);
  }
  const results = log.add(tracker ? neutral.apply(poses) : poses, image, timeS);
  shown?.bitmap.close();
  shown = { bitmap: answer.bitmap, poses, results, fromCamera: stream?.kind === "camera" };
  draw();
  const { read: pixels, detector, crop, network } = answer.times;
  const messages = answered - asked - pixels - detector - crop - network;
  const stages = { capture, pixels, detector, crop, network, messages, draw: performance.now() - answered };
  watch.add(stages, performance.now());
  if (performance.now() - timesShownMs > SHOW_TIMES_MS || !tracker) {
    timesShownMs = performance.now();
    showTimes(watch.means, tracker && watch.framesPerSecond);
  }
  return results;
}

function draw(): void {
  if (!shown) return;
  const { bitmap, poses, results, fromCamera } = shown;
  page.empty.hidden = true;
  page.picture.hidden = false;
  const mirror = fromCamera && page.mirror.checked;
  drawFrame(page.picture, bitmap, poses, results.map(({ euler }) => euler), page.style.value as Style, mirror);
  page.picture.setAttribute("aria-label", results.length === 1 ? `One face. ${sentence(results[0])}` : `${results.length} faces`);
  showAngles(results[0]);
  page.save.disabled = log.results.length === 0;
}

async function follow(opened: Stream, mine: number): Promise<void> {
  const tracker = new FaceTracker();
  const beganS = opened.kind === "camera" ? performance.now() / 1000 : 0;
  let seen = -1;
  while (mine === turn) {
    const timeS = (await nextFrame(opened)) - beganS;
    if (mine !== turn) return;
    const began = performance.now();
    const bitmap = await createImageBitmap(opened.video);
    const results = await read(mine, bitmap, "", performance.now() - began, timeS, tracker);
    if (!results) return;
    chart.add(timeS, results[0]?.euler);
    showRows(results);
    page.neutral.disabled = !neutral.euler && !neutral.possible;
    if (results.length !== seen) say(results.length === 1 ? "One face" : `${results.length || "No"} faces`);
    seen = results.length;
    const { video } = opened;
    if (opened.kind === "video" && video.duration > 0 && document.activeElement !== page.position) {
      page.position.value = String(video.currentTime / video.duration);
    }
    if (video.ended) page.pause.textContent = "Play again";
  }
}

async function watchStream(open: () => Promise<Stream>): Promise<void> {
  const mine = endSource();
  const opened = await open();
  if (mine !== turn) return opened.close();
  stream = opened;
  page.chartFigure.hidden = false;
  page.camera.textContent = opened.kind === "camera" ? "Stop camera" : "Start camera";
  page.pause.hidden = page.position.hidden = opened.kind !== "video";
  page.pause.textContent = "Pause";
  setState("working");
  await follow(opened, mine);
}

async function readPictures(files: readonly File[]): Promise<void> {
  const mine = endSource();
  const failed: string[] = [];
  setState("working");
  for (const [index, file] of files.entries()) {
    try {
      const began = performance.now();
      const bitmap = await openPicture(file);
      if (!(await read(mine, bitmap, file.name, performance.now() - began))) return;
    } catch (error) {
      failed.push(words(error));
    }
    if (mine !== turn) return;
    showRows(log.results.slice(-MOST_TABLE_ROWS));
    showMessage(failed.slice(0, 5).join(" ") + (failed.length > 5 ? ` And ${failed.length - 5} more.` : ""));
    if (files.length > 1) say(`${index + 1} of ${files.length} pictures read`);
    else say(shown && failed.length === 0 ? (shown.results.length === 1 ? "One face" : `${shown.results.length || "No"} faces`) : "");
  }
  setState("ready");
}

function openFiles(files: readonly File[]): void {
  const video = files.find(isVideo);
  if (video) run(watchStream(() => openVideo(video)));
  else if (files.length) run(readPictures(files));
}

function toggleCamera(): void {
  if (stream?.kind === "camera") endSource();
  else run(watchStream(openCamera));
}

function togglePause(): void {
  if (stream?.kind !== "video") return;
  const { video } = stream;
  if (video.paused || video.ended) run(video.play());
  else video.pause();
  page.pause.textContent = video.paused ? "Play" : "Pause";
}

function toggleNeutral(): void {
  if (!neutral.possible && !neutral.euler) return say("A neutral pose needs a face: look at the camera and try again");
  neutral.toggle();
  showNeutral();
  say(neutral.euler ? "Neutral pose set" : "Neutral pose cleared");
}

function showNeutral(): void {
  const { euler } = neutral;
  page.neutral.disabled = !euler && !neutral.possible;
  page.neutral.textContent = euler ? "Clear neutral pose" : "Set neutral pose";
  page.neutral.setAttribute("aria-pressed", String(Boolean(euler)));
  page.neutralState.hidden = !euler;
  page.neutralState.textContent = euler
    ? `Angles of cameras and videos are relative to yaw ${signed(euler.yaw, 1)}°, pitch ${signed(euler.pitch, 1)}°, roll ${signed(euler.roll, 1)}°.`
    : "";
}

function saveCsv(): void {
  if (log.results.length === 0) return;
  const address = URL.createObjectURL(new Blob([toCsv(log.results)], { type: "text/csv" }));
  const link = document.createElement("a");
  link.href = address;
  link.download = "headpose.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
  const dropped = log.dropped ? `; the first ${log.dropped} were dropped` : "";
  say(`${log.results.length} rows saved${dropped}`);
}

function words(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Show the error of work that nobody waits for. */
function run(work: Promise<unknown>): void {
  work.catch((error: unknown) => {
    showMessage(words(error));
    if (document.body.dataset.state === "loading") {
      setState("failed");
      say("The page could not be loaded.");
    } else if (document.body.dataset.state === "working") {
      endSource();
      showMessage(words(error));
    }
  });
}

const setStyle = (style: Style) => () => {
  page.style.value = style;
  draw();
};
const flip = (box: HTMLInputElement) => () => {
  box.checked = !box.checked;
  draw();
};
const KEYS: Readonly<Record<string, () => void>> = {
  z: toggleNeutral,
  v: toggleCamera,
  o: () => page.files.click(),
  p: togglePause,
  s: saveCsv,
  d: () => say(shown?.results[0] ? sentence(shown.results[0]) : "No face"),
  a: setStyle("axes"),
  c: setStyle("cube"),
  n: setStyle("box"),
  m: flip(page.mirror),
  f: flip(page.smooth),
};

function connect(): void {
  page.camera.onclick = toggleCamera;
  page.open.onclick = () => page.files.click();
  page.files.onchange = () => {
    openFiles([...(page.files.files ?? [])]);
    page.files.value = ""; // the same files may be opened again
  };
  page.pause.onclick = togglePause;
  page.neutral.onclick = toggleNeutral;
  page.save.onclick = saveCsv;
  page.position.oninput = () => {
    if (stream?.video.duration) stream.video.currentTime = Number(page.position.value) * stream.video.duration;
  };
  page.network.onchange = page.backend.onchange = () => run(loadNetwork());
  page.style.onchange = page.mirror.onchange = draw;
  page.drop.ondragover = (event) => {
    event.preventDefault();
    page.drop.classList.add("over");
  };
  page.drop.ondragleave = () => page.drop.classList.remove("over");
  page.drop.ondrop = (event) => {
    event.preventDefault();
    page.drop.classList.remove("over");
    openFiles([...(event.dataTransfer?.files ?? [])]);
  };
  document.onkeydown = (event) => {
    const { target } = event;
    const typing = target instanceof HTMLSelectElement || (target instanceof HTMLInputElement && target.type !== "checkbox");
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || typing || !page.keys.checked) return;
    const action = KEYS[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    action();
  };
}

connect();
showNeutral();
run(start());
if (import.meta.env.PROD && "serviceWorker" in navigator) run(navigator.serviceWorker.register("sw.js"));
