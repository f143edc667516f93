"""Everything that is to be known of an accelerator, in one command and at most nine minutes.

python benchmarks/accelerator.py --json=accelerator.json --markdown=accelerator.md

It needs the jax stack alone: jax, flax, optax, orbax, chex, numpy. Parts are measured in a process
of their own, each within so many seconds; one that takes longer, or dies, is cut, which the table
says, and a new process goes on with the next. Tests marked `gpu` run last, where pytest is there.
`--smoke` measures small sizes, on a CPU as well, where its figures mean nothing.
"""

import argparse
import importlib.util
import json
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run from a clone, not installed

from benchmarks.kit.figures import keep

TOTAL = 520.0  # seconds of everything; what is left is for the start and the end of processes
SECONDS = {  # that each part may take
    "device": 60.0, "sampler steps": 120.0, "noise": 40.0, "training": 70.0, "seeds": 60.0,
    "settings": 60.0, "embedding": 20.0, "checkpoint": 20.0, "equality": 40.0,
}  # fmt: skip
TESTS = "tests marked gpu"
TARGETS = {  # part -> figures that have one
    "sampler steps": {
        "share_of_gemm_cim_float32": ">= 0.8",
        "share_of_gemm_cim_bfloat16": ">= 0.8",
    },
    "seeds": {"ratio": "<= 0.4"},
    "settings": {"ratio": "<= 0.15"},
    "equality": {"step_is_equal": "True", "gibbs_is_equal": "True", "cim_is_equal": "True"},
}


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", default="", help="write the figures to this file")
    parser.add_argument("--markdown", default="", help="write the table to this file")
    parser.add_argument("--smoke", action="store_true", help="small sizes")
    parser.add_argument("--measure", default="", help=argparse.SUPPRESS)  # what a child does
    return parser.parse_args()


class Child:
    """A process that measures parts, and tells in lines of JSON what it found.

    Attributes:
      process: it.
      is_gone: whether it died or was killed.
    """

    def __init__(self, command: list[str]):
        """Starts it, and reads along so that it never waits for its reader."""
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdout=pipe, stderr=pipe, encoding="utf-8")
        self.is_gone = False
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._errors: list[str] = []
        self._readers = [
            threading.Thread(target=each, daemon=True) for each in (self._read, self._read_errors)
        ]
        for reader in self._readers:
            reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _read_errors(self) -> None:
        self._errors.extend(self.process.stderr)

    def kill(self) -> None:
        """Ends it, whatever it does."""
        self.is_gone = True
        self.process.kill()
        self.process.wait()

    def measure(self, seconds: float) -> dict[str, Any]:
        """What it tells of its next part, within so many seconds."""
        start = time.monotonic()
        part: dict[str, Any] = {"figures": {}, "state": "measured"}
        while True:
            try:
                line = self._lines.get(timeout=max(start + seconds - time.monotonic(), 0.0))
            except queue.Empty:
                self.kill()
                return part | {"state": f"cut after {seconds:.0f} s", "seconds": seconds}
            if line is None:
                self.kill()
                self._readers[1].join()
                reason = (self._errors or ["the process died"])[-1].strip()[:200]
                return part | {"state": f"failed: {reason}"}
            kind, _, *told = json.loads(line) if line.startswith("[") else ("talk", "")
            if kind == "figure":
                part["figures"][told[0]] = told[1]
            elif kind == "end":
                part |= {"seconds": time.monotonic() - start, "memory": told[1]}
                return part | ({"state": f"failed: {told[0]}"} if told[0] else {})


def measure_all(command: list[str], limits: dict[str, float], end: float) -> dict[str, dict]:
    """Every part, over as many processes as it takes; parts that no time is left for say so.

    Args:
      command: of the child, to which the names of the parts are appended.
      limits: part -> seconds that it may take, in the order of measuring.
      end: when everything must be over, by `time.monotonic`.
    """
    parts: dict[str, dict] = {}
    while left := [name for name in limits if name not in parts]:
        child = Child([*command, ",".join(left)])
        for name in left:
            seconds = min(limits[name], end - time.monotonic())
            if seconds <= 0:
                parts[name] = {"figures": {}, "state": "no time left"}
            else:
                parts[name] = child.measure(seconds)
            if child.is_gone:
                break
        child.kill()
    return parts


def run_tests(seconds: float) -> dict[str, Any]:
    """The outcome of the tests marked `gpu`, in pytest's own words."""
    start = time.monotonic()
    if importlib.util.find_spec("pytest") is None:
        return {"figures": {}, "state": "skipped: pytest is not installed"}
    files = [path for path in sorted((ROOT / "tests").rglob("test_*.py"))
             if "mark.gpu" in path.read_text(encoding="utf-8")]  # fmt: skip
    if not files:
        return {"figures": {}, "state": "skipped: no test is marked so"}
    # The others need packages that may not be here, and so do the options in pyproject.
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-o",
        "addopts=",
        "-m",
        "gpu",
        *map(str, files),
    ]
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            capture_output=True,
            encoding="utf-8",
            timeout=max(seconds, 1),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"figures": {}, "state": f"cut after {time.monotonic() - start:.0f} s"}
    outcome = (done.stdout.strip().splitlines() or ["nothing"])[-1]
    state = "measured" if done.returncode == 0 else f"failed: {outcome}"
    return {"figures": {"outcome": outcome}, "state": state, "seconds": time.monotonic() - start}


def table(found: dict[str, Any]) -> str:
    """The figures as Markdown, with their targets; what was not measured says why."""
    parts = found["parts"]
    device = parts["device"]["figures"].get("device", "unknown device")
    size = "small sizes, of no meaning" if found["smoke"] else "full size"
    lines = [f"{device}, {size}, {found['seconds']:.0f} s", "", "| Part | What | Figure | Target |"]
    lines.append("|---|---|---|---|")
    for name, part in parts.items():
        targets = TARGETS.get(name, {})
        for figure, value in part["figures"].items():
            shown = f"{value:.3g}" if isinstance(value, float) else str(value)
            lines.append(f"| {name} | {figure} | {shown} | {targets.get(figure, '')} |")
        if part["state"] != "measured":
            lines.append(f"| {name} | | not measured: {part['state'].replace('|', '/')} | |")
    for kind in ("peak_resident_mib", "peak_device_mib"):
        sizes = [part["memory"][kind] for part in parts.values() if part.get("memory")]
        known = [size for size in sizes if size is not None]
        shown = f"{max(known):.0f}" if known else "not measured: this device keeps no count"
        lines.append(f"| memory | {kind} | {shown} | |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measures, prints and writes."""
    options, start = arguments(), time.monotonic()
    if options.measure:
        from benchmarks.kit.accelerator_parts import measure

        tell = lambda *told: print(json.dumps(told), flush=True)  # noqa: E731
        measure(options.measure.split(","), options.smoke, tell)
        return
    # This process never imports jax, which might take the accelerator's memory.
    flags = ["--smoke"] if options.smoke else []
    command = [sys.executable, __file__, *flags, "--measure"]
    parts = measure_all(command, SECONDS, start + TOTAL)
    parts[TESTS] = run_tests(start + TOTAL - time.monotonic())
    found = {"smoke": options.smoke, "seconds": time.monotonic() - start, "parts": parts}
    shown = table(found)
    print(shown)
    keep(found, options.json)
    if options.markdown:
        Path(options.markdown).write_text(shown, encoding="utf-8")


if __name__ == "__main__":
    main()
