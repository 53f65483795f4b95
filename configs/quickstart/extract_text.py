#!/usr/bin/env python3
"""Plain prose out of unpacked Debian packages, as JSON lines {"text": ...}, one document a line.

  python3 extract_text.py ROOT OUT

ROOT is where libreoffice-help-en-us and jargon-text were unpacked with dpkg-deb -x. Writes OUT/libreoffice.jsonl
(a help page is a document) and OUT/jargon.jsonl (six paragraphs of the lexicon are a document). Standard library only.
"""

import gzip
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

BLOCKS = {"p", "li", "dd", "dt", "h1", "h2", "h3", "h4", "h5", "div", "td", "th", "tr", "br", "title"}
SKIPPED = {"script", "style", "pre", "nav", "head", "svg"}
JARGON_PARAGRAPHS = 6
SHORTEST_PAGE = 200  # characters; below it stand fragments


class Paragraphs(HTMLParser):
    """The page's paragraphs as single lines; scripts, code blocks and navigation are left out."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.lines, self._pieces, self._skipping = [], [], 0

    def handle_starttag(self, tag, attributes):
        self._skipping += tag in SKIPPED
        if tag in BLOCKS:
            self.end_paragraph()

    def handle_endtag(self, tag):
        self._skipping -= tag in SKIPPED and self._skipping > 0
        if tag in BLOCKS:
            self.end_paragraph()

    def handle_data(self, data):
        if not self._skipping:
            self._pieces.append(data)

    def end_paragraph(self):
        line = one_line("".join(self._pieces))
        self._pieces.clear()
        if line:
            self.lines.append(line)


def one_line(text):
    return re.sub(r"\s+", " ", text).strip()


def is_prose(line):
    """At least eight words, ends as a sentence does, mostly letters."""
    letters = sum(c.isalpha() or c == " " for c in line)
    return len(line.split()) >= 8 and line[-1] in ".!?:;)\"'”’" and letters > 0.85 * len(line)


def help_pages(root):
    """A paragraph that several pages share stays in the first one only, so that held-out pages are unseen."""
    seen, documents = set(), []
    for path in sorted(root.glob("usr/**/en-US/**/*.html")):
        parser = Paragraphs()
        parser.feed(path.read_text(encoding="utf-8", errors="replace"))
        parser.end_paragraph()
        kept = [line for line in dict.fromkeys(parser.lines) if is_prose(line) and line not in seen]
        seen.update(kept)
        text = "\n\n".join(kept)
        if len(text) >= SHORTEST_PAGE:
            documents.append(text)
    return documents


def jargon_entries(root):
    path = root / "usr/share/doc/jargon-text/jargon.txt.gz"
    with gzip.open(path, "rt", encoding="utf-8", errors="replace") as file:
        lines = [one_line(p) for p in re.split(r"\n\s*\n", file.read())]
    kept = [line for line in lines if is_prose(line)]
    return ["\n\n".join(kept[i:i + JARGON_PARAGRAPHS]) for i in range(0, len(kept), JARGON_PARAGRAPHS)]


def main():
    root, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    for name, documents in [("libreoffice", help_pages(root)), ("jargon", jargon_entries(root))]:
        if not documents:
            raise SystemExit(f"no text for {name} under {root}; has the package's layout changed?")
        with open(out / f"{name}.jsonl", "w", encoding="utf-8") as file:
            for text in documents:
                file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
        print(f"{name}.jsonl: {len(documents)} documents, {sum(len(d.encode()) for d in documents)} bytes")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main()
