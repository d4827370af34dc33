"""The peers that we are compared with, each in an environment of its own under build/peers.

    python benchmarks/peers.py [NAME ...]

Installs them, or those that are named, and prints their versions. What cannot be installed is said, and left out of
the comparison. An environment is made once; delete its folder to have it made again. pip's own settings hold, such as
PIP_CONSTRAINT for another build of torch.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

PROJECT = Path(__file__).parents[1]
PEERS = PROJECT / "build" / "peers"

REQUIREMENTS = {
    "rclip": ["rclip==3.3.0"],
    "open_clip": ["torch", "open_clip_torch", "onnx", "onnxscript", "safetensors", "transformers"],
    "vectors": ["faiss-cpu", "hnswlib", "usearch", "scann"],
}
# These also see our own packages, behind theirs, so that both sides can be timed in one process.
BESIDE_OURS = {"open_clip", "vectors"}


def python(name: str) -> Path:
    """The interpreter of a peer's environment, which is made where it is not there yet."""
    folder = PEERS / name
    if not (folder / "versions.json").exists():
        _install(name, folder)
    return folder / "bin" / "python"


def program(name: str, command: str) -> Path:
    """A command that a peer installs."""
    return python(name).with_name(command)


def versions(name: str) -> dict[str, str]:
    """The version of each package that was asked for, or why it could not be installed."""
    python(name)
    found: dict[str, str] = json.loads((PEERS / name / "versions.json").read_text(encoding="utf-8"))
    return found


def _install(name: str, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet"]
    found = {}
    for requirement in REQUIREMENTS[name]:
        done = subprocess.run([*pip, requirement], capture_output=True, text=True, check=False)
        package = requirement.partition("==")[0]
        found[package] = _version(folder, package) if done.returncode == 0 else _reason(done.stderr)
    if name in BESIDE_OURS:
        packages = next((folder / "lib").glob("python*/site-packages"))
        ours = [str(PROJECT / "src"), sysconfig.get_paths()["purelib"]]
        (packages / "ours.pth").write_text("\n".join(ours) + "\n", encoding="utf-8")
    (folder / "versions.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _version(folder: Path, package: str) -> str:
    code = f"from importlib.metadata import version; print(version({package!r}))"
    done = subprocess.run([folder / "bin" / "python", "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _reason(said: str) -> str:
    """The last line in which pip names an error."""
    lines = [line.strip() for line in said.splitlines() if "error" in line.lower()]
    return f"not installed: {lines[-1] if lines else 'pip failed'}"


def main() -> None:
    for name in sys.argv[1:] or REQUIREMENTS:
        print(name, json.dumps(versions(name)), flush=True)


if __name__ == "__main__":
    main()
