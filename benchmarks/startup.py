"""Start-up times: `factory --help`, and `factory build` of a finished run.

    python benchmarks/startup.py

Each is timed five times as a separate process; the median counts. The finished run is a replay of
recorded samples, so no engine is needed. Memory is the build's peak with one and four samples per
prompt.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FACTORY = str(Path(sys.executable).parent / "factory")


def seconds(*command: str) -> float:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def peak_megabytes(recipe: Path, run: Path) -> float:
    """Return the peak resident memory of a build, without its children."""
    code = (
        "import resource, sys\nfrom pathlib import Path\nfrom rich.console import Console\n"
        "from factory.build.build import build\nfrom factory.recipe.build import load_recipe\n"
        "if __name__ == '__main__':\n"
        "    build(load_recipe(Path(sys.argv[1])), Path(sys.argv[2]), Console(quiet=True))\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)\n"
    )
    script = recipe.with_suffix(".py")
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, str(script), str(recipe), str(run)],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    return float(done.stdout.splitlines()[-1])


def claim(name: str, value: float, target: float) -> None:
    print(
        json.dumps(
            {"name": name, "value": round(value, 3), "target": target, "holds": value <= target}
        )
    )


def main() -> None:
    sys.path.insert(0, str(ROOT))
    from tests.recorded import recipe_file, record

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recorded = record(folder / "recorded", 400)
        few, many = folder / "few", folder / "many"
        peaks = {}
        for place, n in ((few, 40), (many, 400)):
            place.mkdir()
            peaks[n] = peak_megabytes(recipe_file(place, recorded, n), place / "run")
            print(f"peak memory of a build with {n} samples per prompt: {peaks[n]:,.0f} MB")
        resume = seconds(FACTORY, "build", str(many / "recipe.yaml"), "--run", str(many / "run"))
        help_time = seconds(FACTORY, "--help")
        print(f"factory --help: {help_time:.2f} s; a finished run again: {resume:.2f} s")
        claim("help_seconds", help_time, 0.3)
        claim("resume_finished_seconds", resume, 2.0)
        claim("peak_memory_ratio_10x_samples", peaks[400] / peaks[40], 1.25)


if __name__ == "__main__":
    main()
