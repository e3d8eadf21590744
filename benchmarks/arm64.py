"""Predict on an emulated ARM computer and compare with this one: masks, wheels, installed size.

    sudo python benchmarks/arm64.py MODEL [MODEL ...] [--scan SCAN] [--folder build/arm64]

Builds an arm64 Debian in FOLDER/root with debootstrap and qemu-user-static, installs the base package from its aarch64
wheels, and segments SCAN there with every artifact, for example one of each precision, in ONNX Runtime and, where it
can, in LiteRT. Labels are compared with ONNX Runtime's on this computer. No time is printed, because the time under
emulation says nothing about an ARM computer.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from footnote import footnote
from installed_size import print_installed_size

from embedded_vit.datasets.phantom import PhantomSettings, make_phantom
from embedded_vit.engines import EngineName, engine_entry
from embedded_vit.errors import EmbeddedVitError, InputError
from embedded_vit.io.nifti import read_labels, write_volume
from embedded_vit.predict.predictor import Predictor

SUITE, PYTHON = "bookworm", "3.11"  # Debian's, and its Python
MIRROR = "http://deb.debian.org/debian"
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")
ENVIRONMENT = "/opt/embedded-vit"  # inside the root
BINFMT = Path("/proc/sys/fs/binfmt_misc")
QEMU_DESCRIPTION = Path("/usr/share/binfmts/qemu-aarch64")
ENGINES: tuple[EngineName, ...] = ("onnxruntime", "litert")
LEAST_EQUAL = 0.9999  # of all voxels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL")
    parser.add_argument("--scan", type=Path, help="NIfTI or TransUNet h5; by default a phantom of 8 x 512 x 512 voxels")
    parser.add_argument("--folder", type=Path, default=Path("build/arm64"))
    arguments = parser.parse_args()
    check_tools()
    root = arguments.folder.resolve() / "root"
    scan = arguments.scan or phantom_scan(arguments.folder / "scan.nii.gz")
    wheels = arguments.folder.resolve() / "wheels"
    build_root(root)
    fetch(root, wheels)
    print(footnote())
    install(root, "embedded-vit")
    print(f"beside it: {in_root(root, 'uname', '-m')}, Debian {SUITE}, emulated; {versions_in(root)}; {scan.name}")
    print_installed_size(root / ENVIRONMENT[1:])
    install(root, "embedded-vit[litert]")
    print("\n| model | precision | engine | labels equal | voxels that differ |\n|---|---|---|---|---|")
    equal = []
    for model in arguments.models:
        predictor = Predictor.load(model, threads=1)
        for engine in ENGINES:
            if engine_entry(engine).int8 or not predictor.manifest.is_int8:
                equal.append(compare(root, predictor, model, engine, scan, arguments.folder))
    if min(equal) < LEAST_EQUAL:
        sys.exit(f"arm64.py: labels differ in more than {1 - LEAST_EQUAL:.2%} of the voxels")


def check_tools() -> None:
    """Refuse to start without root, debootstrap and qemu; register qemu for ARM programs in the kernel."""
    if os.geteuid() != 0 or not shutil.which("debootstrap") or not QEMU_DESCRIPTION.is_file():
        raise InputError("needs root and two packages: sudo apt install debootstrap qemu-user-static")
    if not (BINFMT / "register").exists():
        subprocess.run(["mount", "-t", "binfmt_misc", "none", str(BINFMT)], check=True)
    if not (BINFMT / "qemu-aarch64").exists():
        described = dict(line.split(maxsplit=1) for line in QEMU_DESCRIPTION.read_text().splitlines() if " " in line)
        entry = f":qemu-aarch64:M::{described['magic']}:{described['mask']}:{described['interpreter']}:PF"
        (BINFMT / "register").write_text(entry)


def phantom_scan(path: Path) -> Path:
    """Write a phantom's scan."""
    scan, _ = make_phantom(0, settings=PhantomSettings(size=512, slices=8))
    write_volume(path, scan, overwrite=True)
    return path


def build_root(root: Path) -> None:
    """Build a Debian with Python unless the folder holds one."""
    if (root / "usr/bin/python3").exists() and not (root / "debootstrap").exists():
        return
    shutil.rmtree(root, ignore_errors=True)
    packages = "--include=python3,python3-venv"
    subprocess.run(["debootstrap", "--arch=arm64", "--variant=minbase", packages, SUITE, str(root), MIRROR], check=True)


def fetch(root: Path, wheels: Path) -> None:
    """Download the base package, LiteRT and their dependencies as aarch64 wheels only."""
    shutil.rmtree(wheels, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "-qq"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(wheels), "."], check=True)
    platforms = [f"--platform={platform}" for platform in PLATFORMS]
    [ours] = wheels.glob("embedded_vit-*.whl")
    where = [f"--python-version={PYTHON}", "--only-binary=:all:", "--dest", str(wheels)]
    subprocess.run([*pip, "download", *platforms, *where, f"{ours}[litert]"], check=True)
    inside = root / "wheels"
    shutil.rmtree(inside, ignore_errors=True)
    shutil.copytree(wheels, inside)
    shutil.rmtree(root / ENVIRONMENT[1:], ignore_errors=True)
    in_root(root, "python3", "-m", "venv", ENVIRONMENT)


def install(root: Path, what: str) -> None:
    """Install a package from the downloaded wheels."""
    in_root(root, f"{ENVIRONMENT}/bin/pip", "install", "--quiet", "--no-index", "--find-links", "/wheels", what)


def compare(root: Path, predictor: Predictor, artifact: Path, engine: str, scan: Path, folder: Path) -> float:
    """Segment here and there; print a row and return the fraction of voxels that agree."""
    here, there = folder / "here.nii.gz", root / "mask.nii.gz"
    predictor.predict(scan, force=True).save(here, overwrite=True)
    for name in ("mask.nii.gz", "mask.json", "mask_preview.png"):
        (root / name).unlink(missing_ok=True)
    shutil.copy(artifact, root / "model.onnx")
    inside = f"/{scan.name}"
    shutil.copy(scan, root / scan.name)
    command = (f"{ENVIRONMENT}/bin/embedded-vit", "predict", "/model.onnx", inside, "--threads", "1", "--force")
    in_root(root, *command, "--engine", engine, "--output", "/mask.nii.gz")
    ours, theirs = read_labels(here).array, read_labels(there).array
    differing = int((ours != theirs).sum())
    equal = 1 - differing / ours.size
    name, precision = predictor.manifest.name, predictor.manifest.precision
    print(f"| {name} | {precision} | {engine} | {equal:.5%} | {differing} of {ours.size} |")
    return equal


def versions_in(root: Path) -> str:
    """Return the versions of the libraries that compute a mask."""
    program = (
        "from embedded_vit.engines import engine_entry, installed_engines; import numpy;"
        "print(*(f'{name} {engine_entry(name).version}' for name in installed_engines()), 'numpy', numpy.__version__)"
    )
    return in_root(root, f"{ENVIRONMENT}/bin/python", "-c", program)


def in_root(root: Path, *command: str) -> str:
    """Run a program on the emulated computer; return its output."""
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(["chroot", str(root), *command], env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise InputError(f"{' '.join(command)}: failed in the emulated computer: {done.stderr.strip()[-500:]}")
    return done.stdout.strip()


if __name__ == "__main__":
    try:
        main()
    except EmbeddedVitError as error:
        sys.exit(f"arm64.py: {error}")
