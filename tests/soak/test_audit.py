"""Known vulnerabilities of all that is installed, by pip-audit. docs/security.md says which packages are held back."""
import json
import pathlib
import re
import subprocess
import sys

import pytest
from packaging.version import Version

SECURITY = pathlib.Path(__file__).parents[2] / "docs" / "security.md"


def held_back():
    """The table of docs/security.md, {package: the version that it has to be below}."""
    rows = re.findall(r"^\| `([\w-]+)` \| ([\d.]+) \|", SECURITY.read_text(), re.MULTILINE)
    return {name: Version(bound) for name, bound in rows}


def audit():
    """What pip-audit says of this environment: a list of dicts with name, version, and vulns or skip_reason."""
    command = [sys.executable, "-m", "pip_audit", "--local", "--skip-editable", "--format=json", "--timeout=10",
               "--progress-spinner=off"]
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=600)
        return json.loads(process.stdout)["dependencies"]
    except subprocess.TimeoutExpired as error:
        pytest.skip(f"known vulnerabilities were not looked up: {error}")
    except ValueError:
        pytest.skip(f"known vulnerabilities were not looked up: {process.stderr.strip().splitlines()[-1]}")


def vulnerabilities(packages, bounds):
    """Divide what was found into lines about what could be mended, and lines about what the bounds hold back."""
    mendable, held = [], []
    for package in packages:
        for found in package.get("vulns", ()):
            version, bound = Version(package["version"]), bounds.get(package["name"])
            fixes = [fix for fix in map(Version, found["fix_versions"]) if version < fix]
            line = f"{package['name']} {version}: {found['id']}, mended in {', '.join(map(str, fixes)) or 'none'}"
            kept = bound is not None and version < bound and all(fix >= bound for fix in fixes)
            (held if kept else mendable).append(line)
    return mendable, held


def test_what_is_installed_has_no_known_vulnerability_that_could_be_mended():
    pytest.importorskip("pip_audit", reason="known vulnerabilities were not looked up: pip-audit is not installed")
    packages = audit()
    known = [package for package in packages if "skip_reason" not in package]
    if not known:
        pytest.skip(f"known vulnerabilities were not looked up: the service knows none of {len(packages)} packages")
    mendable, held = vulnerabilities(known, held_back())
    print(f"{len(known)} of {len(packages)} packages looked up;", "held back:", *held or ["none"], sep="\n    ")
    assert not mendable, "\n".join(mendable)


@pytest.mark.parametrize("name, version, fixes, mendable", [
    ("requests", "2.0", ["2.1"], True), ("requests", "2.0", [], True),
    ("tensorflow", "2.17.1", ["2.18.1", "2.19.0"], False), ("tensorflow", "2.17.1", [], False),
    ("tensorflow", "2.17.1", ["2.17.2", "2.18.1"], True), ("tensorflow", "2.20.0", ["2.21.0"], True),
    ("protobuf", "4.25.7", ["3.20.4", "5.29.5"], False), ("protobuf", "4.25.7", ["4.25.8", "5.29.5"], True),
])
def test_only_what_the_pins_hold_back_may_stay(name, version, fixes, mendable):
    packages = [{"name": name, "version": version, "vulns": [{"id": "CVE-1", "fix_versions": fixes}]}]
    found, held = vulnerabilities(packages, held_back())
    assert (len(found), len(held)) == (mendable, not mendable)
    assert f"{name} {version}: CVE-1" in (found + held)[0]
