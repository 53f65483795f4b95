"""Public-domain English out of two Debian packages, as lists of documents. Standard library only.

chapters(root): sword-text-web, one chapter a document.   entries(root): jargon-text, a few entries a document.
`root` is where the packages were unpacked with dpkg-deb -x; fetch(root) downloads and unpacks them there.
"""

import gzip
import html
import re
import struct
import subprocess
import zlib
from pathlib import Path

PACKAGES = ["sword-text-web", "jargon-text"]


def fetch(root):
    """Download and unpack the packages under `root`; installs nothing."""
    root.mkdir(parents=True, exist_ok=True)
    subprocess.run(["apt-get", "download", *PACKAGES], cwd=root, check=True)
    for deb in sorted(root.glob("*.deb")):
        print("package", deb.name)
        subprocess.run(["dpkg-deb", "-x", deb, root], check=True)


def _clean(markup):
    """One paragraph's text without notes, headings and tags, with single spaces."""
    text = re.sub(r"<note\b.*?</note>|<title\b.*?</title>", " ", markup, flags=re.S)
    text = html.unescape(re.sub(r"<[^>]+>", "", text))
    text = re.sub(r"\s+", " ", text).strip()
    return re.sub(r" ([,.;:!?)”’])", r"\1", text)


def chapters(root):
    """SWORD zText: .bzs holds (offset, packed size, size) of each book's zlib stream in .bzz."""
    documents = []
    for part in ("ot", "nt"):
        stem = root / "usr/share/sword/modules/texts/ztext/engWEB2015eb" / part
        index, packed = stem.with_suffix(".bzs").read_bytes(), stem.with_suffix(".bzz").read_bytes()
        for offset, size, _ in struct.iter_unpack("<III", index):
            book = zlib.decompress(packed[offset:offset + size]).decode() if size else ""
            for chapter in re.split(r"<chapter\b[^>]*\bsID=[^>]*>", book)[1:]:
                lines = re.split(r"<(?:div|lb|l|p|lg)\b[^>]*>", chapter)
                kept = [line for line in map(_clean, lines) if len(line.split()) >= 4]
                if kept:
                    documents.append("\n".join(kept))
    return documents


def entries(root, paragraphs_each=2):
    """The lexicon's paragraphs of prose, `paragraphs_each` to a document."""
    path = root / "usr/share/doc/jargon-text/jargon.txt.gz"
    with gzip.open(path, "rt", encoding="utf-8", errors="replace") as file:
        lexicon = file.read().split("Part II. The Jargon Lexicon", 2)[-1]
    paragraphs = [re.sub(r"\s+", " ", p).strip() for p in re.split(r"\n\s*\n", lexicon)]
    prose = [p for p in paragraphs if len(p.split()) >= 20 and p[-1] in ".!?)" and "│" not in p]
    return ["\n".join(prose[i:i + paragraphs_each]) for i in range(0, len(prose), paragraphs_each)]


if __name__ == "__main__":
    import sys

    for read in (chapters, entries):
        found = read(Path(sys.argv[1]))
        print(read.__name__, len(found), "documents", sum(len(d.encode()) for d in found), "bytes")
        print(found[len(found) // 2][:600], "\n")
