"""Picture of a page that TensorBoard shows for a run folder.

    python docs/screenshot.py runs/x out.png
    python docs/screenshot.py runs/x out.png --page timeseries

Serves RUN_FOLDER/tensorboard with TensorBoard, opens the page in headless Chromium, waits until its charts
are drawn and stand still, and saves a PNG. Needs, beside the kit, the selenium package in the Python that
runs this script, and the programs chromium and chromedriver (Debian: chromium, chromium-driver).
`--python` names the Python that has TensorBoard, if another.
"""

import argparse
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

# What each page holds once it has read its data.
MARKS = {
    "custom_scalars": "tf-custom-scalar-margin-chart-card, tf-custom-scalar-multi-line-chart-card",
    "timeseries": "line-chart",
    "scalars": "tf-scalar-card",
    "hparams": "vaadin-grid-cell-content",
    "text": "tf-text-loader",
}

# TensorBoard nests shadow trees, into which selectors do not look. The answer is null until a mark is there
# and no spinner turns, and it changes for as long as curves or tables do.
STATE = """
const found = {marks: 0, spinners: 0, elements: 0, paths: 0};
const shown = (element) => element.getClientRects().length > 0;
const walk = (root) => {
  found.marks += root.querySelectorAll(arguments[0]).length;
  const spinners = [...root.querySelectorAll('mat-spinner, paper-spinner-lite[active]')];
  found.spinners += spinners.filter(shown).length;
  for (const element of root.querySelectorAll('*')) {
    found.elements += 1;
    if (element.tagName === 'path') found.paths += (element.getAttribute('d') || '').length;
    if (element.shadowRoot) walk(element.shadowRoot);
  }
};
walk(document);
return found.marks && !found.spinners ? JSON.stringify(found) : null;
"""


@contextmanager
def served(logdir: Path, python: str, timeout: float) -> Iterator[str]:
    """Address of a TensorBoard that has read `logdir`, stopped on leaving."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [python, "-m", "tensorboard.main", "--load_fast=false", "--logdir", str(logdir)]
    # Blocking: nothing is answered before everything is read.
    command += ["--host", "127.0.0.1", "--port", str(port), "--reload_interval=0", "--reload_task=blocking"]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            address = f"http://127.0.0.1:{port}/"
            deadline = time.monotonic() + timeout
            while not answered(address):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise SystemExit(f"tensorboard shows no run of {logdir}\n{log.read().decode()}")
                time.sleep(0.2)
            yield address
        finally:
            process.terminate()
            process.wait()


def answered(address: str) -> bool:
    """Whether TensorBoard is up and has found a run."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{address}data/runs", timeout=5) as reply:
            return reply.read().strip() != b"[]"
    except OSError:
        return False


def program(name: str) -> str:
    """Path of a program, which selenium would otherwise try to download."""
    path = shutil.which(name)
    if path is None:
        raise SystemExit(f"{name} is not installed")
    return path


@contextmanager
def browser(width: int, height: int) -> Iterator[webdriver.Chrome]:
    """A headless Chromium with an empty profile."""
    with tempfile.TemporaryDirectory() as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = program("chromium")
        for flag in (
            "headless",
            "no-sandbox",
            "disable-gpu",
            "disable-quic",
            "no-first-run",
            "disable-background-networking",
            "disable-component-update",
            "disable-sync",
            "hide-scrollbars",
            f"user-data-dir={profile}",
        ):
            options.add_argument(f"--{flag}")
        driver = webdriver.Chrome(options, webdriver.ChromeService(program("chromedriver")))
        try:
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            yield driver
        finally:
            driver.quit()


def wait_until_drawn(driver: webdriver.Chrome, mark: str, timeout: float, still: float = 3.0) -> None:
    """Return once `mark` is on the page and nothing has changed for `still` seconds."""
    last, since = None, time.monotonic()

    def settled(driver: webdriver.Chrome) -> bool:
        nonlocal last, since
        state = driver.execute_script(STATE, mark)
        if state is None or state != last:
            last, since = state, time.monotonic()
        return time.monotonic() - since >= still

    WebDriverWait(driver, timeout).until(settled, f"{mark} not drawn within {timeout} s")


def main() -> None:
    """Read the command line and take the picture."""
    parser = argparse.ArgumentParser(description="Picture of a page that TensorBoard shows for a run folder.")
    parser.add_argument("run", type=Path, metavar="RUN_FOLDER")
    parser.add_argument("picture", type=Path, metavar="OUT.png")
    parser.add_argument("--page", choices=MARKS, default="custom_scalars")
    parser.add_argument("--size", type=int, nargs=2, default=(1600, 1000), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--timeout", type=float, default=120, help="seconds to wait for each of server and page")
    parser.add_argument("--python", default=sys.executable, help="Python that has TensorBoard")
    options = parser.parse_args()
    logdir = options.run / "tensorboard"
    if not logdir.is_dir():
        parser.error(f"{logdir} is not a folder")
    with served(logdir, options.python, options.timeout) as address, browser(*options.size) as driver:
        driver.get(f"{address}#{options.page}")
        wait_until_drawn(driver, MARKS[options.page], options.timeout)
        driver.save_screenshot(str(options.picture))


if __name__ == "__main__":
    main()
