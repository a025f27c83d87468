"""Build the files of a release into one folder: wheel, source archive, networks, hashes and release notes.

python scripts/release.py
python scripts/release.py --out ../release-0.2.0

The program refuses to build from a working tree with changes, and where version, changelog, citation, tag or networks
disagree. It uploads nothing: docs/releasing.md has the steps before and after it.
"""

from __future__ import annotations

import argparse
import os
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from headpose.cli.arguments import named_path
from headpose.cli.program import imports_from, run_program
from headpose.errors import HeadPoseError, WeightsError
from headpose.files import sha256_of
from headpose.weights import read_manifest, verify

with imports_from("test", "release"):
    from build import BuildBackendException, ProjectBuilder
    from pyproject_hooks import quiet_subprocess_runner

ROOT = Path(__file__).resolve().parents[1]
SUMS, NOTES = "SHA256SUMS", "RELEASE_NOTES.md"


def main() -> int:
    """Run the program; return its exit status."""
    return run_program("release", _main)


def _main() -> int:
    parser = argparse.ArgumentParser(prog="release", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", type=named_path, metavar="DIR", help="new folder for the files (default: dist/VERSION of the checkout)"
    )
    arguments = parser.parse_args()
    version = runpy.run_path(str(ROOT / "headpose" / "_version.py"))["__version__"]
    out: Path = arguments.out or ROOT / "dist" / version
    if os.path.lexists(out):
        raise HeadPoseError(f"{out} exists already: remove it, or give another --out")
    _check_tree()
    tagged = _check_tag(version)
    date, notes = read_notes((ROOT / "CHANGELOG.md").read_text("utf-8"), version)
    _check_citation(version, date)
    weights = _weights()
    with tempfile.TemporaryDirectory() as temporary:  # outside of the tree, which the source archive contains
        packages = _build(Path(temporary))
        _write(out, [*packages, *weights, ROOT / "LICENSE", ROOT / "NOTICE"], notes)
    for line in (out / SUMS).read_text("utf-8").splitlines():
        print(line)
    print(f"wrote {out}" + ("" if tagged else f"; this commit has no tag yet: git tag v{version}"))
    return 0


def read_notes(changelog: str, version: str) -> tuple[str, str]:
    """Cut the notes of one version out of a changelog.

    The libraries that read the format of Keep a Changelog return lists of entries and lose the text's formatting.

    Args:
        changelog: Markdown text in the format of Keep a Changelog.
        version: Version number, without ``v``.

    Returns:
        The date of the release, ``YYYY-MM-DD``, and the text of the section without its heading. Each list item is one
        line, because a release page shows every line end as a line break.

    Raises:
        HeadPoseError: The version has no section, no date, no entry or no link, or entries are left in "Unreleased".
    """
    sections = {
        found["name"]: found
        for found in re.finditer(
            r"^## \[(?P<name>[^]]+)\](?: - (?P<date>\d{4}-\d\d-\d\d))?$(?P<text>.*?)(?=^## |^\[[^]]+\]: |\Z)",
            changelog,
            re.MULTILINE | re.DOTALL,
        )
    }
    if (unreleased := sections.get("Unreleased")) and re.search(r"^- ", unreleased["text"], re.MULTILINE):
        raise HeadPoseError(f"CHANGELOG.md has entries under Unreleased: move them to the section of {version}")
    section = sections.get(version)
    if section is None or section["date"] is None or not re.search(r"^- ", section["text"], re.MULTILINE):
        raise HeadPoseError(f'CHANGELOG.md has no entries under "## [{version}] - YYYY-MM-DD"')
    if f"\n[{version}]: " not in changelog:
        raise HeadPoseError(f'CHANGELOG.md has no link "[{version}]: ..." at its end')
    return section["date"], re.sub(r"\n +(?=[^\s-])", " ", section["text"]).strip() + "\n"


def _git(*arguments: str) -> str:
    """Run git in the checkout and return its output."""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
    except FileNotFoundError:
        raise HeadPoseError("a release needs git, which is not installed") from None
    if done.returncode:
        raise HeadPoseError(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout


def _check_tree() -> None:
    """Refuse files that are not those of the commit; ignored files count neither here nor in the packages."""
    if changes := _git("status", "--porcelain").splitlines():
        more = f" and {len(changes) - 1} more" if len(changes) > 1 else ""
        raise HeadPoseError(f"the working tree has changes ({changes[0][3:]}{more}): commit or remove them")


def _check_tag(version: str) -> bool:
    """Return whether this commit has the tag of the version; refuse another version's tag, and a tag elsewhere."""
    tag, here = f"v{version}", _git("tag", "--list", "v[0-9]*", "--points-at", "HEAD").split()
    if others := [name for name in here if name != tag]:
        raise HeadPoseError(f"this commit has the tag {others[0]}, but its version is {version}")
    if not here and _git("tag", "--list", tag).strip():
        raise HeadPoseError(f"the tag {tag} is on another commit: change the version in headpose/_version.py")
    return bool(here)


def _check_citation(version: str, date: str) -> None:
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    for key, value in (("version", version), ("date-released", date)):
        found = re.search(rf'^{key}: "?([^"\n]*)"?$', citation, re.MULTILINE)
        if found is None or found[1] != value:
            raise HeadPoseError(f"CITATION.cff has {key} {found[1] if found else 'nowhere'}, CHANGELOG.md has {value}")


def _weights() -> list[Path]:
    """Return every network that ``headpose fetch`` downloads, each followed by its card, which has its licence."""
    paths = []
    for info in read_manifest(ROOT / "headpose" / "models.toml").values():
        network = ROOT / "weights" / info.file
        card = network.with_suffix(".md")
        for path in (network, card):
            if not path.is_file():
                raise WeightsError(f"model {info.name} is not complete: {path} does not exist")
        verify(network, info)
        paths += [network, card]
    return paths


def _build(folder: Path) -> list[Path]:
    """Build the source archive, and from it the wheel: pip does the same where it finds no wheel."""
    try:
        sdist = Path(ProjectBuilder(ROOT, runner=quiet_subprocess_runner).build("sdist", folder))
        with tarfile.open(sdist) as archive:
            archive.extractall(folder / "unpacked", filter="data")
        (unpacked,) = (folder / "unpacked").iterdir()
        wheel = Path(ProjectBuilder(unpacked, runner=quiet_subprocess_runner).build("wheel", folder))
    except BuildBackendException as error:
        output = getattr(error.exception, "output", None) or b""
        last = (output.decode("utf-8", "replace").strip() or str(error)).splitlines()[-1]
        raise HeadPoseError(f"cannot build the package: {last}") from None
    return [wheel, sdist]


def _write(out: Path, files: list[Path], notes: str) -> None:
    """Fill a folder beside ``out`` and rename it, so that ``out`` is complete or does not exist."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".release-", dir=out.parent) as temporary:
        folder = Path(temporary) / out.name
        folder.mkdir()
        for path in files:
            shutil.copyfile(path, folder / path.name)
        (folder / NOTES).write_text(notes, "utf-8", newline="\n")
        # The format of sha256sum: a hash, two spaces, a name.
        sums = [f"{sha256_of(path)}  {path.name}\n" for path in sorted(folder.iterdir())]
        (folder / SUMS).write_text("".join(sums), "utf-8", newline="\n")
        folder.rename(out)


if __name__ == "__main__":
    sys.exit(main())
