"""What is installed is what was locked: names, hashes, the bill of materials and the list of licences agree."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from scripts.licences import PAGE, page

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)(?: ; .+)? \\$", re.MULTILINE)
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(name: str) -> dict[str, str]:
    text = (ROOT / "locks" / name).read_text()
    return {normal(found): version for found, version in _PIN.findall(text)}


def names(requirements: list[str]) -> set[str]:
    return {normal(match[0]) for one in requirements if (match := _NAME.match(one))}


def test_every_declared_dependency_is_locked() -> None:
    runtime = names(PROJECT["project"]["dependencies"])
    for extra in PROJECT["project"]["optional-dependencies"].values():
        runtime |= names(extra)
    assert runtime <= pins("runtime.txt").keys()
    assert runtime | names(PROJECT["dependency-groups"]["dev"]) <= pins("dev.txt").keys()
    assert names(PROJECT["dependency-groups"]["lock"]) <= pins("tools.txt").keys()


@pytest.mark.parametrize("lock", ["runtime.txt", "dev.txt", "tools.txt"])
def test_every_locked_package_has_a_hash_and_no_address(lock: str) -> None:
    text = (ROOT / "locks" / lock).read_text()
    blocks = re.split(r"\n(?=[A-Za-z])", text.strip())
    assert len(blocks) == len(pins(lock))
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in text


def test_the_bill_of_materials_has_the_locked_versions() -> None:
    sbom = json.loads((ROOT / "sbom.cdx.json").read_text())
    locked = pins("runtime.txt")
    listed = {normal(one["name"]): one["version"] for one in sbom["components"]}
    assert listed.items() <= locked.items(), "run make lock"
    assert names(PROJECT["project"]["dependencies"]) <= listed.keys()
    assert sbom["metadata"]["component"]["name"] == PROJECT["project"]["name"]
    assert all(one.get("licenses") for one in sbom["components"])


def test_the_list_of_licences_is_that_of_the_bill() -> None:
    assert PAGE.read_text() == page(), "run make lock"


def test_client_programs_of_the_tests_are_locked_by_hash() -> None:
    lock = json.loads((ROOT / "tests" / "e2e" / "package-lock.json").read_text())
    packages = {path: one for path, one in lock["packages"].items() if path}
    assert packages
    assert all(one["integrity"].startswith("sha512-") for one in packages.values())
    assert not any("resolved" in one for one in packages.values())


def test_the_wheel_carries_its_bill_of_materials(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [one for one in archive.namelist() if "/sboms/" in one]
        assert archive.read(name) == (ROOT / "sbom.cdx.json").read_bytes()
