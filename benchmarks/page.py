"""How long the page of a sweep takes to write and to open, and how large it is.

Makes 12 runs of 275,000 steps and 1,000 runs of 500 steps in 100 groups, and for each sweep tells

    written   the seconds and the peak memory of python -m analysis.page, a process of its own
    size      of the file
    opened    until all is drawn, in Chromium (apt install chromium chromium-driver)
    redrawn   after a click on a group, the median of 20

as medians over the rounds.

    python -m benchmarks.page [--rounds 3]
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

from selenium import webdriver

from .curves import LRS, SEEDS, make_run

REDRAW = """
(async (tell) => {
    const times = [], painted = () => new Promise((next) =>
        requestAnimationFrame(() => setTimeout(next)));
    for (let i = 0; i < 20; i++) {
        const start = performance.now();
        document.querySelectorAll("#legend button")[i % 2].click();
        await painted();
        times.push(performance.now() - start);
    }
    tell(times.sort((a, b) => a - b)[10] / 1000);
})(arguments[0]);
"""


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        long, short = Path(folder, "12 x 275,000 steps"), Path(folder, "1,000 x 500 steps")
        for lr in LRS:
            for seed in SEEDS:
                make_run(long / f"lr={lr},seed={seed}", lr, seed, 275_000)
        for i in range(100):
            for seed in range(10):
                make_run(short / f"{i},seed={seed}", (i + 1) / 1000, seed, 500)
        print(f"{'':20}{'written':>10}{'memory':>10}{'size':>10}{'opened':>10}{'redrawn':>10}")
        for sweep in long, short:
            rows = [measure(sweep) for _ in range(args.rounds)]
            seconds, memory, size, opened, redrawn = map(median, zip(*rows, strict=True))
            cells = f"{seconds:.1f} s", f"{memory:.0f} MB", f"{size:.1f} MB", f"{opened:.2f} s"
            row = "".join(f"{cell:>10}" for cell in (*cells, f"{1000 * redrawn:.0f} ms"))
            print(f"{sweep.name:20}{row}", flush=True)


def measure(sweep):
    """Seconds to write, megabytes of memory and of the file, seconds to open and to redraw."""
    start = perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "analysis.page", sweep],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = perf_counter() - start
    if status:
        sys.exit(f"python -m analysis.page {sweep} failed")
    page = sweep / "sweep.html"
    return seconds, usage.ru_maxrss / 1024, page.stat().st_size / 1e6, *look(page)


def look(page):
    """Seconds until the page is drawn, and for one more drawing."""
    options = webdriver.ChromeOptions()
    for argument in "--headless=new", "--no-sandbox":
        options.add_argument(argument)
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    with webdriver.Chrome(options, service) as driver:
        driver.get("about:blank")
        start = perf_counter()
        driver.get(page.as_uri())
        while not driver.execute_script("return document.documentElement.dataset.ready"):
            pass
        return perf_counter() - start, driver.execute_async_script(REDRAW)


if __name__ == "__main__":
    main()
