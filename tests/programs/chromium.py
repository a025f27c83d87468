"""A headless Chromium whose camera is a file, and what it asked the network for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)


def write_camera_file(path: Path, images: list[NDArray[np.uint8]], fps: int = 10) -> None:
    """Writes (H, W, 3) uint8 BGR pictures, even sides, as the Y4M that Chromium takes for a camera (it loops)."""
    height, width = images[0].shape[:2]
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{width} H{height} F{fps}:1 Ip A1:1 C420jpeg\n".encode())
        for image in images:
            file.write(b"FRAME\n" + cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420).tobytes())


@contextmanager
def open_browser(
    profile: Path, camera: Path, *flags: str, width: int = 1280, height: int = 1000
) -> Iterator[webdriver.Chrome]:
    """A browser with a profile and ``flags`` of its own; skips the test where there is none."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    driver_path = shutil.which("chromedriver")
    if chromium is None or driver_path is None:
        pytest.skip("chromium and chromedriver are needed: apt-get install chromium chromium-driver")
    options = Options()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    own = (
        f"--user-data-dir={profile}",
        f"--use-file-for-fake-video-capture={camera}",
        f"--window-size={width},{height}",
    )
    for flag in (*_FLAGS, *own, *flags):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(driver_path))
    try:
        yield driver
    finally:
        driver.quit()


def outside_requests(driver: webdriver.Chrome) -> list[str]:
    """Addresses outside this machine that pages asked for since the last call."""
    asked = []
    for entry in driver.get_log("performance"):  # type: ignore[no-untyped-call]
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.append(message["params"]["request"]["url"])
        elif message["method"] == "Network.webSocketCreated":
            asked.append(message["params"]["url"])
    asked = [url for url in asked if urlsplit(url).scheme in ("http", "https", "ws", "wss", "ftp")]
    inside = ("127.0.0.1", "localhost", None)
    return [url for url in asked if urlsplit(url).hostname not in inside]
