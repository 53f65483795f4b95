#!/usr/bin/env python3
"""Writes the goldens that train/data/tokenizer_test.cc compares with: two small byte-level BPEs, nasty
strings, and the ids that the Python library gives for them.

    python make_tokenizer_golden.py          # in this directory; needs tokenizers 0.23.3, and no network

The tokenizers are trained on the licences of Debian's base-files and on this script's own sentences:
  digits.json   Digits + ByteLevel as in SmolLM2; merges written "a b"; only bytes that the corpus has
  split.json    a Split regex as in Llama 3, ignore_merges; merges written ["a", "b"]; all 256 bytes
  cases.json    {"texts": [{"text" or "hex" or "repeat", "digits": ids, "split": ids, "decoded": text}],
                 "pre_tokenizers": [{"pre_tokenizer": {}, "ids": one list per text of "pre_texts"}]}:
                 these replace split.json's
"""
import json
import random
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

HERE = Path(__file__).parent
LICENCES = ["GPL-3", "Apache-2.0", "MPL-2.0"]
SENTENCES = """\
It's 2024: the naïve café cost 1,234.56€, and we've paid — they'll say they'd rather not. \
I'm sure you're right.
Größe, Übermut, straße; ça va? Ελληνικά γράμματα. Русский текст без смысла. 日本語の文章です。한국어 문장입니다. العربية نص.
🙂🙃 👩‍👩‍👧‍👦 🇩🇪 e\u0301 n\u0303 हिन्दी में कुछ शब्द.  \
\tTabs\tand  spaces   in    runs.\r\nWindows lines.\r\n\r\n
def f(x):\n    return {"a": [1, 22, 333], 'b': x ** 2}  \
# comment\n\n\nSELECT * FROM t WHERE x >= 10 AND y != 'z';
"""
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
GPT4O = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
         r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
         r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")

NASTY = [
    "", " ", "  ", "\n", "\r\n", "\r\r\n\n", "\t \t", "a", "A", "0", "\x00", "a\x00b",
    "\x00\x00 \x01\x1f\x7f\x80",
    "Hello, world!", " Hello", "Hello ", "  Hello  world  ",
    "don't DON'T don\u2019t I'll we'VE 's 'S '\u017f x'd'",
    "1", "12", "123", "1234", "12345678901234567890", "3.14159", "1 2  3   4", "a1b2c3", "x=10,y=-20",
    "٣٤٥ ½ ² Ⅷ ①",
    "line one\nline two\r\nline three\rline four\n\n\nend", "trailing spaces   \n   leading", " \n \n",
    "\n  \n\t",
    "        return x", "a" + " " * 50 + "b", " " * 100, "\t" * 30, "\u00a0nbsp\u00a0\u00a0x",
    "\u2003em\u2028ls\u2029ps",
    "\u180emongolian\u180e \u180e", "\u200bzwsp\u200b", "\ufefffront", "\u3000ideographic\u3000",
    "a\u0085b \u0085 c",
    "\x1c\x1d\x1e\x1f", "x\x0by\x0cz", "naïve café", "nai\u0308ve cafe\u0301", "\u0301 lone",
    "Z\u0351\u036b\u0343algo",
    "日本語の文章", "中文，标点。", "한국어", "עברית", "العربية ١٢٣", "हिन्दी", "ไทย", "Ελληνικά", "Русский", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢",
    "𠜎𠜱",
    "🙂", "🙂🙃", " 🙂 ", "👩‍👩‍👧‍👦", "🇩🇪🇫🇷", "👍🏽", "ﬁ ﬆ ſt", "İstanbul ıI", "ẞß", "\ufffd", "\U0010ffff",
    "\ue000",
    "<|endoftext|>", "a<|endoftext|>b", " <|endoftext|> ", "<|endoftext|><|endoftext|>", "<|endoftext", "|>",
    "<|im_start|>user\nHi<|im_end|>\n", "<|<|endoftext|>|>", "<|endoftext|>123<|im_end|>", "<repo>",
    "<repo>x <repo>",
    "<repo><repo_name>", "<repo_name>s<repo_name>", "x  <mask>  y", "<mask> <mask>", "a \n <mask>",
    "x  <after>  y<after>",
    "<after>  <mask>",
    "<MASK>", "{}[]()<>", "a.b.c,d;e:f", "!!!???...", "---===+++", "https://example.org/a?b=c&d=%20",
    "C:\\dir\\f",
    "foo_bar fooBar FOOBar fooBAR1", "émile's 'quote' ''''", "def f(x):\n    return x\n",
    "{\"k\": [1, 2]}\n", "#!/bin/sh",
    "The GNU General Public License is a free, copyleft license for software and other kinds of works.",
]
REPEATS = [["a", 3000], ["ab", 1500], ["the", 700], ["é", 700], ["日本", 300], ["1", 400], [" ", 2000],
           ["\n", 600],
           ["' ", 300], ["license", 300], ["🙂", 200]]
INVALID = [b"\x80", b"\xff\xfe", b"a\xc3", b"a\xc3(", b"\xe2\x82", b"\xe2\x82\xac\xe2\x82",
           b"\xf0\x9f\x99", b"\xf0\x9fx",
           b"\xc0\xaf", b"\xe0\x80\xaf", b"\xed\xa0\x80", b"\xed\xb0\x80", b"\xf4\x90\x80\x80",
           b"\xf5\x80\x80\x80",
           b"ok \xff ok", b"\xf0\x80\x80\x80<|endoftext|>\xe1\x80\xe2",
           b"long enough for eight \xfe bytes at once"]

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


def split(pattern, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}


def sequence(*members):
    return {"type": "Sequence", "pretokenizers": list(members)}


PRE_TOKENIZERS = [
    {**BYTE_LEVEL, "use_regex": True},
    {**BYTE_LEVEL, "use_regex": True, "add_prefix_space": True},
    {**BYTE_LEVEL, "add_prefix_space": True},
    sequence({"type": "Digits", "individual_digits": False}, BYTE_LEVEL),
    sequence({"type": "Digits", "individual_digits": True},
             {**BYTE_LEVEL, "use_regex": True, "add_prefix_space": True}),
    sequence(split({"Regex": QWEN2}), BYTE_LEVEL),
    sequence(split({"Regex": GPT4O}), BYTE_LEVEL),
    sequence(split({"Regex": QWEN2}, "Removed", True), BYTE_LEVEL),
    sequence(split({"Regex": r"\p{N}{1,3}"}), split({"Regex": "[一-龥ぁ-ゟ゠-ヿ]+"}),
             split({"Regex": r"[!-\/:-~]?[A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+"
                             r"[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"}), BYTE_LEVEL),
] + [sequence(split({"Regex": r"\s"}, behavior, invert), BYTE_LEVEL)
     for behavior in ("Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous")
     for invert in (False, True)] + [
    sequence(split({"String": " "}, "MergedWithNext"), BYTE_LEVEL),
    sequence(split({"String": ".b"}, "Removed"), BYTE_LEVEL),
]
PRE_TEXTS = ["", " ", "  a  b ", "one two  three\n\n four", "a1b22c333d4444", "日本語 with 漢字 and かな!",
             "it's John's", "don'T",
             "a.b.c.b", "fooBar FOOBar x'll", "1234567 89", " lead", "trail ", "x<|endoftext|> y",
             "é\u0301 🙂!?\r\n\r\nz", "٣٤٥½"]


def corpus():
    for name in LICENCES:
        yield Path("/usr/share/common-licenses", name).read_text()
    for _ in range(20):
        yield SENTENCES


def train(pre_tokenizer, alphabet, **model):
    tokenizer = Tokenizer(models.BPE(**model))
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=1000, show_progress=False, initial_alphabet=alphabet,
                                  special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.add_tokens([AddedToken("<repo>", normalized=True), AddedToken("<repo_name>", normalized=False),
                          AddedToken("<repo_name>s", normalized=False)])
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True), AddedToken("<after>", rstrip=True)])
    return tokenizer


def fuzz(count):
    """Strings of random pieces of the nasty ones, and of single characters."""
    draw = random.Random(7)
    pieces = [s for s in NASTY if s] + list("  \n\r\t'\"0123456789abcdeXYZ.,;-") + SENTENCES.split(" ")
    return ["".join(draw.choice(pieces) for _ in range(draw.randint(2, 6))) for _ in range(count)]


def ids(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids


def main():
    digits = train(pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]), [])
    llama = train(pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]),
                  pre_tokenizers.ByteLevel.alphabet(), ignore_merges=True)
    stored = json.loads(digits.to_str())
    stored["model"]["merges"] = [m if isinstance(m, str) else " ".join(m) for m in stored["model"]["merges"]]
    (HERE / "digits.json").write_text(json.dumps(stored, ensure_ascii=False, separators=(",", ":")) + "\n")
    stored = json.loads(llama.to_str())
    (HERE / "split.json").write_text(json.dumps(stored, ensure_ascii=False, separators=(",", ":")) + "\n")

    cases = [({"text": t}, t) for t in NASTY + fuzz(150)]
    cases += [({"repeat": [t, n]}, t * n) for t, n in REPEATS]
    cases += [({"hex": b.hex()}, b.decode("utf-8", "replace")) for b in INVALID]
    texts = []
    for case, text in cases:
        found = ids(llama, text)
        case.update(digits=ids(digits, text), split=found)
        decoded = llama.decode(found, skip_special_tokens=False)
        if decoded != text or "hex" in case:
            case["decoded"] = decoded                      # of split's ids; absent: the text itself
        texts.append(case)
    variants = []
    for pre_tokenizer in PRE_TOKENIZERS:
        tokenizer = Tokenizer.from_str(json.dumps({**stored, "pre_tokenizer": pre_tokenizer}))
        variants.append({"pre_tokenizer": pre_tokenizer, "ids": [ids(tokenizer, t) for t in PRE_TEXTS]})
    golden = {"texts": texts, "pre_texts": PRE_TEXTS, "pre_tokenizers": variants}
    (HERE / "cases.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
