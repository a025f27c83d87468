/** Cameras, videos and pictures. */

const LARGEST_PIXELS = 50e6;

/** Stream of frames: a camera or a video file. */
export interface Stream {
  readonly kind: "camera" | "video";
  readonly video: HTMLVideoElement;
  close(): void;
}

/** Start the camera. Throws an error whose message says what to do. */
export async function openCamera(): Promise<Stream> {
  if (!navigator.mediaDevices) {
    throw new Error("Browsers give the camera only to pages from https:// or localhost. Open the page from there, or open files.");
  }
  const wanted = { width: { ideal: 640 }, height: { ideal: 480 }, facingMode: "user" };
  const media = await navigator.mediaDevices.getUserMedia({ video: wanted, audio: false }).catch((error: unknown) => {
    throw new Error(cameraHelp(error));
  });
  const video = element();
  video.srcObject = media;
  await video.play();
  return {
    kind: "camera",
    video,
    close: () => {
      for (const track of media.getTracks()) track.stop();
      video.srcObject = null;
    },
  };
}

function cameraHelp(error: unknown): string {
  const name = error instanceof DOMException ? error.name : "";
  if (name === "NotAllowedError") return "The camera is blocked for this page. Allow it in the browser's address bar, and start it again.";
  if (name === "NotFoundError") return "No camera was found. Connect one, or open files.";
  if (name === "NotReadableError") return "Another program uses the camera. Close it, and start the camera again.";
  return `The camera did not start: ${error instanceof Error ? error.message : String(error)}`;
}

/** Open a video file. Throws an error whose message says what is wrong. */
export async function openVideo(file: File): Promise<Stream> {
  const video = element();
  const address = URL.createObjectURL(file);
  video.src = address;
  const close = () => {
    video.pause();
    video.removeAttribute("src");
    URL.revokeObjectURL(address);
  };
  try {
    await video.play();
  } catch {
    close();
    throw new Error(`This browser cannot play ${file.name}. Videos in MP4 (H.264) or WebM work in most browsers.`);
  }
  return { kind: "video", video, close };
}

function element(): HTMLVideoElement {
  const video = document.createElement("video");
  video.muted = true;
  video.playsInline = true;
  return video;
}

/** Whether a file is a video, by its type or its name. */
export function isVideo(file: File): boolean {
  return file.type.startsWith("video/") || /\.(mp4|m4v|mov|mkv|webm|avi)$/i.test(file.name);
}

/** Decode a picture, upright, with its stored colors. Throws an error whose message says what is wrong. */
export async function openPicture(file: File): Promise<ImageBitmap> {
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" }).catch(() => {
    throw new Error(`This browser cannot read ${file.name}: it is damaged, or not a picture.`);
  });
  if (bitmap.width * bitmap.height > LARGEST_PIXELS) {
    bitmap.close();
    throw new Error(`${file.name} has more than 50 million pixels: make it smaller.`);
  }
  return bitmap;
}

/** Wait for the next frame of a stream. Returns its time in seconds. */
export function nextFrame(stream: Stream): Promise<number> {
  const { video, kind } = stream;
  return new Promise((resolve) => {
    if ("requestVideoFrameCallback" in video) {
      // A paused or hidden video gives no frames: look again after a while, so that the loop can end.
      const timer = setTimeout(() => done(), 500);
      const handle = video.requestVideoFrameCallback((now, { mediaTime }) => done(kind === "camera" ? now / 1000 : mediaTime));
      const done = (timeS = timeOf(stream)) => {
        clearTimeout(timer);
        video.cancelVideoFrameCallback(handle);
        resolve(timeS);
      };
    } else {
      requestAnimationFrame(() => resolve(timeOf(stream)));
    }
  });
}

function timeOf({ kind, video }: Stream): number {
  return kind === "camera" ? performance.now() / 1000 : video.currentTime;
}
