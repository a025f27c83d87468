/** The elements of index.html, and how results are shown in them. */

import { signed } from "./draw";
import { describe } from "./geometry";
import type { Result } from "./results";
import type { NetworkInfo } from "./types";

/** Return the element with an id; an error where index.html lacks it. */
function find<T extends HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (!element) throw new Error(`index.html has no #${id}`);
  return element as T;
}

export const page = {
  drop: find("drop"),
  picture: find<HTMLCanvasElement>("picture"),
  empty: find("empty"),
  camera: find<HTMLButtonElement>("camera"),
  open: find<HTMLButtonElement>("open"),
  files: find<HTMLInputElement>("files"),
  pause: find<HTMLButtonElement>("pause"),
  neutral: find<HTMLButtonElement>("neutral"),
  save: find<HTMLButtonElement>("save"),
  position: find<HTMLInputElement>("position"),
  message: find("message"),
  words: find("words"),
  doubt: find("doubt"),
  neutralState: find("neutral-state"),
  chartFigure: find("chart-figure"),
  chart: find<HTMLCanvasElement>("chart"),
  faces: find("faces"),
  name: find("name"),
  rows: find("rows"),
  network: find<HTMLSelectElement>("network"),
  backend: find<HTMLSelectElement>("backend"),
  minFace: find<HTMLSelectElement>("min-face"),
  maxFaces: find<HTMLSelectElement>("max-faces"),
  style: find<HTMLSelectElement>("style"),
  mirror: find<HTMLInputElement>("mirror"),
  smooth: find<HTMLInputElement>("smooth"),
  keys: find<HTMLInputElement>("keys"),
  license: find("license"),
  times: find<HTMLTableElement>("times"),
  speed: find("speed"),
  status: find("status"),
};

const ANGLES = { yaw: find("yaw"), pitch: find("pitch"), roll: find("roll") };

/** Show the angles of the first face; undefined where there is none. */
export function showAngles(result: Result | undefined): void {
  for (const [name, element] of Object.entries(ANGLES)) {
    element.textContent = result ? `${signed(result.euler[name as keyof typeof ANGLES], 1)}°` : "–";
  }
  page.words.textContent = result ? sentence(result) : "No face";
  const { uncertainty, readable } = result?.pose ?? {};
  page.doubt.hidden = uncertainty === undefined && readable === undefined;
  const parts: string[] = [];
  if (uncertainty !== undefined) parts.push(`expected error ${uncertainty.toFixed(0)}°`);
  if (readable !== undefined) parts.push(`readable with probability ${readable.toFixed(2)}`);
  page.doubt.textContent = parts.join(", ");
}

/** Describe a result in a sentence. */
export function sentence({ pose }: Result): string {
  const words = describe(pose.rotation);
  return words[0].toUpperCase() + words.slice(1);
}

/** Show one row for each face; pictures have names, the faces of a stream have numbers. */
export function showRows(results: readonly Result[]): void {
  page.faces.hidden = results.length === 0;
  page.name.textContent = results.some(({ image }) => image) ? "Picture" : "Face";
  page.rows.replaceChildren(...results.map(row));
}

function row(result: Result): HTMLTableRowElement {
  const { image, face, pose, euler } = result;
  const line = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  head.textContent = image ? (face > 1 ? `${image}, face ${face}` : image) : String(pose.track ?? face);
  const cells = [euler.yaw, euler.pitch, euler.roll].map((angle) => `${signed(angle, 1)}°`);
  line.append(head, ...[...cells, pose.score.toFixed(2)].map((text) => {
    const cell = document.createElement("td");
    cell.textContent = text;
    return cell;
  }));
  return line;
}

/** Show the mean time of each stage, and frames per second. */
export function showTimes(stages: readonly (readonly [string, number])[], framesPerSecond: number | undefined): void {
  page.times.tBodies[0].replaceChildren(...stages.map(([name, milliseconds]) => {
    const line = document.createElement("tr");
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = name;
    const cell = document.createElement("td");
    cell.textContent = milliseconds.toFixed(1);
    line.append(head, cell);
    return line;
  }));
  page.speed.textContent = framesPerSecond === undefined ? "" : `${framesPerSecond.toFixed(1)} frames per second`;
}

/** Show an error; "" removes it. */
export function showMessage(text: string): void {
  page.message.hidden = text === "";
  page.message.textContent = text;
}

/** Say something that a screen reader reads at its next pause. */
export function say(text: string): void {
  page.status.textContent = text;
}

/** Fill the list of networks. */
export function listNetworks(networks: readonly NetworkInfo[]): void {
  page.network.replaceChildren(...networks.map(({ name, bytes, license }) => {
    const terms = license === "permissive" ? "any use" : "research only";
    return new Option(`${name} (${(bytes / 1e6).toFixed(1)} MB, ${terms})`, name);
  }));
}

/** Show the terms of a network. */
export function showLicense({ name, license_terms }: NetworkInfo): void {
  page.license.textContent = `Terms of ${name}: ${license_terms}.`;
}

/** State of the page, for styles and tests. */
export function setState(state: "loading" | "ready" | "working" | "failed"): void {
  document.body.dataset.state = state;
}
