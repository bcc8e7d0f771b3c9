"""The secret scan finds what is planted, and the audit fails where something is vulnerable."""

import pytest

from tools.audit import judged
from tools.secrets import scanned

PLANTED = {  # in two halves, so that the scan of this file finds none
    "AWS Access Key": "AKIA" + "QWERTYUIOPASDFGH",
    "GitHub Token": "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8",
    "Private Key": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "Secret Keyword": 'pass' + 'word = "hunter2hunter2"',
    "Basic Auth Credentials": "https://user:hunter" + "2hunter@example.org/data",
}  # fmt: skip


@pytest.mark.parametrize("kind", PLANTED)
@pytest.mark.parametrize("name", ["module.py", "results.json", ".env", "page.html"])
def test_a_planted_secret_is_found(kind, name, tmp_path):
    path = tmp_path / name
    path.write_text(f"first = 1\nx {PLANTED[kind]}\n")
    assert (path, 2, kind) in list(scanned([path]))


def test_a_checksum_is_no_secret(tmp_path):
    path = tmp_path / "pins.py"
    path.write_text(f'CHECKSUM = "{"5d7c06e0" * 8}"\n"mae": 0.6123456789012345,\n')
    assert list(scanned([path])) == []


def test_what_is_vulnerable_fails():
    broken = {"id": "PYSEC-1", "fix_versions": ["2.0"]}
    found = [
        {"name": "a", "version": "1.0", "vulns": [broken]},
        {"name": "b", "version": "1.0", "vulns": []},
        {"name": "c", "skip_reason": "Dependency not found"},
    ]
    told, code = judged(found)
    assert code == 1
    assert told.splitlines() == [
        "a 1.0: PYSEC-1, mended in 2.0",
        "1 packages have no known vulnerability, 1 could not be audited",
    ]
    assert judged(found[1:])[1] == 0
    assert judged(None) == ("the advisory service cannot be reached here: nothing was audited", 0)
